package reputation

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
	"github.com/mostrodex/mostrodex/reputation/witness"
	"github.com/nbd-wtf/go-nostr"
)

// foundIn finds events in a log in memory.
type foundIn struct{ log *scoretest.MemLog }

func (f foundIn) Event(ctx context.Context, id string) (evt *nostr.Event, err error) {
	err = f.log.Read(ctx, 0, func(e mostro.Entry) error {
		if e.Event.ID == id {
			evt = e.Event
		}
		return nil
	})
	if err == nil && evt == nil {
		err = mostro.ErrNotFound
	}
	return evt, err
}

// sheet is a publisher that keeps the statements.
type sheet struct{ events []*nostr.Event }

func (s *sheet) Publish(_ context.Context, evt *nostr.Event) error {
	if witness.Is(evt) {
		s.events = append(s.events, evt)
	}
	return nil
}

// byName is a signer that sets the id and no signature.
type byName string

func (s byName) Pubkey() string { return scoretest.KeyOf(string(s)) }
func (s byName) Sign(evt *nostr.Event) error {
	evt.PubKey = s.Pubkey()
	evt.ID = evt.GetID()
	return nil
}

// watched is a relay that watched three Mostros for 40 days, and its statements.
func watched(t *testing.T, dir string) (own *Service, log *scoretest.MemLog, statements *sheet) {
	t.Helper()
	log, statements = &scoretest.MemLog{}, &sheet{}
	w := &scoretest.World{T: t}
	for i, node := range []string{"good", "fair", "poor"} {
		w.Honest(scoretest.KeyOf(node), 0, 40, []string{"1", "0.7", "0.3"}[i])
	}
	log.Add(w.Entries...)
	own = open(t, Config{Dir: dir, Log: log, Publisher: statements, Signer: byName("old relay"), Testify: true, Now: func() time.Time { return scoretest.At(41) }})
	return own, log, statements
}

func open(t *testing.T, cfg Config) *Service {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// round does what Run does between two rests.
func round(t *testing.T, s *Service) {
	t.Helper()
	if err := s.CatchUp(context.Background()); err != nil {
		t.Fatal(err)
	}
	if s.cfg.Publisher != nil {
		if err := s.publish(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

// borrow returns a relay that begins on day 41 with the events as history.
func borrow(t *testing.T, from *scoretest.MemLog, keys ...string) (*Service, *scoretest.MemLog) {
	t.Helper()
	log := &scoretest.MemLog{}
	for _, e := range from.Entries {
		e.ReceivedAt, e.Source = scoretest.At(41), mostro.Source{Origin: mostro.OriginBackfill}
		log.Add(e)
	}
	return open(t, Config{Log: log, Witnesses: keys, Finder: foundIn{log}, Now: func() time.Time { return scoretest.At(41) }}), log
}

func heard(log *scoretest.MemLog, events ...*nostr.Event) {
	for _, evt := range events {
		log.Add(mostro.Entry{Event: evt, ReceivedAt: scoretest.At(41), Source: mostro.Source{Origin: mostro.OriginLive}})
	}
}

// TestColumnEqualsTheWitness: from the statements alone a new relay computes the score that
// the witness has, to the byte, as a column of its own. Its own score stays as it was.
func TestColumnEqualsTheWitness(t *testing.T) {
	old, log, statements := watched(t, "")
	round(t, old)
	rows := 0
	for _, evt := range statements.events {
		list, err := witness.Parse(evt)
		if err != nil {
			t.Fatal(err)
		}
		rows += len(list)
	}
	if want := len(log.Entries); rows != want || len(statements.events) != (want+witness.MaxRows-1)/witness.MaxRows {
		t.Fatalf("%d rows in %d statements about %d events", rows, len(statements.events), want)
	}
	for name, before := range map[string]int{"events first": 0, "statements first": len(statements.events)} {
		t.Run(name, func(t *testing.T) {
			fresh, have := borrow(t, log, old.Pubkey())
			if before > 0 {
				late := have.Entries
				have.Entries = nil
				heard(have, statements.events...)
				round(t, fresh)
				have.Add(late...)
			} else {
				heard(have, statements.events...)
			}
			round(t, fresh)
			for _, node := range []string{"good", "fair", "poor"} {
				key := scoretest.KeyOf(node)
				want, _ := old.Score(key)
				seen := fresh.SeenBy(key)
				if len(seen) != 1 || scoretest.JSON(t, seen[0].Score) != scoretest.JSON(t, want) || fmt.Sprint(seen[0].Score.Facts) != fmt.Sprint(want.Facts) {
					t.Fatalf("%s: the column has %+v, the witness %+v", node, seen, want)
				}
				if rank, ok := fresh.Borrowed(key); !ok || rank != want.Rank || want.Unranked != "" {
					t.Errorf("%s: borrowed %d (%v), want %d", node, rank, ok, want.Rank)
				}
				own, _ := fresh.Score(key)
				if !own.Provisional || own.Evidence.Successes.Witnessed != 0 {
					t.Errorf("%s: the statements changed the relay's own score: %+v", node, own)
				}
				v := scoreAPI{known: fresh}.view(&own)
				if v.Rank != nil || v.BorrowedRank == nil || len(v.SeenBy) != 1 || v.SeenBy[0].Rank == nil || *v.SeenBy[0].Rank != want.Rank {
					t.Errorf("%s: JSON %+v", node, v)
				}
			}
		})
	}
}

// TestStrangersStatementsAreIgnored: only configured keys have a column. A broken statement,
// a repeated one and rows about unknown events change nothing.
func TestStrangersStatementsAreIgnored(t *testing.T) {
	old, log, statements := watched(t, "")
	round(t, old)
	fresh, have := borrow(t, log, scoretest.KeyOf("trusted"))
	heard(have, statements.events...) // signed by another key
	key := scoretest.KeyOf("trusted")
	broken := *statements.events[0]
	broken.PubKey, broken.Content = key, broken.Content[:40]
	empty, err := witness.New(key, 0, []witness.Row{{ID: [32]byte{1}, ReceivedMS: scoretest.At(3).UnixMilli(), Live: true}}, nostr.Timestamp(scoretest.At(41).Unix()))
	if err != nil {
		t.Fatal(err)
	}
	heard(have, &broken, &empty, &empty)
	round(t, fresh)
	if seen := fresh.SeenBy(scoretest.KeyOf("good")); len(seen) != 0 {
		t.Errorf("seen by %+v", seen)
	}
	if col := fresh.columns.list[key]; col.refused != 1 || len(col.pending) != 1 {
		t.Errorf("%d refused, %d pending; want 1 and 1", col.refused, len(col.pending))
	}
	if _, ok := fresh.Borrowed(scoretest.KeyOf("good")); ok {
		t.Error("a rank is borrowed from no statement")
	}
}

// TestBorrowedIsTheMedian: one witness of three moves a rank at most as far as the others
// differ, and no rank is borrowed from half of the witnesses.
func TestBorrowedIsTheMedian(t *testing.T) {
	seen := func(ranks ...int) (list []SeenBy) {
		for _, r := range ranks {
			s := SeenBy{Score: score.Score{Rank: r}}
			if r < 0 {
				s.Score.Unranked = score.UnrankedWatching
			}
			list = append(list, s)
		}
		return list
	}
	for name, c := range map[string]struct {
		list      []SeenBy
		witnesses int
		rank      int
		ok        bool
	}{
		"one": {seen(50), 1, 50, true}, "none": {nil, 1, 0, false}, "unranked": {seen(-1), 1, 0, false},
		"liar above": {seen(50, 99, 52), 3, 52, true}, "liar below": {seen(50, 0, 52), 3, 50, true},
		"one of two": {seen(50), 2, 0, false}, "two of two": {seen(80, 50), 2, 50, true}, "two of three": {seen(80, 50), 3, 50, true},
		"one of three": {seen(99, -1, -1), 3, 0, false}, "three of five": {seen(10, 99, 50), 5, 50, true}, "two of four": {seen(50, 50), 4, 0, false},
	} {
		if rank, ok := borrowed(c.list, c.witnesses); rank != c.rank || ok != c.ok {
			t.Errorf("%s: %d, %v; want %d, %v", name, rank, ok, c.rank, c.ok)
		}
	}
}

// TestStatementsAfterACrash: a relay that stops after a publication and before the checkpoint
// publishes the same statement again, at the same address. After the checkpoint it goes on
// behind it.
func TestStatementsAfterACrash(t *testing.T) {
	dir := t.TempDir()
	first, log, statements := watched(t, dir)
	round(t, first)
	n := len(statements.events)
	second := open(t, Config{Dir: dir, Log: log, Publisher: statements, Signer: byName("old relay"), Testify: true, Now: func() time.Time { return scoretest.At(41) }})
	round(t, second)
	if len(statements.events) != 2*n {
		t.Fatalf("%d statements, then %d", n, len(statements.events)-n)
	}
	for i := range n {
		a, b := statements.events[i], statements.events[n+i]
		if a.Tags.GetD() != b.Tags.GetD() || a.Content != b.Content {
			t.Errorf("statement %d: %s and %s", i, a.Tags.GetD(), b.Tags.GetD())
		}
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	w := &scoretest.World{T: t}
	w.Info(scoretest.KeyOf("good"), "", scoretest.At(41.1))
	log.Add(w.Entries...)
	now := scoretest.At(41.1)
	third := open(t, Config{Dir: dir, Log: log, Publisher: statements, Signer: byName("old relay"), Testify: true, Now: func() time.Time { return now }})
	round(t, third)
	if len(statements.events) != 2*n {
		t.Errorf("a row younger than ten minutes was stated alone")
	}
	now = now.Add(11 * time.Minute)
	round(t, third)
	if last := statements.events[len(statements.events)-1]; len(statements.events) != 2*n+1 || last.Tags.Find("rows")[1] != "1" || !strings.HasSuffix(last.Tags.GetD(), fmt.Sprint(":", len(log.Entries)-1)) {
		t.Errorf("%d statements, the last %v", len(statements.events), last.Tags)
	}
}

// TestClockSetBackStatesNothing: a statement that is older than its rows would be refused by
// its readers, so the relay waits for its clock.
func TestClockSetBackStatesNothing(t *testing.T) {
	log, statements := &scoretest.MemLog{}, &sheet{}
	w := &scoretest.World{T: t}
	w.Info(scoretest.KeyOf("good"), "", scoretest.At(2))
	log.Add(w.Entries...)
	now := scoretest.At(1)
	s := open(t, Config{Log: log, Publisher: statements, Signer: byName("old relay"), Testify: true, Now: func() time.Time { return now }})
	round(t, s)
	if len(statements.events) != 0 {
		t.Errorf("%d statements before the rows", len(statements.events))
	}
	now = scoretest.At(3)
	round(t, s)
	if len(statements.events) != 1 {
		t.Errorf("%d statements later", len(statements.events))
	}
}

// TestPersonalOrderIsApart: the order by a visitor's keys names its source and changes no
// rank. Wrong and too many keys are refused.
func TestPersonalOrderIsApart(t *testing.T) {
	s, _, _ := watched(t, "")
	round(t, s)
	before := scoretest.JSON(t, s.Scores())
	f := (&Handler{Known: s, Seeds: []string{scoretest.KeyOf("good")}}).scores()
	ask := func(query string) (personalView, error) {
		v, err := f.getPersonal(httptest.NewRequest("GET", "/api/v1/personal?"+query, nil))
		if err != nil {
			return personalView{}, err
		}
		return v.(personalView), nil
	}
	v, err := ask("")
	if err != nil || v.Source != "operator" || v.Known != 1 || len(v.Items) != 1 || v.Items[0].Pubkey != scoretest.KeyOf("good") {
		t.Errorf("the operator's order: %+v, %v", v, err)
	}
	if v, err = ask("trust=" + scoretest.KeyOf("nobody") + "," + scoretest.KeyOf("fair")); err != nil || v.Source != "visitor" || v.Seeds != 2 || v.Known != 1 {
		t.Errorf("a visitor's order: %+v, %v", v, err)
	}
	for _, query := range []string{"trust=xyz", "trust=", "other=1", "trust=" + strings.Repeat(scoretest.KeyOf("x")+",", score.MaxSeeds+1)} {
		if _, err := ask(query); err == nil {
			t.Errorf("%.40s is not refused", query)
		}
	}
	if scoretest.JSON(t, s.Scores()) != before {
		t.Error("a personal order changed the scores")
	}
}
