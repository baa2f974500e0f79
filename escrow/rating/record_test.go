package rating

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// memory is a store in memory.
type memory map[string][]byte

func (m memory) Get(key []byte, v any) error {
	b, ok := m[string(key)]
	if !ok {
		return ErrNoRow
	}
	return json.Unmarshal(b, v)
}

func (m memory) Each(prefix []byte, fn func(key, value []byte) error) error {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if bytes.HasPrefix([]byte(key), prefix) {
			if err := fn([]byte(key), m[key]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m memory) commit(t *testing.T, rows []Row) {
	t.Helper()
	for _, r := range rows {
		if r.Value == nil {
			delete(m, string(r.Key))
			continue
		}
		b, err := json.Marshal(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		m[string(r.Key)] = b
	}
}

// A record equals the replay of its journal after every kind of change, and an import that is
// revoked leaves the votes of this node.
func TestRecordIsTheFoldOfItsJournal(t *testing.T) {
	store := memory{}
	b, err := NewBook(store)
	if err != nil {
		t.Fatal(err)
	}
	b.Known = func(string) (int64, error) { return 1_780_000_000, nil }
	i := Import{Attestation: "a", Issuer: "bot", IssuerKey: "k", Subject: "s", Reviews: 10, Hundredths: 400, Since: 1_700_006_400}
	var before Record
	for n, c := range []Change{
		{Kind: Traded, Started: 1_790_000_000}, {Kind: Voted, Stars: 5, Order: trade.OrderID{1}, By: Buyer}, {Kind: Voted, Stars: 1, Order: trade.OrderID{2}, By: Seller},
		{Kind: Imported, Import: &i}, {Kind: Exported, To: "x"}, {Kind: Rebound, To: "y"}, {Kind: Revoked, Attestation: "a"},
	} {
		c.At = 1_790_000_000 + int64(n)
		u, err := b.apply("u", c)
		if err != nil {
			t.Fatal(err)
		}
		store.commit(t, b.Take())
		again, err := Replay(store, "u")
		if err != nil || !reflect.DeepEqual(again, u) || u.Steps != uint32(n+1) {
			t.Fatalf("after %s: %+v, replayed %+v, %v", c.Kind, u, again, err)
		}
		switch c.Kind {
		case Voted:
			before = u
		case Imported:
			if u.CreatedAt != i.Since || u.Reviews != 12 || u.Max != 5 || u.Min != 1 {
				t.Errorf("%+v", u)
			}
		case Revoked:
			if u.Reviews != before.Reviews || u.Mean-before.Mean > 1e-9 || before.Mean-u.Mean > 1e-9 || u.CreatedAt != 1_780_000_000 || u.ExportedTo != "y" {
				t.Errorf("%+v, before the import %+v", u, before)
			}
		}
	}
	if _, err := (Record{}).Apply(Change{Kind: "dance"}); err == nil {
		t.Error("an unknown change applies")
	}
	if Check(store) == nil {
		t.Error("the rows of two votes are missing, and Check does not notice")
	}
}

// Check notices a record, a vote and a journal that do not belong together.
func TestCheckNotices(t *testing.T) {
	fresh := func() memory {
		store := memory{}
		b, err := NewBook(store)
		if err != nil {
			t.Fatal(err)
		}
		b.Known = func(string) (int64, error) { return 1_780_000_000, nil }
		tr := trade.Trade{ID: trade.OrderID{1}, Status: message.TradeSuccess, Buyer: trade.Party{Key: "b", Identity: "B"}, Seller: trade.Party{Key: "s", Identity: "S"}}
		q := Request{From: tr.Buyer, Message: message.Message{Payload: message.RatingUser(4)}, At: 1_790_000_000}
		if _, err := b.Rate(q, tr); err != nil {
			t.Fatal(err)
		}
		store.commit(t, b.Take())
		return store
	}
	if err := Check(fresh()); err != nil {
		t.Fatal(err)
	}
	for key := range fresh() {
		store := fresh()
		delete(store, key)
		if Check(store) == nil {
			t.Errorf("row %q can vanish", key[:1])
		}
	}
}

func TestPolicyCheck(t *testing.T) {
	for name, p := range map[string]Policy{
		"two of a name": {Issuers: []TrustedIssuer{{Name: "a"}, {Name: "a"}}},
		"no name":       {Issuers: []TrustedIssuer{{}}},
		"two of a key":  {Issuers: []TrustedIssuer{{Name: "a", Keys: []string{"k"}}, {Name: "b", Keys: []string{"k"}}}},
		"long import":   {ImportLifetime: 31 * 86400},
		"long export":   {ExportLifetime: 8 * 86400},
		"own key":       {Issuers: []TrustedIssuer{{Name: "a", Keys: []string{"own"}}}},
	} {
		if p.Check("node", "own") == nil {
			t.Errorf("%s: allowed", name)
		}
	}
	if (Policy{}).Check("node", "node") == nil {
		t.Error("the node's key signs attestations")
	}
	if err := (Policy{Import: true}).Check("node", "own"); err != nil {
		t.Error(err)
	}
}
