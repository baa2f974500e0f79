package mostro

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"unsafe"

	"github.com/mostrodex/mostrodex/internal/jsontext"
	"github.com/nbd-wtf/go-nostr"
)

// EncodeEvent returns an event's JSON, with the fields in NIP-01's order.
func EncodeEvent(evt *nostr.Event) []byte { return appendEvent(nil, evt) }

// appendEvent appends an event's JSON. If the event has no signature (a rumor), the sig
// field is omitted.
func appendEvent(dst []byte, evt *nostr.Event) []byte {
	dst = append(dst, `{"id":`...)
	dst = jsontext.AppendString(dst, evt.ID)
	dst = append(dst, `,"pubkey":`...)
	dst = jsontext.AppendString(dst, evt.PubKey)
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
			dst = jsontext.AppendString(dst, s)
		}
		dst = append(dst, ']')
	}
	dst = append(dst, `],"content":`...)
	dst = jsontext.AppendString(dst, evt.Content)
	if evt.Sig != "" {
		dst = append(dst, `,"sig":`...)
		dst = jsontext.AppendString(dst, evt.Sig)
	}
	return append(dst, '}')
}

// EncodeChecked returns the JSON of EncodeEvent, and reports whether the event's id is
// the hash of this JSON (NIP-01). The text of the tags and the content is built only
// once and used for both.
func EncodeChecked(evt *nostr.Event) (body []byte, ok bool) {
	size := 64 + len(`{"id":"","pubkey":"","created_at":1780000000,"kind":38383,"tags":[],"content":"","sig":""}`) + len(evt.PubKey) + len(evt.Sig) + len(evt.Content)
	for _, t := range evt.Tags {
		size += len(`[],`)
		for _, s := range t {
			size += len(s) + len(`"",`)
		}
	}
	body = appendEvent(make([]byte, 0, size), evt)
	// The first ,"tags": starts the tags. If id and pubkey are hex, no earlier match is
	// possible; if they are not, the hash differs.
	at := bytes.Index(body, []byte(`,"tags":`)) // appendEvent always writes it
	tagsAndContent := body[at+len(`,"tags":`):]
	end := len(tagsAndContent) - len(`}`)
	if evt.Sig != "" {
		end -= len(`,"sig":""`) + len(evt.Sig)
	}
	if end < 0 {
		return body, false
	}
	tagsAndContent = tagsAndContent[:end]
	// The last ],"content": ends the tags, because a quote within a string would be
	// escaped.
	split := bytes.LastIndex(tagsAndContent, []byte(`],"content":`))
	if split < 0 {
		return body, false
	}
	h := sha256.New()
	head := make([]byte, 0, 128)
	head = append(append(append(head, `[0,"`...), evt.PubKey...), `",`...)
	head = append(strconv.AppendInt(head, int64(evt.CreatedAt), 10), ',')
	head = append(strconv.AppendInt(head, int64(evt.Kind), 10), ',')
	h.Write(head)
	h.Write(tagsAndContent[:split+1])
	h.Write([]byte{','})
	h.Write(tagsAndContent[split+len(`],"content":`):])
	h.Write([]byte{']'})
	var sum [sha256.Size]byte
	var text [2 * sha256.Size]byte
	hex.Encode(text[:], h.Sum(sum[:0]))
	return body, string(text[:]) == evt.ID
}

// CheckedText is like EncodeChecked for an event that was parsed from text. If text
// equals the JSON of EncodeEvent, as is usual, CheckedText hashes text in place and
// returns it as body. body must not be changed.
func CheckedText(evt *nostr.Event, text string) (body []byte, ok bool) {
	var room [320]byte
	head := append(append(append(room[:0], `{"id":"`...), evt.ID...), `","pubkey":"`...)
	head = append(append(append(head, evt.PubKey...), `","created_at":`...), strconv.FormatInt(int64(evt.CreatedAt), 10)...)
	head = append(append(append(head, `,"kind":`...), strconv.Itoa(evt.Kind)...), `,"tags":`...)
	const content, sig = `,"content":`, `,"sig":"`
	tags := len(`[]`)
	for i, t := range evt.Tags {
		tags += len(`[]`) + min(i, 1)
		for j, s := range t {
			tags += len(s) + len(`""`) + min(j, 1)
		}
	}
	// Without a backslash each string is as long as its text. White space, another
	// field or another form of a number would therefore change the length.
	signature := len(sig) + len(evt.Sig) + len(`"}`)
	if len(text) != len(head)+tags+len(content)+len(evt.Content)+len(`""`)+signature || evt.Sig == "" ||
		text[:len(head)] != string(head) || strings.IndexByte(text, '\\') >= 0 {
		return EncodeChecked(evt)
	}
	rest := text[len(head) : len(text)-signature]
	tail := text[len(text)-signature:]
	if tail[:len(sig)] != sig || rest[tags:tags+len(content)] != content {
		return EncodeChecked(evt)
	}
	h := sha256.New()
	first := append(append(append(room[:0], `[0,"`...), evt.PubKey...), `",`...)
	first = append(strconv.AppendInt(first, int64(evt.CreatedAt), 10), ',')
	first = append(strconv.AppendInt(first, int64(evt.Kind), 10), ',')
	h.Write(first)
	body = unsafe.Slice(unsafe.StringData(text), len(text))
	from := len(head)
	h.Write(body[from : from+tags])
	h.Write([]byte{','})
	h.Write(body[from+tags+len(content) : len(text)-signature])
	h.Write([]byte{']'})
	var sum [sha256.Size]byte
	var hash [2 * sha256.Size]byte
	hex.Encode(hash[:], h.Sum(sum[:0]))
	return body, string(hash[:]) == evt.ID
}
