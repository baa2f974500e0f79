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
	promises := dialectOf(o.Platform).promises
	if promises == nil || !promises(o, u, strings.ToLower(u.Hostname())) {
		return ""
	}
	return o.Link
}
