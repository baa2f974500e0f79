package mostro

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// ReceiptKind says what proves that the author of a rating traded there.
// docs/receipts.md says of each what is checked and what that proves.
type ReceiptKind uint8

// The kinds of receipts.
const (
	ReceiptNone ReceiptKind = iota // nothing was shown: the rating is unproven
	ReceiptR0                      // disclosed: the host's own message to the author
	ReceiptR1                      // plain: the host signed author and order
	ReceiptR2                      // blind: the host's signature, unlinkable to the trade
	ReceiptR3                      // opened: R1, and the preimage of a payment that it names
)

var receiptNames = [...]string{ReceiptNone: "none", ReceiptR0: "r0", ReceiptR1: "r1", ReceiptR2: "r2", ReceiptR3: "r3"}

// String gives "none", "r0", "r1", "r2" or "r3".
func (k ReceiptKind) String() string {
	if int(k) < len(receiptNames) {
		return receiptNames[k]
	}
	return "unknown"
}

// Sides of a trade, as ratings name them.
const (
	RoleBuyer  = "buyer"
	RoleSeller = "seller"
)

// Receipt is what a rating's receipt proved. A field that the receipt says
// nothing of is its zero value, also where the rating claims one.
type Receipt struct {
	Kind  ReceiptKind
	Node  string // the host's key, hex
	Rater string // the rating's author, hex; on R0 and R1 the key of one trade
	Order string // the rated order's id; "" on R2
	Role  string // RoleBuyer, RoleSeller, "" where it is not proven

	// Action is what the host told the author: R0 alone.
	Action Action

	// Nullifier is 64 hex digits that count once, whoever brings them: per
	// host, order and role where the role is proven, per host, order and
	// author where not, per blind token on R2.
	Nullifier string

	// BandSats is the least that the order can have been worth, and Day the
	// day of its settlement ("2026-11-22", UTC): the host's word. R1 and R3; 0
	// and "" on RoboSats' token.
	BandSats int64
	Day      string

	// Keyset is the id of the keyset whose signature R2 carries, and Epoch
	// its month.
	Keyset, Epoch string

	// PaymentHash is a payment that belongs to the order: the host's word. R1,
	// where it names one, and R3.
	PaymentHash string
	// PaidSats, PaidNetwork and Payee are of the invoice that R3 opens: its
	// amount, nil where it names none; "mainnet", "testnet", "signet" or
	// "regtest"; and the key of the Lightning node that was paid. Anybody can
	// make an invoice and open it: a payment is worth what its payee is.
	PaidSats    *int64
	PaidNetwork string
	Payee       string
}

// ReceiptRule names one way in which a receipt can be wrong. It is a stable
// word, fit for an audit, and an error: errors.Is(err, ReceiptMAC) holds for
// every ReceiptError that broke that rule.
type ReceiptRule string

// Error gives the rule's name.
func (r ReceiptRule) Error() string { return string(r) }

// The rules of every receipt.
const (
	ReceiptRating   ReceiptRule = "rating"   // the parsed rating is of another event
	ReceiptForm     ReceiptRule = "form"     // a kind of receipt that nobody knows
	ReceiptFields   ReceiptRule = "fields"   // too few or too many values
	ReceiptPlatform ReceiptRule = "platform" // a receipt of Mostro's on another platform's rating
	ReceiptRole     ReceiptRule = "role"     // the rating claims another role than the receipt shows
)

// The rules of a disclosed message.
const (
	ReceiptJSON           ReceiptRule = "json"            // the message's event is not written as it must be
	ReceiptEventKind      ReceiptRule = "event-kind"      // not the kind of its transport
	ReceiptNode           ReceiptRule = "node"            // of another author than the rated host
	ReceiptEventID        ReceiptRule = "event-id"        // the id is not the hash of the event
	ReceiptEventSig       ReceiptRule = "event-signature" // the host's signature does not verify
	ReceiptRecipients     ReceiptRule = "recipients"      // not exactly one p tag
	ReceiptRecipient      ReceiptRule = "recipient"       // to somebody else than the rating's author
	ReceiptKeys           ReceiptRule = "keys"            // message keys of the wrong length
	ReceiptCiphertext     ReceiptRule = "ciphertext"      // not base64, or of a length that no payload has
	ReceiptVersion        ReceiptRule = "version"         // not NIP-44 version 2
	ReceiptMAC            ReceiptRule = "mac"             // the message keys do not authenticate the ciphertext
	ReceiptLength         ReceiptRule = "length"          // the padded length is not the one that the text has
	ReceiptPadding        ReceiptRule = "padding"         // padded with something else than zeros
	ReceiptTuple          ReceiptRule = "tuple"           // not a message and as many nulls as the transport has
	ReceiptCanonical      ReceiptRule = "canonical"       // not the canonical bytes of the message
	ReceiptWrapper        ReceiptRule = "wrapper"         // not wrapped as an order
	ReceiptMessageVersion ReceiptRule = "message-version" // not the protocol version of its transport
	ReceiptAction         ReceiptRule = "action"          // says nothing that proves a trade
	ReceiptOrder          ReceiptRule = "order"           // about another order than the rated one
	ReceiptPayload        ReceiptRule = "payload"         // carries what must not be published, or does not fit
	ReceiptPoint          ReceiptRule = "point"           // the shared point is not on the curve
	ReceiptProof          ReceiptRule = "proof"           // the shared point is not proven to be of author and host
	ReceiptRumor          ReceiptRule = "rumor"           // the seal does not hold the host's own message
)

// The rules of what a host signs.
const (
	ReceiptToken     ReceiptRule = "token"      // RoboSats' token is not the host's signature over author and order
	ReceiptSignature ReceiptRule = "signature"  // not the host's signature over this statement
	ReceiptBand      ReceiptRule = "band"       // not an amount band
	ReceiptDay       ReceiptRule = "day"        // not a date
	ReceiptHash      ReceiptRule = "hash"       // not a payment hash
	ReceiptKeyset    ReceiptRule = "keyset"     // the host's keyset is unknown
	ReceiptKeysetBad ReceiptRule = "keyset-bad" // what was found is not the host's keyset of that id
	ReceiptSecret    ReceiptRule = "secret"     // not 32 bytes
	ReceiptBlind     ReceiptRule = "blind"      // not the keyset's signature over this secret and author
	ReceiptPreimage  ReceiptRule = "preimage"   // not the preimage of the named hash
	ReceiptInvoice   ReceiptRule = "invoice"    // not a BOLT11 invoice for the named hash
)

// ReceiptError says which rule a receipt broke.
type ReceiptError struct {
	Rule   ReceiptRule
	Detail string // for people; never holds decrypted text
}

// Error gives rule and detail.
func (e *ReceiptError) Error() string {
	if e.Detail == "" {
		return "receipt: " + string(e.Rule)
	}
	return "receipt: " + string(e.Rule) + ": " + e.Detail
}

// Unwrap gives the ReceiptRule.
func (e *ReceiptError) Unwrap() error { return e.Rule }

func forged(rule ReceiptRule, detail string) error { return &ReceiptError{Rule: rule, Detail: detail} }

// Keysets finds a host's keyset by its id: the event of KeysetKinds, id
// and signature proven, or nil. Of a host that published two keysets for one
// epoch it should know the one that was witnessed first and no other, because
// a host could mark its users by the keysets that it gives them.
type Keysets func(node, keyset string) *nostr.Event

// CheckReceipt says what proves that the author of a rating traded with the
// host that it rates. Every error is a ReceiptError; a rating that shows
// nothing is no error, its receipt is ReceiptNone. Whatever is shown must
// hold: a rating with one good and one bad proof is refused.
//
// The event's own id and signature are the caller's to have checked, as the
// relay does before it keeps an event. Whether a nullifier was spent before,
// and whether the order was witnessed, is the caller's to know. keysets may be
// nil; then no R2 receipt is known.
func CheckReceipt(evt *nostr.Event, r HostRating, keysets Keysets) (Receipt, error) {
	return checkReceipt(evt, r, keysets, signature.holds)
}

// Rated is a rating and the event that it was read from.
type Rated struct {
	Event  *nostr.Event
	Rating HostRating
}

// CheckReceipts is CheckReceipt for each of many, to the same receipts and
// errors: it checks their hosts' signatures together, which costs less.
func CheckReceipts(list []Rated, keysets Keysets) ([]Receipt, []error) {
	receipts, errs := make([]Receipt, len(list)), make([]error, len(list))
	var waiting []signature
	var of []int // by signature: whose receipt it is of
	alone := make([]bool, len(list))
	for i, r := range list {
		var own []signature
		receipts[i], errs[i] = checkReceipt(r.Event, r.Rating, keysets, func(s signature) bool {
			own = append(own, s)
			return true
		})
		if errs[i] != nil {
			// Checking in order may find another fault first: a signature.
			alone[i] = len(own) > 0
			continue
		}
		for _, s := range own {
			waiting, of = append(waiting, s), append(of, i)
		}
	}
	for k, ok := range proveMany(waiting) {
		alone[of[k]] = alone[of[k]] || !ok
	}
	for i, r := range list {
		if alone[i] {
			receipts[i], errs[i] = CheckReceipt(r.Event, r.Rating, keysets)
		}
	}
	return receipts, errs
}

// checkReceipt has the host's own signatures over statements and tokens
// checked by holds.
func checkReceipt(evt *nostr.Event, r HostRating, keysets Keysets, holds func(signature) bool) (Receipt, error) {
	if evt == nil || evt.ID != r.EventID || evt.PubKey != r.Pubkey {
		return Receipt{}, forged(ReceiptRating, "of another event")
	}
	base := Receipt{Node: r.Host, Rater: r.Pubkey, Order: r.OrderID}
	if r.Token != "" {
		if s, ok := tokenSignature(r.Host, r.Pubkey, r.OrderID, r.Token); !ok || !holds(s) {
			return Receipt{}, forged(ReceiptToken, "not the host's signature over author and order")
		}
	}
	if len(r.Receipt) == 0 {
		if r.Token == "" {
			return base, nil
		}
		base.Kind = ReceiptR1
		return base.sealed(), nil
	}
	if r.Platform != PlatformMostro {
		return Receipt{}, forged(ReceiptPlatform, "d is not mostro:ORDER")
	}
	var err error
	switch values := r.Receipt[1:]; r.Receipt[0] {
	case "r0":
		err = base.checkDisclosed(values)
	case "r1":
		err = base.checkSigned(values, holds)
	case "r2":
		err = base.checkBlind(r, values, keysets)
	case "r3":
		err = base.checkOpened(values, holds)
	default:
		err = forged(ReceiptForm, "kinds are r0, r1, r2 and r3")
	}
	if err != nil {
		return Receipt{}, err
	}
	if base.Role != "" && r.Role != "" && base.Role != r.Role {
		return Receipt{}, forged(ReceiptRole, "the receipt is the "+base.Role+"'s")
	}
	return base.sealed(), nil
}

// sealed gives the receipt its nullifier, where it has none yet.
func (r Receipt) sealed() Receipt {
	if r.Nullifier != "" {
		return r
	}
	who := r.Rater
	if r.Role != "" {
		who = r.Role
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{"mostro-receipt/order", r.Node, r.Order, who}, "\n")))
	r.Nullifier = hex.EncodeToString(sum[:])
	return r
}
