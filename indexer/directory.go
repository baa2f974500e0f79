package indexer

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/mostro"
)

// Instance is a Mostro: its own events and the sums of its orders. Info, Profile, Relays and
// Health are shared and must not be changed. Each Instance has its own maps.
type Instance struct {
	Pubkey     string
	Name       string // "" if it states none
	Info       *mostro.Info
	Profile    *mostro.Profile       // nil: none
	Relays     *mostro.RelayList     // nil: none
	Health     *mostro.Health        // the newest, perhaps expired; nil: none
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

// Directory answers questions about the authors of orders. Its methods may be called
// concurrently.
type Directory struct {
	book  *book
	rules *moderator
	now   func() time.Time
}

// Instances returns the instances whose words match text, or all instances if text is "".
// The second result is at most 500 other authors of orders, those with the most orders.
// If spam is set, quarantined keys are included.
func (d *Directory) Instances(ctx context.Context, text string, spam bool) ([]*Instance, []Publisher, error) {
	instances, publishers := d.book.authors.Load().list(words.Asked(text), d.now())
	mod, err := d.rules.hidden(ctx)
	if err != nil {
		return nil, nil, err
	}
	instances = slices.DeleteFunc(instances, func(i *Instance) bool { return mod.Hides(i.Pubkey, "", spam) })
	publishers = slices.DeleteFunc(publishers, func(p Publisher) bool { return mod.Hides(p.Pubkey, "", spam) })
	for _, i := range instances {
		d.countOpen(i)
	}
	return instances, publishers, nil
}

// Instance returns one instance. Instance returns mostro.ErrNotFound if the key is
// unknown or hidden by the rules, and ErrNoInstance if the key is a publisher.
func (d *Directory) Instance(ctx context.Context, pubkey string, spam bool) (*Instance, error) {
	if err := d.rules.visible(ctx, pubkey, "", spam); err != nil {
		return nil, err
	}
	i, err := d.book.authors.Load().instance(pubkey, d.now())
	if err == nil {
		d.countOpen(i)
	}
	return i, err
}

// IsInstance reports whether a key has published an info event.
func (d *Directory) IsInstance(pubkey string) bool { return d.book.authors.Load().infoID(pubkey) != "" }

// NoteOf returns the note about an author for an order of a platform. If platform is "",
// the note is about the author alone.
func (d *Directory) NoteOf(pubkey, platform string) Note {
	return d.book.authors.Load().noteOf(pubkey, platform, d.now())
}

// NameFor returns the instance name of an order: the name that the order states, or else
// the name that its author states.
func (d *Directory) NameFor(o *mostro.Order) string {
	return cmp.Or(o.InstanceName, d.book.authors.Load().nameOf(o.Pubkey))
}

// countOpen counts an order as pending only if the order can still be taken, because a
// Mostro may publish no event when an order expires.
func (d *Directory) countOpen(i *Instance) {
	d.book.sweep(d.now())
	open := min(d.book.live.Load().PendingOf(i.Pubkey), i.Orders[mostro.StatusPending])
	if gone := i.Orders[mostro.StatusPending] - open; gone > 0 {
		i.Orders[mostro.StatusExpired] += gone
	}
	if i.Orders[mostro.StatusPending] = open; open == 0 {
		delete(i.Orders, mostro.StatusPending)
	}
}

// FeeOf returns the fee of an instance as a fraction of the amount, both sides together, or nil
// if it states none.
func (d *Directory) FeeOf(pubkey string) *mostro.Decimal {
	s := d.book.authors.Load()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if a := s.infos[pubkey]; a != nil {
		return a.Info.Fee
	}
	return nil
}

// Impostor reports whether a key uses the name of another key that this relay has known
// longer. If so, of is the other key and name is its name.
func (d *Directory) Impostor(pubkey string) (of, name string, ok bool) {
	c := d.book.authors.Load().noteOf(pubkey, "", d.now()).Clash
	if c == nil || c.Shared {
		return "", "", false
	}
	return c.Pubkey, c.Name, true
}

// Infos returns the newest info of each instance, with Name set to the name that the
// explorer shows, sorted by public key. Banned and quarantined keys are left out.
func (d *Directory) Infos() []mostro.Info {
	hidden := d.rules.keyHidden()
	s := d.book.authors.Load()
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []mostro.Info
	for pubkey, a := range s.infos {
		if !hidden(pubkey) {
			info := *a.Info
			info.Name = a.name()
			out = append(out, info)
		}
	}
	slices.SortFunc(out, func(a, b mostro.Info) int { return strings.Compare(a.Pubkey, b.Pubkey) })
	return out
}
