package alerts

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/internal/badgerfiles"
	"github.com/mostrodex/mostrodex/internal/room"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// Book is the part of an index that a Service follows.
type Book interface {
	// Updates calls fn for each change of an order after a position, see indexer.Finder.
	Updates(ctx context.Context, after uint64, wait time.Duration, fn func(indexer.Update) error) (upTo uint64, err error)
}

// Log is the part of mostro.Log that a Service reads messages from.
type Log interface {
	Read(ctx context.Context, after uint64, fn func(mostro.Entry) error) error
	Wait(ctx context.Context, seq uint64) error
	Head() uint64
}

// Call is one call of a webhook.
type Call struct {
	URL    string
	Header map[string]string
	Body   []byte
}

// ErrFinal is wrapped by errors of Publish and Push if a repetition cannot succeed.
var ErrFinal = errors.New("refused for good")

// Config is the configuration of a Service. All fields before Limits are required, except Rank
// and Refused.
type Config struct {
	Dir  string // the data directory; alerts/ is made in it
	Book Book
	Log  Log
	Keys *envelope.Keys // of the relay: the author of messages

	// Publish stores a message at our own relay. Publishing an event again returns nil.
	Publish func(context.Context, *nostr.Event) error
	// Push sends a message to another relay.
	Push func(ctx context.Context, relay string, evt *nostr.Event) error
	// Post calls a webhook and returns its status and the begin of its answer.
	Post func(context.Context, Call) (status int, answer []byte, err error)
	// Inbox returns the relays on which a key wants to receive messages (kind 10050).
	Inbox func(ctx context.Context, pubkey string) []string
	// Describe returns an order as JSON and as text.
	Describe func(*orders.Record) (body json.RawMessage, text string)
	// Rank returns the published rank of an instance. nil: filters by rank are refused.
	Rank func(pubkey string) (rank int, ok bool)
	// Refused reports whether the operator has banned a key. nil: no key is banned.
	Refused func(pubkey string) bool

	NoWebhooks    bool // alerts with a webhook are refused
	PlainWebhooks bool // webhooks may have the scheme http; Post decides where

	Limits Limits

	Logger  *slog.Logger          // nil: log lines are discarded
	Metrics prometheus.Registerer // nil: metrics are not registered
	Now     func() time.Time      // nil: time.Now
}

// Service keeps alerts and delivers them. A caller opens a Service, calls Run once, and calls
// Close after Run has returned. The other methods may be called concurrently in between.
type Service struct {
	cfg   Config
	log   *slog.Logger
	store *store
	met   *metrics
	pace  *rate.Limiter // messages

	messages, calls, slow *lane // rows by road; slow: webhooks and relays that failed last

	mu     sync.Mutex
	head   head
	wrote  time.Time // of the last commit of head
	byID   map[string]*saved
	owners map[string]*owner
	index  *index
	rows   int    // of the outbox
	row    uint64 // last number of a row
	told   map[orders.Key]map[string]struct{}
	nTold  int

	addresses dayCounts
	hosts     dayCounts // challenges by host in this day
	newKeys   *rate.Limiter
	opens     *rate.Limiter
	commands  dayCounts // messages of keys in this hour
	failing   map[string]int
}

// owner is the state of a key.
type owner struct {
	alerts []*saved
	rows   int
}

// Open opens the store in cfg.Dir, or creates it.
func Open(cfg Config) (*Service, error) {
	cfg.Limits.setDefaults()
	cfg.Now = room.Clock(cfg.Now)
	st, err := openStore(cfg.Dir)
	if err != nil {
		return nil, err
	}
	l := cfg.Limits
	s := &Service{cfg: cfg, log: room.Logger(cfg.Logger).With("room", "alerts"), store: st, met: newMetrics(cfg.Metrics),
		pace: rate.NewLimiter(rate.Limit(float64(l.PerMinute)/60), max(1, l.PerMinute/6)), messages: newLane(cfg.Now), calls: newLane(cfg.Now), slow: newLane(cfg.Now),
		byID: map[string]*saved{}, owners: map[string]*owner{}, index: newIndex(), told: map[orders.Key]map[string]struct{}{},
		addresses: dayCounts{every: 24 * time.Hour}, hosts: dayCounts{every: 24 * time.Hour}, commands: dayCounts{every: time.Hour},
		newKeys: rate.NewLimiter(rate.Every(time.Hour/time.Duration(max(1, l.NewKeys))), l.NewKeys), opens: rate.NewLimiter(20, 600), failing: map[string]int{}}
	h, err := st.load(s.restore, func(r row) error {
		s.row = max(s.row, r.Seq)
		s.enqueue(&r)
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load alerts: %w", err), st.close())
	}
	if err := s.place(h); err != nil {
		return nil, errors.Join(err, st.close())
	}
	s.met.gauges(cfg.Metrics, s)
	return s, nil
}

// restore puts a stored alert into memory.
func (s *Service) restore(a Alert) error {
	q, err := orders.ParseFilter(a.Filter)
	if err != nil {
		s.log.Warn("a saved filter is not understood any more, the alert is left out", "alert", a.ID, "error", err)
		return nil
	}
	s.keep(&saved{Alert: a, query: q})
	return nil
}

// place sets the positions of the log. A new store begins at the end of the log, and commits
// this position, so that a crash before the first delivery does not move it. If the log is
// shorter than the positions, it was put back from an older copy: the service goes on at its
// end, and orders that were delivered keep their marks.
func (s *Service) place(h *head) error {
	end := s.cfg.Log.Head()
	if h == nil {
		s.head = head{end, end}
		return s.store.commit(&change{head: &s.head})
	}
	s.head = *h
	if s.head.Book > end || s.head.Mail > end {
		s.log.Warn("the log ends before the position of the alerts, so it is an older copy", "log", end, "book", h.Book, "mail", h.Mail)
		s.head = head{min(h.Book, end), min(h.Mail, end)}
	}
	for _, a := range s.byID {
		a.From = min(a.From, end)
	}
	return nil
}

// Close closes the store.
func (s *Service) Close() error { return s.store.close() }

// Snapshot returns the content of the store for a backup.
func (s *Service) Snapshot() *badgerfiles.Snapshot { return badgerfiles.Begin(s.store.db) }

// SnapshotOf returns the content of the store of a data directory whose server is stopped, and
// a function that closes the snapshot and the store.
func SnapshotOf(data string) (snapshot *badgerfiles.Snapshot, closing func() error, err error) {
	st, err := openStore(data)
	if err != nil {
		return nil, nil, err
	}
	snapshot = badgerfiles.Begin(st.db)
	return snapshot, func() error { snapshot.Close(); return st.close() }, nil
}

// Run delivers until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	from := s.head
	g.Go(func() error { return s.follow(ctx, from.Book) })
	g.Go(func() error { return s.readMail(ctx, from.Mail) })
	g.Go(func() error { return s.tidy(ctx) })
	for _, w := range []struct {
		lane *lane
		n    int
		do   func(context.Context, *row) error
	}{{s.messages, 4, s.sendMessage}, {s.calls, 24, s.sendAway}, {s.slow, 8, s.sendAway}} {
		for range w.n {
			g.Go(func() error { return s.work(ctx, w.lane, w.do) })
		}
	}
	if err := g.Wait(); ctx.Err() == nil {
		return err
	}
	return nil
}

// keep puts an alert into memory. mu is held, or the service is not running.
func (s *Service) keep(a *saved) {
	s.byID[a.ID] = a
	o := s.owner(a.Owner)
	o.alerts = append(o.alerts, a)
	s.index.add(a)
}

func (s *Service) owner(pubkey string) *owner {
	if s.owners[pubkey] == nil {
		s.owners[pubkey] = &owner{}
	}
	return s.owners[pubkey]
}

// forget takes an alert out of memory. mu is held.
func (s *Service) forget(a *saved) {
	delete(s.byID, a.ID)
	o := s.owner(a.Owner)
	o.alerts = slices.DeleteFunc(o.alerts, func(other *saved) bool { return other == a })
	s.index.remove(a)
	s.leave(a.Owner)
}

// leave deletes the record of an owner that has nothing. mu is held.
func (s *Service) leave(pubkey string) {
	if o := s.owners[pubkey]; o != nil && len(o.alerts) == 0 && o.rows == 0 {
		delete(s.owners, pubkey)
	}
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// Save saves an alert of a key. If the key has the same alert, its life begins again. address
// is the client's network, or "" for a message. The error is a *Refusal, or an error of the
// store.
func (s *Service) Save(pubkey, address string, r Request) (Alert, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var c change
	a, err := s.save(&c, pubkey, address, r)
	if err != nil {
		return Alert{}, err
	}
	return a, s.commit(&c)
}

// save adds an alert to a change and to memory. mu is held, and the caller commits.
func (s *Service) save(c *change, pubkey, address string, r Request) (Alert, error) {
	q, err := r.check()
	switch {
	case err != nil:
		return Alert{}, err
	case s.refused(pubkey):
		return Alert{}, refuse(statusForbidden, "", "this key is banned here")
	case r.Webhook != "" && s.cfg.NoWebhooks:
		return Alert{}, refuse(statusBad, "webhook", "webhooks are switched off here")
	case strings.HasPrefix(r.Webhook, "http:") && !s.cfg.PlainWebhooks:
		return Alert{}, refuse(statusBad, "webhook", "the URL does not begin with https://")
	case q.MinRank > 0 && s.cfg.Rank == nil:
		return Alert{}, refuse(statusBad, "filter", "min_rank is not offered: the reputation of instances is switched off here")
	}
	now, limits := s.cfg.Now().Unix(), &s.cfg.Limits
	mine := s.alertsOf(pubkey)
	for _, a := range mine {
		if a.Filter == r.Filter && a.Webhook == r.Webhook && a.Message == *r.Message {
			if a.Hook == HookOff {
				if !s.hosts.take(hostOf(a.Webhook), maxChallenges, s.cfg.Now()) {
					return Alert{}, errHost
				}
				s.confirm(c, a, now)
			}
			a.Expires = now + int64(limits.Lifetime/time.Second)
			c.alerts = append(c.alerts, &a.Alert)
			return a.Alert, nil
		}
	}
	switch {
	case len(mine) >= limits.PerKey:
		return Alert{}, refuse(statusConflict, "", "this key has %d alerts, as many as are allowed: delete one first", len(mine))
	case len(s.byID) >= limits.InAll:
		return Alert{}, refuse(statusFull, "", "this relay keeps as many alerts as it allows: try again another day")
	case address != "" && !s.addresses.take(address, limits.PerAddress, s.cfg.Now()):
		return Alert{}, refuse(statusTooMany, "", "this address has saved %d alerts today, as many as are allowed", limits.PerAddress)
	case r.Webhook != "" && !s.hosts.take(hostOf(r.Webhook), maxChallenges, s.cfg.Now()):
		return Alert{}, errHost
	}
	a := &saved{query: q, Alert: Alert{ID: randomHex(8), Owner: pubkey, Filter: r.Filter, Message: *r.Message, Webhook: r.Webhook,
		From: s.cfg.Log.Head(), Created: now, Expires: now + int64(limits.Lifetime/time.Second)}}
	if a.Webhook != "" {
		a.Secret = randomHex(32)
		s.confirm(c, a, now)
	}
	s.keep(a)
	c.alerts = append(c.alerts, &a.Alert)
	return a.Alert, nil
}

// confirm queues the challenge of a webhook. mu is held.
func (s *Service) confirm(c *change, a *saved, now int64) {
	a.Hook, a.Failures, a.Next = HookUnconfirmed, 0, 0
	s.addRow(c, &row{Road: roadConfirm, Owner: a.Owner, Alert: a.ID, ID: randomHex(16), Due: now, Until: now + 86400}, true)
}

// maxChallenges is how many webhooks of one host are challenged in a day. A host that serves
// many people, as a service for notifications does, needs some.
const maxChallenges = 50

var errHost = refuse(statusTooMany, "webhook", "%d webhooks of this host were challenged today, as many as are allowed", maxChallenges)

func (s *Service) alertsOf(pubkey string) []*saved {
	if o := s.owners[pubkey]; o != nil {
		return o.alerts
	}
	return nil
}

// List returns the alerts of a key, the oldest first.
func (s *Service) List(pubkey string) []Alert {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []Alert{}
	for _, a := range s.alertsOf(pubkey) {
		out = append(out, a.Alert)
	}
	slices.SortFunc(out, func(a, b Alert) int { return int(a.Created - b.Created) })
	return out
}

// Delete deletes an alert of a key. Rows of the outbox for the alert are dropped. The error is
// a *Refusal, or an error of the store.
func (s *Service) Delete(pubkey, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var c change
	if !s.remove(&c, pubkey, id) {
		return refuse(statusNotFound, "", "this key has no such alert")
	}
	return s.commit(&c)
}

// remove deletes an alert from memory and adds the deletion to a change. mu is held.
func (s *Service) remove(c *change, pubkey, id string) bool {
	a := s.byID[id]
	if a == nil || a.Owner != pubkey {
		return false
	}
	s.forget(a)
	c.drop = append(c.drop, id)
	return true
}

// addRow adds a row to a change. It returns false if the outbox has no room; a forced row is
// added in any case. mu is held. After the commit the row is handed to its lane.
func (s *Service) addRow(c *change, r *row, force bool) bool {
	o := s.owner(r.Owner)
	if !force && (o.rows >= s.cfg.Limits.RowsPerKey || s.rows >= s.cfg.Limits.Rows) {
		s.met.dropped.Inc()
		s.leave(r.Owner)
		return false
	}
	s.row++
	r.Seq = s.row
	o.rows++
	s.rows++
	c.rows = append(c.rows, r)
	c.size += 500 + maxEscape*len(r.Text) + 2*(len(r.Body)+len(r.Event))
	return true
}

// commit writes a change and hands its new rows to their lanes. mu is held. An error of the
// store ends Run, because memory is ahead of the disk then.
func (s *Service) commit(c *change) error {
	if c.head != nil {
		s.head, s.wrote = *c.head, s.cfg.Now()
	}
	if err := s.store.commit(c); err != nil {
		s.met.broken.Store(true)
		return fmt.Errorf("alerts: %w", err)
	}
	for _, r := range c.rows {
		s.lane(r).add(r.slim())
	}
	return nil
}

// enqueue takes a stored row into memory.
func (s *Service) enqueue(r *row) {
	s.owner(r.Owner).rows++
	s.rows++
	s.lane(r).add(r.slim())
}

func (s *Service) lane(r *row) *lane {
	switch {
	case r.Road == roadMessage:
		return s.messages
	case r.Road == roadPush && s.failing[r.Relay] > 0, r.Road == roadConfirm && r.Tries > 0:
		return s.slow
	case r.Road == roadWebhook && s.byID[r.Alert] != nil && s.byID[r.Alert].Failures > 0:
		return s.slow
	}
	return s.calls
}

const (
	followWait = 5 * time.Second
	headEvery  = 10 * time.Second // between commits of the positions alone
	maxBatch   = 1 << 20          // bytes of the rows of one commit, at most 2.4 MB fit into one
	maxEscape  = 6                // bytes that a byte of a text has in JSON at most
)

// follow matches the changes of the book until ctx ends. A crash between two commits of one
// pass repeats changes, and the marks keep their orders from being told again.
func (s *Service) follow(ctx context.Context, after uint64) error {
	for {
		var c change
		upTo, err := s.cfg.Book.Updates(ctx, after, followWait, func(u indexer.Update) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.match(&c, &u)
		})
		if err == nil {
			after, err = upTo, s.passed(&c, func(h *head) { h.Book = upTo }, upTo > after)
		} else {
			err = errors.Join(err, s.passed(&c, func(*head) {}, false)) // the matches are in memory
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if s.met.broken.Load() {
				return err
			}
			s.log.Warn("the book cannot be followed now", "error", err)
			if !sleep(ctx, time.Second) {
				return ctx.Err()
			}
		}
	}
}

// passed commits a change with a new position. If the change is empty, the position is
// committed now and then.
func (s *Service) passed(c *change, move func(*head), moved bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.head
	move(&h)
	if !c.empty() || moved && s.cfg.Now().Sub(s.wrote) >= headEvery {
		c.head = &h
		return s.commit(c)
	}
	s.head = h // committed later
	return nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// match adds the deliveries of one change to c. mu is held.
func (s *Service) match(c *change, u *indexer.Update) error {
	now := s.cfg.Now()
	if u.Record == nil || !u.Record.IsOpen(now) || len(s.byID) == 0 {
		return nil
	}
	var told map[string]struct{}
	var body json.RawMessage
	var text string
	var failed error
	key := orders.KeyOf(orders.Address(u.Pubkey, u.D))
	muted := s.index.candidates(orderOf(&u.Record.Version), now.Unix(), func(e *entry) {
		a := e.saved
		if failed != nil || u.Seq <= a.From || a.Expires <= now.Unix() {
			return
		}
		if told == nil {
			if told, failed = s.toldOf(key); failed != nil {
				return
			}
		}
		if _, ok := told[a.ID]; ok || !a.query.Matches(&u.Record.Version, now) || !s.rankFits(a, u.Pubkey) || s.refused(a.Owner) {
			return
		}
		if body == nil {
			body, text = s.cfg.Describe(u.Record)
		}
		if s.deliver(c, a, u, key, body, text, now) {
			told[a.ID] = struct{}{}
			s.nTold++
		}
		if c.size >= maxBatch {
			failed = s.commit(c)
			*c = change{}
		}
	})
	s.met.muted.Add(float64(muted))
	return failed
}

func (s *Service) refused(pubkey string) bool { return s.cfg.Refused != nil && s.cfg.Refused(pubkey) }

func (s *Service) rankFits(a *saved, instance string) bool {
	if a.query.MinRank == 0 {
		return true
	}
	if s.cfg.Rank == nil {
		return false
	}
	rank, ok := s.cfg.Rank(instance)
	return ok && rank >= a.query.MinRank
}

// Bounds of the cache of marks.
const (
	maxToldOrders = 4096
	maxTold       = 1 << 20
)

// toldOf returns the alerts that were told of an order. mu is held.
func (s *Service) toldOf(key orders.Key) (map[string]struct{}, error) {
	if ids, ok := s.told[key]; ok {
		return ids, nil
	}
	ids, err := s.store.marks(key)
	if err != nil {
		return nil, err
	}
	if len(s.told) >= maxToldOrders || s.nTold >= maxTold {
		s.told, s.nTold = map[orders.Key]map[string]struct{}{}, 0
	}
	s.told[key] = ids
	s.nTold += len(ids)
	return ids, nil
}

// Times after which a row is dropped.
const (
	messageLife = 24 * time.Hour
	webhookLife = 72 * time.Hour
)

// deliver adds the mark and the rows of one delivery. It returns false if the outbox has no
// room. mu is held.
func (s *Service) deliver(c *change, a *saved, u *indexer.Update, key orders.Key, body json.RawMessage, text string, now time.Time) bool {
	hook := a.Hook == HookActive
	if !a.Message && !hook {
		return false
	}
	if now.Unix()-a.began >= 3600 || now.Unix() < a.began {
		a.began, a.count = now.Unix(), 0
	}
	last := a.count+1 >= s.cfg.Limits.PerHour
	sum := sha256.Sum256(append(key[:], a.ID...))
	id := hex.EncodeToString(sum[:16])
	if hook {
		payload, err := json.Marshal(webhookBody{Type: "order", Delivery: id, Alert: a.ID, Filter: a.Filter, Position: u.Seq, Last: last, Event: u.Record.Order.EventID, Order: fitting(body)})
		if err != nil || !s.addRow(c, &row{Road: roadWebhook, Owner: a.Owner, Alert: a.ID, Body: payload, ID: id, Due: now.Unix(), Until: now.Add(webhookLife).Unix()}, false) {
			return false
		}
	}
	if a.Message {
		told := "Alert " + a.ID + " (" + firstOf(a.Filter, "all orders") + ")\n" + words.Cut(text, maxOrderText)
		if last {
			told += fmt.Sprintf("\n\nThis is order %d in an hour. The alert is silent for %d minutes. Save a narrower filter, or write: delete %s", a.count+1, max(1, (a.began+3600-now.Unix())/60), a.ID)
		}
		if !s.addRow(c, &row{Road: roadMessage, Owner: a.Owner, Alert: a.ID, Text: told, ID: id, Due: now.Unix(), Until: now.Add(messageLife).Unix()}, hook) {
			return false
		}
	}
	c.marks = append(c.marks, mark{key, a.ID, now.Unix()})
	s.met.matched.Inc()
	if a.count++; last {
		s.index.mute(a, a.began+3600)
	}
	return true
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// webhookBody is the JSON that a webhook receives.
type webhookBody struct {
	Type      string          `json:"type"` // order, or confirm
	Delivery  string          `json:"delivery"`
	Alert     string          `json:"alert"`
	Filter    string          `json:"filter,omitempty"`
	Position  uint64          `json:"position,omitempty"` // of the change in the log
	Last      bool            `json:"last,omitempty"`     // the alert is silent until its hour ends
	Event     string          `json:"event_id,omitempty"`
	Order     json.RawMessage `json:"order,omitempty"` // as in GET /api/v1/orders; null if it is too large
	Challenge string          `json:"challenge,omitempty"`
}

// Bounds of an order in a row of the outbox.
const (
	maxOrderJSON = 8 << 10
	maxOrderText = 2000 // bytes
)

func fitting(body json.RawMessage) json.RawMessage {
	if len(body) > maxOrderJSON {
		return json.RawMessage("null")
	}
	return body
}

// tidy deletes expired alerts every minute, and old marks once a day, until ctx ends.
func (s *Service) tidy(ctx context.Context) error {
	swept := s.cfg.Now()
	for sleep(ctx, time.Minute) {
		if err := s.expire(); err != nil {
			return err
		}
		if now := s.cfg.Now(); now.Sub(swept) >= 24*time.Hour {
			swept = now
			if err := s.sweep(now); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// markLife is how long a mark is kept. An order that is republished later is told again.
const markLife = 90 * 24 * time.Hour

func (s *Service) sweep(now time.Time) error {
	s.mu.Lock()
	known := make(map[string]bool, len(s.byID))
	for id := range s.byID {
		known[id] = true
	}
	s.mu.Unlock()
	n, err := s.store.sweep(now.Add(-markLife).Unix(), func(id string, at int64) bool { return known[id] || at >= now.Unix() })
	if n > 0 {
		s.log.Info("old marks of deliveries are deleted", "marks", n)
	}
	return err
}

func (s *Service) expire() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var c change
	now := s.cfg.Now().Unix()
	for _, a := range s.byID {
		if a.Expires <= now {
			s.tell(&c, a.Owner, "Alert "+a.ID+" ("+firstOf(a.Filter, "all orders")+") has ended, because it was not saved again. To have it again, write: alert "+a.Filter)
			s.remove(&c, a.Owner, a.ID)
		}
		if c.size >= maxBatch {
			if err := s.commit(&c); err != nil {
				return err
			}
			c = change{}
		}
	}
	return s.commit(&c)
}

// tell adds a message to a key. mu is held.
func (s *Service) tell(c *change, pubkey, text string) {
	now := s.cfg.Now()
	s.addRow(c, &row{Road: roadMessage, Owner: pubkey, Text: strings.TrimSpace(text), ID: randomHex(16), Due: now.Unix(), Until: now.Add(messageLife).Unix()}, false)
}
