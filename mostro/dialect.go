package mostro

import (
	"net/url"
	"strings"
)

// dialect describes how the orders of one platform differ from NIP-69. The zero dialect
// is the dialect of every platform that is not registered.
type dialect struct {
	platforms []string // the platforms that write the dialect, as the y tag names them
	formerly  string   // an older name of the first platform; "" if there is none

	instance  bool    // the second y value names the instance: a node, a bot, or a coordinator's alias
	noText    bool    // the content is no description
	ratingMax float64 // top of the scale of a maker's rating; 0 if unknown

	// statuses has the buckets of the platform's own statuses, in kebab-case. A status
	// that is not in it has the bucket of the shared table.
	statuses map[string]Status
	// amount returns the amount of an order. n is the amount in sats that the amt tag
	// states, or nil if the tag states none. nil keeps n.
	amount func(t TagReader, n *int64) *int64
	// methods splits the values of pm into payment methods. nil splits a single value
	// at commas and keeps several values as they are.
	methods func(values []string) []string
	// bond reads the bond tag. nil reads sats.
	bond func(t TagReader) *Bond
	// promises reports whether a link leads to the place where the author of the order
	// accepts takers. host is the link's host in lower case. nil promises no link.
	promises func(o *Order, u *url.URL, host string) bool
}

// dialects are the registered dialects. A new dialect is one file and its line here.
var dialects = []*dialect{&mostroDialect, &roboSatsDialect, &lnp2pBotDialect, &peachDialect, &hodlHodlDialect}

// plainDialect is NIP-69 without a difference.
var plainDialect dialect

// dialectOf returns the dialect of a platform. A platform without a dialect of its own is
// kept under the name that the event claims.
func dialectOf(platform string) *dialect {
	for _, d := range dialects {
		for _, name := range d.platforms {
			if name == platform {
				return d
			}
		}
	}
	return &plainDialect
}

// platformName returns today's name of a platform.
func platformName(name string) string {
	name = strings.ToLower(strings.TrimSpace(name))
	for _, d := range dialects {
		if d.formerly != "" && d.formerly == name {
			return d.platforms[0]
		}
	}
	return name
}

// instanceName returns the second y value if the platform puts the instance name there.
func instanceName(platform, second string) string {
	if dialectOf(platform).instance {
		return strings.TrimSpace(second)
	}
	return ""
}

// onWeb reports whether a link uses https on the usual port.
func onWeb(u *url.URL) bool { return u.Scheme == "https" && u.Port() == "" }

func underDomain(host, domain string) bool {
	return host == domain || strings.HasSuffix(host, "."+domain)
}
