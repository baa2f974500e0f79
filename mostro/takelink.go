package mostro

import (
	"net/url"
	"strings"
)

// TakeLink returns the order's link if it is one that the platform's dialect
// promises: of this order, and to the place where its author takes it. A
// publisher may write any link into an order, so all others return "".
//
// The relays in a mostro: link are hints: the taker's message is sealed to the
// author's key, whichever relays carry it.
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
		// A coordinator's own address, an onion service as a rule.
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
