package indexer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/analysis"
	"github.com/blevesearch/bleve/v2/document"
	"github.com/blevesearch/bleve/v2/index/scorch"
	"github.com/blevesearch/bleve/v2/mapping"
	"github.com/blevesearch/bleve/v2/search"
	"github.com/blevesearch/bleve/v2/search/query"
	index "github.com/blevesearch/bleve_index_api"
	"github.com/mostrodex/mostrodex/indexer/livebook"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/internal/cache"
)

// Fields of a search document. A live order has only fieldDescription, and no document if
// it has no description: the column store answers all other conditions for live orders.
// An order that is not live has all other fields.
const (
	fieldDescription = "w" // folded words of the description, each once
	fieldText        = "t" // folded words by which the order is found
	fieldFiat        = "f"
	fieldAuthor      = "a"
	fieldGone        = "g" // "1"
	fieldStatus      = "s"
	fieldSide        = "k"
	fieldPlatform    = "p"
	fieldNetwork     = "n"
	fieldMethod      = "m" // folded, as one term
	fieldFiatMin     = "lo"
	fieldFiatMax     = "hi"
	fieldKey         = "id" // the order's Key, which breaks ties as in the column store
	// Values for sorting and ranges, as 16 hex digits of the sort key. Each value is one
	// term; a numeric field of Bleve would use sixteen terms.
	fieldCreated = "sc"
	fieldPremium = "sp"
	fieldAmount  = "sa"
	fieldExpiry  = "se"
	fieldRating  = "sr" // of the maker

	fieldMakerDays = "sd" // age of the maker's account
)

var sortFields = [orders.NumOrders]string{orders.ByCreated: fieldCreated, orders.ByPremium: fieldPremium, orders.ByAmount: fieldAmount, orders.ByExpiry: fieldExpiry}

// Options of fields: no stored values, no positions, no frequencies. Fields that are
// sorted or counted have doc values.
const (
	lean    = index.IndexField | index.SkipFreqNorm
	counted = lean | index.DocValues
)

// searchFormat is incremented when the fields change. An index of another format is
// rebuilt.
const searchFormat = "5"

// searchIndex is the Bleve index in dir/search. One goroutine writes; any number of
// goroutines read. The index is disposable. The cursor is committed in the same batches
// as the documents. If a crash loses the last batches, search reads the entries from the
// log again.
type searchIndex struct {
	dir  string
	life sync.RWMutex // read-locked while idx is used; write-locked while idx is replaced
	idx  bleve.Index

	state  searchState   // as of the last batch; owned by the writer
	cursor atomic.Uint64 // copy of state.cursor for other goroutines

	generation   atomic.Uint64                   // number of batches written
	descriptions cache.Cache[string, cachedHits] // by word
}

// oneWorker limits Bleve to one analysis thread, so that indexing text does not slow down
// ingest.
var oneWorker = sync.OnceFunc(func() { bleve.Config.SetAnalysisQueueSize(1) })

func openSearch(dir string) (*searchIndex, error) {
	oneWorker()
	s := &searchIndex{dir: filepath.Join(dir, "search")}
	s.descriptions.Max, s.descriptions.Cost = maxCachedHits, cachedHits.cost
	return s, s.open()
}

var runtimeConfig = map[string]any{"unsafe_batch": true} // Batch may return before its data is on disk

func (s *searchIndex) open() error {
	idx, err := bleve.OpenUsing(s.dir, runtimeConfig)
	if errors.Is(err, bleve.ErrorIndexPathDoesNotExist) {
		idx, err = bleve.NewUsing(s.dir, leanMapping(), scorch.Name, scorch.Name, runtimeConfig)
	}
	if err != nil {
		return fmt.Errorf("open search: %w", err)
	}
	s.idx, s.state = idx, searchState{}
	format, err := idx.GetInternal([]byte("format"))
	if err == nil && format != nil && string(format) != searchFormat {
		err = errors.New("index of another format")
	}
	if err == nil && format != nil {
		err = s.readState()
	}
	if err != nil {
		idx.Close()
		s.idx = nil
		return fmt.Errorf("open search: %w", err)
	}
	s.cursor.Store(s.state.cursor)
	return nil
}

func (s *searchIndex) readState() error {
	raw, err := s.idx.GetInternal([]byte("cursor"))
	if err != nil || len(raw) < 16 {
		return err
	}
	s.state = searchState{binary.BigEndian.Uint64(raw), int64(binary.BigEndian.Uint64(raw[8:])), string(raw[16:])}
	return nil
}

// leanMapping returns a mapping of no fields, because searchDoc.fill makes the fields of
// each document.
func leanMapping() *mapping.IndexMappingImpl {
	m := bleve.NewIndexMapping()
	m.DefaultMapping = bleve.NewDocumentDisabledMapping()
	return m
}

func (s *searchIndex) close() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.idx == nil {
		return nil
	}
	err := s.idx.Close()
	s.idx = nil
	return err
}

// reset deletes the index and creates an empty one.
func (s *searchIndex) reset() error {
	s.life.Lock()
	defer s.life.Unlock()
	return s.replace(func() error { return nil })
}

// replace closes and deletes the index, calls put to install another one, and opens it.
// The caller holds life.
func (s *searchIndex) replace(put func() error) error {
	if s.idx != nil {
		s.idx.Close() // the index is deleted next
		s.idx = nil
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return err
	}
	if err := put(); err != nil {
		return err
	}
	return s.open()
}

// spaced is an analyzer that splits text at single spaces.
type spaced struct{}

// Analyze returns one token per word.
func (spaced) Analyze(b []byte) analysis.TokenStream {
	var out analysis.TokenStream
	pos := 1
	for start := 0; start < len(b); pos++ {
		end := start
		for end < len(b) && b[end] != ' ' {
			end++
		}
		out = append(out, &analysis.Token{Term: b[start:end], Start: start, End: end, Position: pos})
		start = end + 1
	}
	return out
}

// fill adds the fields of the order to a document.
func (d *searchDoc) fill(doc *document.Document) {
	o := &d.v.Order
	add := func(field, value string, options index.FieldIndexingOptions) {
		if value != "" {
			doc.AddField(document.NewTextFieldCustom(field, nil, []byte(value), options, nil))
		}
	}
	addWords := func(field string, all []string) {
		doc.AddField(document.NewTextFieldCustom(field, nil, []byte(textOf(all)), lean, spaced{}))
	}
	if !d.gone {
		addWords(fieldDescription, words.Split(nil, o.Description))
		return
	}
	addWords(fieldText, orders.OrderWords(o))
	add(fieldGone, "1", lean)
	add(fieldKey, hex.EncodeToString(d.key[:]), counted)
	for _, f := range pastFilters {
		if f.field == "" {
			continue
		}
		options := lean
		if f.facets > 0 {
			options = counted
		}
		for _, term := range f.terms(o) {
			add(f.field, term, options)
		}
	}
	for order, field := range sortFields {
		q := orders.Query{Sort: map[int]orders.Sort{orders.ByCreated: orders.SortNewest, orders.ByPremium: orders.SortPremium, orders.ByAmount: orders.SortAmount, orders.ByExpiry: orders.SortExpiry}[order]}
		if m := q.MarkOf(d.key, d.v); m.Key != orders.UnknownKey {
			add(field, hexKey(m.Key), counted)
		}
	}
	if lo, hi := orders.RangeOf(o.FiatAmount); !math.IsNaN(lo) {
		add(fieldFiatMin, hexKey(orders.FloatKey(lo)), lean)
		add(fieldFiatMax, hexKey(orders.FloatKey(hi)), lean)
	}
}

// write commits documents and the state in one batch.
func (s *searchIndex) write(docs []searchDoc, st searchState) error {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.idx == nil {
		return ErrClosed
	}
	b := s.idx.NewBatch()
	for i := range docs {
		if docs[i].v == nil {
			b.Delete(docs[i].address)
			continue
		}
		doc := document.NewDocument(docs[i].address)
		docs[i].fill(doc)
		if err := b.IndexAdvanced(doc); err != nil {
			return err
		}
	}
	b.SetInternal([]byte("format"), []byte(searchFormat))
	b.SetInternal([]byte("cursor"), st.value())
	if err := s.idx.Batch(b); err != nil {
		return fmt.Errorf("search batch: %w", err)
	}
	s.state = st
	s.cursor.Store(st.cursor)
	s.generation.Add(1)
	return nil
}

// builderMapping passes documents to Bleve's builder whose fields fill makes.
type builderMapping struct{ *mapping.IndexMappingImpl }

// MapDocument fills the document from a *searchDoc.
func (builderMapping) MapDocument(doc *document.Document, data any) error {
	d, ok := data.(*searchDoc)
	if !ok {
		return fmt.Errorf("search builder: unexpected type %T", data)
	}
	d.fill(doc)
	return nil
}

// build replaces the index by an index built offline. docs must call add once for each
// order. Queries use the old index until build has finished.
func (s *searchIndex) build(docs func(add func(searchDoc) error) error, st searchState) error {
	next := s.dir + ".new"
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	defer os.RemoveAll(next)
	if err := os.MkdirAll(filepath.Dir(next), 0o700); err != nil {
		return err
	}
	parts, err := os.MkdirTemp(filepath.Dir(next), "search.parts")
	if err != nil {
		return err
	}
	defer os.RemoveAll(parts)
	b, err := bleve.NewBuilder(next, builderMapping{leanMapping()}, map[string]any{"batchSize": 5000, "mergeMax": 20, "buildPathPrefix": parts})
	if err != nil {
		return fmt.Errorf("build search: %w", err)
	}
	n := 0
	err = docs(func(d searchDoc) error {
		n++
		return b.Index(d.address, &d)
	})
	if err != nil {
		return err // the builder's files are deleted with parts
	}
	if n > 0 { // the builder cannot be closed without a document
		if err := b.Close(); err != nil {
			return fmt.Errorf("build search: %w", err)
		}
	}
	s.life.Lock()
	err = s.replace(func() error {
		if n == 0 {
			return nil
		}
		return os.Rename(next, s.dir)
	})
	s.life.Unlock()
	if err != nil {
		return err
	}
	return s.write(nil, st)
}

// wordQuery returns the Bleve queries of words. Each word must be a prefix of a word of
// the text, or stand for the currency or the instance.
func wordQuery(all []livebook.Word) []query.Query {
	var out []query.Query
	for _, w := range all {
		prefix := query.NewPrefixQuery(w.Text)
		prefix.SetField(fieldText)
		any := []query.Query{prefix}
		for _, code := range w.Codes {
			any = append(any, termOf(fieldFiat, code))
		}
		for _, a := range w.Authors {
			any = append(any, termOf(fieldAuthor, a))
		}
		out = append(out, query.NewDisjunctionQuery(any))
	}
	return out
}

// readDescriptionHits is descriptionHits without the cache.
func (s *searchIndex) readDescriptionHits(ctx context.Context, w string) (hits []livebook.DescriptionHit, err error) {
	err = s.read(func(reader index.IndexReader) error {
		return eachPosting(ctx, reader, fieldDescription, w, func(term, id string) {
			hits = append(hits, livebook.DescriptionHit{Key: orders.KeyOf(id), Whole: term == w})
		})
	})
	return hits, err
}

// read calls fn with a reader of the current index.
func (s *searchIndex) read(fn func(index.IndexReader) error) (err error) {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.idx == nil {
		return ErrClosed
	}
	low, err := s.idx.Advanced()
	if err != nil {
		return err
	}
	reader, err := low.Reader()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	return fn(reader)
}

// past returns the orders that match q and are not live: a page of hits behind after, the
// exact total, and the facets.
func (s *searchIndex) past(ctx context.Context, q *orders.Query, all []livebook.Word, after *orders.Mark, limit int) (hits []orders.Mark, total int, facets orders.Facets, err error) {
	s.life.RLock()
	defer s.life.RUnlock()
	facets = orders.NewFacets()
	if s.idx == nil {
		return nil, 0, facets, ErrClosed
	}
	must, err := s.conditions(q)
	if err != nil || must == nil {
		return nil, 0, facets, err
	}
	must = append(must, wordQuery(all)...)
	var not []query.Query
	for _, author := range q.Hidden.Authors(q.Spam) {
		not = append(not, termOf(fieldAuthor, author))
	}
	var ask query.Query = query.NewConjunctionQuery(must)
	if len(not) > 0 {
		ask = query.NewBooleanQuery(must, nil, not)
	}
	req := bleve.NewSearchRequestOptions(ask, limit, 0, false)
	req.Score = "none"
	order, descending := q.Order()
	req.SortByCustom(search.SortOrder{
		&search.SortField{Field: sortFields[order], Desc: descending, Type: search.SortFieldAsString, Missing: search.SortFieldMissingLast},
		&search.SortField{Field: fieldKey, Desc: descending, Type: search.SortFieldAsString, Missing: search.SortFieldMissingLast},
	})
	if after != nil {
		key := hexKey(after.Key)
		if after.Key == orders.UnknownKey {
			key = search.HighTerm
			if descending {
				key = search.LowTerm
			}
		}
		req.SearchAfter = []string{key, hex.EncodeToString(after.ID[:])}
	}
	for _, f := range pastFilters {
		if f.facets > 0 {
			req.AddFacet(f.field, bleve.NewFacetRequest(f.field, f.facets))
		}
	}
	res, err := s.idx.SearchInContext(ctx, req)
	if err != nil {
		return nil, 0, facets, err
	}
	for _, f := range pastFilters {
		if r := res.Facets[f.field]; f.facets > 0 && r != nil && r.Terms != nil {
			counts := f.Counts(&facets)
			for _, t := range r.Terms.Terms() {
				if t.Term != noStatus {
					counts[t.Term] = t.Count
				}
			}
		}
	}
	for _, m := range res.Hits {
		h := orders.Mark{Key: orders.UnknownKey, ID: orders.KeyOf(m.ID)}
		if len(m.Sort[0]) == 16 {
			raw, err := hex.DecodeString(m.Sort[0])
			if err == nil {
				h.Key = binary.BigEndian.Uint64(raw)
			}
		}
		hits = append(hits, h)
	}
	return hits, int(res.Total), facets, nil
}

func termOf(field, value string) query.Query {
	t := query.NewTermQuery(value)
	t.SetField(field)
	return t
}

// conditions returns the Bleve queries of all conditions of q except its words, or nil if
// no order can match.
func (s *searchIndex) conditions(q *orders.Query) ([]query.Query, error) {
	must := []query.Query{termOf(fieldGone, "1")}
	for _, f := range pastFilters {
		if !f.Given(q) {
			continue
		}
		all, ok, err := f.past(s, q)
		if err != nil || !ok {
			return nil, err
		}
		for _, c := range all {
			must = append(must, c.query())
		}
	}
	return must, nil
}

func (c *condition) query() query.Query {
	if c.anyOf == nil {
		yes := true
		r := query.NewTermRangeInclusiveQuery(c.from, c.to, &yes, &yes)
		r.SetField(c.field)
		return r
	}
	var any []query.Query
	for _, term := range c.anyOf {
		any = append(any, termOf(c.field, term))
	}
	return query.NewDisjunctionQuery(any)
}

// methodsLike returns the payment methods of past orders that match one of asks.
func (s *searchIndex) methodsLike(asks []string) (out []string, err error) {
	dict, err := s.idx.FieldDict(fieldMethod)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dict.Close()) }()
	var wanted [][]string
	for _, ask := range asks {
		wanted = append(wanted, words.Asked(ask))
	}
	var buf []string
	for {
		entry, err := dict.Next()
		if err != nil || entry == nil {
			return out, err
		}
		for _, w := range wanted {
			if !mayHold(entry.Term, w) {
				continue
			}
			if buf = orders.MethodWords(buf[:0], entry.Term); words.AllBegin(buf, w) {
				out = append(out, entry.Term)
				break
			}
		}
	}
}

// mayHold returns false if a name cannot match. The check is cheap and excludes most
// names.
func mayHold(folded string, wanted []string) bool {
	for _, w := range wanted {
		if !strings.Contains(folded, w) {
			return false
		}
	}
	return true
}

// docs returns the number of documents.
func (s *searchIndex) docs() (uint64, error) {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.idx == nil {
		return 0, ErrClosed
	}
	return s.idx.DocCount()
}

// digest returns a hash over every posting of every field. Indexes with the same postings
// return the same digest.
func (s *searchIndex) digest(ctx context.Context) (text string, err error) {
	var sum [4]uint64 // the order of postings depends on the segments, so the hashes are summed
	err = s.read(func(reader index.IndexReader) error {
		fields, err := reader.Fields()
		if err != nil {
			return err
		}
		for _, field := range fields {
			if err := eachPosting(ctx, reader, field, "", func(term, id string) {
				h := sha256.Sum256([]byte(field + "\x00" + term + "\x00" + id))
				for i := range sum {
					sum[i] += binary.BigEndian.Uint64(h[8*i:])
				}
			}); err != nil {
				return err
			}
		}
		return nil
	})
	return fmt.Sprintf("%016x%016x%016x%016x", sum[0], sum[1], sum[2], sum[3]), err
}

// eachPosting calls fn with each document of every term of a field that begins with
// prefix.
func eachPosting(ctx context.Context, reader index.IndexReader, field, prefix string, fn func(term, id string)) (err error) {
	dict, err := reader.FieldDictPrefix(field, []byte(prefix))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dict.Close()) }()
	for {
		entry, err := dict.Next()
		if err != nil || entry == nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		postings, err := reader.TermFieldReader(ctx, []byte(entry.Term), field, false, false, false)
		if err != nil {
			return err
		}
		for {
			doc, err := postings.Next(nil)
			if err != nil {
				return errors.Join(err, postings.Close())
			}
			if doc == nil {
				break
			}
			id, err := reader.ExternalID(doc.ID)
			if err != nil {
				return errors.Join(err, postings.Close())
			}
			fn(entry.Term, id)
		}
		if err := postings.Close(); err != nil {
			return err
		}
	}
}
