package mostro

import (
	"net/url"
	"strings"
)

// PlatformHodlHodl is the name of HodlHodl in a y tag.
const PlatformHodlHodl = "hodlhodl"

// hodlHodlDialect is the dialect of the bridge that republishes HodlHodl's offers.
var hodlHodlDialect = dialect{
	platforms: []string{PlatformHodlHodl},
	ratingMax: 1,
	promises: func(_ *Order, u *url.URL, host string) bool {
		return onWeb(u) && underDomain(host, "hodlhodl.com") && strings.HasPrefix(u.Path, "/offers/")
	},
}
