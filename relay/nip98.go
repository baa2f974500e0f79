package relay

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/internal/jsonscan"
	"github.com/nbd-wtf/go-nostr"
)

const (
	proofWindow   = 60 * time.Second // as in NIP-98
	maxProofBytes = 8 << 10
)

// proofs verifies the authorizations of admins over HTTP (NIP-98).
type proofs struct {
	admins []string // Config.Admins
	own    *ownURL
	now    func() time.Time

	mu  sync.Mutex
	ids map[string]time.Time // accepted authorizations, for as long as they are valid
}

var errPayload = errors.New("the payload hash is not the hash of the body")

// check verifies a NIP-98 header with the key of an admin. check returns the
// payload hash that the proof commits to.
func (p *proofs) check(r *http.Request) (payload string, err error) {
	scheme, encoded, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Nostr") {
		return "", errors.New("the request needs a NIP-98 authorization by an admin key")
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil || len(raw) > maxProofBytes {
		return "", errors.New("the authorization is not an event in base64")
	}
	var evt nostr.Event
	var t jsonscan.Scanner
	t.Reset(string(raw))
	if err := t.Event(&evt); err != nil {
		return "", fmt.Errorf("the authorization event: %w", err)
	}
	if reason := WellFormed(&evt); reason != "" {
		return "", errors.New(reason)
	}
	age := p.now().Sub(evt.CreatedAt.Time())
	base, known := p.own.base(r)
	switch {
	case evt.Kind != kindHTTPAuth:
		return "", errors.New("the authorization event is not of kind 27235")
	case !slices.Contains(p.admins, evt.PubKey):
		return "", errors.New("the authorization is not by an admin key")
	case age > proofWindow || age < -proofWindow:
		return "", errors.New("the authorization is older or newer than 60 seconds")
	case !strings.EqualFold(tagValue(evt.Tags, "method"), r.Method):
		return "", errors.New("the authorization is for another method")
	case !known:
		return "", errors.New(p.own.refuse(r.Host))
	case tagValue(evt.Tags, "u") != base+r.URL.RequestURI():
		return "", fmt.Errorf("the authorization is not for %s%s", base+r.URL.RequestURI(), p.own.hint())
	case !hex32.Valid(tagValue(evt.Tags, "payload")):
		return "", errors.New("the authorization has no payload hash")
	case !evt.CheckID():
		return "", errors.New("the authorization event's id is wrong")
	}
	if ok, err := evt.CheckSignature(); err != nil || !ok {
		return "", errors.New("the authorization event's signature is wrong")
	}
	if !p.once(evt.ID, p.now()) {
		return "", errors.New("the authorization has been used before")
	}
	return tagValue(evt.Tags, "payload"), nil
}

// once reports whether an id is new, and remembers the id.
func (p *proofs) once(id string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, at := range p.ids { // few, because only keys of admins get here
		if now.Sub(at) > 2*proofWindow {
			delete(p.ids, id)
		}
	}
	if _, used := p.ids[id]; used {
		return false
	}
	if p.ids == nil {
		p.ids = make(map[string]time.Time)
	}
	p.ids[strings.Clone(id)] = now
	return true
}

func tagValue(tags nostr.Tags, name string) string {
	for _, tag := range tags {
		if len(tag) >= 2 && tag[0] == name {
			return tag[1]
		}
	}
	return ""
}
