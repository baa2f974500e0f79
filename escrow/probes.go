package escrow

import (
	"strings"

	"github.com/mostrodex/mostrodex/escrow/lnurl"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
	"golang.org/x/net/publicsuffix"
)

// The server of a Lightning address is asked before the message that names the address is
// decided. The sender controls that server, which may answer slowly or never.
const (
	// probesPerSite is the number of messages that may wait for the servers of one
	// registered domain, and probesInAll the number for all domains.
	probesPerSite = 256
	probesInAll   = 4096
	// probeSeconds is how long a message may wait for its address. A later answer would
	// begin a trade for which the sender no longer waits.
	probeSeconds = 120
)

// probe is one message that waits for its address.
type probe struct {
	sender string // trade key
	trade  trade.OrderID
	site   string
	party  bool // a buyer's add-invoice: strangers cannot use up its room
}

func probeOf(msg InboundMessage, address string) probe {
	p := probe{sender: msg.Sender, site: siteOf(address), party: msg.ofParty()}
	if msg.Message.ID != nil && msg.Message.Action != message.ActionNewOrder {
		p.trade = *msg.Message.ID
	}
	return p
}

// siteOf returns the registered domain of a Lightning address or LNURL, the host if there
// is no registered domain, or "" if the text is neither.
func siteOf(address string) string {
	u, err := lnurl.URL(address)
	if err != nil {
		return ""
	}
	host := u.Hostname()
	// Names under a suffix that is not run by a registry, such as a provider of free
	// names, are one site, because such names cost nothing.
	if suffix, icann := publicsuffix.PublicSuffix(host); !icann && strings.Contains(suffix, ".") {
		return suffix
	}
	if site, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return site
	}
	return host
}

// probes counts the messages that wait. A sender can wait once for each trade.
type probes struct {
	waiting map[probe]bool
	sites   map[string]int
}

func newProbes() *probes { return &probes{waiting: make(map[probe]bool), sites: make(map[string]int)} }

// known returns the key under which a sender and a trade wait, independently of the
// address.
func (p probe) known() probe { p.site, p.party = "", false; return p }

// ofParty reports whether a waiting message is from a party of its trade. Step has checked
// this before the message began to wait.
func (msg InboundMessage) ofParty() bool {
	return msg.Message.Action == message.ActionAddInvoice || msg.Message.Action == message.ActionCancel
}

// room reports whether another message may wait.
func (s *probes) room(p probe) bool {
	return !s.waiting[p.known()] && (p.party || s.sites[p.site] < probesPerSite && len(s.waiting) < probesInAll)
}

func (s *probes) add(p probe) {
	if !s.waiting[p.known()] {
		s.waiting[p.known()] = true
		if !p.party {
			s.sites[p.site]++
		}
	}
}

func (s *probes) remove(p probe) {
	if !s.waiting[p.known()] {
		return
	}
	delete(s.waiting, p.known())
	if p.party {
		return
	}
	if s.sites[p.site]--; s.sites[p.site] == 0 {
		delete(s.sites, p.site)
	}
}
