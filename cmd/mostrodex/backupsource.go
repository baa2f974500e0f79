package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/internal/backup"
	"github.com/mostrodex/mostrodex/internal/badgerfiles"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
)

// Names of the parts of a backup.
const (
	partEscrow  = "escrow.store"
	partAlerts  = "alerts.store"
	partOutside = "outside.json" // where the files of outside/ were
	partKeys    = "events.keys"  // derived keys of the log
	partRules   = "rules.json"
	partEnd     = "end.json"  // of the stream between server and verb
	partBeat    = "beat.json" // the same, each second while the verb follows the escrow
	dirKeys     = "keys/"     // files of DATA/keys
	dirOutside  = "outside/"  // other files of keys, and the config
	dirLog      = "log/"      // spans of the log
)

// isSecretPart reports whether a part is encrypted in an archive.
func isSecretPart(name string) bool {
	return name == partEscrow || name == partAlerts || name == partOutside || strings.HasPrefix(name, dirKeys) || strings.HasPrefix(name, dirOutside)
}

// spanName returns the name of the part that holds a span of the log.
func spanName(s recordlog.Span) string {
	return fmt.Sprintf("%s%020d-%d-%d-%d-%d-%d-%x", dirLog, s.First, s.From, s.To, s.At, s.End, s.Erased, s.LastID)
}

var spanRule = regexp.MustCompile(`^log/(\d{20})-(\d{1,20})-(\d{1,20})-(\d{1,18})-(\d{1,18})-(\d{1,18})-([0-9a-f]{64})$`)

// parseSpanName returns the span of a part's name. ok is false if the name is not of a span,
// or is not the one that spanName returns.
func parseSpanName(name string) (s recordlog.Span, ok bool) {
	m := spanRule.FindStringSubmatch(name)
	if m == nil {
		return s, false
	}
	var n [6]uint64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseUint(m[i+1], 10, 64); err != nil {
			return s, false
		}
	}
	s = recordlog.Span{First: n[0], From: n[1], To: n[2], At: int64(n[3]), End: int64(n[4]), Erased: int64(n[5])}
	if _, err := hex.Decode(s.LastID[:], []byte(m[7])); err != nil {
		return s, false
	}
	return s, s.First >= 1 && s.From >= s.First && s.To >= s.From && s.End > s.At && s.End < 1<<32 && spanName(s) == name
}

// backupEnd is the last part of a backup on the way from the source to the verb.
type backupEnd struct {
	Manifest backup.Manifest `json:"manifest"` // without parts
	Log      []string        `json:"log"`      // names of all spans, ascending
}

// backupRequest is the body of a request for a backup.
type backupRequest struct {
	Log    []string `json:"log"`    // names of the spans that the verb holds
	Public bool     `json:"public"` // without secret parts
	Follow bool     `json:"follow"` // go on with the commits of the escrow
}

// backupSource reads the stores of a data directory for a backup.
//
// A running server is asked over its control socket, because only the process that writes the
// stores knows a moment at which they fit together, and because Badger lets one process open
// a directory. The server writes no file: the verb does, so that the server needs no right to
// write elsewhere, and the key of the backup never enters the server.
type backupSource struct {
	data   string
	log    *eventlog.Store
	feed   *commitFeed // nil: no escrow
	pubkey string      // of the escrow
	alerts func() (*badgerfiles.Snapshot, func() error, error)
	files  map[string]string // names and paths of keys outside of DATA/keys
	now    func() time.Time
}

// outsideKeys returns the files of keys that the configuration names.
func outsideKeys(c *Config) map[string]string {
	files := map[string]string{}
	for name, path := range map[string]string{"escrow.key": c.Escrow.Key, "reputation.key": c.Reputation.Key, "statistics.key": c.Indexer.Key, "attestation.key": c.Escrow.Reputation.ExportKey} {
		if path != "" && !sameDir(filepath.Dir(path), filepath.Join(c.Data, "keys")) {
			files[name] = path
		}
	}
	return files
}

func sameDir(a, b string) bool {
	x, err1 := filepath.Abs(a)
	y, err2 := filepath.Abs(b)
	return err1 == nil && err2 == nil && x == y
}

// send writes a backup to w.
func (s *backupSource) send(ctx context.Context, w io.Writer, req backupRequest, flush func()) error {
	out := backup.NewSender(w)
	end := backupEnd{Manifest: backup.Manifest{Program: programVersion(), At: s.now().Unix()}}
	// The escrow comes first: its cursor must not be ahead of the log.
	var follow *follower
	if !req.Public {
		if s.feed != nil {
			snapshot, r, err := s.feed.follow()
			if err != nil {
				return err
			}
			follow = r
			defer follow.close()
			end.Manifest.Escrow = &backup.Escrow{Pubkey: s.pubkey, Commits: r.last}
			if !req.Follow {
				follow.close()
			}
			if err := sendStore(ctx, out, partEscrow, snapshot); err != nil {
				return err
			}
		}
		if err := s.sendSecrets(ctx, out); err != nil {
			return err
		}
	}
	if err := s.sendLog(ctx, out, req.Log, &end); err != nil {
		return err
	}
	if rules, err := os.ReadFile(filepath.Join(s.data, partRules)); err == nil {
		if err := out.Bytes(partRules, rules); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := sendJSON(out, partEnd, end); err != nil {
		return err
	}
	if !req.Follow {
		return out.Close()
	}
	flush()
	return follow.send(ctx, out, flush)
}

var errNothingToFollow = errors.New("--follow is for an escrow, and this server has none: leave --follow out")

// beatEvery is the interval at which a server tells a follower that nothing is missing.
const beatEvery = time.Second

// send writes commits as they come, until ctx ends.
func (r *follower) send(ctx context.Context, out *backup.Sender, flush func()) error {
	for {
		wait, cancel := context.WithTimeout(ctx, beatEvery)
		list, err := r.next(wait)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			err = sendJSON(out, partBeat, r.last)
		case err == nil:
			for _, c := range list {
				if err := out.Bytes(backup.CommitName(c.N), c.Body); err != nil {
					return err
				}
				r.last = c.N
			}
		}
		if err != nil {
			return err
		}
		flush()
	}
}

func sendJSON(out *backup.Sender, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return out.Bytes(name, b)
}

func sendStore(ctx context.Context, out *backup.Sender, name string, s *badgerfiles.Snapshot) error {
	defer s.Close()
	return out.Stream(name, func(w io.Writer) error { _, err := s.Dump(ctx, w); return err })
}

// maxKeyFiles bounds the files of DATA/keys.
const maxKeyFiles = 1000

// sendSecrets writes the alerts and the keys.
func (s *backupSource) sendSecrets(ctx context.Context, out *backup.Sender) error {
	if s.alerts != nil {
		snapshot, closing, err := s.alerts()
		if err != nil {
			return err
		}
		if err := errors.Join(sendStore(ctx, out, partAlerts, snapshot), closing()); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(filepath.Join(s.data, "keys"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(entries) > maxKeyFiles {
		return fmt.Errorf("%s has more than %d files", filepath.Join(s.data, "keys"), maxKeyFiles)
	}
	for _, e := range entries {
		name := dirKeys + e.Name()
		if !e.Type().IsRegular() || !backup.ValidName(name) {
			continue // not a key that this program has made
		}
		text, err := os.ReadFile(filepath.Join(s.data, "keys", e.Name())) // the wallet of a demo is longer than a key
		if err == nil && len(text) > maxFile {
			err = fmt.Errorf("%s is longer than %d bytes, and is no key", filepath.Join(s.data, "keys", e.Name()), maxFile)
		}
		if err == nil {
			err = out.Bytes(name, text)
		}
		if err != nil {
			return err
		}
	}
	places := map[string]string{}
	for name, path := range s.files {
		text, err := readSecret(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the key of a room that is not enabled
		}
		if err == nil {
			err = out.Bytes(dirOutside+name, []byte(text))
		}
		if err != nil {
			return err
		}
		places[name] = path
	}
	return sendJSON(out, partOutside, places)
}

// sendLog writes the log and its derived keys.
func (s *backupSource) sendLog(ctx context.Context, out *backup.Sender, have []string, end *backupEnd) error {
	held := make(map[recordlog.Span]bool)
	var spans []recordlog.Span
	for _, name := range have {
		if span, ok := parseSpanName(name); ok {
			held[span] = true
			spans = append(spans, span)
		}
	}
	c, err := s.log.Copy(ctx, spans)
	if err != nil {
		return err
	}
	defer c.Close()
	list, done := c.Spans, false
	var tail [][]byte
	for {
		for i, span := range list {
			if held[span] {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			err := out.Sized(spanName(span), span.End-span.At, func(w io.Writer) error {
				if done {
					_, err := w.Write(tail[i])
					return err
				}
				return c.Bytes(w, span)
			})
			if err != nil {
				return err
			}
		}
		if done {
			break
		}
		if list, tail, done, err = c.More(ctx); err != nil {
			return err
		}
	}
	for _, span := range c.Spans {
		end.Log = append(end.Log, spanName(span))
	}
	end.Manifest.Head, end.Manifest.Live = c.Head(), s.log.Live()
	return out.Stream(partKeys, func(w io.Writer) error { return c.Keys(ctx, w) })
}

// backupServer answers requests for backups on the control socket.
type backupServer struct {
	source *backupSource
	ctx    context.Context
	cancel context.CancelFunc
	active sync.WaitGroup
}

func newBackupServer(s *backupSource) *backupServer {
	b := &backupServer{source: s}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// newBackups returns the backups of a running server.
func newBackups(m *Main) *backupServer {
	s := &backupSource{data: m.Config.Data, log: m.store, files: outsideKeys(&m.Config), now: m.Now}
	if m.escrow != nil {
		s.feed, s.pubkey = m.escrow.feed, m.escrow.pubkey
	}
	if m.alerts != nil {
		s.alerts = func() (*badgerfiles.Snapshot, func() error, error) {
			return m.alerts.service.Snapshot(), func() error { return nil }, nil
		}
	}
	return newBackupServer(s)
}

// controlHandler serves backups, and the verbs about the escrow if there is one.
func controlHandler(m *Main) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /backup", m.backups)
	if m.escrow != nil {
		mux.Handle("/", controlServer{m.escrow.engine, m.escrow.db, m.escrow.auditor, m.escrow.inviter(m.PrivateAddr())}.handler())
	} else {
		mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
			controlError(w, errConflict{errors.New("no escrow runs on this data directory")})
		})
	}
	return mux
}

// stop ends the backups in progress and waits for them. The stores are closed after stop.
func (b *backupServer) stop() {
	b.cancel()
	b.active.Wait()
}

// maxBackupRequest bounds a request: the names of about 100,000 spans.
const maxBackupRequest = 32 << 20

// maxIdle is the time after which a backup is ended whose verb takes no bytes.
const maxIdle = time.Minute

func (b *backupServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	b.active.Add(1)
	defer b.active.Done()
	var r backupRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, req.Body, maxBackupRequest)).Decode(&r); err != nil {
		controlError(w, errControlInput{fmt.Errorf("the request for a backup: %w", err)})
		return
	}
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()
	if b.ctx.Err() != nil {
		controlError(w, errors.New("the server is stopping"))
		return
	}
	if r.Follow && (r.Public || b.source.feed == nil) {
		controlError(w, errConflict{errNothingToFollow})
		return
	}
	w.Header().Set("Content-Type", "application/x-tar")
	rc := http.NewResponseController(w)
	out := deadlined{w, rc}
	err := b.source.send(ctx, out, r, func() { _ = rc.Flush() })
	if err != nil && ctx.Err() == nil {
		// The verb may have disconnected, which nobody has to know here.
		_ = backup.NewSender(out).Bytes(backup.ErrorName, []byte(err.Error()))
	}
	if err != nil {
		panic(http.ErrAbortHandler) // the stream has no end, so the verb does not take it for complete
	}
}

// deadlined moves the deadline of a connection with each write.
type deadlined struct {
	w  io.Writer
	rc *http.ResponseController
}

func (d deadlined) Write(b []byte) (int, error) {
	_ = d.rc.SetWriteDeadline(time.Now().Add(maxIdle)) // not supported only in tests
	return d.w.Write(b)
}
