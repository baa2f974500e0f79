package mostro

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strconv"

	"github.com/nbd-wtf/go-nostr"
)

// checkEvent verifies id and signature of an event with untrusted fields. The length
// checks must come first, because the C signature check trusts the lengths.
func checkEvent(evt *nostr.Event) error {
	var id, pubkey [32]byte
	var sig [64]byte
	if !decodeHex(id[:], evt.ID) {
		return broke(RuleEventID, "want 64 lower-case hex digits")
	}
	if !decodeHex(pubkey[:], evt.PubKey) {
		return broke(RuleKey, "want 64 lower-case hex digits")
	}
	if !decodeHex(sig[:], evt.Sig) {
		return broke(RuleSignature, "want 128 lower-case hex digits")
	}
	if !evt.CheckID() {
		return broke(RuleEventID, "not the hash of this event")
	}
	if ok, err := evt.CheckSignature(); err != nil || !ok {
		return broke(RuleSignature, "does not verify")
	}
	return nil
}

// signEvent sets id and signature. evt.PubKey must be the public key of keys.
func signEvent(evt *nostr.Event, keys *Keys, random io.Reader) error {
	digest := sha256.Sum256(evt.Serialize())
	sig, err := keys.sign(digest, random)
	if err != nil {
		return err
	}
	evt.ID = hex.EncodeToString(digest[:])
	evt.Sig = hex.EncodeToString(sig[:])
	return nil
}

func expirationTag(at nostr.Timestamp) nostr.Tag {
	return nostr.Tag{"expiration", strconv.FormatInt(int64(at), 10)}
}

// appendEvent appends an event's JSON. If the event has no signature (a rumor), the sig
// field is omitted.
func appendEvent(dst []byte, evt *nostr.Event) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendText(dst, evt.ID)
	dst = append(dst, `,"pubkey":`...)
	dst = appendText(dst, evt.PubKey)
	dst = append(dst, `,"created_at":`...)
	dst = strconv.AppendInt(dst, int64(evt.CreatedAt), 10)
	dst = append(dst, `,"kind":`...)
	dst = strconv.AppendInt(dst, int64(evt.Kind), 10)
	dst = append(dst, `,"tags":[`...)
	for i, tag := range evt.Tags {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '[')
		for j, s := range tag {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = appendText(dst, s)
		}
		dst = append(dst, ']')
	}
	dst = append(dst, `],"content":`...)
	dst = appendText(dst, evt.Content)
	if evt.Sig != "" {
		dst = append(dst, `,"sig":`...)
		dst = appendText(dst, evt.Sig)
	}
	return append(dst, '}')
}

// DecodeEvent parses the JSON of one signed event strictly: every field must be present
// with its type, and no key may occur twice. Unknown fields are ignored. DecodeEvent
// verifies neither id nor signature; Open does. The error is a WireError.
func DecodeEvent(b []byte) (*nostr.Event, error) { return parseEvent(b, true) }

// EncodeEvent returns an event's JSON, with the fields in NIP-01's order.
func EncodeEvent(evt *nostr.Event) []byte { return appendEvent(nil, evt) }

// parseEvent parses an event. If signed is false, id and sig may be absent or null.
func parseEvent(b []byte, signed bool) (*nostr.Event, error) {
	r := jsonReader{b: b}
	evt := &nostr.Event{Tags: nostr.Tags{}}
	var seen fieldSet
	err := r.object(func(key []byte) (err error) {
		switch string(key) {
		case "id", "sig":
			s, err := r.stringOrNull()
			if err != nil || s == nil {
				return err
			}
			if string(key) == "id" {
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
			_, err = r.skip(0)
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
