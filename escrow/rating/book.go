package rating

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// Keyspaces of the store that belong to this package. The first byte of a key names its
// keyspace.
const (
	spaceRecord  = 'D' // identity -> Record
	spaceJournal = 'U' // identity, step number -> Change
	spaceVote    = 'V' // order id, role -> Vote
	spaceWaiting = 'W' // order id, role -> Vote of a trade whose end is not known yet
	spaceImport  = 'A' // issuer name, 0, subject -> imported
	spaceIssuer  = 'I' // issuer key -> issuerKey
	spaceRebind  = 'R' // event id -> usedRebind
	spacePayer   = 'P' // order id -> declaration
)

// ErrNoRow reports that the store has no value for a key.
var ErrNoRow = errors.New("no such row")

// Store is the part of the escrow's store that a Book reads.
type Store interface {
	// Get decodes the value of a key into v, or returns ErrNoRow.
	Get(key []byte, v any) error
	// Each calls fn for every key with a prefix, in order.
	Each(prefix []byte, fn func(key, value []byte) error) error
}

// Row is one value to write. A nil Value removes the key.
type Row struct {
	Key   []byte
	Value any
}

// Effect is an action that follows from a request: a message to send, an event to publish,
// or the orders of an identity to publish again.
type Effect struct {
	Trade   trade.OrderID // zero: an answer to a sender that is no party of an open trade
	To      trade.Party
	Message message.Message
	Event   *nostr.Event // unsigned
	// Reshow is the identity whose pending orders show another rating now; "" for none.
	Reshow string
}

// Request is a message of a user, with the facts that its transport proved.
type Request struct {
	From    trade.Party
	Message message.Message
	// Received is the time at which the message arrived. A document that was valid then is
	// accepted, so a message that is read again after the loss of a store has its result again.
	Received int64
	At       int64
}

// answer returns a message to the sender of a request.
func (q Request) answer(wrapper message.Wrapper, action message.Action, payload message.Payload) Effect {
	return Effect{To: q.From, Message: message.Message{Wrapper: wrapper, RequestID: q.Message.RequestID, ID: q.Message.ID, Action: action, Payload: payload}}
}

// Policy holds the operator's decisions about users. The zero value imports and exports
// nothing.
type Policy struct {
	Import         bool
	Issuers        []TrustedIssuer
	ImportLifetime int64 // longest life of an attestation, in seconds; 0: seven days
	ExportLifetime int64 // life of the attestations of this node, in seconds; 0: seven days
	PayerHistory   bool  // buyers may declare the fiat account that they pay from
	RatingDays     int64 // days for which relays keep a rating (NIP-40); 0: 90
}

// TrustedIssuer is an issuer whose attestations are imported. Imports are told apart by the
// name, so an issuer may change its key, and the name must not change after an import.
type TrustedIssuer struct {
	Name string
	Keys []string // hex
}

// Issuer signs the attestations of this node, with a key that is used for nothing else.
type Issuer interface {
	Pubkey() string
	Sign(evt *nostr.Event) error
}

// Book decides about the requests of users, and collects the changes of a batch. One
// goroutine owns a Book. After an error that is no refusal the Book must not be used again:
// memory is ahead of the store.
type Book struct {
	Policy Policy
	Node   string // the node's key, hex
	// Known returns the time since which the node knows an identity, 0 if it does not.
	Known  func(identity string) (int64, error)
	Issuer Issuer // nil: the node exports nothing

	store   Store
	rows    []Row
	index   map[string]int // of rows, by key
	waiting map[string]Vote
	issuers map[string]issuerKey // by key
	rebinds map[string]usedRebind
	imports map[string]string // names of the trusted issuers, by key
	limits  map[message.Action]*limit
}

// NewBook returns a Book over a store.
func NewBook(store Store) (*Book, error) {
	b := &Book{
		store: store, index: make(map[string]int), waiting: make(map[string]Vote), issuers: make(map[string]issuerKey),
		rebinds: make(map[string]usedRebind), imports: make(map[string]string),
		limits: map[message.Action]*limit{message.ActionImportReputation: new(limit), message.ActionExportReputation: new(limit)},
	}
	err := errors.Join(
		load(store, spaceWaiting, func(v Vote) { b.waiting[v.key()] = v }),
		load(store, spaceIssuer, func(k issuerKey) { b.issuers[k.Key] = k }),
		load(store, spaceRebind, func(r usedRebind) { b.rebinds[r.ID] = r }))
	return b, err
}

// load reads a small keyspace.
func load[T any](store Store, space byte, fn func(T)) error {
	return store.Each([]byte{space}, func(_, value []byte) error {
		var v T
		if err := json.Unmarshal(value, &v); err != nil {
			return fmt.Errorf("row of ratings: %w", err)
		}
		fn(v)
		return nil
	})
}

// rowBytes is an estimate of the size of a row in the store.
const rowBytes = 1 << 10

// Bytes returns an estimate of the size of the collected rows in the store.
func (b *Book) Bytes() int { return len(b.rows) * rowBytes }

// Take returns the rows since the last call, to be committed.
func (b *Book) Take() []Row {
	rows := b.rows
	b.rows = nil
	clear(b.index)
	return rows
}

// put adds a row to the batch. A nil value removes the key.
func (b *Book) put(key []byte, value any) {
	if i, ok := b.index[string(key)]; ok {
		b.rows[i].Value = value
		return
	}
	b.index[string(key)] = len(b.rows)
	b.rows = append(b.rows, Row{Key: key, Value: value})
}

// get returns the value of a key, from the batch or from the store, or ErrNoRow.
func get[T any](b *Book, key []byte) (v T, err error) {
	if i, ok := b.index[string(key)]; ok {
		if v, ok = b.rows[i].Value.(T); !ok {
			return v, ErrNoRow
		}
		return v, nil
	}
	if err = b.store.Get(key, &v); err != nil && !errors.Is(err, ErrNoRow) {
		return v, fmt.Errorf("look up a row of ratings: %w", err)
	}
	return v, err
}

func recordKey(identity string) []byte { return append([]byte{spaceRecord}, identity...) }

func journalKey(identity string, n uint32) []byte {
	return binary.BigEndian.AppendUint32(append([]byte{spaceJournal}, identity...), n)
}

func orderKey(space byte, id trade.OrderID, role Role) []byte {
	return append(append([]byte{space}, id[:]...), role...)
}

// Record returns the record of an identity. An identity without a record has the age that
// Known returns. ErrNoRow means that the node does not know the identity.
func (b *Book) Record(identity string) (Record, error) {
	r, err := get[Record](b, recordKey(identity))
	if !errors.Is(err, ErrNoRow) {
		return r, err
	}
	known, err := b.Known(identity)
	if err == nil && known == 0 {
		err = ErrNoRow
	}
	return Record{Identity: identity, CreatedAt: known}, err
}

// recordOf is like Record, but returns the zero Record for an identity that the node does not
// know.
func (b *Book) recordOf(identity string) (Record, error) {
	u, err := b.Record(identity)
	if errors.Is(err, ErrNoRow) {
		return Record{Identity: identity}, nil
	}
	return u, err
}

// apply changes a record, and adds the record and the row of the journal to the batch.
func (b *Book) apply(identity string, c Change) (Record, error) {
	u, err := b.recordOf(identity)
	if err != nil {
		return u, err
	}
	if u.Steps == 0 {
		c.Known = u.CreatedAt
	}
	if u, err = u.Apply(c); err != nil {
		return u, fmt.Errorf("reputation of %s: %w", identity, err)
	}
	b.put(journalKey(identity, u.Steps), c)
	b.put(recordKey(identity), u)
	return u, nil
}

// InfoOf returns the record of a party. A party in full privacy has the empty record, and so
// does an identity that the node does not know.
func (b *Book) InfoOf(p trade.Party, at int64) (*message.UserInfo, error) {
	if p.Private() {
		return new(message.UserInfo), nil
	}
	u, err := b.recordOf(p.Identity)
	return u.Info(at), err
}

// MakerOf returns the record of an order's maker, as the order shows it.
func (b *Book) MakerOf(p trade.Party, at int64) (*mostro.MakerRating, error) {
	u, err := b.traderOf(p, at)
	return u.Maker(at), err
}

// TakerOf returns the record of an order's taker, as the maker is told.
func (b *Book) TakerOf(p trade.Party, at int64) (*message.UserInfo, error) {
	u, err := b.traderOf(p, at)
	return u.Info(at), err
}

// traderOf returns the record of a party that makes or takes an order now. The first order of
// an identity is decided before the identity has a row, so the age of the identity begins now.
func (b *Book) traderOf(p trade.Party, at int64) (Record, error) {
	if p.Private() {
		return Record{}, nil
	}
	u, err := b.recordOf(p.Identity)
	if u.CreatedAt == 0 {
		u.CreatedAt = at
	}
	return u, err
}

// UserInfo answers a request of an identity for its own record.
func (b *Book) UserInfo(q Request) ([]Effect, error) {
	if q.Message.Payload != nil {
		return nil, trade.ErrNothing // the form of an answer
	}
	if q.From.Private() {
		return nil, trade.Refuse(message.ReasonReputationIdentityRequired)
	}
	info, err := b.InfoOf(q.From, q.At)
	if err != nil {
		return nil, err
	}
	return []Effect{q.answer(message.WrapperRestore, message.ActionUserInfo, *info)}, nil
}

// limit bounds the requests that cost a signature or its check.
type limit struct {
	hour, day   int64
	inHour      map[string]int // by identity
	inDay       map[string]int
	inHourOfAll int
}

// The greatest numbers of requests, of one identity and of all together.
const (
	requestsInHour      = 6
	requestsInDay       = 24
	requestsInHourOfAll = 2000
)

// take counts a request, and reports whether the request is within the limits. A request
// that is refused is not counted, so the maps have at most as many identities as requests
// are accepted in a day.
func (l *limit) take(identity string, at int64) bool {
	if hour := at / 3600; hour != l.hour || l.inHour == nil {
		l.hour, l.inHour, l.inHourOfAll = hour, make(map[string]int), 0
	}
	if day := at / 86400; day != l.day || l.inDay == nil {
		l.day, l.inDay = day, make(map[string]int)
	}
	if l.inHourOfAll >= requestsInHourOfAll || l.inHour[identity] >= requestsInHour || l.inDay[identity] >= requestsInDay {
		return false
	}
	l.inHourOfAll++
	l.inHour[identity]++
	l.inDay[identity]++
	return true
}

// DeclarePayer decides about declare-payer: the buyer names the account, and the seller is
// told. The last declaration before fiat-sent counts.
func (b *Book) DeclarePayer(q Request, find func() (trade.Trade, error)) ([]Effect, error) {
	if !b.Policy.PayerHistory {
		return nil, trade.Refuse(message.ReasonInvalidAction)
	}
	t, err := find()
	if err != nil {
		return nil, err
	}
	if t.Buyer.Key == "" || t.Buyer.Key != q.From.Key {
		return nil, trade.Refuse(message.ReasonInvalidPubkey)
	}
	switch t.Status {
	case message.TradeWaitingPayment, message.TradeWaitingBuyerInvoice, message.TradeActive:
	default:
		return nil, trade.Refuse(message.ReasonNotAllowedByStatus)
	}
	p, ok := q.Message.Payload.(message.PayerDeclaration)
	if !ok {
		return nil, trade.Refuse(message.ReasonInvalidPayload)
	}
	if !message.ValidPayerHash(p.PaymentHash) {
		return nil, trade.Refuse(message.ReasonInvalidPaymentHash)
	}
	b.put(orderKey(spacePayer, t.ID, ""), declaration{Buyer: t.Buyer.Key, Hash: p.PaymentHash, At: q.At})
	effects := []Effect{q.answer(message.WrapperOrder, message.ActionPayerDeclared, p)}
	effects[0].Trade = t.ID
	if t.Seller.Key != "" {
		effects = append(effects, Effect{Trade: t.ID, To: t.Seller, Message: message.Message{
			Wrapper: message.WrapperOrder, ID: &t.ID, Action: message.ActionPayerDeclared, Payload: p,
		}})
	}
	return effects, nil
}

// undeclare removes the declaration of an order that is over, or that has another buyer next.
func (b *Book) undeclare(id trade.OrderID) error {
	key := orderKey(spacePayer, id, "")
	_, err := get[declaration](b, key)
	if errors.Is(err, ErrNoRow) {
		return nil
	}
	if err == nil {
		b.put(key, nil)
	}
	return err
}

// declaration is the hash of the fiat account from which a buyer pays for an order. It is no
// part of a journal, because it must not outlive the trade.
type declaration struct {
	Buyer string `json:"buyer"` // trade key
	Hash  string `json:"hash"`
	At    int64  `json:"at"`
}
