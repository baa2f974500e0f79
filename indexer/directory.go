package indexer

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/mostro"
)

// Instance is a Mostro: what it says of itself, and what its orders come to.
// Info, Profile and Relays are shared and not changed; the maps are its own.
type Instance struct {
	Pubkey     string
	Name       string // "" if it states none
	Info       *mostro.Info
	Profile    *mostro.Profile       // nil: none
	Relays     *mostro.RelayList     // nil: none
	Orders     map[mostro.Status]int // by status of their newest version
	Fiats      map[string]int
	Disputes   map[mostro.DisputeState]int
	Trades     int   // orders that ended in success
	VolumeSats int64 // of those that state an amount
	FirstSeen  time.Time
	LastSeen   time.Time
	Note       Note
}

// Publisher is an author of orders that publishes no info: it belongs to the
// platform that its orders claim.
type Publisher struct {
	Pubkey   string
	Name     string // "" if it states none
	Platform string // of most of its orders
	Orders   int
}

// maxPublishers bounds the list of publishers.
const maxPublishers = 500

// ErrNoInstance says that a key is known, and has published no info event.
var ErrNoInstance = errors.New("the key has published no info event")

// Instances returns the instances whose words answer a text, all for "", and at
// most 500 other authors of orders, those with most orders. With spam, keys in
// quarantine are among them.
func (x *Index) Instances(ctx context.Context, text string, spam bool) ([]*Instance, []Publisher, error) {
	instances, publishers := x.book.authors.Load().list(words.Asked(text), x.cfg.Now())
	mod, err := x.moderation(ctx)
	if err != nil {
		return nil, nil, err
	}
	instances = slices.DeleteFunc(instances, func(i *Instance) bool { return mod.hides(i.Pubkey, "", spam) })
	publishers = slices.DeleteFunc(publishers, func(p Publisher) bool { return mod.hides(p.Pubkey, "", spam) })
	for _, i := range instances {
		x.countOpen(i)
	}
	return instances, publishers, nil
}

// Instance returns one instance. It returns mostro.ErrNotFound if nothing is
// known of the key or the rules hide it, and ErrNoInstance if it is a publisher.
func (x *Index) Instance(ctx context.Context, pubkey string, spam bool) (*Instance, error) {
	if err := x.Visible(ctx, pubkey, "", spam); err != nil {
		return nil, err
	}
	i, err := x.book.authors.Load().instance(pubkey, x.cfg.Now())
	if err == nil {
		x.countOpen(i)
	}
	return i, err
}

// IsInstance reports whether a key has published an info event.
func (x *Index) IsInstance(pubkey string) bool { return x.book.authors.Load().infoID(pubkey) != "" }

// NoteOf returns the note about the author of orders of a platform; platform ""
// asks about the author alone.
func (x *Index) NoteOf(pubkey, platform string) Note {
	return x.book.authors.Load().noteOf(pubkey, platform, x.cfg.Now())
}

// NameFor returns the name of an order's instance: as the order states it, else
// as its author does.
func (x *Index) NameFor(o *mostro.Order) string {
	return cmp.Or(o.InstanceName, x.book.authors.Load().nameOf(o.Pubkey))
}

// list gives the instances whose words answer what was asked, and the other
// authors of orders.
func (s *authors) list(wanted []string, now time.Time) ([]*Instance, []Publisher) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var instances []*Instance
	publishers := []Publisher{}
	for pubkey, a := range s.byKey {
		if a.Info != nil {
			if words.AllBegin(a.words, wanted) {
				instances = append(instances, a.instance(pubkey, s.note(pubkey, "", now)))
			}
			continue
		}
		p := Publisher{Pubkey: pubkey, Name: a.name()}
		most := 0
		for platform, n := range a.platform {
			p.Orders += n
			if n > most || n == most && platform != "" && (p.Platform == "" || platform < p.Platform) {
				most, p.Platform = n, platform
			}
		}
		if p.Orders > 0 {
			publishers = append(publishers, p)
		}
	}
	slices.SortFunc(publishers, func(a, b Publisher) int {
		return cmp.Or(cmp.Compare(b.Orders, a.Orders), strings.Compare(a.Pubkey, b.Pubkey))
	})
	return instances, publishers[:min(len(publishers), maxPublishers)]
}

// countOpen counts as pending only what can still be taken. A Mostro may publish
// nothing when an order expires.
func (x *Index) countOpen(i *Instance) {
	x.sweep(x.cfg.Now())
	open := min(x.book.live.Load().pendingOf(i.Pubkey), i.Orders[mostro.StatusPending])
	if gone := i.Orders[mostro.StatusPending] - open; gone > 0 {
		i.Orders[mostro.StatusExpired] += gone
	}
	if i.Orders[mostro.StatusPending] = open; open == 0 {
		delete(i.Orders, mostro.StatusPending)
	}
}

func (s *authors) instance(pubkey string, now time.Time) (*Instance, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a := s.byKey[pubkey]
	if a == nil {
		return nil, mostro.ErrNotFound
	}
	if i := a.instance(pubkey, s.note(pubkey, "", now)); i != nil {
		return i, nil
	}
	return nil, ErrNoInstance
}

// instance copies an author; nil when it is no instance. The caller holds the
// authors' lock.
func (a *author) instance(pubkey string, note Note) *Instance {
	if a.Info == nil {
		return nil
	}
	return &Instance{Pubkey: pubkey, Name: a.name(), Info: a.Info, Profile: a.Profile, Relays: a.Relays,
		Orders: maps.Clone(a.orders), Fiats: maps.Clone(a.fiats), Disputes: maps.Clone(a.disputes),
		Trades: a.orders[mostro.StatusSuccess], VolumeSats: a.volume, FirstSeen: a.first, LastSeen: a.last, Note: note}
}
