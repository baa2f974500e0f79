package mostro

import (
	"strings"
	"testing"
)

func TestTakeLink(t *testing.T) {
	author, other := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	for _, c := range []struct {
		platform, link string
		ok             bool
	}{
		{PlatformMostro, "mostro:id-1?relays=wss://a,wss://b&mostro=" + author, true},
		{PlatformMostro, "mostro:id-1?mostro=" + strings.ToUpper(author), true},
		{PlatformMostro, "mostro:id-1?relays=wss://a&mostro=" + other, false}, // another node
		{PlatformMostro, "mostro:id-1?mostro=" + author + "&mostro=" + other, false},
		{PlatformMostro, "mostro:id-1?mostro=" + other + "&mostro=" + author, false},
		{PlatformMostro, "mostro:id-2?mostro=" + author, false}, // another order
		{PlatformMostro, "mostro:id-1?relays=wss://a", false},   // no node named
		{PlatformMostro, "mostro://id-1?mostro=" + author, false},
		{PlatformMostro, "mostro:id-1?mostro=" + author + "#" + other, false},
		{PlatformMostro, "mostro:id-1?mostro=" + author + "&x=%zz", false},
		{PlatformMostro, "https://mostro.example/order?mostro=" + author, false},
		{PlatformMostro, "javascript:alert(1)", false},
		{PlatformLnp2pBot, "https://t.me/p2plightning/139", true},
		{PlatformTelegram, "https://t.me/novaruzchannel/139", true},
		{PlatformLnp2pBot, "https://t.me.example/p2plightning/139", false},
		{PlatformLnp2pBot, "https://t.me@evil.example/139", false},
		{PlatformLnp2pBot, "http://t.me/p2plightning/139", false},
		{PlatformLnp2pBot, "mostro:id-1?mostro=" + author, false},
		{PlatformRoboSats, "http://2enoseg66hme76khjjn2qvrhipnzwgwa44mewgrdphrxbhzcxd2vdiqd.onion/order/204", true},
		{PlatformRoboSats, "https://unsafe.robosats.org/order/temple/1", true},
		{PlatformRoboSats, "https://robosats.org.example/order/1", false},
		{PlatformHodlHodl, "https://hodlhodl.com/offers/e6GfuXPbUjWdKUGt?utm_source=nostr", true},
		{PlatformHodlHodl, "https://hodlhodl.com/login", false},
		{PlatformPeach, "", false},
		{"bitway", "https://bitway.me/offers/1", false}, // a platform without a dialect
		{"", "https://example.org/", false},
	} {
		o := Order{Platform: c.platform, Pubkey: author, D: "id-1", Link: c.link}
		if got := o.TakeLink(); (got != "") != c.ok || c.ok && got != c.link {
			t.Errorf("%s %q: %q, want offered %t", c.platform, c.link, got, c.ok)
		}
	}
}
