package score

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
	"github.com/nbd-wtf/go-nostr"
)

func TestHonestNodeRises(t *testing.T) {
	node, last := scoretest.KeyOf("a"), -1
	for _, days := range []int{1, 10, 30, 60} {
		w := &scoretest.World{T: t}
		w.Honest(node, 0, days, "1")
		s := scoreOf(t, ledgerOf(w), node, scoretest.At(float64(days)))
		if s.Rank <= last {
			t.Errorf("rank %d after %d days, %d before", s.Rank, days, last)
		}
		if s.Lo > s.Value || s.Value > s.Hi || s.N != days {
			t.Errorf("after %d days: %s to %s, value %s, %d ratings", days, s.Lo, s.Hi, s.Value, s.N)
		}
		last = s.Rank
	}
}

// A positive fact must never lower the value, and a negative fact must never raise it.
func TestMonotone(t *testing.T) {
	node := scoretest.KeyOf("a")
	value := func(change func(*scoretest.World)) Micro {
		w := &scoretest.World{T: t}
		w.Honest(node, 0, 30, "0.6")
		change(w)
		return scoreOf(t, ledgerOf(w), node, scoretest.At(31)).Value
	}
	base := value(func(*scoretest.World) {})
	for name, c := range map[string]struct {
		up     bool
		change func(*scoretest.World)
	}{
		"a good trade":   {true, func(w *scoretest.World) { w.Trade(node, 1, 20_000, scoretest.At(30.2)) }},
		"a failed trade": {false, func(w *scoretest.World) { w.Failure(node, 1, 20_000, scoretest.At(30.2)) }},
		"a good rating": {true, func(w *scoretest.World) {
			w.Rate(node, scoretest.KeyOf("x"), scoretest.HonestOrder(node, 3), "1", scoretest.At(30.2), "R1")
		}},
		"a bad rating": {false, func(w *scoretest.World) {
			w.Rate(node, scoretest.KeyOf("x"), scoretest.HonestOrder(node, 3), "0", scoretest.At(30.2), "R1")
		}},
		"an omitted end": {false, func(w *scoretest.World) {
			w.Order(node, 1, mostro.StatusPending, 1000, scoretest.At(27))
			w.Order(node, 1, mostro.StatusInProgress, 1000, scoretest.At(27.1))
		}},
		"a dispute": {false, func(w *scoretest.World) {
			w.Event(mostro.Dispute{Pubkey: node, D: "q", State: mostro.DisputeStateInitiated}.Event(), scoretest.At(30.1), mostro.OriginLive)
		}},
		"an order for sale": {true, func(w *scoretest.World) { w.Order(node, 1, mostro.StatusPending, 1000, scoretest.At(30.9)) }},
		"one withdrawn": {true, func(w *scoretest.World) {
			w.Order(node, 1, mostro.StatusPending, 1000, scoretest.At(30.2))
			w.Order(node, 1, mostro.StatusCanceled, 1000, scoretest.At(30.3))
		}},
		"a lie about a time": {false, func(w *scoretest.World) {
			w.Order(node, scoretest.HonestOrder(node, 2), mostro.StatusCanceled, 1000, scoretest.At(2.3))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got := value(c.change)
			if c.up && got < base || !c.up && got >= base {
				t.Errorf("value %s after %s", got, base)
			}
		})
	}
}

// A rating without proof must not move the score, and the audit must say why.
func TestRatingsThatDoNotCount(t *testing.T) {
	node, other := scoretest.KeyOf("a"), scoretest.KeyOf("b")
	clean := &scoretest.World{T: t}
	clean.Honest(node, 0, 30, "0.6")
	clean.Honest(other, 0, 30, "0.8")
	clean.Order(node, 1, mostro.StatusPending, 1000, scoretest.At(30.2))
	clean.Order(node, 1, mostro.StatusCanceled, 1000, scoretest.At(30.3))
	want := scoreOf(t, ledgerOf(clean), node, scoretest.At(31))
	for name, c := range map[string]struct {
		reason string
		change func(*scoretest.World) *nostr.Event
	}{
		"no receipt": {"no receipt", func(w *scoretest.World) *nostr.Event {
			return w.Rate(node, scoretest.KeyOf("x"), scoretest.HonestOrder(node, 3), "0", scoretest.At(30.2))
		}},
		"forged": {"forged", func(w *scoretest.World) *nostr.Event {
			return w.Rate(node, scoretest.KeyOf("x"), scoretest.HonestOrder(node, 3), "0", scoretest.At(30.2), "forged")
		}},
		"of itself": {"itself", func(w *scoretest.World) *nostr.Event {
			return w.Rate(node, node, scoretest.HonestOrder(node, 3), "1", scoretest.At(30.2), "R1")
		}},
		"cancelled": {"of a cancelled order", func(w *scoretest.World) *nostr.Event {
			return w.Rate(node, scoretest.KeyOf("x"), 1, "0", scoretest.At(30.4), "R0", "canceled")
		}},
		"cancelled cooperatively": {"of a cancelled order", func(w *scoretest.World) *nostr.Event {
			return w.Rate(node, scoretest.KeyOf("x"), 1, "0", scoretest.At(30.4), "R0", "cooperative-cancel-accepted")
		}},
		"a spent receipt": {"spent", func(w *scoretest.World) *nostr.Event {
			e := w.Rate(node, scoretest.KeyOf(fmt.Sprint("rater", node, 3)), scoretest.HonestOrder(node, 3), "0", scoretest.At(30.2), "R1")
			w.Entries = w.Entries[:len(w.Entries)-1]
			e.Tags = append(nostr.Tags{}, e.Tags...)
			for i, tag := range e.Tags {
				if tag[0] == "d" {
					e.Tags[i] = nostr.Tag{"d", "mostro:" + scoretest.OrderID(scoretest.HonestOrder(node, 3))}
				}
			}
			e.Tags = append(e.Tags, nostr.Tag{"role", "buyer"})
			return w.Event(*e, scoretest.At(30.2), mostro.OriginImport)
		}},
		"late": {"not received", func(w *scoretest.World) *nostr.Event {
			e := w.Rate(node, scoretest.KeyOf("x"), scoretest.HonestOrder(node, 3), "0", scoretest.At(20), "R1")
			w.Entries[len(w.Entries)-1].ReceivedAt = scoretest.At(20).Add(11 * time.Minute)
			return e
		}},
		"dated ahead": {"not received", func(w *scoretest.World) *nostr.Event {
			e := w.Rate(node, scoretest.KeyOf("x"), scoretest.HonestOrder(node, 3), "0", scoretest.At(30), "R1")
			w.Entries[len(w.Entries)-1].ReceivedAt = scoretest.At(30).Add(-11 * time.Minute)
			return e
		}},
		"taken back": {"taken back", func(w *scoretest.World) *nostr.Event {
			e := w.Rate(node, scoretest.KeyOf("x"), scoretest.HonestOrder(node, 3), "0", scoretest.At(30.2), "R1")
			w.Event(nostr.Event{Kind: 5, PubKey: e.PubKey, Tags: nostr.Tags{{"e", e.ID}}}, scoretest.At(30.3), mostro.OriginClient)
			return e
		}},
		"a third one of an order": {"has its ratings", func(w *scoretest.World) *nostr.Event {
			w.Rate(node, scoretest.KeyOf("y"), scoretest.HonestOrder(node, 3), "0.6", scoretest.At(30.1), "R1")
			first := w.Rate(node, scoretest.KeyOf("x"), scoretest.HonestOrder(node, 3), "0", scoretest.At(30.2), "R1")
			return first
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &scoretest.World{T: t, Entries: slices.Clone(clean.Entries)}
			evt := c.change(w)
			l := ledgerOf(w)
			var found *RatedBy
			for _, r := range l.Ratings(node, want.Mu, scoretest.At(31).Unix()) {
				if r.EventID == evt.ID {
					found = &r
				}
			}
			if found == nil {
				t.Fatal("the rating is not listed")
			}
			if name == "a spent receipt" {
				c.reason = "not received" // an import is no proof of the time of receipt
			}
			if found.Weight != 0 || found.Moves != 0 || !strings.Contains(found.Reason, c.reason) {
				t.Errorf("weight %s, reason %q, want 0 and %q", found.Weight, found.Reason, c.reason)
			}
			if name == "a third one of an order" {
				return // the second rating counts
			}
			got := scoreOf(t, l, node, scoretest.At(31))
			got.Root, got.Evidence.Ratings, got.Evidence.Proven, got.Evidence.Orders = want.Root, want.Evidence.Ratings, want.Evidence.Proven, want.Evidence.Orders
			got.Flags = want.Flags
			if scoretest.JSON(t, got) != scoretest.JSON(t, want) {
				t.Errorf("the score moved:\n%s\n%s", scoretest.JSON(t, got), scoretest.JSON(t, want))
			}
		})
	}
}

// One receipt counts once, for the first rating that shows the receipt.
func TestReceiptCountsOnce(t *testing.T) {
	w := &scoretest.World{T: t}
	node := scoretest.KeyOf("a")
	w.Honest(node, 0, 30, "0.6")
	d := mostro.HostRating{Pubkey: scoretest.KeyOf("first"), D: "mostro:" + scoretest.OrderID(scoretest.HonestOrder(node, 3)), Platform: "mostro", Host: node, Role: "buyer", Receipt: []string{"R1"}}
	first := w.Event(d.Event(), scoretest.At(29.1), mostro.OriginClient)
	d.Pubkey = scoretest.KeyOf("second")
	second := w.Event(d.Event(), scoretest.At(29.2), mostro.OriginClient)
	weights := map[string]Micro{}
	reasons := map[string]string{}
	for _, r := range ledgerOf(w).Ratings(node, One/2, scoretest.At(31).Unix()) {
		weights[r.EventID], reasons[r.EventID] = r.Weight, r.Reason
	}
	if weights[first.ID] == 0 || weights[second.ID] != 0 || !strings.Contains(reasons[second.ID], "spent") {
		t.Errorf("weights %v and %v, reason %q", weights[first.ID], weights[second.ID], reasons[second.ID])
	}
}

// A deletion request of a node must not delete its record.
func TestDeletionKeepsTheRecord(t *testing.T) {
	w := &scoretest.World{T: t}
	node := scoretest.KeyOf("a")
	w.Honest(node, 0, 30, "0.6")
	w.Failure(node, 7, 10_000, scoretest.At(29))
	before := scoreOf(t, ledgerOf(w), node, scoretest.At(31))
	w.Event(nostr.Event{Kind: 5, PubKey: node, Tags: nostr.Tags{{"a", "38383:" + node + ":" + scoretest.OrderID(7)}, {"e", scoretest.KeyOf("some id")}}}, scoretest.At(30), mostro.OriginClient)
	after := scoreOf(t, ledgerOf(w), node, scoretest.At(31))
	if after.Value != before.Value || after.Evidence.Failures.Witnessed != 1 {
		t.Errorf("value %s after %s", after.Value, before.Value)
	}
	if !slices.ContainsFunc(after.Flags, func(f Flag) bool { return f.Name == FlagErased }) {
		t.Error("the deletion request raised no flag")
	}
	// A request of another key has no effect.
	w.Event(nostr.Event{Kind: 5, PubKey: scoretest.KeyOf("b"), Tags: nostr.Tags{{"a", "38383:" + scoretest.KeyOf("c") + ":x"}}}, scoretest.At(30), mostro.OriginClient)
	if got := scoreOf(t, ledgerOf(w), node, scoretest.At(31)); len(got.Flags) != len(after.Flags) {
		t.Error("a stranger's deletion shows")
	}
}

// A fee is confirmed if a configured fund lists the payment, and only for the order that
// named the payment first.
func TestCostNeedsTheFund(t *testing.T) {
	node, thief, fund := scoretest.KeyOf("a"), scoretest.KeyOf("b"), scoretest.KeyOf("fund")
	build := func(author string) *scoretest.World {
		w := &scoretest.World{T: t}
		w.Honest(node, 0, 10, "1")
		w.Honest(thief, 0, 10, "1")
		list := nostr.Event{Kind: mostro.KindAppData, PubKey: author, Tags: nostr.Tags{{"d", FundListD + "1"}}}
		for d := range 10 {
			hash := scoretest.KeyOf(fmt.Sprint("payment ", d))
			w.Event(mostro.DevFee{Pubkey: node, OrderID: scoretest.OrderID(scoretest.HonestOrder(node, d)), AmountSats: 30, Hash: hash}.Event(), scoretest.At(float64(d)+.4), mostro.OriginLive)
			w.Event(mostro.DevFee{Pubkey: thief, OrderID: scoretest.OrderID(scoretest.HonestOrder(thief, d)), AmountSats: 30, Hash: hash}.Event(), scoretest.At(float64(d)+.45), mostro.OriginLive)
			list.Tags = append(list.Tags, nostr.Tag{"paid", hash, "28"})
		}
		w.Event(list, scoretest.At(10), mostro.OriginLive)
		return w
	}
	score := func(author, who string) Score {
		p := DefaultParams()
		p.Funds = []string{fund}
		l := NewLedger(p, saysSo{})
		for _, e := range build(author).Entries {
			l.Apply(e)
		}
		return scoreOf(t, l, who, scoretest.At(11))
	}
	paid, stolen, unproven := score(fund, node), score(fund, thief), score(scoretest.KeyOf("somebody"), node)
	if paid.Evidence.Successes.Costed != 10 || paid.Evidence.DevFeeSats != (Triple{300, 300, 280}) || paid.ExposureSats < 270 || paid.ExposureSats > 280 {
		t.Errorf("paid: %+v, exposure %d", paid.Evidence.DevFeeSats, paid.ExposureSats)
	}
	for _, s := range []Score{stolen, unproven} {
		if s.Evidence.Successes.Costed != 0 || s.ExposureSats != 0 || s.Evidence.DevFeeSats.Witnessed != 300 {
			t.Errorf("not paid: %+v, exposure %d", s.Evidence.DevFeeSats, s.ExposureSats)
		}
	}
	if paid.Value <= unproven.Value {
		t.Errorf("confirmed fees: %s, unconfirmed %s", paid.Value, unproven.Value)
	}
}

// If the list names the payer, the fee of the payer is confirmed, even if a thief named
// the payment first. The payment confirms one order of the payer, and no order of another
// node.
func TestFundNamesThePayer(t *testing.T) {
	node, thief, fund := scoretest.KeyOf("a"), scoretest.KeyOf("b"), scoretest.KeyOf("fund")
	costed := func(payer string) (victim, stolen Evidence) {
		w := &scoretest.World{T: t}
		w.Honest(node, 0, 10, "1")
		w.Honest(thief, 0, 10, "1")
		list := nostr.Event{Kind: mostro.KindAppData, PubKey: fund, Tags: nostr.Tags{{"d", FundListD + "1"}}}
		for d := range 10 {
			hash := scoretest.KeyOf(fmt.Sprint("payment ", d))
			for _, order := range []int{scoretest.HonestOrder(node, d), scoretest.HonestOrder(node, (d+1)%10)} { // the second order repeats the payment
				w.Event(mostro.DevFee{Pubkey: node, OrderID: scoretest.OrderID(order), AmountSats: 30, Hash: hash}.Event(), scoretest.At(float64(d)+.4), mostro.OriginLive)
			}
			w.Event(mostro.DevFee{Pubkey: thief, OrderID: scoretest.OrderID(scoretest.HonestOrder(thief, d)), AmountSats: 30, Hash: hash}.Event(), scoretest.At(float64(d)+.399), mostro.OriginLive)
			tag := nostr.Tag{"paid", hash, "28"}
			if payer != "" {
				tag = append(tag, payer)
			}
			list.Tags = append(list.Tags, tag)
		}
		w.Event(list, scoretest.At(10), mostro.OriginLive)
		p := DefaultParams()
		p.Funds = []string{fund}
		for _, reverse := range []bool{false, true} {
			if reverse {
				slices.Reverse(w.Entries)
			}
			l := NewLedger(p, saysSo{})
			for _, e := range w.Entries {
				l.Apply(e)
			}
			victim, stolen = scoreOf(t, l, node, scoretest.At(11)).Evidence, scoreOf(t, l, thief, scoretest.At(11)).Evidence
		}
		return victim, stolen
	}
	if v, s := costed(node); v.DevFeeSats.Costed != 280 || s.DevFeeSats.Costed != 0 {
		t.Errorf("named: the payer has %d, the thief %d; want 280 and 0", v.DevFeeSats.Costed, s.DevFeeSats.Costed)
	}
	if v, s := costed(scoretest.KeyOf("another")); v.DevFeeSats.Costed != 0 || s.DevFeeSats.Costed != 0 {
		t.Errorf("paid by another: the node has %d, the thief %d; want 0 and 0", v.DevFeeSats.Costed, s.DevFeeSats.Costed)
	}
	if v, s := costed(""); v.DevFeeSats.Costed != 0 || s.DevFeeSats.Costed != 280 {
		t.Errorf("not named: the node has %d, the thief %d; want 0 and 280, as the first to name it here has it", v.DevFeeSats.Costed, s.DevFeeSats.Costed)
	}
}

func TestNothingWitnessedIsProvisional(t *testing.T) {
	w := &scoretest.World{T: t}
	a, b := scoretest.KeyOf("a"), scoretest.KeyOf("b")
	for _, node := range []string{a, b} {
		w.Event(mostro.Info{Pubkey: node, Version: "1", ProtocolVersion: 2}.Event(), scoretest.At(1), mostro.OriginBackfill)
	}
	for n := range 30 {
		w.OrderBy(a, n, mostro.StatusPending, 50_000, scoretest.At(float64(n)/10), mostro.OriginImport)
		w.OrderBy(a, n, mostro.StatusSuccess, 50_000, scoretest.At(float64(n)/10+.05), mostro.OriginImport)
	}
	l := ledgerOf(w)
	first, second := scoreOf(t, l, a, scoretest.At(5)), scoreOf(t, l, b, scoretest.At(5))
	if !first.Provisional || !second.Provisional || first.Rank != 0 || second.Rank != 0 || len(first.Gates) == 0 {
		t.Errorf("ranks %d and %d, provisional %v and %v", first.Rank, second.Rank, first.Provisional, second.Provisional)
	}
	if first.Claim <= second.Claim || ByRank(first, second) >= 0 {
		t.Errorf("a node with a larger claim is not before a node without a claim: %s, %s", first.Claim, second.Claim)
	}
	if e := first.Evidence.Successes; e != (Triple{30, 0, 0}) {
		t.Errorf("successes %+v", e)
	}
}

// A shared Lightning node is a flag and does not reduce the rank, because any key can name
// the Lightning node of another key before its owner does.
func TestSharedLightningKeyIsAFlag(t *testing.T) {
	old, fresh := scoretest.KeyOf("a"), scoretest.KeyOf("b")
	play := func(shared bool) (o, f Score) {
		w := &scoretest.World{T: t}
		if shared {
			for d := range 30 {
				w.Info(old, "the node", scoretest.At(float64(d)))
			}
		}
		for d := range 30 {
			w.Info(old, "another", scoretest.At(float64(d)))
			w.Failure(old, d, 10_000, scoretest.At(float64(d)+.1))
			w.Trade(old, 100+d, 10_000, scoretest.At(float64(d)+.2))
		}
		w.Info(fresh, "the node", scoretest.At(31))
		w.Trade(fresh, 1, 10_000, scoretest.At(31.2))
		l := ledgerOf(w)
		return scoreOf(t, l, old, scoretest.At(32)), scoreOf(t, l, fresh, scoretest.At(32))
	}
	_, alone := play(false)
	o, f := play(true)
	if !slices.Equal(f.Linked, []string{old}) || !slices.ContainsFunc(f.Flags, func(x Flag) bool { return x.Name == FlagWhitewash }) {
		t.Errorf("linked to %v, flags %v", f.Linked, f.Flags)
	}
	if f.Value != alone.Value || f.Lo != alone.Lo || f.Sub[SubCompletion] != alone.Sub[SubCompletion] {
		t.Errorf("value %s with a key that named its Lightning node first, %s without", f.Value, alone.Value)
	}
	if len(o.Linked) != 0 {
		t.Error("the older key is linked to the newer one")
	}
}

func TestEvidenceOfOneOrder(t *testing.T) {
	node := scoretest.KeyOf("a")
	type step struct {
		status mostro.Status
		at     float64
	}
	for name, c := range map[string]struct {
		steps []step
		want  func(Evidence) Triple
		asOf  float64
	}{
		"success":             {[]step{{mostro.StatusPending, 0}, {mostro.StatusSuccess, .1}}, func(e Evidence) Triple { return e.Successes }, 1},
		"failure":             {[]step{{mostro.StatusPending, 0}, {mostro.StatusInProgress, .1}, {mostro.StatusCanceled, .2}}, func(e Evidence) Triple { return e.Failures }, 1},
		"left before payment": {[]step{{mostro.StatusPending, 0}, {mostro.StatusInProgress, .1}, {mostro.StatusCanceled, .12}}, func(e Evidence) Triple { return Triple{1, e.CancelledEarly.Witnessed, e.Failures.Witnessed} }, 1},
		"state said twice":    {[]step{{mostro.StatusPending, 0}, {mostro.StatusInProgress, .1}, {mostro.StatusInProgress, .19}, {mostro.StatusCanceled, .2}}, func(e Evidence) Triple { return e.Failures }, 1},
		"offered again":       {[]step{{mostro.StatusPending, 0}, {mostro.StatusInProgress, .1}, {mostro.StatusPending, .11}, {mostro.StatusCanceled, .3}}, func(e Evidence) Triple { return Triple{e.Expired.Witnessed, e.Expired.Witnessed, 0} }, 1},
		"paid, offered again": {[]step{{mostro.StatusPending, 0}, {mostro.StatusInProgress, .1}, {mostro.StatusPending, .2}, {mostro.StatusCanceled, .21}}, func(e Evidence) Triple { return Triple{1, e.Failures.Witnessed, e.Expired.Witnessed} }, 1},
		"taken twice":         {[]step{{mostro.StatusPending, 0}, {mostro.StatusInProgress, .1}, {mostro.StatusPending, .11}, {mostro.StatusInProgress, .12}, {mostro.StatusPending, .13}, {mostro.StatusCanceled, .2}}, func(e Evidence) Triple { return Triple{1, e.Expired.Witnessed, e.Failures.Witnessed} }, 1},
		"expired in trade":    {[]step{{mostro.StatusPending, 0}, {mostro.StatusInProgress, .1}, {mostro.StatusExpired, .2}}, func(e Evidence) Triple { return e.Failures }, 1},
		"second thoughts":     {[]step{{mostro.StatusPending, 0}, {mostro.StatusInProgress, .1}, {mostro.StatusCanceled, .2}, {mostro.StatusSuccess, .3}}, func(e Evidence) Triple { return Triple{1, e.Failures.Witnessed, 0} }, 1},
		"silence":             {[]step{{mostro.StatusPending, 0}}, func(e Evidence) Triple { return Triple{1, e.Silent.Witnessed, 0} }, 9},
		"an end that lacks":   {[]step{{mostro.StatusPending, 0}, {mostro.StatusInProgress, .1}}, func(e Evidence) Triple { return Triple{1, e.Omitted.Witnessed, 0} }, 9},
		"still under way":     {[]step{{mostro.StatusPending, 0}, {mostro.StatusInProgress, .1}}, func(e Evidence) Triple { return Triple{1, e.Taken.Witnessed, e.Omitted.Witnessed} }, 1},
		"too quick":           {[]step{{mostro.StatusPending, 0}, {mostro.StatusSuccess, .0005}}, func(e Evidence) Triple { return Triple{e.Successes.Claimed, e.Successes.Witnessed + 1, 0} }, 1},
		"success from naught": {[]step{{mostro.StatusSuccess, .1}}, func(e Evidence) Triple { return Triple{e.Successes.Claimed, e.Successes.Witnessed + 1, 0} }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := &scoretest.World{T: t}
			w.Info(node, "", scoretest.At(0))
			for _, s := range c.steps {
				w.Order(node, 1, s.status, 1000, scoretest.At(s.at))
			}
			if got := c.want(scoreOf(t, ledgerOf(w), node, scoretest.At(c.asOf)).Evidence); got != (Triple{1, 1, 0}) {
				t.Errorf("%+v", got)
			}
		})
	}
}
