package mostro

import (
	"net/url"
	"strings"
)

// TakeLink returns the order's link if the platform's dialect promises the link: it
// must belong to this order and lead to the place where the author accepts takers.
// Otherwise TakeLink returns "", because a publisher may write any link into an order.
//
// The relays in a mostro: link are hints. The taker's message is encrypted to the
// author's key on any relay.
func (o *Order) TakeLink() string {
	u, err := url.Parse(o.Link)
	if err != nil || u.User != nil || strings.ContainsFunc(o.Link, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return ""
	}
	web := u.Scheme == "https" && u.Port() == ""
	host := strings.ToLower(u.Hostname())
	promised := false
	switch o.Platform {
	case PlatformMostro:
		// mostro:<order id>?relays=<urls>&mostro=<key of the node>
		values, err := url.ParseQuery(u.RawQuery)
		promised = err == nil && u.Scheme == "mostro" && u.Opaque == o.D && u.Fragment == "" &&
			len(values["mostro"]) == 1 && strings.EqualFold(values["mostro"][0], o.Pubkey)
	case PlatformLnp2pBot, PlatformTelegram:
		promised = web && host == "t.me"
	case PlatformRoboSats:
		// A coordinator's own address, usually an onion service.
		promised = (web && underDomain(host, "robosats.org") || u.Scheme == "http" && underDomain(host, "onion")) && strings.HasPrefix(u.Path, "/order/")
	case PlatformHodlHodl:
		promised = web && underDomain(host, "hodlhodl.com") && strings.HasPrefix(u.Path, "/offers/")
	case PlatformPeach:
		promised = web && underDomain(host, "peachbitcoin.com")
	}
	if !promised {
		return ""
	}
	return o.Link
}

func underDomain(host, domain string) bool {
	return host == domain || strings.HasSuffix(host, "."+domain)
}
