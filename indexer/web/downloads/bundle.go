package downloads

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/internal/diskspace"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/mostro"
)

// Bundles serves audit bundles of scores: the evidence behind the score of one node, from which
// any reader can compute the score again. A bundle is made into a file, so that a client that reads
// slowly holds no memory and no other client.
type Bundles struct {
	Dir     string // emptied by Open
	MinFree int64  // bytes that stay free on the disk
	// Known returns mostro.ErrNotFound if a node has no score here or is hidden. It is asked for
	// each request, because an operator may have hidden the node since its bundle was made, and
	// before Write, which reads all evidence. nil: every node is known.
	Known func(ctx context.Context, pubkey string) error
	// Write writes the bundle of a node as of a time. The error is mostro.ErrNotFound if there
	// is no such node.
	Write func(ctx context.Context, w io.Writer, pubkey string, asOf time.Time) error
	Now   func() time.Time

	making sync.Mutex // held while a bundle is made
	rest   time.Time  // no bundle is made before this time; guarded by making

	mu   sync.Mutex // held briefly
	held []bundleFile
}

type bundleFile struct {
	pubkey, path, hash string
	asOf               time.Time
}

// Bounds of bundles. All evidence is read to make one, so the server rests after each, four
// times as long as it took.
const (
	bundlesHeld  = 8
	bundleFresh  = time.Hour
	bundleBytes  = 1 << 30
	bundleRest   = 4
	bundleLasts  = 10 * time.Minute
	bundleWorkOf = "As many audit bundles as this server allows are being made. Try again in a minute."
)

// Open empties the directory.
func (b *Bundles) Open() error {
	if err := os.RemoveAll(b.Dir); err != nil {
		return err
	}
	return os.MkdirAll(b.Dir, 0o700)
}

// bundleRow returns the row of the route table.
func (d *Downloads) bundleRow() route.Route {
	return route.Route{Method: http.MethodGet, Path: "/api/v1/instances/{pubkey}/bundle", Name: "bundle", Summary: "audit bundle: the evidence behind the score and the score, for mostrodex reputation verify; NDJSON",
		Media: "application/x-ndjson", Params: []route.Param{{Name: "pubkey", InPath: true, Doc: "public key, in hex or as npub"}}, Handler: http.HandlerFunc(d.serveBundle)}
}

var (
	errBusy     = errors.New("busy")
	errTooLarge = errors.New("the bundle is too large")
)

func (d *Downloads) serveBundle(w http.ResponseWriter, r *http.Request) {
	pubkey, err := orders.ParsePubkey(r.PathValue("pubkey"))
	if err != nil {
		refuse(w, http.StatusBadRequest, "pubkey", err.Error())
		return
	}
	if len(r.URL.Query()) > 0 {
		refuse(w, http.StatusBadRequest, first(r.URL.Query()), "unknown parameter; a bundle has none")
		return
	}
	leave, status, detail := d.files.enter(d.cfg.Address(r))
	if leave == nil {
		refuse(w, status, "", detail)
		return
	}
	defer leave()
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(2 * bundleLasts)) // some writers of tests have no deadline
	f, about, err := d.cfg.Bundles.get(r.Context(), pubkey)
	switch {
	case errors.Is(err, errBusy):
		refuse(w, http.StatusServiceUnavailable, "", bundleWorkOf)
		return
	case errors.Is(err, mostro.ErrNotFound):
		refuse(w, http.StatusNotFound, "", "No Mostro with this key has a score here.")
		return
	case errors.Is(err, diskspace.ErrFull), errors.Is(err, errTooLarge):
		refuse(w, http.StatusServiceUnavailable, "", "The bundle is too large for this server. The operator can write it with mostrodex reputation audit.")
		return
	case err != nil:
		if r.Context().Err() == nil {
			d.log.Error("request failed", "route", "bundle", "error", err)
		}
		refuse(w, http.StatusInternalServerError, "", "The bundle could not be made.")
		return
	}
	defer f.Close()
	head(w, `"`+about.hash+`"`, "application/x-ndjson")
	w.Header().Set("Content-Disposition", `attachment; filename="`+d.mark()+pubkey[:16]+"-"+strconv.FormatInt(about.asOf.Unix(), 10)+`.ndjson"`)
	http.ServeContent(newPatient(w), r, "", about.asOf, f)
}

// get opens a bundle that is at most an hour old, or makes one. It returns errBusy if another
// one is being made, or if the server rests.
func (b *Bundles) get(ctx context.Context, pubkey string) (*os.File, bundleFile, error) {
	if b.Known != nil {
		if err := b.Known(ctx, pubkey); err != nil {
			return nil, bundleFile{}, err
		}
	}
	now := b.Now()
	if f, about, ok := b.find(pubkey, now); ok {
		return f, about, nil
	}
	if !b.making.TryLock() {
		return nil, bundleFile{}, errBusy
	}
	defer b.making.Unlock()
	if f, about, ok := b.find(pubkey, now); ok { // it was made meanwhile
		return f, about, nil
	}
	if now.Before(b.rest) {
		return nil, bundleFile{}, errBusy
	}
	began := time.Now()
	defer func() { b.rest = b.Now().Add(bundleRest * time.Since(began)) }()
	ctx, cancel := context.WithTimeout(ctx, bundleLasts)
	defer cancel()
	f, err := os.CreateTemp(b.Dir, "bundle-*.ndjson")
	if err != nil {
		return nil, bundleFile{}, err
	}
	hash := sha256.New()
	about := bundleFile{pubkey: pubkey, path: f.Name(), asOf: now}
	err = b.Write(ctx, &bounded{w: io.MultiWriter(f, hash), dir: b.Dir, minFree: b.MinFree}, pubkey, now)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, about, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	about.hash = hex.EncodeToString(hash.Sum(nil))
	b.mu.Lock()
	defer b.mu.Unlock()
	held := b.held
	b.held = []bundleFile{about}
	for _, h := range held {
		if h.pubkey != pubkey && len(b.held) < bundlesHeld {
			b.held = append(b.held, h)
			continue
		}
		// A reader keeps its open file. Open removes a file that stays.
		_ = os.Remove(h.path)
	}
	return f, about, nil
}

// find opens a bundle that was made in the last hour. A bundle whose file is gone is forgotten.
func (b *Bundles) find(pubkey string, now time.Time) (*os.File, bundleFile, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, h := range b.held {
		if h.pubkey != pubkey || now.Sub(h.asOf) >= bundleFresh {
			continue
		}
		f, err := os.Open(h.path)
		if err != nil {
			b.held = slices.Delete(b.held, i, i+1)
			break
		}
		return f, h, true
	}
	return nil, bundleFile{}, false
}

// bounded ends a bundle that is too large for the server.
type bounded struct {
	w       io.Writer
	dir     string
	minFree int64
	bytes   int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.bytes += int64(len(p)); b.bytes > bundleBytes {
		return 0, errTooLarge
	}
	if free, err := diskspace.Free(b.dir); err != nil || free < b.minFree {
		return 0, errors.Join(err, diskspace.ErrFull)
	}
	return b.w.Write(p)
}
