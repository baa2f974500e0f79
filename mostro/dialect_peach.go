package mostro

import "net/url"

// PlatformPeach is the name of Peach in a y tag.
const PlatformPeach = "peach"

// peachDialect is the dialect of the bridge that republishes Peach's offers.
var peachDialect = dialect{
	platforms: []string{PlatformPeach},
	ratingMax: 1,
	promises:  func(_ *Order, u *url.URL, host string) bool { return onWeb(u) && underDomain(host, "peachbitcoin.com") },
}
