package users

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

func TestStep(t *testing.T) {
	for name, c := range map[string]struct {
		was  User
		in   Input
		want User
		err  error
	}{
		"the first trade":               {User{Identity: "a"}, Input{At: 5, Kind: KindIndex, Index: 3}, User{Identity: "a", LastIndex: 3, CreatedAt: 5, Steps: 1}, nil},
		"a later trade":                 {User{Identity: "a", LastIndex: 3, CreatedAt: 5, Steps: 1}, Input{At: 9, Kind: KindIndex, Index: 4}, User{Identity: "a", LastIndex: 4, CreatedAt: 5, Steps: 2}, nil},
		"an index that was used":        {User{Identity: "a", LastIndex: 3}, Input{At: 9, Kind: KindIndex, Index: 3}, User{}, ErrNothing},
		"a solver":                      {User{Identity: "a"}, Input{At: 5, Kind: KindRole, Role: trade.RoleRead}, User{Identity: "a", Role: trade.RoleRead, RoleAt: 5, Steps: 1}, nil},
		"a removed solver":              {User{Identity: "a", Role: trade.RoleRead, Steps: 1}, Input{At: 7, Kind: KindRole}, User{Identity: "a", RoleAt: 7, Steps: 2}, nil},
		"the same role":                 {User{Identity: "a", Role: trade.RoleRead}, Input{At: 7, Kind: KindRole, Role: trade.RoleRead}, User{}, ErrNothing},
		"a user from before":            {User{Identity: "a"}, Input{At: 7, Kind: KindBase, Base: &User{Identity: "a", LastIndex: 9, CreatedAt: 1}}, User{Identity: "a", LastIndex: 9, CreatedAt: 1, Steps: 1}, nil},
		"a base in the middle":          {User{Identity: "a", Steps: 2}, Input{At: 7, Kind: KindBase, Base: &User{LastIndex: 9}}, User{}, ErrNothing},
		"a base of another":             {User{Identity: "a"}, Input{At: 7, Kind: KindBase, Base: &User{Identity: "b"}}, User{Identity: "a", Steps: 1}, nil},
		"a kind of a newer program":     {User{Identity: "a"}, Input{At: 7, Kind: "praise"}, User{}, errKind},
		"an index keeps the first time": {User{Identity: "a", Role: trade.RoleWrite, RoleAt: 2, Steps: 1}, Input{At: 7, Kind: KindIndex, Index: 1}, User{Identity: "a", LastIndex: 1, CreatedAt: 7, Role: trade.RoleWrite, RoleAt: 2, Steps: 2}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Step(c.was, c.in)
			if c.err != nil {
				if !errors.Is(err, c.err) || !reflect.DeepEqual(got, c.was) {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("%+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

// The rows of older versions are read by newer ones.
func TestStoredForm(t *testing.T) {
	u := User{Identity: "a", LastIndex: 1, CreatedAt: 2}
	if b, err := json.Marshal(u); err != nil || string(b) != `{"identity":"a","last_index":1,"created_at":2}` {
		t.Errorf("a user without a journal is stored as %s, %v", b, err)
	}
	in := Input{At: 1, Kind: KindRole, Trade: trade.OrderID{1}, Index: 2, Role: trade.RoleRead, Base: &u, Reason: "r"}
	want := `{"at":1,"kind":"role","trade":"01000000-0000-0000-0000-000000000000","index":2,"role":"read","base":{"identity":"a","last_index":1,"created_at":2},"reason":"r"}`
	if b, err := json.Marshal(in); err != nil || string(b) != want {
		t.Errorf("an input is stored as %s, %v", b, err)
	}
}
