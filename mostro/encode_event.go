package mostro

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"github.com/nbd-wtf/go-nostr"
)

// EncodeChecked is EncodeEvent together with the proof that the event's id is
// the hash of what was encoded (NIP-01): the text of the tags and the content
// is made once and serves both.
func EncodeChecked(evt *nostr.Event) (body []byte, ok bool) {
	size := 64 + len(`{"id":"","pubkey":"","created_at":1780000000,"kind":38383,"tags":[],"content":"","sig":""}`) + len(evt.PubKey) + len(evt.Sig) + len(evt.Content)
	for _, t := range evt.Tags {
		size += len(`[],`)
		for _, s := range t {
			size += len(s) + len(`"",`)
		}
	}
	body = appendEvent(make([]byte, 0, size), evt)
	// ,"tags": is the first of its kind: id and pubkey are hex, and where they
	// are not the hash differs.
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
	// ],"content": ends the tags; within strings the quote would be escaped.
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
