package relay

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
)

// Rules are the settings that an operator may change while the relay runs, by NIP-86 or in
// the file of rules. Keys and ids are lower-case hex.
type Rules struct {
	// Name, Description and Icon replace the configured ones in NIP-11.
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
	Icon        string `json:"icon,omitempty"`

	BlockedKeys   map[string]string `json:"blocked_keys,omitempty"`   // key -> reason; events are neither taken nor served
	AllowedKeys   map[string]string `json:"allowed_keys,omitempty"`   // if not empty, public events of other keys are refused
	BlockedEvents map[string]string `json:"blocked_events,omitempty"` // id -> reason
	BlockedIPs    map[string]string `json:"blocked_ips,omitempty"`    // address or CIDR -> reason
	Quarantined   map[string]string `json:"quarantined,omitempty"`    // key -> reason; events are taken, and served only on demand
	AllowedKinds  []int             `json:"allowed_kinds,omitempty"`  // in addition to the configured kinds
	BlockedKinds  []int             `json:"blocked_kinds,omitempty"`

	// Quotas and rates. 0: the configured value; negative: no limit.
	LiveAddressesPerKey      int `json:"live_addresses_per_key,omitempty"`
	LiveAddressesPerPlatform int `json:"live_addresses_per_platform,omitempty"`
	EventsPerMinutePerIP     int `json:"events_per_minute_per_ip,omitempty"`
	EventsPerMinutePerKey    int `json:"events_per_minute_per_key,omitempty"`
	RequestsPerMinutePerIP   int `json:"requests_per_minute_per_ip,omitempty"`
}

// compiled are rules in the form that is used for each event. A compiled value does not
// change.
type compiled struct {
	Rules
	version uint64 // counts the rules since the start of the process
	policy  Policy // of the settings, with the kinds that the rules allow
	limits  Limits
	ips     []netip.Prefix
	hidden  map[[32]byte]struct{} // keys whose events are never served
	spam    map[[32]byte]struct{} // keys whose events are served on demand
	blocked map[[32]byte]struct{} // ids that are never served
}

// compile checks rules and compiles them.
func compile(r Rules, limits Limits) (*compiled, error) {
	limits.setDefaults()
	c := &compiled{Rules: r, limits: limits}
	for from, to := range map[*int]*int{
		&r.LiveAddressesPerKey: &c.limits.LiveAddressesPerKey, &r.LiveAddressesPerPlatform: &c.limits.LiveAddressesPerPlatform,
		&r.EventsPerMinutePerIP: &c.limits.EventsPerMinutePerIP, &r.EventsPerMinutePerKey: &c.limits.EventsPerMinutePerKey,
		&r.RequestsPerMinutePerIP: &c.limits.RequestsPerMinutePerIP,
	} {
		if *from != 0 {
			*to = *from
		}
	}
	for ip := range r.BlockedIPs {
		p, err := parseIPRule(ip)
		if err != nil {
			return nil, err
		}
		c.ips = append(c.ips, p)
	}
	for _, set := range []struct {
		what string
		from map[string]string
		to   *map[[32]byte]struct{}
	}{{"key", r.BlockedKeys, &c.hidden}, {"key", r.Quarantined, &c.spam}, {"event", r.BlockedEvents, &c.blocked}, {"key", r.AllowedKeys, nil}} {
		for key := range set.from {
			if !hex32.Valid(key) {
				return nil, fmt.Errorf("%s %q is not 64 lower-case hex digits", set.what, key)
			}
			if set.to != nil {
				if *set.to == nil {
					*set.to = make(map[[32]byte]struct{})
				}
				(*set.to)[hex32.OrZero(key)] = struct{}{}
			}
		}
	}
	for _, k := range append(slices.Clone(r.AllowedKinds), r.BlockedKinds...) {
		if k < 0 || k > 65535 {
			return nil, fmt.Errorf("kind %d is not in 0..65535", k)
		}
	}
	return c, nil
}

func parseIPRule(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a CIDR", s)
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func (c *compiled) blocksIP(ip netip.Addr) bool {
	return slices.ContainsFunc(c.ips, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// kinds returns the configured kinds as the rules change them.
func (c *compiled) kinds(configured []int) []int {
	if len(c.AllowedKinds)+len(c.BlockedKinds) == 0 {
		return configured
	}
	list := slices.Clone(configured)
	for _, k := range c.AllowedKinds {
		if !slices.Contains(list, k) {
			list = append(list, k)
		}
	}
	return slices.DeleteFunc(list, func(k int) bool { return slices.Contains(c.BlockedKinds, k) })
}

// refuse returns the reason why the rules do not take an event, or "". Events of this
// program are never refused.
func (c *compiled) refuse(evt *nostr.Event, origin mostro.Origin) string {
	if origin == mostro.OriginSelf {
		return ""
	}
	if _, ok := c.BlockedKeys[evt.PubKey]; ok {
		return "blocked: this key is not served here"
	}
	if _, ok := c.BlockedEvents[evt.ID]; ok {
		return "blocked: this event is not served here"
	}
	// Mail is not compared with the list, because its keys are made for one trade each.
	if len(c.AllowedKeys) > 0 && !mostro.IsMail(evt.Kind) {
		if _, ok := c.AllowedKeys[evt.PubKey]; !ok {
			return "restricted: this key is not on the list of those who may publish here"
		}
	}
	return ""
}

// quotas returns the quotas that apply to an event by its origin. No quota applies to an
// import of the operator or to an event of this program.
func (c *compiled) quotas(origin mostro.Origin) eventlog.LiveQuotas {
	if origin == mostro.OriginSelf || origin == mostro.OriginImport {
		return eventlog.LiveQuotas{}
	}
	return eventlog.LiveQuotas{Key: max(c.limits.LiveAddressesPerKey, 0), Platform: max(c.limits.LiveAddressesPerPlatform, 0)}
}

// serves reports whether an event may be sent to a client. search is the search text of
// the filter. If it contains include:spam, quarantined authors stay visible.
func (c *compiled) serves(evt *nostr.Event, search string) bool {
	if len(c.hidden)+len(c.spam)+len(c.blocked) == 0 {
		return true
	}
	key := hex32.OrZero(evt.PubKey)
	if _, ok := c.hidden[key]; ok {
		return false
	}
	if _, ok := c.blocked[hex32.OrZero(evt.ID)]; ok {
		return false
	}
	if _, ok := c.spam[key]; ok {
		return slices.Contains(strings.Fields(search), "include:spam")
	}
	return true
}
