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

// Instance is a Mostro: its own events and the sums of its orders. Info, Profile and
// Relays are shared and must not be changed. Each Instance has its own maps.
type Instance struct {
	Pubkey     string
	Name       string // "" if it states none
	Info       *mostro.Info
	Profile    *mostro.Profile       // nil: none
	Relays     *mostro.RelayList     // nil: none
	Orders     map[mostro.Status]int // by status of the newest version
	Fiats      map[string]int
	Disputes   map[mostro.DisputeState]int
	Trades     int   // orders with status success
	VolumeSats int64 // of the successful orders that state an amount
	FirstSeen  time.Time
	LastSeen   time.Time
	Note       Note
}

// Publisher is an author of orders without an info event. A publisher belongs to the
// platform that its orders state.
type Publisher struct {
	Pubkey   string
	Name     string // "" if it states none
	Platform string // the platform of most of its orders
	Orders   int
}

// maxPublishers bounds the list of publishers of one answer.
const maxPublishers = 500

// ErrNoInstance is returned if a key is known but has published no info event (kind
// 38385).
var ErrNoInstance = errors.New("the key has published no info event")

// Instances returns the instances whose words match text, or all instances if text is "".
// The second result is at most 500 other authors of orders, those with the most orders.
// If spam is set, quarantined keys are included.
func (x *Index) Instances(ctx context.Context, text string, spam bool) ([]*Instance, []Publisher, error) {
	instances, publishers := x.book.authors.Load().list(words.Asked(text), x.cfg.Now())
	mod, err := x.moderation(ctx)
	if err != nil {
		return nil, nil, err
	}
	instances = slices.DeleteFunc(instances, func(i *Instance) bool { return mod.Hides(i.Pubkey, "", spam) })
	publishers = slices.DeleteFunc(publishers, func(p Publisher) bool { return mod.Hides(p.Pubkey, "", spam) })
	for _, i := range instances {
		x.countOpen(i)
	}
	return instances, publishers, nil
}

// Instance returns one instance. Instance returns mostro.ErrNotFound if the key is
// unknown or hidden by the rules, and ErrNoInstance if the key is a publisher.
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

// NoteOf returns the note about an author for an order of a platform. If platform is "",
// the note is about the author alone.
func (x *Index) NoteOf(pubkey, platform string) Note {
	return x.book.authors.Load().noteOf(pubkey, platform, x.cfg.Now())
}

// NameFor returns the instance name of an order: the name that the order states, or else
// the name that its author states.
func (x *Index) NameFor(o *mostro.Order) string {
	return cmp.Or(o.InstanceName, x.book.authors.Load().nameOf(o.Pubkey))
}

// list returns the instances whose words match all wanted words, and the other authors of
// orders.
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

// countOpen counts an order as pending only if the order can still be taken, because a
// Mostro may publish no event when an order expires.
func (x *Index) countOpen(i *Instance) {
	x.sweep(x.cfg.Now())
	open := min(x.book.live.Load().PendingOf(i.Pubkey), i.Orders[mostro.StatusPending])
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

// instance returns a copy of an author, or nil if the author is no instance. The caller
// holds the lock of authors.
func (a *author) instance(pubkey string, note Note) *Instance {
	if a.Info == nil {
		return nil
	}
	return &Instance{Pubkey: pubkey, Name: a.name(), Info: a.Info, Profile: a.Profile, Relays: a.Relays,
		Orders: maps.Clone(a.orders), Fiats: maps.Clone(a.fiats), Disputes: maps.Clone(a.disputes),
		Trades: a.orders[mostro.StatusSuccess], VolumeSats: a.volume, FirstSeen: a.first, LastSeen: a.last, Note: note}
}
