package mostro

import (
	"net/url"
	"strings"
)

// PlatformRoboSats is the name of RoboSats in a y tag.
const PlatformRoboSats = "robosats"

// roboSatsDialect is the dialect of RoboSats' coordinators.
var roboSatsDialect = dialect{
	platforms: []string{PlatformRoboSats},
	instance:  true,
	// A coordinator publishes "success" for every order that is no longer public,
	// including cancelled and expired orders.
	statuses: map[string]Status{"success": StatusGone, "completed-by-admin": StatusGone, "settled-by-admin": StatusGone},
	amount: func(t TagReader, n *int64) *int64 {
		if n != nil && *n == 0 && t.decimal("premium") == nil {
			// A coordinator writes 0 also for orders with a fixed amount of sats. Such
			// an order has no premium.
			return nil
		}
		return n
	},
	// The value is the maker's text, split at every space.
	methods: func(values []string) []string { return []string{strings.Join(values, " ")} },
	bond: func(t TagReader) *Bond {
		if d := t.decimal("bond"); d != nil && d.Sign() >= 0 {
			return &Bond{Percent: d}
		}
		return nil
	},
	// A coordinator's own address, usually an onion service.
	promises: func(_ *Order, u *url.URL, host string) bool {
		return (onWeb(u) && underDomain(host, "robosats.org") || u.Scheme == "http" && underDomain(host, "onion")) && strings.HasPrefix(u.Path, "/order/")
	},
}
