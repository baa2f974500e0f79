package relay

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
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

// proofs verifies authorizations over HTTP (NIP-98).
type proofs struct {
	admins []string // Config.Admins
	own    *ownURL
	now    func() time.Time
	since  time.Time // authorizations from before are refused

	mu      sync.Mutex
	ids     map[string]struct{} // authorizations accepted since turned
	earlier map[string]struct{} // and in the period before
	turned  time.Time
}

// maxProofIDs bounds the ids that are remembered of a period of two minutes.
const maxProofIDs = 100_000

var errPayload = errors.New("the payload hash is not the hash of the body")

// check verifies a NIP-98 header with the key of an admin. check returns the
// payload hash that the proof commits to.
func (p *proofs) check(r *http.Request) (payload string, err error) {
	evt, err := p.verify(r, func(evt *nostr.Event) error {
		switch {
		case !slices.Contains(p.admins, evt.PubKey):
			return errors.New("the authorization is not by an admin key")
		case !hex32.Valid(tagValue(evt.Tags, "payload")):
			return errors.New("the authorization has no payload hash")
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return tagValue(evt.Tags, "payload"), nil
}

// key verifies a NIP-98 header of any key, which it returns. A request with a body must have
// the hash of the body in its authorization.
func (p *proofs) key(r *http.Request, body []byte) (pubkey string, err error) {
	evt, err := p.verify(r, func(evt *nostr.Event) error {
		payload := tagValue(evt.Tags, "payload")
		sum := sha256.Sum256(body)
		switch {
		case payload == "" && len(body) == 0:
			return nil
		case payload == "":
			return errors.New("the authorization has no payload hash")
		case payload != hex.EncodeToString(sum[:]):
			return errPayload
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return evt.PubKey, nil
}

// verify verifies a NIP-98 header. allow makes further checks, before the signature.
func (p *proofs) verify(r *http.Request, allow func(*nostr.Event) error) (*nostr.Event, error) {
	scheme, encoded, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Nostr") {
		if p.admins == nil {
			return nil, errors.New("the request needs a NIP-98 authorization")
		}
		return nil, errors.New("the request needs a NIP-98 authorization by an admin key")
	}
	if len(encoded) > 2*maxProofBytes {
		return nil, errors.New("the authorization is not an event in base64")
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil || len(raw) > maxProofBytes {
		return nil, errors.New("the authorization is not an event in base64")
	}
	evt := &nostr.Event{}
	var t jsonscan.Scanner
	t.Reset(string(raw))
	if err := t.Event(evt); err != nil {
		return nil, fmt.Errorf("the authorization event: %w", err)
	}
	if reason := WellFormed(evt); reason != "" {
		return nil, errors.New(reason)
	}
	age := p.now().Sub(evt.CreatedAt.Time())
	base, known := p.own.base(r)
	if evt.Kind != kindHTTPAuth {
		return nil, errors.New("the authorization event is not of kind 27235")
	}
	if err := allow(evt); err != nil {
		return nil, err
	}
	switch {
	case age > proofWindow || age < -proofWindow:
		return nil, errors.New("the authorization is older or newer than 60 seconds")
	case evt.CreatedAt.Time().Before(p.since):
		return nil, errors.New("the authorization is older than this run of the relay: sign a new one")
	case !strings.EqualFold(tagValue(evt.Tags, "method"), r.Method):
		return nil, errors.New("the authorization is for another method")
	case !known:
		return nil, errors.New(p.own.refuse(r.Host))
	case tagValue(evt.Tags, "u") != base+r.URL.RequestURI():
		return nil, fmt.Errorf("the authorization is not for %s%s", base+r.URL.RequestURI(), p.own.hint())
	case !evt.CheckID():
		return nil, errors.New("the authorization event's id is wrong")
	}
	if ok, err := evt.CheckSignature(); err != nil || !ok {
		return nil, errors.New("the authorization event's signature is wrong")
	}
	return evt, p.once(evt.ID, p.now())
}

// once returns nil if an id is new, and remembers the id for as long as its authorization is
// valid.
func (p *proofs) once(id string, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ids == nil || now.Sub(p.turned) > 2*proofWindow {
		p.earlier, p.ids, p.turned = p.ids, map[string]struct{}{}, now
	}
	_, used := p.ids[id]
	if _, before := p.earlier[id]; used || before {
		return errors.New("the authorization has been used before")
	}
	if len(p.ids) >= maxProofIDs {
		return errors.New("too many authorizations are in use: try again in two minutes")
	}
	p.ids[strings.Clone(id)] = struct{}{}
	return nil
}

func tagValue(tags nostr.Tags, name string) string {
	for _, tag := range tags {
		if len(tag) >= 2 && tag[0] == name {
			return tag[1]
		}
	}
	return ""
}
