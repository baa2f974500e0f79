package mostro

import (
	"net/url"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// RelayList names the relays that a key reads from and writes to (NIP-65). A Mostro
// lists the relays to which it is connected.
type RelayList struct {
	EventID   string
	Pubkey    string
	CreatedAt nostr.Timestamp

	Relays []RelayUse
}

// RelayUse is one relay of a list. Both fields are true if the relay has no marker.
type RelayUse struct {
	URL   string // ws:// or wss://, as written
	Read  bool
	Write bool
}

// ParseRelayList parses kind 10002. Duplicates and values that are not a websocket URL
// are omitted. Anyone can write such a list, so check a URL before dialing. The error
// is an EventError.
func ParseRelayList(evt *nostr.Event) (RelayList, error) {
	if err := Expect(evt, ClassRelayList); err != nil {
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

// Event returns the relay list, ready to be signed.
func (l RelayList) Event() nostr.Event {
	w := TagWriter{}
	for _, use := range l.Relays {
		switch {
		case use.Read && !use.Write:
			w.Add("r", use.URL, "read")
		case use.Write && !use.Read:
			w.Add("r", use.URL, "write")
		default:
			w.Add("r", use.URL)
		}
	}
	return nostr.Event{PubKey: l.Pubkey, CreatedAt: l.CreatedAt, Kind: KindRelayList, Tags: nostr.Tags(w)}
}
