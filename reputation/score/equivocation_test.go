package score

import (
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
	"github.com/nbd-wtf/go-nostr"
)

// Two versions with one created_at are an equivocation only if neither can follow the
// other.
func TestWhatIsAnEquivocation(t *testing.T) {
	node := scoretest.KeyOf("a")
	order := func(status mostro.Status, change func(*mostro.Order)) nostr.Event {
		sats := int64(0)
		o := mostro.Order{Pubkey: node, D: scoretest.OrderID(1), Side: mostro.SideSell, Status: status, Fiat: "VES", AmountSats: &sats, Network: "mainnet",
			FiatAmount: mostro.Range{Min: scoretest.Decimal(t, "10"), Max: scoretest.Decimal(t, "50")}, PremiumPct: scoretest.Decimal(t, "1"), ExpiresAt: nostr.Timestamp(scoretest.At(3).Unix())}
		if change != nil {
			change(&o)
		}
		return o.Event()
	}
	taken := func(o *mostro.Order) {
		*o.AmountSats, o.FiatAmount = 12_345, mostro.Range{Min: scoretest.Decimal(t, "20"), Max: scoretest.Decimal(t, "20")}
	}
	another := func(o *mostro.Order) {
		*o.AmountSats, o.FiatAmount = 12_345, mostro.Range{Min: scoretest.Decimal(t, "21"), Max: scoretest.Decimal(t, "21")}
	}
	dispute := func(state mostro.DisputeState) nostr.Event {
		return mostro.Dispute{Pubkey: node, D: "q", Initiator: "buyer", State: state}.Event()
	}
	for name, c := range map[string]struct {
		one, two nostr.Event
		proven   bool
	}{
		"created and taken":                {order(mostro.StatusPending, nil), order(mostro.StatusInProgress, taken), false},
		"created, and ended":               {order(mostro.StatusPending, nil), order(mostro.StatusSuccess, taken), false},
		"taken and cancelled":              {order(mostro.StatusInProgress, taken), order(mostro.StatusCanceled, nil), false},
		"released to the book":             {order(mostro.StatusInProgress, taken), order(mostro.StatusPending, nil), false},
		"cancelled and expired":            {order(mostro.StatusCanceled, nil), order(mostro.StatusExpired, nil), false},
		"the same, with another rating":    {order(mostro.StatusPending, nil), order(mostro.StatusPending, func(o *mostro.Order) { o.Bond = &mostro.Bond{} }), false},
		"success and cancelled":            {order(mostro.StatusSuccess, taken), order(mostro.StatusCanceled, taken), true},
		"expired and success":              {order(mostro.StatusExpired, nil), order(mostro.StatusSuccess, taken), true},
		"another side":                     {order(mostro.StatusPending, nil), order(mostro.StatusPending, func(o *mostro.Order) { o.Side = mostro.SideBuy }), true},
		"another currency":                 {order(mostro.StatusPending, nil), order(mostro.StatusInProgress, func(o *mostro.Order) { o.Fiat = "EUR" }), true},
		"another premium":                  {order(mostro.StatusPending, nil), order(mostro.StatusPending, func(o *mostro.Order) { o.PremiumPct = scoretest.Decimal(t, "9") }), true},
		"other amounts, both fixed":        {order(mostro.StatusInProgress, taken), order(mostro.StatusInProgress, another), true},
		"other sats":                       {order(mostro.StatusInProgress, taken), order(mostro.StatusSuccess, func(o *mostro.Order) { taken(o); *o.AmountSats = 1 }), true},
		"a dispute opened and taken":       {dispute(mostro.DisputeStateInitiated), dispute(mostro.DisputeStateInProgress), false},
		"a dispute ended for both":         {dispute(mostro.DisputeStateSettled), dispute(mostro.DisputeStateSellerRefunded), true},
		"a dispute settled, then released": {dispute(mostro.DisputeStateSettled), dispute(mostro.DisputeStateReleased), false},
		"a dispute refunded and cancelled": {dispute(mostro.DisputeStateSellerRefunded), dispute(mostro.DisputeStateCooperativelyCanceled), false},
		"a dispute released and cancelled": {dispute(mostro.DisputeStateReleased), dispute(mostro.DisputeStateCooperativelyCanceled), true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, pair := range [][2]nostr.Event{{c.one, c.two}, {c.two, c.one}} {
				w := &scoretest.World{T: t}
				w.Info(node, "", scoretest.At(0))
				a, b := w.Event(pair[0], scoretest.At(1), mostro.OriginLive), w.Event(pair[1], scoretest.At(1), mostro.OriginLive)
				want := map[bool]int{true: 1}[c.proven && a.ID != b.ID]
				if got := scoreOf(t, ledgerOf(w), node, scoretest.At(2)).Evidence.Equivocations; len(got) != want {
					t.Errorf("%d proofs, want %d", len(got), want)
				}
			}
		})
	}
}

// TestDisputesThatTheirPartiesEnd checks that a dispute is resolved by each of its ends.
func TestDisputesThatTheirPartiesEnd(t *testing.T) {
	node := scoretest.KeyOf("a")
	for state, resolved := range map[mostro.DisputeState]int64{
		mostro.DisputeStateInProgress: 0, mostro.DisputeStateSettled: 1, mostro.DisputeStateSellerRefunded: 1,
		mostro.DisputeStateReleased: 1, mostro.DisputeStateCooperativelyCanceled: 1,
	} {
		w := &scoretest.World{T: t}
		w.Info(node, "", scoretest.At(0))
		w.Event(mostro.Dispute{Pubkey: node, D: "q", Initiator: "buyer", State: mostro.DisputeStateInitiated}.Event(), scoretest.At(1), mostro.OriginLive)
		w.Event(mostro.Dispute{Pubkey: node, D: "q", Initiator: "buyer", State: state}.Event(), scoretest.At(1.5), mostro.OriginLive)
		e := scoreOf(t, ledgerOf(w), node, scoretest.At(40)).Evidence
		if e.Resolved.Witnessed != resolved || e.Unresolved.Witnessed != 1-resolved {
			t.Errorf("%s: %d resolved, %d not", state, e.Resolved.Witnessed, e.Unresolved.Witnessed)
		}
	}
}
