package web

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/internal/route"
)

// lazy is an answer whose tag is known before the answer is made. A client that has the tag is
// answered without the work.
type lazy struct {
	tag  string // of everything on which the answer depends, without quotation marks
	make func() (any, error)
}

// hasTag reports whether a client holds the answer with a tag.
func hasTag(r *http.Request, tag string) bool {
	for have := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if have = strings.TrimPrefix(strings.TrimSpace(have), "W/"); have == `"`+tag+`"` || have == "*" {
			return true
		}
	}
	return false
}

// process is a part of each tag, so that tags of an earlier run of the program are not valid:
// the versions of rules and positions begin again.
var process = sync.OnceValue(func() string {
	var b [6]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	return hex.EncodeToString(b[:])
})

// maxParam bounds the bytes of one parameter.
const maxParam = 1024

// checkParams returns an error that names the first parameter that a route does not have, that
// is repeated, or that is too long.
func checkParams(values url.Values, known []route.Param) error {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		at := slices.IndexFunc(known, func(p route.Param) bool { return p.Name == name && !p.InPath })
		if at < 0 {
			var all []string
			for _, p := range known {
				if !p.InPath {
					all = append(all, p.Name)
				}
			}
			if len(all) == 0 {
				return &orders.QueryError{Param: clipName(name), Reason: "unknown parameter; this resource has none"}
			}
			return &orders.QueryError{Param: clipName(name), Reason: "unknown parameter; known are " + strings.Join(all, ", ")}
		}
		if len(values[name]) > 1 && !known[at].Many {
			return &orders.QueryError{Param: name, Reason: "is given more than once"}
		}
		for _, v := range values[name] {
			if len(v) > maxParam {
				return &orders.QueryError{Param: name, Reason: "longer than " + strconv.Itoa(maxParam) + " bytes"}
			}
		}
	}
	for _, p := range known {
		if p.Needed && !p.InPath && strings.TrimSpace(values.Get(p.Name)) == "" {
			return &orders.QueryError{Param: p.Name, Reason: "missing"}
		}
	}
	return nil
}

// clipName bounds the name of a parameter in an answer.
func clipName(name string) string { return name[:min(len(name), 64)] }

// answers keeps the last answers of expensive routes by request, and bounds how many are made
// at the same time.
type answers struct {
	gate chan struct{} // one place for each answer that is being made

	mu    sync.Mutex
	held  map[string]heldAnswer
	order []string // keys of held, the oldest first
}

type heldAnswer struct {
	tag   string
	value any
}

// maxAnswers bounds the answers that are kept, maxMaking the answers that are made at a time.
// An answer that waits for a place ends with its request.
const (
	maxAnswers = 32
	maxMaking  = 2
)

func newAnswers() *answers {
	return &answers{gate: make(chan struct{}, maxMaking), held: map[string]heldAnswer{}}
}

func (a *answers) get(key, tag string) (any, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	h, ok := a.held[key]
	return h.value, ok && h.tag == tag
}

func (a *answers) put(key, tag string, value any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.held[key]; !ok {
		if len(a.order) >= maxAnswers {
			delete(a.held, a.order[0])
			a.order = a.order[1:]
		}
		a.order = append(a.order, key)
	}
	a.held[key] = heldAnswer{tag, value}
}

// lazy returns the answer to a request. make is called if no answer with the tag is kept.
func (a *answers) lazy(r *http.Request, tag string, fn func() (any, error)) *lazy {
	key := r.URL.Path + "?" + r.URL.Query().Encode()
	tag = process() + "." + tag
	return &lazy{tag: tag, make: func() (any, error) { return a.made(r.Context(), key, tag, fn) }}
}

// made returns the kept answer of a key and a tag, or the answer that fn returns.
func (a *answers) made(ctx context.Context, key, tag string, fn func() (any, error)) (any, error) {
	if v, ok := a.get(key, tag); ok {
		return v, nil
	}
	select {
	case a.gate <- struct{}{}:
		defer func() { <-a.gate }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if v, ok := a.get(key, tag); ok { // made while this request waited
		return v, nil
	}
	v, err := fn()
	if err == nil {
		a.put(key, tag, v)
	}
	return v, err
}
