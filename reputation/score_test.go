package reputation

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

func TestHonestNodeRises(t *testing.T) {
	node, last := keyOf("a"), -1
	for _, days := range []int{1, 10, 30, 60} {
		w := &world{t: t}
		w.honest(node, 0, days, "1")
		s := scoreOf(t, ledgerOf(w), node, at(float64(days)))
		if s.Rank <= last {
			t.Errorf("rank %d after %d days, %d before", s.Rank, days, last)
		}
		if s.Lo > s.Value || s.Value > s.Hi || s.N != days {
			t.Errorf("after %d days: %s to %s, value %s, %d ratings", days, s.Lo, s.Hi, s.Value, s.N)
		}
		last = s.Rank
	}
}

// More of something good never lowers the value, more of something bad never
// raises it.
func TestMonotone(t *testing.T) {
	node := keyOf("a")
	value := func(change func(*world)) Micro {
		w := &world{t: t}
		w.honest(node, 0, 30, "0.6")
		change(w)
		return scoreOf(t, ledgerOf(w), node, at(31)).Value
	}
	base := value(func(*world) {})
	for name, c := range map[string]struct {
		up     bool
		change func(*world)
	}{
		"a good trade":   {true, func(w *world) { w.trade(node, 1, 20_000, at(30.2)) }},
		"a failed trade": {false, func(w *world) { w.failure(node, 1, 20_000, at(30.2)) }},
		"a good rating":  {true, func(w *world) { w.rate(node, keyOf("x"), number(node, 3), "1", at(30.2), "R1") }},
		"a bad rating":   {false, func(w *world) { w.rate(node, keyOf("x"), number(node, 3), "0", at(30.2), "R1") }},
		"an omitted end": {false, func(w *world) {
			w.order(node, 1, mostro.StatusPending, 1000, at(27))
			w.order(node, 1, mostro.StatusInProgress, 1000, at(27.1))
		}},
		"a dispute": {false, func(w *world) {
			w.event(mostro.Dispute{Pubkey: node, D: "q", State: mostro.DisputeStateInitiated}.Event(), at(30.1), mostro.RoadLive)
		}},
		"an order for sale": {true, func(w *world) { w.order(node, 1, mostro.StatusPending, 1000, at(30.9)) }},
		"one withdrawn": {true, func(w *world) {
			w.order(node, 1, mostro.StatusPending, 1000, at(30.2))
			w.order(node, 1, mostro.StatusCanceled, 1000, at(30.3))
		}},
		"a lie about a time": {false, func(w *world) { w.order(node, number(node, 2), mostro.StatusCanceled, 1000, at(2.3)) }},
	} {
		t.Run(name, func(t *testing.T) {
			got := value(c.change)
			if c.up && got < base || !c.up && got >= base {
				t.Errorf("value %s after %s", got, base)
			}
		})
	}
}

// What proves nothing moves nothing, and the audit says why.
func TestRatingsThatDoNotCount(t *testing.T) {
	node, other := keyOf("a"), keyOf("b")
	clean := &world{t: t}
	clean.honest(node, 0, 30, "0.6")
	clean.honest(other, 0, 30, "0.8")
	clean.order(node, 1, mostro.StatusPending, 1000, at(30.2))
	clean.order(node, 1, mostro.StatusCanceled, 1000, at(30.3))
	want := scoreOf(t, ledgerOf(clean), node, at(31))
	for name, c := range map[string]struct {
		reason string
		change func(*world) *nostr.Event
	}{
		"no receipt": {"no receipt", func(w *world) *nostr.Event { return w.rate(node, keyOf("x"), number(node, 3), "0", at(30.2)) }},
		"forged":     {"forged", func(w *world) *nostr.Event { return w.rate(node, keyOf("x"), number(node, 3), "0", at(30.2), "forged") }},
		"of itself":  {"itself", func(w *world) *nostr.Event { return w.rate(node, node, number(node, 3), "1", at(30.2), "R1") }},
		"cancelled":  {"of a cancelled order", func(w *world) *nostr.Event { return w.rate(node, keyOf("x"), 1, "0", at(30.4), "R0", "canceled") }},
		"cancelled cooperatively": {"of a cancelled order", func(w *world) *nostr.Event {
			return w.rate(node, keyOf("x"), 1, "0", at(30.4), "R0", "cooperative-cancel-accepted")
		}},
		"a spent receipt": {"spent", func(w *world) *nostr.Event {
			e := w.rate(node, keyOf(fmt.Sprint("rater", node, 3)), number(node, 3), "0", at(30.2), "R1")
			w.entries = w.entries[:len(w.entries)-1]
			e.Tags = append(nostr.Tags{}, e.Tags...)
			for i, tag := range e.Tags {
				if tag[0] == "d" {
					e.Tags[i] = nostr.Tag{"d", "mostro:" + orderID(number(node, 3))}
				}
			}
			e.Tags = append(e.Tags, nostr.Tag{"role", "buyer"})
			return w.event(*e, at(30.2), mostro.RoadImport)
		}},
		"late": {"not received", func(w *world) *nostr.Event {
			e := w.rate(node, keyOf("x"), number(node, 3), "0", at(20), "R1")
			w.entries[len(w.entries)-1].ReceivedAt = at(20).Add(11 * time.Minute)
			return e
		}},
		"dated ahead": {"not received", func(w *world) *nostr.Event {
			e := w.rate(node, keyOf("x"), number(node, 3), "0", at(30), "R1")
			w.entries[len(w.entries)-1].ReceivedAt = at(30).Add(-11 * time.Minute)
			return e
		}},
		"taken back": {"taken back", func(w *world) *nostr.Event {
			e := w.rate(node, keyOf("x"), number(node, 3), "0", at(30.2), "R1")
			w.event(nostr.Event{Kind: 5, PubKey: e.PubKey, Tags: nostr.Tags{{"e", e.ID}}}, at(30.3), mostro.RoadClient)
			return e
		}},
		"a third one of an order": {"has its ratings", func(w *world) *nostr.Event {
			w.rate(node, keyOf("y"), number(node, 3), "0.6", at(30.1), "R1")
			first := w.rate(node, keyOf("x"), number(node, 3), "0", at(30.2), "R1")
			return first
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{t: t, entries: slices.Clone(clean.entries)}
			evt := c.change(w)
			l := ledgerOf(w)
			var found *RatedBy
			for _, r := range l.Ratings(node, want.Mu, at(31).Unix()) {
				if r.EventID == evt.ID {
					found = &r
				}
			}
			if found == nil {
				t.Fatal("the rating is not listed")
			}
			if name == "a spent receipt" {
				c.reason = "not received" // an import proves nothing of its time
			}
			if found.Weight != 0 || found.Moves != 0 || !strings.Contains(found.Reason, c.reason) {
				t.Errorf("weight %s, reason %q, want 0 and %q", found.Weight, found.Reason, c.reason)
			}
			if name == "a third one of an order" {
				return // the second one counts
			}
			got := scoreOf(t, l, node, at(31))
			got.Root, got.Evidence.Ratings, got.Evidence.Proven, got.Evidence.Orders = want.Root, want.Evidence.Ratings, want.Evidence.Proven, want.Evidence.Orders
			got.Flags = want.Flags
			if mustJSON(t, got) != mustJSON(t, want) {
				t.Errorf("the score moved:\n%s\n%s", mustJSON(t, got), mustJSON(t, want))
			}
		})
	}
}

// One receipt counts once, whoever shows it, and the first to show it has it.
func TestReceiptCountsOnce(t *testing.T) {
	w := &world{t: t}
	node := keyOf("a")
	w.honest(node, 0, 30, "0.6")
	d := mostro.HostRating{Pubkey: keyOf("first"), D: "mostro:" + orderID(number(node, 3)), Platform: "mostro", Host: node, Role: "buyer", Receipt: []string{"R1"}}
	first := w.event(d.Event(), at(29.1), mostro.RoadClient)
	d.Pubkey = keyOf("second")
	second := w.event(d.Event(), at(29.2), mostro.RoadClient)
	weights := map[string]Micro{}
	reasons := map[string]string{}
	for _, r := range ledgerOf(w).Ratings(node, One/2, at(31).Unix()) {
		weights[r.EventID], reasons[r.EventID] = r.Weight, r.Reason
	}
	if weights[first.ID] == 0 || weights[second.ID] != 0 || !strings.Contains(reasons[second.ID], "spent") {
		t.Errorf("weights %v and %v, reason %q", weights[first.ID], weights[second.ID], reasons[second.ID])
	}
}

// A node's wish to lose its record does not lose it.
func TestDeletionKeepsTheRecord(t *testing.T) {
	w := &world{t: t}
	node := keyOf("a")
	w.honest(node, 0, 30, "0.6")
	w.failure(node, 7, 10_000, at(29))
	before := scoreOf(t, ledgerOf(w), node, at(31))
	w.event(nostr.Event{Kind: 5, PubKey: node, Tags: nostr.Tags{{"a", "38383:" + node + ":" + orderID(7)}, {"e", keyOf("some id")}}}, at(30), mostro.RoadClient)
	after := scoreOf(t, ledgerOf(w), node, at(31))
	if after.Value != before.Value || after.Evidence.Failures.Witnessed != 1 {
		t.Errorf("value %s after %s", after.Value, before.Value)
	}
	if !slices.ContainsFunc(after.Flags, func(f Flag) bool { return f.Name == FlagErased }) {
		t.Error("nobody is told")
	}
	// A stranger's request is nothing.
	w.event(nostr.Event{Kind: 5, PubKey: keyOf("b"), Tags: nostr.Tags{{"a", "38383:" + keyOf("c") + ":x"}}}, at(30), mostro.RoadClient)
	if got := scoreOf(t, ledgerOf(w), node, at(31)); len(got.Flags) != len(after.Flags) {
		t.Error("a stranger's deletion shows")
	}
}

// Fees count as paid when a fund that we believe says so, for the order that
// named the payment first, and for no other.
func TestCostNeedsTheFund(t *testing.T) {
	node, thief, fund := keyOf("a"), keyOf("b"), keyOf("fund")
	build := func(author string) *world {
		w := &world{t: t}
		w.honest(node, 0, 10, "1")
		w.honest(thief, 0, 10, "1")
		list := nostr.Event{Kind: mostro.KindAppData, PubKey: author, Tags: nostr.Tags{{"d", FundListD + "1"}}}
		for d := range 10 {
			hash := keyOf(fmt.Sprint("payment ", d))
			w.event(mostro.DevFee{Pubkey: node, OrderID: orderID(number(node, d)), AmountSats: 30, Hash: hash}.Event(), at(float64(d)+.4), mostro.RoadLive)
			w.event(mostro.DevFee{Pubkey: thief, OrderID: orderID(number(thief, d)), AmountSats: 30, Hash: hash}.Event(), at(float64(d)+.45), mostro.RoadLive)
			list.Tags = append(list.Tags, nostr.Tag{"paid", hash, "28"})
		}
		w.event(list, at(10), mostro.RoadLive)
		return w
	}
	score := func(author, who string) Score {
		p := DefaultParams()
		p.Funds = []string{fund}
		l := NewLedger(p, saysSo{})
		for _, e := range build(author).entries {
			l.Apply(e)
		}
		return scoreOf(t, l, who, at(11))
	}
	paid, stolen, unproven := score(fund, node), score(fund, thief), score(keyOf("somebody"), node)
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

// A list that names the payer confirms its fee, though a thief named the payment
// first; one order of the payer alone, and no other node's.
func TestFundNamesThePayer(t *testing.T) {
	node, thief, fund := keyOf("a"), keyOf("b"), keyOf("fund")
	costed := func(payer string) (victim, stolen Evidence) {
		w := &world{t: t}
		w.honest(node, 0, 10, "1")
		w.honest(thief, 0, 10, "1")
		list := nostr.Event{Kind: mostro.KindAppData, PubKey: fund, Tags: nostr.Tags{{"d", FundListD + "1"}}}
		for d := range 10 {
			hash := keyOf(fmt.Sprint("payment ", d))
			for _, order := range []int{number(node, d), number(node, (d+1)%10)} { // the second is a repetition
				w.event(mostro.DevFee{Pubkey: node, OrderID: orderID(order), AmountSats: 30, Hash: hash}.Event(), at(float64(d)+.4), mostro.RoadLive)
			}
			w.event(mostro.DevFee{Pubkey: thief, OrderID: orderID(number(thief, d)), AmountSats: 30, Hash: hash}.Event(), at(float64(d)+.399), mostro.RoadLive)
			tag := nostr.Tag{"paid", hash, "28"}
			if payer != "" {
				tag = append(tag, payer)
			}
			list.Tags = append(list.Tags, tag)
		}
		w.event(list, at(10), mostro.RoadLive)
		p := DefaultParams()
		p.Funds = []string{fund}
		for _, reverse := range []bool{false, true} {
			if reverse {
				slices.Reverse(w.entries)
			}
			l := NewLedger(p, saysSo{})
			for _, e := range w.entries {
				l.Apply(e)
			}
			victim, stolen = scoreOf(t, l, node, at(11)).Evidence, scoreOf(t, l, thief, at(11)).Evidence
		}
		return victim, stolen
	}
	if v, s := costed(node); v.DevFeeSats.Costed != 280 || s.DevFeeSats.Costed != 0 {
		t.Errorf("named: the payer has %d, the thief %d; want 280 and 0", v.DevFeeSats.Costed, s.DevFeeSats.Costed)
	}
	if v, s := costed(keyOf("another")); v.DevFeeSats.Costed != 0 || s.DevFeeSats.Costed != 0 {
		t.Errorf("paid by another: the node has %d, the thief %d; want 0 and 0", v.DevFeeSats.Costed, s.DevFeeSats.Costed)
	}
	if v, s := costed(""); v.DevFeeSats.Costed != 0 || s.DevFeeSats.Costed != 280 {
		t.Errorf("not named: the node has %d, the thief %d; want 0 and 280, as the first to name it here has it", v.DevFeeSats.Costed, s.DevFeeSats.Costed)
	}
}

func TestNothingWitnessedIsProvisional(t *testing.T) {
	w := &world{t: t}
	a, b := keyOf("a"), keyOf("b")
	for _, node := range []string{a, b} {
		w.event(mostro.Info{Pubkey: node, Version: "1", ProtocolVersion: 2}.Event(), at(1), mostro.RoadBackfill)
	}
	for n := range 30 {
		w.orderBy(a, n, mostro.StatusPending, 50_000, at(float64(n)/10), mostro.RoadImport)
		w.orderBy(a, n, mostro.StatusSuccess, 50_000, at(float64(n)/10+.05), mostro.RoadImport)
	}
	l := ledgerOf(w)
	first, second := scoreOf(t, l, a, at(5)), scoreOf(t, l, b, at(5))
	if !first.Provisional || !second.Provisional || first.Rank != 0 || second.Rank != 0 || len(first.Gates) == 0 {
		t.Errorf("ranks %d and %d, provisional %v and %v", first.Rank, second.Rank, first.Provisional, second.Provisional)
	}
	if first.Claim <= second.Claim || ByRank(first, second) >= 0 {
		t.Errorf("who claims more is not before who claims nothing: %s, %s", first.Claim, second.Claim)
	}
	if e := first.Evidence.Successes; e != (Triple{30, 0, 0}) {
		t.Errorf("successes %+v", e)
	}
}

// A shared Lightning key is shown and takes nothing away: anybody can name
// another's before its owner does.
func TestSharedLightningKeyIsAFlag(t *testing.T) {
	old, fresh := keyOf("a"), keyOf("b")
	play := func(shared bool) (o, f Score) {
		w := &world{t: t}
		if shared {
			for d := range 30 {
				w.info(old, "the node", at(float64(d)))
			}
		}
		for d := range 30 {
			w.info(old, "another", at(float64(d)))
			w.failure(old, d, 10_000, at(float64(d)+.1))
			w.trade(old, 100+d, 10_000, at(float64(d)+.2))
		}
		w.info(fresh, "the node", at(31))
		w.trade(fresh, 1, 10_000, at(31.2))
		l := ledgerOf(w)
		return scoreOf(t, l, old, at(32)), scoreOf(t, l, fresh, at(32))
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
	node := keyOf("a")
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
			w := &world{t: t}
			w.info(node, "", at(0))
			for _, s := range c.steps {
				w.order(node, 1, s.status, 1000, at(s.at))
			}
			if got := c.want(scoreOf(t, ledgerOf(w), node, at(c.asOf)).Evidence); got != (Triple{1, 1, 0}) {
				t.Errorf("%+v", got)
			}
		})
	}
}
