package score

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// A bundle holds all events from which scores were computed, with one JSON object per
// line. The lines are a bundleHead, one bundleEntry for each event and its receipt by this
// relay, and a bundleEnd with the results. A reader of the bundle can compute the scores
// again without the data of this program.
//
// Each entry ends with a link: a hash of the previous link (for the first entry a hash of
// the head) and of the entry itself. The end repeats the last link and the number of entries.
// Therefore VerifyBundle finds a line that was changed, removed or moved, even if the
// event in that line is valid.

// BundleFormat is the name of the bundle format.
const BundleFormat = "mostrodex reputation bundle 3"

// bundleFormat2 is the format without omissions and without a signature.
const bundleFormat2 = "mostrodex reputation bundle 2"

// bundleChain is the running hash of the links.
type bundleChain [32]byte

// linkSize is the number of bytes of the hash that an entry shows. The end shows the whole
// hash.
const linkSize = 16

// chainOf returns the start of a chain, computed from the line of the head.
func chainOf(head []byte) bundleChain { return sha256.Sum256(bytes.TrimRight(head, "\n")) }

// add returns the link of the next entry. The hash does not cover the field Link itself.
func (c *bundleChain) add(b bundleEntry) (link string, err error) {
	b.Link = ""
	raw, err := json.Marshal(b)
	if err != nil {
		return "", err
	}
	*c = sha256.Sum256(append(c[:], raw...))
	return hex.EncodeToString(c[:linkSize]), nil
}

type bundleHead struct {
	Format string           `json:"format"`
	Algo   string           `json:"algo"`
	Params Params           `json:"params"`
	AsOf   int64            `json:"as_of"`
	Only   string           `json:"only,omitempty"`  // the pubkey of the only node in the bundle; "" for all nodes
	Given  map[string]Micro `json:"given,omitempty"` // if Only is set: the prior means from other nodes, which the bundle does not prove
}

type bundleEntry struct {
	Seq      uint64          `json:"seq"`
	Received int64           `json:"received_ms"`
	Origin   string          `json:"road"`
	Relay    string          `json:"relay,omitempty"`
	Archived bool            `json:"archived,omitempty"`
	Erased   bool            `json:"erased,omitempty"` // the author deleted the event: the entry holds only the facts, without a signature
	Event    json.RawMessage `json:"event"`
	Link     string          `json:"link"`
}

type bundleEnd struct {
	Scores  []json.RawMessage `json:"scores"`
	Refused []Refusal         `json:"refused"`
	Root    string            `json:"root"`    // Merkle root of the bytes of the scores
	Entries int               `json:"entries"` // number of lines between the head and the end
	Chain   string            `json:"chain"`   // the last link, in full
	Omits   []Omission        `json:"omits,omitempty"`
}

// ErrUnsound means that a bundle does not hold the events or scores that it claims.
var ErrUnsound = errors.New("unsound bundle")

// originOf parses the name of an origin.
func originOf(name string) (mostro.Origin, error) {
	for r := mostro.OriginClient; r <= mostro.OriginBackfill; r++ {
		if r.String() == name {
			return r, nil
		}
	}
	return 0, fmt.Errorf("%w: unknown road %q", ErrUnsound, name)
}

// WriteBundle writes a bundle of the log as of a moment. If only is "", the bundle covers
// all nodes. Otherwise the bundle covers one node and the events on which its score
// depends. If progress is not nil, WriteBundle calls it with the number of entries that
// were read. WriteBundle returns mostro.ErrNotFound if the ledger does not know the node.
//
// If the author of an event deleted the event, the bundle holds the facts that the log
// kept. These facts are claims of the relay, with the author's signed deletion request as
// support.
func WriteBundle(ctx context.Context, w io.Writer, log Reader, params Params, asOf time.Time, only string, progress func(int)) ([]Score, error) {
	return WriteSignedBundle(ctx, w, log, params, asOf, only, nil, progress)
}

// WriteSignedBundle works like WriteBundle, and signs the bundle if by is not nil.
func WriteSignedBundle(ctx context.Context, w io.Writer, log Reader, params Params, asOf time.Time, only string, by BundleSigner, progress func(int)) ([]Score, error) {
	asOf = asOf.Truncate(time.Second) // the precision of the head: a later event of the same second is left out
	l := NewLedger(params, Receipts{})
	read := 0
	err := until(ctx, log, asOf, func(batch []mostro.Entry) error {
		for i, p := range l.PrepareAll(batch) {
			l.Commit(batch[i], p)
		}
		if read += len(batch); progress != nil {
			progress(read)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	scores := l.Compute(asOf)
	head := bundleHead{Format: BundleFormat, Algo: params.Algo(), Params: params, AsOf: asOf.Unix()}
	var wanted map[string]bool
	if only != "" {
		at := slices.IndexFunc(scores, func(s Score) bool { return s.Pubkey == only })
		if at < 0 {
			return nil, fmt.Errorf("%w: no Mostro %s", mostro.ErrNotFound, only)
		}
		head.Only, head.Given = only, map[string]Micro{only: scores[at].Mu}
		wanted = map[string]bool{only: true}
		for _, s := range scores {
			if slices.Contains(scores[at].Linked, s.Pubkey) {
				head.Given[s.Pubkey], wanted[s.Pubkey] = s.Mu, true
			}
		}
		scores = scores[at : at+1]
	}
	out := bufio.NewWriterSize(w, 1<<20)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	first, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	if _, err := out.Write(append(first, '\n')); err != nil {
		return nil, err
	}
	chain, entries := chainOf(first), 0
	left := omissions{only: only, given: len(scores), nodes: len(l.book.Nodes)}
	about := evidenceOf(&l.book, &params, wanted)
	err = EachBatch(ctx, log, 0, func(batch []mostro.Entry) error {
		for _, e := range batch {
			if e.ReceivedAt.After(asOf) {
				left.later++
				continue
			}
			if !about(e.Event) {
				left.others++
				continue
			}
			if e.Erased {
				left.erased++
			}
			raw, err := json.Marshal(e.Event)
			if err != nil {
				return err
			}
			b := bundleEntry{Seq: e.Seq, Received: e.ReceivedAt.UnixMilli(), Origin: e.Source.Origin.String(), Relay: e.Source.Relay, Archived: e.Archived, Erased: e.Erased, Event: raw}
			if b.Link, err = chain.add(b); err != nil {
				return err
			}
			if entries++; enc.Encode(b) != nil { // Flush returns the error of the writer
				return out.Flush()
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	end, err := endOf(scores, refusedAbout(l.book.Refused, only))
	if err != nil {
		return nil, err
	}
	end.Entries, end.Chain, end.Omits = entries, hex.EncodeToString(chain[:]), left.list(l, log)
	if err := errors.Join(signEnd(out, end, asOf.Unix(), by), out.Flush()); err != nil {
		return nil, err
	}
	return scores, nil
}

// until reads in batches the entries that were received up to a moment.
func until(ctx context.Context, log Reader, asOf time.Time, fn func([]mostro.Entry) error) error {
	return EachBatch(ctx, log, 0, func(batch []mostro.Entry) error {
		return fn(slices.DeleteFunc(batch, func(e mostro.Entry) bool { return e.ReceivedAt.After(asOf) }))
	})
}

// evidenceOf returns a filter for the events that a bundle needs: all evidence, or the evidence
// of the wanted nodes.
func evidenceOf(b *book, p *Params, wanted map[string]bool) func(*nostr.Event) bool {
	raters := map[string]bool{}
	for pubkey := range wanted {
		for _, r := range b.Nodes[pubkey].Ratings {
			raters[r.Rater] = true
		}
	}
	return func(evt *nostr.Event) bool {
		switch evt.Kind {
		case mostro.KindAppData:
			return slices.Contains(p.Funds, evt.PubKey) && strings.HasPrefix(evt.Tags.GetD(), FundListD) ||
				slices.Contains(p.FeeAskers, evt.PubKey) && strings.HasPrefix(evt.Tags.GetD(), FeeAnswerD)
		case mostro.KindDeletion:
			return wanted == nil || wanted[evt.PubKey] || raters[evt.PubKey]
		case mostro.KindHostRating:
			tag := evt.Tags.Find("p")
			return wanted == nil || len(tag) > 1 && wanted[tag[1]]
		case mostro.KindDevFee:
			// If several nodes name a payment, the payment belongs to one of them. The
			// bundle needs all of these fee events to decide which.
			tag := evt.Tags.Find("hash")
			return wanted == nil || wanted[evt.PubKey] || len(tag) > 1 && slices.ContainsFunc(b.Hashes[tag[1]], func(u hashUse) bool { return wanted[nodeOf(u.Order)] })
		case mostro.KindReceiptKeys, mostro.KindAnnouncement:
			return mostro.Classify(evt) == mostro.ClassKeyset && (wanted == nil || wanted[evt.PubKey])
		}
		return sharedKind(evt.Kind) && (wanted == nil || wanted[evt.PubKey])
	}
}

// nodeOf returns the node of a key "<node>:<order>".
func nodeOf(key string) string {
	if len(key) < 64 {
		return ""
	}
	return key[:64]
}

func refusedAbout(refused []Refusal, only string) []Refusal {
	list := []Refusal{}
	for _, r := range refused {
		if only == "" || r.Host == only {
			list = append(list, r)
		}
	}
	return list
}

func endOf(scores []Score, refused []Refusal) (end bundleEnd, err error) {
	leaves := make([][32]byte, 0, len(scores))
	end.Refused = refused
	for _, s := range scores {
		raw, err := json.Marshal(s)
		if err != nil {
			return end, err
		}
		end.Scores = append(end.Scores, raw)
		leaves = append(leaves, sha256.Sum256(append([]byte{0}, raw...)))
	}
	root := merkle(leaves)
	end.Root = hex.EncodeToString(root[:])
	return end, nil
}

// Verified is the result of VerifyBundle.
type Verified struct {
	Events int       `json:"events"`
	Scores []Score   `json:"scores"`
	AsOf   time.Time `json:"as_of"`
	Algo   string    `json:"algo"`
	Root   string    `json:"root"`
	Only   string    `json:"only,omitempty"`

	Signer string     `json:"signer,omitempty"` // key that signed the bundle; "" if it is not signed
	Omits  []Omission `json:"omits,omitempty"`  // as the author of the bundle states
}

// VerifyBundle checks the id and the signature of every event of a bundle, computes the
// scores again and compares the scores to the byte. If the bundle differs from the
// computed scores, VerifyBundle returns an ErrUnsound that names the first difference. If
// checkEvent is nil, VerifyBundle applies the rules of NIP-01.
//
// An erased entry has no signature. The bundle must hold a deletion request of the author
// that names the erased event.
//
// VerifyBundle cannot check the times of receipt, which are claims of the author of the
// bundle. Two relays that received the same events can compare these times.
func VerifyBundle(r io.Reader, checkEvent func(*nostr.Event) error, progress func(int)) (Verified, error) {
	if checkEvent == nil {
		checkEvent = func(evt *nostr.Event) error {
			if !evt.CheckID() {
				return errors.New("the id does not match the event")
			}
			if ok, err := evt.CheckSignature(); err != nil || !ok {
				return errors.New("the signature is not valid")
			}
			return nil
		}
	}
	in := bufio.NewReaderSize(r, 1<<20)
	line, err := readLine(in)
	if err != nil {
		return Verified{}, err
	}
	var head bundleHead
	if err := json.Unmarshal(line, &head); err != nil || head.Format != BundleFormat && head.Format != bundleFormat2 {
		return Verified{}, fmt.Errorf("%w: line 1 is not the head of a %q", ErrUnsound, BundleFormat)
	}
	if algo := head.Params.Algo(); algo != head.Algo {
		return Verified{}, fmt.Errorf("%w: algo is %s, the parameters have %s", ErrUnsound, head.Algo, algo)
	}
	l := NewLedger(head.Params, Receipts{})
	l.given = head.Given
	v := Verified{AsOf: time.Unix(head.AsOf, 0).UTC(), Algo: head.Algo, Only: head.Only}
	var end bundleEnd
	var erased erasures
	var unsigned error // why the signature is wrong
	chain := chainOf(line)
	for n := 2; ; n++ {
		if line, err = readLine(in); err != nil {
			return v, fmt.Errorf("line %d: %w", n, err)
		}
		if bytes.HasPrefix(line, []byte(`{"scores":`)) {
			if err := json.Unmarshal(line, &end); err != nil {
				return v, fmt.Errorf("%w: line %d: %w", ErrUnsound, n, err)
			}
			if head.Format == BundleFormat {
				// A difference in the scores is named before a wrong signature.
				if v.Signer, unsigned = readSigner(in, line, checkEvent); unsigned != nil {
					unsigned = fmt.Errorf("line %d: %w", n+1, unsigned)
				}
			}
			if rest, err := in.Peek(1); len(rest) > 0 {
				return v, fmt.Errorf("%w: line %d: data follows the end of the bundle", ErrUnsound, n+1)
			} else if !errors.Is(err, io.EOF) {
				return v, err
			}
			if sum := hex.EncodeToString(chain[:]); end.Entries != v.Events || end.Chain != sum {
				return v, fmt.Errorf("%w: line %d: the end states %d entries with the last link %s, computed %d and %s", ErrUnsound, n, end.Entries, clip([]byte(end.Chain)), v.Events, sum)
			}
			break
		}
		entry, err := entryOf(line, checkEvent, &chain)
		if err != nil {
			return v, fmt.Errorf("%w: line %d: %w", ErrUnsound, n, err)
		}
		if entry.ReceivedAt.After(v.AsOf) {
			return v, fmt.Errorf("%w: line %d: received after as_of", ErrUnsound, n)
		}
		erased.note(n, entry)
		l.Apply(entry)
		if v.Events++; progress != nil {
			progress(v.Events)
		}
	}
	if head.Format == BundleFormat {
		if err := checkOmits(end.Omits, head.Only, int64(len(erased.events))); err != nil {
			return v, err
		}
	}
	v.Omits = end.Omits
	if n, ok := erased.unnamed(); ok {
		return v, fmt.Errorf("%w: line %d: the event is marked as erased, but no deletion request of its author names it", ErrUnsound, n)
	}
	v.Scores = l.Compute(v.AsOf)
	if head.Only != "" {
		v.Scores = slices.DeleteFunc(v.Scores, func(s Score) bool { return s.Pubkey != head.Only })
	}
	own, err := endOf(v.Scores, refusedAbout(l.book.Refused, head.Only))
	if err != nil {
		return v, err
	}
	v.Root = own.Root
	if err := own.differs(end); err != nil {
		return v, err
	}
	return v, unsigned
}

// erasures match the erased events of a bundle with the deletion requests of the authors.
type erasures struct {
	events []erasedEvent
	asked  map[string]int64 // by author and id, or author and address: the latest created_at of a request
}

type erasedEvent struct {
	line int
	evt  *nostr.Event
}

func (x *erasures) note(line int, e mostro.Entry) {
	if e.Erased {
		x.events = append(x.events, erasedEvent{line, e.Event})
	}
	if e.Event.Kind != mostro.KindDeletion {
		return
	}
	if x.asked == nil {
		x.asked = map[string]int64{}
	}
	for _, tag := range e.Event.Tags {
		if len(tag) > 1 && (tag[0] == "e" || tag[0] == "a") {
			key := e.Event.PubKey + " " + tag[1]
			x.asked[key] = max(x.asked[key], int64(e.Event.CreatedAt))
		}
	}
}

// unnamed returns the line of an erased event that no request names.
func (x *erasures) unnamed() (line int, ok bool) {
	for _, e := range x.events {
		if _, named := x.asked[e.evt.PubKey+" "+e.evt.ID]; named {
			continue
		}
		address := fmt.Sprintf("%d:%s:%s", e.evt.Kind, e.evt.PubKey, e.evt.Tags.GetD())
		if until, named := x.asked[e.evt.PubKey+" "+address]; !named || int64(e.evt.CreatedAt) > until {
			return e.line, true
		}
	}
	return 0, false
}

func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: the bundle is truncated", ErrUnsound)
	}
	return line, err
}

func entryOf(line []byte, check func(*nostr.Event) error, chain *bundleChain) (e mostro.Entry, err error) {
	var b bundleEntry
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		return e, err
	}
	e = mostro.Entry{Seq: b.Seq, ReceivedAt: time.UnixMilli(b.Received).UTC(), Source: mostro.Source{Relay: b.Relay}, Archived: b.Archived, Erased: b.Erased, Event: &nostr.Event{}}
	if e.Source.Origin, err = originOf(b.Origin); err != nil {
		return e, err
	}
	if err := json.Unmarshal(b.Event, e.Event); err != nil {
		return e, err
	}
	if b.Erased {
		if e.Event.Kind == mostro.KindDeletion || e.Event.Sig != "" || e.Event.Content != "" || !nostr.IsValid32ByteHex(e.Event.ID) {
			return e, errors.New("an erased entry with more than the facts: a deletion request, a signature, content or an invalid id")
		}
	} else if err := check(e.Event); err != nil {
		return e, err
	}
	if link, err := chain.add(b); err != nil || link != b.Link {
		return e, fmt.Errorf("entry %d: the link is wrong: the time or road of receipt, the position or an earlier line was changed, or a line was removed", b.Seq)
	}
	return e, nil
}

// differs returns an error for the first difference between two ends. own is the computed
// end.
func (own bundleEnd) differs(other bundleEnd) error {
	for i, raw := range own.Scores {
		if i >= len(other.Scores) {
			return fmt.Errorf("%w: the bundle lacks a score that was computed from its events: %s", ErrUnsound, clip(raw))
		}
		if !bytes.Equal(raw, other.Scores[i]) {
			return fmt.Errorf("%w: %s", ErrUnsound, firstDifference(raw, other.Scores[i]))
		}
	}
	if len(other.Scores) > len(own.Scores) {
		return fmt.Errorf("%w: the bundle has a score that no event supports: %s", ErrUnsound, clip(other.Scores[len(own.Scores)]))
	}
	if !slices.Equal(own.Refused, other.Refused) {
		return fmt.Errorf("%w: the refused events differ from the computed ones", ErrUnsound)
	}
	if own.Root != other.Root {
		return fmt.Errorf("%w: root is %s, computed %s", ErrUnsound, other.Root, own.Root)
	}
	return nil
}

func clip(raw []byte) string { return string(raw[:min(len(raw), 120)]) }

// firstDifference returns the name of the first field that differs.
func firstDifference(own, other []byte) string {
	var a, b map[string]json.RawMessage
	if json.Unmarshal(own, &a) == nil && json.Unmarshal(other, &b) == nil {
		names := make([]string, 0, len(a))
		for name := range a {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if !bytes.Equal(a[name], b[name]) {
				return fmt.Sprintf("score of %s: %s is %s, computed %s", a["pubkey"], name, clip(b[name]), clip(a[name]))
			}
		}
	}
	return fmt.Sprintf("score is written as %s, computed %s", clip(other), clip(own))
}
