package mostro

import (
	"net/url"
	"strings"
)

// PlatformMostro is the name of Mostro in a y tag.
const PlatformMostro = "mostro"

// mostroDialect is the dialect of Mostro. Older events name the platform mostrop2p.
var mostroDialect = dialect{
	platforms: []string{PlatformMostro},
	formerly:  "mostrop2p",
	instance:  true,
	noText:    true,
	ratingMax: 5,
	// A Mostro splits the list at commas, so none of its methods contains a comma.
	methods: func(values []string) []string { return splitList(strings.Join(values, ",")) },
	// mostro:<order id>?relays=<urls>&mostro=<key of the node>
	promises: func(o *Order, u *url.URL, _ string) bool {
		values, err := url.ParseQuery(u.RawQuery)
		return err == nil && u.Scheme == "mostro" && u.Opaque == o.D && u.Fragment == "" &&
			len(values["mostro"]) == 1 && strings.EqualFold(values["mostro"][0], o.Pubkey)
	},
}
