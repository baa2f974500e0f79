// Package names decides which names of Mostros look alike, and which key used a name first.
// Any person can publish orders under the name of a known Mostro, so a key whose name is
// equal to, or contains, the name of a key that this relay saw earlier has a Clash.
//
// The package has no store and no clock. Its owner stores the uses of names, passes the
// current time, and guards a Registry with a lock.
package names

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mtibben/confusables"
	"golang.org/x/text/unicode/norm"
)

// forms are the canonical forms in which names are compared. If two names look alike,
// they have the same forms.
type forms struct {
	full  string   // all words, joined
	core  string   // the words that are not generic, joined; "" if they are too short to identify a key
	words []string // canonical words
}

// genericNames are words that occur in many names and identify no key.
var genericNames = []string{"mostro", "mostros", "mostrop2p", "p2p", "bitcoin", "btc", "sats", "sat", "lightning", "ln", "node", "nodo", "no", "instance",
	"instancia", "exchange", "bot", "official", "oficial", "original", "real", "verified", "verificado", "new", "nuevo", "novo", "main", "test", "testing", "backup",
	"support", "soporte", "suporte", "org", "com", "net", "app", "io", "the", "el", "la", "o", "a", "by", "de", "do", "of"}

var generic = sync.OnceValue(func() map[string]bool {
	out := map[string]bool{}
	for _, w := range genericNames {
		for _, c := range canonicalWords(w) {
			out[c] = true
		}
	}
	return out
})

// isGeneric reports whether a canonical word identifies no key: a common word, a number
// or a single character.
func isGeneric(word string) bool {
	return generic()[word] || utf8.RuneCountInString(word) < 2 || !strings.ContainsFunc(word, func(r rune) bool { return r < '0' || r > '9' })
}

// MaxBytes bounds the bytes of a name that are stored and compared.
const MaxBytes = 120

// Minimum lengths of a name that is searched for inside other names: as a separate word,
// and as any substring.
const (
	minNameWord = 4
	minNamePart = 5
	maxNameRuns = 8 // words compared of one name
)

// lookAlikes maps digits and signs that are used as letters, in addition to the
// confusable characters of Unicode (UTS 39). The letters i and l and the digit 1 map to
// one letter, because capital I and small l look alike.
var lookAlikes = strings.NewReplacer("0", "o", "1", "l", "i", "l", "|", "l", "!", "l", "3", "e", "4", "a", "@", "a", "5", "s", "$", "s", "7", "t", "vv", "w",
	"ʍ", "rn", "ᴍ", "rn", "ᴛ", "t", "ʙ", "b", "ʜ", "h", "ĸ", "k", "ᴋ", "k")

// canonicalWords returns the words of a name in the form in which look-alike characters
// are equal.
func canonicalWords(name string) []string {
	name = strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cf, unicode.Variation_Selector) { // an invisible character
			return -1
		}
		return r
	}, strings.ToValidUTF8(words.Cut(name, MaxBytes), ""))
	var out []string
	// Capital and small letters have different look-alikes, so both are mapped.
	name = confusables.Skeleton(norm.NFKC.String(name))
	name = words.Fold(confusables.Skeleton(words.Fold(name)))
	for _, w := range strings.FieldsFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("|!@$", r)
	}) {
		if !strings.ContainsFunc(w, func(r rune) bool { return r < '0' || r > '9' }) {
			out = append(out, w) // a number
			continue
		}
		if w = lookAlikes.Replace(w); w != "" {
			out = append(out, w)
		}
	}
	return out[:min(len(out), maxNameRuns)]
}

func formsOf(name string) forms {
	f := forms{words: canonicalWords(name)}
	f.full = strings.Join(f.words, "")
	var core strings.Builder
	for _, w := range f.words {
		if !isGeneric(w) {
			core.WriteString(w)
		}
	}
	if utf8.RuneCountInString(core.String()) >= minNameWord {
		f.core = core.String()
	}
	return f
}

// Use is a name that a key uses, with the times at which this relay saw the name. The book
// stores uses as JSON.
type Use struct {
	Name      string    `json:"name"`
	First     time.Time `json:"first"` // time received
	Last      time.Time `json:"last"`  // time received, to the day
	Seq       uint64    `json:"seq"`   // log position of the first event with this name
	Witnessed bool      `json:"witnessed,omitzero"`
}

// Bounds of the names of one key, and of the keys with one name.
const (
	maxUses   = 8
	maxOwners = 8
)

// usedFor is the time after which an unused name no longer counts as the name of its key.
// ownedFor is the time after which an unused name no longer belongs to its key.
const (
	usedFor  = 30 * 24 * time.Hour
	ownedFor = 365 * 24 * time.Hour
)

// sameMoment is the time within which the order of two arrivals proves nothing if the
// earlier event was history: a relay that catches up receives all names at once.
const sameMoment = time.Hour

// owner is a key that uses a name.
type owner struct {
	pubkey string
	use    *Use
}

// before reports whether this relay saw the key of a use the name before the key of b.
func (a owner) before(b owner) bool {
	return cmp.Or(a.use.First.Compare(b.use.First), cmp.Compare(a.use.Seq, b.use.Seq)) < 0
}

// Clash is a name that another key used first, or that two keys share.
type Clash struct {
	Pubkey string
	Name   string
	Since  time.Time // time at which the other key was first seen with the name
	Shared bool      // this relay cannot tell which key was first
}

// Holder is a public key that uses names. A nil *Holder uses none.
type Holder struct {
	uses  []*Use
	clash *Clash
}

// Uses returns the names of the key. The slice and the uses are shared and must not be
// changed.
func (k *Holder) Uses() []*Use {
	if k == nil {
		return nil
	}
	return k.uses
}

// Clash returns the clash that Find found last, or nil if there is none.
func (k *Holder) Clash() *Clash {
	if k == nil {
		return nil
	}
	return k.clash
}

// Registry holds the names of all keys and the clashes between them. A Registry has no
// lock: the lock of its owner guards the Registry and its Holders.
type Registry struct {
	byKey      map[string]*Holder
	pubkeys    []string           // the keys of byKey, in the order in which they were added
	full, core map[string][]owner // by form of the name: the earliest first, at most maxOwners
	newest     time.Time          // latest first use of a name
}

// NewRegistry returns an empty Registry.
func NewRegistry() *Registry {
	return &Registry{byKey: map[string]*Holder{}, full: map[string][]owner{}, core: map[string][]owner{}}
}

// Set replaces the names of a key and returns the key. late is true if a first use came
// before other first uses that are already registered, for example from a backup. If late
// is true, the clashes of all keys may have changed.
func (r *Registry) Set(pubkey string, uses []*Use) (k *Holder, late bool) {
	if k = r.byKey[pubkey]; k == nil {
		pubkey = strings.Clone(pubkey)
		k = &Holder{}
		r.byKey[pubkey], r.pubkeys = k, append(r.pubkeys, pubkey)
	}
	k.uses = uses
	for _, u := range uses {
		r.add(owner{pubkey, u}, formsOf(u.Name))
		late = late || u.First.Before(r.newest.Add(-time.Minute))
		if u.First.After(r.newest) {
			r.newest = u.First
		}
	}
	return k, late
}

// Pubkeys returns all keys that use a name. The slice is shared and must not be changed.
func (r *Registry) Pubkeys() []string { return r.pubkeys }

// Touched returns the keys whose clashes may change if the names of some keys change: the
// keys themselves, and all keys with the same names.
func (r *Registry) Touched(changed map[string][]*Use) (pubkeys []string) {
	for pubkey, uses := range changed {
		pubkeys = append(pubkeys, pubkey)
		for _, u := range uses {
			f := formsOf(u.Name)
			for _, list := range [][]owner{r.full[f.full], r.core[f.core]} {
				for _, o := range list {
					pubkeys = append(pubkeys, o.pubkey)
				}
			}
		}
	}
	slices.Sort(pubkeys)
	return slices.Compact(pubkeys)
}

// Find finds the clash of a key's names with the names of other keys. standing returns the
// standing of a key. If the key uses no name, Find does nothing.
func (r *Registry) Find(pubkey string, standing func(pubkey string) Standing, now time.Time) {
	k := r.byKey[pubkey]
	if k == nil {
		return
	}
	k.clash = nil
	for _, u := range k.uses {
		if now.Sub(u.Last) > usedFor {
			continue
		}
		found := r.find(owner{pubkey, u}, standing, now)
		if found != nil && (k.clash == nil || k.clash.Shared && !found.Shared) {
			k.clash = found
		}
	}
}

// With returns the names of a key after an event with the name u.Name arrived at u.First,
// which must be equal to u.Last. changed is false if the use of the name is known to the
// day. If owned is false, uses is shared with readers, and With returns a copy.
func With(uses []*Use, owned bool, u Use) (out []*Use, changed bool) {
	if u.Name = strings.TrimSpace(words.Cut(u.Name, MaxBytes)); u.Name == "" {
		return uses, false
	}
	held := useOf(uses, u.Name)
	if held != nil && !u.First.Before(held.First) && u.Last.Sub(held.Last) < 24*time.Hour {
		return uses, false
	}
	if !owned {
		uses = slices.Clone(uses)
		for i, shared := range uses {
			c := *shared
			uses[i] = &c
		}
		held = useOf(uses, u.Name)
	}
	if held == nil {
		added := u // u itself stays on the stack in the usual case
		if held = &added; len(uses) == maxUses {
			oldest := slices.MinFunc(uses, func(a, b *Use) int { return a.Last.Compare(b.Last) })
			uses = slices.DeleteFunc(uses, func(u *Use) bool { return u == oldest })
		}
		uses = append(uses, held)
	}
	if u.First.Before(held.First) {
		held.First, held.Seq, held.Witnessed = u.First, u.Seq, u.Witnessed
	}
	if u.Last.After(held.Last) {
		held.Last = u.Last
	}
	return uses, true
}

func useOf(uses []*Use, name string) *Use {
	for _, u := range uses {
		if u.Name == name {
			return u
		}
	}
	return nil
}

func (r *Registry) add(o owner, f forms) {
	put := func(in map[string][]owner, form string) {
		if form == "" {
			return
		}
		list := slices.DeleteFunc(in[form], func(held owner) bool { return held.pubkey == o.pubkey && !o.before(held) })
		if slices.ContainsFunc(list, func(held owner) bool { return held.pubkey == o.pubkey }) {
			list = slices.DeleteFunc(list, func(held owner) bool { return held.pubkey == o.pubkey })
		}
		at, _ := slices.BinarySearchFunc(list, o, func(held, o owner) int {
			if held.before(o) {
				return -1
			}
			return 1
		})
		list = slices.Insert(list, at, o)
		in[form] = list[:min(len(list), maxOwners)]
	}
	put(r.full, f.full)
	put(r.core, f.core)
}

// Standing is the kind of a key, which decides whether its name is protected.
type Standing uint8

const (
	NoStanding  Standing = iota // the key is banned, or publishes no orders and no info
	IsPublisher                 // the key publishes orders: its name is protected against an equal name
	IsInstance                  // the key has published an info: its name is also protected against names that contain it
)

// find returns the clash of the name of o: the earliest other key whose name is equal to,
// or contained in, the name of o. find returns nil if there is no clash.
func (r *Registry) find(o owner, of func(pubkey string) Standing, now time.Time) *Clash {
	f := formsOf(o.use.Name)
	var best, shared *owner
	look := func(list []owner, least Standing) {
		for i := range list {
			held := &list[i]
			if held.pubkey == o.pubkey || now.Sub(held.use.Last) > ownedFor || of(held.pubkey) < least {
				continue
			}
			first, second := *held, o
			if o.before(*held) {
				first, second = o, *held
			}
			switch {
			case !first.use.Witnessed && second.use.First.Sub(first.use.First) < sameMoment:
				if shared == nil || held.before(*shared) {
					shared = held
				}
			case first.pubkey != o.pubkey && (best == nil || held.before(*best)):
				best = held
			}
		}
	}
	look(r.full[f.full], IsPublisher)
	look(r.core[f.core], IsInstance)
	for from := range f.words {
		run, length := "", 0
		for to := from; to < len(f.words); to++ {
			run += f.words[to]
			if length += utf8.RuneCountInString(f.words[to]); length >= minNameWord {
				look(r.core[run], IsInstance)
			}
			if !slices.ContainsFunc(f.words[:from], notGeneric) && !slices.ContainsFunc(f.words[to+1:], notGeneric) {
				look(r.full[run], IsInstance)
			}
		}
	}
	eachPart(f.full, func(part string) { look(r.core[part], IsInstance) })
	switch {
	case best != nil:
		return &Clash{Pubkey: best.pubkey, Name: best.use.Name, Since: best.use.First}
	case shared != nil:
		return &Clash{Pubkey: shared.pubkey, Name: shared.use.Name, Since: shared.use.First, Shared: true}
	}
	return nil
}

func notGeneric(word string) bool { return !isGeneric(word) }

// maxPartRunes bounds the part of a name in which other names are searched.
const maxPartRunes = 48

// eachPart calls fn with every substring of at least minNamePart characters.
func eachPart(s string, fn func(string)) {
	var at []int // byte offsets of the characters
	for i := range s {
		if at = append(at, i); len(at) == maxPartRunes {
			break
		}
	}
	if len(at) < maxPartRunes {
		at = append(at, len(s))
	}
	for from := range at {
		for to := from + minNamePart; to < len(at); to++ {
			fn(s[at[from]:at[to]])
		}
	}
}
