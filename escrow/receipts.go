package escrow

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/nbd-wtf/go-nostr"
)

// Receipts prove to others that a user traded here, so that the user's rating of this node
// counts. A party of a settled trade requests receipts by a message that no other client
// sends (receipt.Request). Every later request returns the same receipts, because an
// issued receipt is stored in the same commit as the answer. Receipts move no money and
// are no part of a trade: Step does not know them.

// ReceiptSigner signs the node's statements about its trades.
type ReceiptSigner interface {
	Pubkey() string
	// Attest signs a statement, and a token of RoboSats for the same author and order.
	Attest(s receipt.Statement) (receipt []string, token string, err error)
}

// Pubkey returns the node's key.
func (s KeysSealer) Pubkey() string { return s.Keys.Pubkey() }

// Attest signs with the node's own key.
func (s KeysSealer) Attest(st receipt.Statement) (values []string, token string, err error) {
	if values, err = st.Sign(s.Keys, nil); err != nil {
		return nil, "", err
	}
	token, err = receipt.SignToken(s.Keys, st.Rater, st.Order, nil)
	return values, token, err
}

// Issued holds the receipts of one side of a trade. Each side has at most one blind
// receipt, for any number of later requests.
type Issued struct {
	Trade   trade.OrderID `json:"trade"`
	Role    string        `json:"role"`
	Receipt []string      `json:"receipt"`
	Token   string        `json:"token"`
	// Payment is Receipt plus the hold's payment hash. Only the seller's side has it.
	Payment []string `json:"payment,omitzero"`
	Keyset  string   `json:"keyset,omitzero"`  // keyset of the blind receipt; "" if none was requested
	Blinded []byte   `json:"blinded,omitzero"` // blinded message of the request
	Signed  []byte   `json:"signed,omitzero"`  // signature in the answer
}

// ReceiptKey is the key that signs the blind receipts of one month.
type ReceiptKey struct {
	Epoch  string `json:"epoch"`
	Secret []byte `json:"secret"` // PKCS #1
	Issued int64  `json:"issued"` // number of receipts that the key has signed
	// Published is the value of Issued when the keyset was published last, at PublishedAt;
	// 0 if never. Kind is the kind of that event. Kind 0 means the kind that programs
	// before November 2026 published.
	Published   int64 `json:"published,omitzero"`
	PublishedAt int64 `json:"published_at,omitzero"`
	Kind        int   `json:"kind,omitzero"`
	// Closed reports that the store was an older copy of itself once, so the list of
	// receipts of this key may be incomplete. A closed key signs no more. A closed key
	// without a secret stands for a key that may have been lost; a second key for the same
	// month would be an equivocation.
	Closed bool `json:"closed,omitzero"`

	secret *rsa.PrivateKey
	public receipt.Keyset
}

// supplyEvery is the interval in seconds at which a changed count of receipts is
// published. A count that followed every trade at once would reveal when the parties
// requested receipts.
const supplyEvery = 3600

// open decodes the secret, if there is one.
func (k *ReceiptKey) open(node string) error {
	if k.Closed && k.Secret == nil {
		return nil
	}
	var err error
	if k.secret, err = x509.ParsePKCS1PrivateKey(k.Secret); err != nil {
		return fmt.Errorf("receipt key of %s: %w", k.Epoch, err)
	}
	k.public, err = receipt.NewKeyset(node, k.Epoch, &k.secret.PublicKey)
	return err
}

// receiptIssuer issues the receipts of a trade book. Its rows go into the book's batch. A nil
// receiptIssuer issues none.
type receiptIssuer struct {
	book    *TradeBook
	signer  ReceiptSigner
	keysets map[string]*ReceiptKey // by epoch
}

// close closes every receipt key that the store holds or may have lost. close is for a
// store that may be an older copy of itself.
func (r *receiptIssuer) close(at int64) {
	for _, epoch := range rotationEpochs(time.Unix(at, 0)) {
		if r.keysets[epoch] == nil {
			r.keysets[epoch] = &ReceiptKey{Epoch: epoch}
		}
	}
	for _, epoch := range slices.Sorted(maps.Keys(r.keysets)) {
		k := r.keysets[epoch]
		k.Closed = true
		r.save(k)
	}
}

// rotationEpochs returns the months that need a key: the current month and, from one day
// before its begin, the next.
func rotationEpochs(now time.Time) []string {
	return slices.Compact([]string{receipt.EpochOf(now), receipt.EpochOf(now.Add(24 * time.Hour))})
}

// has reports whether the receipts of a month have a key, or are closed and get
// none.
func (r *receiptIssuer) has(epoch string) bool { return r.keysets[epoch] != nil }

// add adds a key for the receipts of a month, unless there is one.
func (r *receiptIssuer) add(epoch string, secret *rsa.PrivateKey) error {
	if r.has(epoch) {
		return nil
	}
	k := &ReceiptKey{Epoch: epoch, Secret: x509.MarshalPKCS1PrivateKey(secret)}
	if err := k.open(r.signer.Pubkey()); err != nil {
		return err
	}
	r.keysets[epoch] = k
	r.save(k)
	return nil
}

func (r *receiptIssuer) save(k *ReceiptKey) {
	rows := r.book.batch.commit.ReceiptKeys
	for i := range rows {
		if rows[i].Epoch == k.Epoch {
			rows[i] = *k
			return
		}
	}
	r.book.batch.commit.ReceiptKeys = append(rows, *k)
}

// publish publishes new keysets and changed counts. A keyset that was published under
// an old kind is published once more under the current kind.
func (r *receiptIssuer) publish(at int64) {
	if r == nil {
		return
	}
	for _, epoch := range slices.Sorted(maps.Keys(r.keysets)) {
		k := r.keysets[epoch]
		due := k.Kind != mostro.KindReceiptKeys || k.Published != k.Issued && at-k.PublishedAt >= supplyEvery
		if k.Closed || !due {
			continue
		}
		k.Published, k.PublishedAt, k.Kind = k.Issued, at, mostro.KindReceiptKeys
		public := k.public
		public.Issued = new(k.Issued)
		r.save(k)
		r.book.QueueEvent(r.book.KeysetEvent(public), at)
	}
}

// answer answers a request for receipts. A sender that is no party gets the same answer
// as for an order that does not exist.
func (r *receiptIssuer) answer(msg InboundMessage) error {
	q, err := receipt.ParseRequest(msg.Message.Message)
	switch {
	case errors.Is(err, receipt.ErrUnrelated), r == nil, msg.Transport == envelope.TransportLegacy:
		return errDrop // a message between users, which is ignored
	case err != nil:
		return trade.Refuse(message.ReasonInvalidTextMessage)
	}
	t, err := r.book.trade(*msg.Message.ID)
	if errors.Is(err, ErrNoRow) {
		return trade.Refuse(message.ReasonNotFound)
	}
	if err != nil {
		return err
	}
	role := ""
	switch msg.Sender {
	case t.Buyer.Key:
		role = receipt.RoleBuyer
	case t.Seller.Key:
		role = receipt.RoleSeller
	default:
		return trade.Refuse(message.ReasonNotFound)
	}
	if !trade.Settled(t.Status) {
		return trade.Refuse(message.ReasonNotAllowedByStatus)
	}
	if q.Payment && role != receipt.RoleSeller {
		return trade.Refuse(message.ReasonInvalidParameters) // the buyer has not paid a hold invoice here
	}
	row, err := r.book.batch.issued(t.ID, role)
	fresh := errors.Is(err, ErrNoRow)
	if fresh {
		row, err = r.attest(t, role, msg.Sender)
	}
	if err != nil {
		return err
	}
	if q.Blinded != nil {
		fresh = fresh || row.Signed == nil
		if err := r.signBlinded(t, &row, q); err != nil {
			return err
		}
	}
	if fresh {
		r.book.batch.saveIssued(row)
	}
	answer := receipt.Answer{Token: row.Token, Receipt: row.Receipt}
	if q.Payment {
		answer.Receipt = row.Payment
	}
	if q.Blinded != nil {
		answer.Keyset, answer.Signed = row.Keyset, row.Signed
	}
	r.book.reply(msg, answer.Message(msg.Message.Message))
	return nil
}

// attest makes the plain receipt of one side. The seller also gets a form with the hold's
// payment hash, whose preimage the seller's wallet knows since the settlement.
func (r *receiptIssuer) attest(t trade.Trade, role, rater string) (Issued, error) {
	at, err := r.settledAt(t)
	if err != nil {
		return Issued{}, err
	}
	s := receipt.Statement{
		Node: r.signer.Pubkey(), Rater: rater, Order: t.ID.String(), Role: role,
		BandSats: receipt.AmountBand(t.AmountSats), Day: receipt.SettleDay(time.Unix(at, 0)),
	}
	row := Issued{Trade: t.ID, Role: role}
	if row.Receipt, row.Token, err = r.signer.Attest(s); err == nil && role == receipt.RoleSeller {
		s.Hash = hex.EncodeToString(t.Hash[:])
		row.Payment, _, err = r.signer.Attest(s)
	}
	if err != nil {
		return row, fmt.Errorf("attest a trade: %w", err)
	}
	return row, nil
}

// signBlinded signs the blinded message of a side, once. A repeated request for the same
// message returns the same signature, because the first answer may have been lost.
func (r *receiptIssuer) signBlinded(t trade.Trade, row *Issued, q receipt.Request) error {
	if row.Signed != nil {
		if row.Keyset != q.Keyset || !bytes.Equal(row.Blinded, q.Blinded) {
			return trade.Refuse(message.ReasonInvalidParameters)
		}
		return nil
	}
	at, err := r.settledAt(t)
	if err != nil {
		return err
	}
	k := r.keysets[receipt.EpochOf(time.Unix(at, 0))]
	switch {
	case k == nil || k.Closed || r.book.Reconciling:
		return trade.Refuse(message.ReasonNotAllowedByStatus)
	case k.public.ID != q.Keyset:
		return trade.Refuse(message.ReasonInvalidParameters)
	}
	signed, err := receipt.SignBlinded(k.secret, q.Blinded)
	if errors.Is(err, receipt.RuleBlind) {
		return trade.Refuse(message.ReasonInvalidParameters)
	}
	if err != nil {
		return err
	}
	row.Keyset, row.Blinded, row.Signed = q.Keyset, q.Blinded, signed
	k.Issued++
	r.save(k)
	return nil
}

// settledAt returns the time at which a trade's hold was settled, from the trade's
// journal. The keyset of that month signs for the trade, so that the receipts of a month
// can be compared with its trades.
func (r *receiptIssuer) settledAt(t trade.Trade) (at int64, err error) {
	var replay trade.Trade
	step := func(_ uint32, in trade.Input) error {
		if at != 0 {
			return nil
		}
		next, _, err := trade.Step(replay, in)
		if err != nil {
			return fmt.Errorf("journal of %s: %w", t.ID, err)
		}
		if replay = next; trade.Settled(replay.Status) {
			at = in.At
		}
		return nil
	}
	if err := r.book.store.Journal(t.ID, step); err != nil {
		return 0, err
	}
	for _, row := range r.book.batch.commit.Journal {
		if row.Trade == t.ID {
			if err := step(row.N, row.Input); err != nil {
				return 0, err
			}
		}
	}
	if at == 0 {
		return 0, fmt.Errorf("trade %s is %s, and its journal has no settlement", t.ID, t.Status)
	}
	return at, nil
}

// rotateReceiptKeys makes a receipt key for the current month and, from one day before its
// begin, for the next. A new key takes a part of a second, so it is not made in the
// engine's goroutine.
func rotateReceiptKeys(ctx context.Context, e *Engine) error {
	for {
		for _, epoch := range rotationEpochs(e.Now()) {
			var have bool
			if err := e.Ask(ctx, func(b *TradeBook, _ int64) error { have = b.receipts.has(epoch); return nil }); err != nil {
				return err
			}
			if have {
				continue
			}
			secret, err := receipt.NewBlindKey()
			if err != nil {
				return err
			}
			if err := e.Ask(ctx, func(b *TradeBook, _ int64) error { return b.receipts.add(epoch, secret) }); err != nil {
				return err
			}
		}
		select {
		case <-time.After(time.Hour):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Keyset builds the event of a keyset, unsigned.
func (b *EventBuilder) Keyset(k receipt.Keyset) *nostr.Event {
	k.InstanceName = b.Name
	evt := k.Event()
	return &evt
}
