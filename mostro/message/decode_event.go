package message

import "github.com/nbd-wtf/go-nostr"

// DecodeEvent parses the JSON of one signed event strictly: every field must be present
// with its type, and no key may occur twice. Unknown fields are ignored. DecodeEvent
// verifies neither id nor signature; Open does. The error is a WireError.
func DecodeEvent(b []byte) (*nostr.Event, error) { return parseEvent(b, true) }

// DecodeRumor is like DecodeEvent for an event inside a seal (NIP-59): id and sig may be
// absent or null.
func DecodeRumor(b []byte) (*nostr.Event, error) { return parseEvent(b, false) }

// parseEvent parses an event. If signed is false, id and sig may be absent or null.
func parseEvent(b []byte, signed bool) (*nostr.Event, error) {
	r := newReader(b)
	evt := &nostr.Event{Tags: nostr.Tags{}}
	var seen fieldSet
	err := r.object(func(key string) (err error) {
		switch key {
		case "id", "sig":
			s, err := r.stringOrNull()
			if err != nil || s == nil {
				return err
			}
			if key == "id" {
				seen.add(0)
				evt.ID = *s
			} else {
				seen.add(1)
				evt.Sig = *s
			}
		case "pubkey":
			seen.add(2)
			evt.PubKey, err = r.string()
		case "created_at":
			seen.add(3)
			n, err := r.int64()
			evt.CreatedAt = nostr.Timestamp(n)
			return err
		case "kind":
			seen.add(4)
			n, err := r.uint(31)
			evt.Kind = int(n)
			return err
		case "tags":
			seen.add(5)
			_, err = r.array(func(int) error {
				tag := nostr.Tag{}
				_, err := r.array(func(int) error {
					s, err := r.string()
					tag = append(tag, s)
					return err
				})
				evt.Tags = append(evt.Tags, tag)
				return err
			})
		case "content":
			seen.add(6)
			evt.Content, err = r.string()
		default:
			err = r.skip(0)
		}
		return err
	})
	if err == nil {
		err = r.end()
	}
	if err == nil && signed {
		err = seen.missing("id", "sig")
	}
	if err == nil {
		err = seen.missing("", "", "pubkey", "created_at", "kind", "tags", "content")
	}
	if err != nil {
		return nil, err
	}
	return evt, nil
}
