package mostro

import (
	"net/url"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// RelayList is where a key reads and writes (NIP-65). A Mostro lists the
// relays to which it is connected at the moment.
type RelayList struct {
	EventID   string
	Pubkey    string
	CreatedAt nostr.Timestamp

	Relays []RelayUse
}

// RelayUse is one relay of a list. Without a marker both are true.
type RelayUse struct {
	URL   string // ws:// or wss://, as written
	Read  bool
	Write bool
}

// ParseRelayList reads kind 10002. What is not the URL of a websocket is left
// out, and so are repetitions. The URLs are anyone's text: look at them
// before dialing.
func ParseRelayList(evt *nostr.Event) (RelayList, error) {
	if err := expect(evt, ClassRelayList); err != nil {
		return RelayList{}, err
	}
	list := RelayList{EventID: evt.ID, Pubkey: evt.PubKey, CreatedAt: evt.CreatedAt}
	seen := make(map[string]bool)
	for _, tag := range evt.Tags {
		if len(tag) < 2 || tag[0] != "r" {
			continue
		}
		use := RelayUse{URL: strings.TrimSpace(tag[1]), Read: true, Write: true}
		u, err := url.Parse(use.URL)
		if err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Hostname() == "" || u.User != nil || seen[use.URL] {
			continue
		}
		if len(tag) >= 3 {
			switch strings.ToLower(strings.TrimSpace(tag[2])) {
			case "read":
				use.Write = false
			case "write":
				use.Read = false
			}
		}
		seen[use.URL] = true
		list.Relays = append(list.Relays, use)
	}
	return list, nil
}

// Event builds the relay list, ready to be signed.
func (l RelayList) Event() nostr.Event {
	w := tagWriter{}
	for _, use := range l.Relays {
		switch {
		case use.Read && !use.Write:
			w.add("r", use.URL, "read")
		case use.Write && !use.Read:
			w.add("r", use.URL, "write")
		default:
			w.add("r", use.URL)
		}
	}
	return nostr.Event{PubKey: l.Pubkey, CreatedAt: l.CreatedAt, Kind: KindRelayList, Tags: nostr.Tags(w)}
}
