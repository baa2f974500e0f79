package receipt

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// Kind is the kind of proof that the author of a rating traded with the rated
// host. docs/receipts.md lists for each kind the checks and the facts that the checks
// prove.
type Kind uint8

// The kinds of receipts.
const (
	None Kind = iota // no receipt: the rating is unproven
	R0               // disclosed: the host's own message to the author
	R1               // plain: the host signed author and order
	R2               // blind: the host's signature, unlinkable to the trade
	R3               // opened: R1 and the preimage of the payment hash in R1
)

var receiptNames = [...]string{None: "none", R0: "r0", R1: "r1", R2: "r2", R3: "r3"}

// String returns "none", "r0", "r1", "r2" or "r3", and "unknown" for any other value.
func (k Kind) String() string {
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

// Receipt holds the facts that a rating's receipt proved. A field is its zero value if
// the receipt does not prove the field, even if the rating claims a value.
type Receipt struct {
	Kind  Kind
	Node  string // hex key of the host
	Rater string // hex key of the rating's author; on R0 and R1 the key of one trade
	Order string // id of the rated order; "" on R2
	Role  string // RoleBuyer, RoleSeller, or "" if the role is not proven

	// Action is the action of the host's message to the author. Only R0 sets this
	// field.
	Action message.Action

	// Dispute is the id of the dispute that the host's message names, or "". Only R0 sets
	// this field.
	Dispute string

	// Nullifier is 64 hex digits. Ratings with the same nullifier count once. On R2 the
	// nullifier is derived from the blind token. On the other kinds the nullifier is
	// derived from host, order and role, or from host, order and author if the role is
	// not proven.
	Nullifier string

	// BandSats is the lower bound of the order's amount in sats. Day is the day of
	// settlement in UTC ("2026-11-22"). The host states both, and no check proves them.
	// R1 and R3 set both; they are 0 and "" if the receipt is RoboSats' token.
	BandSats int64
	Day      string

	// Keyset is the id of the keyset whose signature R2 carries. Epoch is the month of
	// that keyset.
	Keyset, Epoch string

	// PaymentHash is the hash of a payment that belongs to the order, as the host
	// states. R3 sets this field, and R1 does if the host's statement has a hash.
	PaymentHash string
	// PaidSats, PaidNetwork and Payee describe the invoice that R3 opens. PaidSats is
	// the amount in sats, and nil if the invoice has no amount. PaidNetwork is
	// "mainnet", "testnet", "signet" or "regtest". Payee is the key of the Lightning
	// node that was paid. Anyone can make an invoice and open it, so a reader has to
	// judge the payment by its payee.
	PaidSats    *int64
	PaidNetwork string
	Payee       string
}

// Rule names one rule that a receipt can break. The name is stable, so an audit
// can store the name. A Rule is also an error: errors.Is(err, RuleMAC) is
// true for every Error with that rule.
type Rule string

// Error returns the rule's name.
func (r Rule) Error() string { return string(r) }

// The rules of every receipt.
const (
	RuleRating   Rule = "rating"   // the parsed rating is of another event
	RuleForm     Rule = "form"     // unknown kind of receipt
	RuleFields   Rule = "fields"   // too few or too many values
	RulePlatform Rule = "platform" // a Mostro receipt on another platform's rating
	RuleRole     Rule = "role"     // the rating's role differs from the receipt's role
)

// The rules of a disclosed message.
const (
	RuleJSON           Rule = "json"            // the message's event is not in the required encoding
	RuleEventKind      Rule = "event-kind"      // not the kind of its transport
	RuleNode           Rule = "node"            // the author is not the rated host
	RuleEventID        Rule = "event-id"        // the id is not the hash of the event
	RuleEventSig       Rule = "event-signature" // the host's signature does not verify
	RuleRecipients     Rule = "recipients"      // not exactly one p tag
	RuleRecipient      Rule = "recipient"       // the recipient is not the rating's author
	RuleKeys           Rule = "keys"            // message keys of the wrong length
	RuleCiphertext     Rule = "ciphertext"      // not base64, or an impossible length
	RuleVersion        Rule = "version"         // not NIP-44 version 2
	RuleMAC            Rule = "mac"             // the message keys do not authenticate the ciphertext
	RuleLength         Rule = "length"          // the padded length does not fit the text
	RulePadding        Rule = "padding"         // padding bytes other than zero
	RuleTuple          Rule = "tuple"           // not a message and the number of nulls of the transport
	RuleCanonical      Rule = "canonical"       // not the canonical bytes of the message
	RuleWrapper        Rule = "wrapper"         // the message wrapper is not "order"
	RuleMessageVersion Rule = "message-version" // not the protocol version of its transport
	RuleAction         Rule = "action"          // an action that proves no trade
	RuleOrder          Rule = "order"           // the message is about another order
	RulePayload        Rule = "payload"         // the payload does not fit, or must not be published
	RulePoint          Rule = "point"           // the shared point is not on the curve
	RuleProof          Rule = "proof"           // the shared point is not proven for author and host
	RuleRumor          Rule = "rumor"           // the seal does not hold the host's own message
)

// The rules of a statement or token that the host signed.
const (
	RuleToken     Rule = "token"      // RoboSats' token is not the host's signature over author and order
	RuleSignature Rule = "signature"  // not the host's signature over this statement
	RuleBand      Rule = "band"       // not an amount band
	RuleDay       Rule = "day"        // not a date
	RuleHash      Rule = "hash"       // not a payment hash
	RuleKeyset    Rule = "keyset"     // the host's keyset is unknown
	RuleKeysetBad Rule = "keyset-bad" // the keyset found is not the host's keyset of that id
	RuleSecret    Rule = "secret"     // not 32 bytes
	RuleBlind     Rule = "blind"      // not the keyset's signature over this secret and author
	RulePreimage  Rule = "preimage"   // not the preimage of the payment hash in the statement
	RuleInvoice   Rule = "invoice"    // not a BOLT11 invoice for the payment hash in the statement
)

// Error is the refusal of a receipt and names the broken rule.
type Error struct {
	Rule   Rule
	Detail string // for people; never holds decrypted text
}

// Error returns the rule and the detail.
func (e *Error) Error() string {
	if e.Detail == "" {
		return "receipt: " + string(e.Rule)
	}
	return "receipt: " + string(e.Rule) + ": " + e.Detail
}

// Unwrap returns the Rule.
func (e *Error) Unwrap() error { return e.Rule }

func forged(rule Rule, detail string) error { return &Error{Rule: rule, Detail: detail} }

// Keysets returns a host's keyset by its id: an event of KeysetKinds whose id and
// signature have been checked, or nil if the keyset is unknown. If a host published two
// keysets for one epoch, Keysets should return only the keyset that was witnessed
// first, because a host could mark its users by issuing them different keysets.
type Keysets func(node, keyset string) *nostr.Event

// Check checks the receipt of a rating and returns the facts that the receipt
// proves. Every error is an Error. A rating without a receipt is no error:
// Check returns a Receipt of kind None. If the rating carries several
// proofs, every proof must hold: a rating with one good and one bad proof is refused.
//
// The caller must have checked the id and signature of evt, as the relay does before it
// stores an event. The caller also checks whether the nullifier was spent before and
// whether the order was witnessed. If keysets is nil, every R2 receipt is refused with
// RuleKeyset.
func Check(evt *nostr.Event, r mostro.HostRating, keysets Keysets) (Receipt, error) {
	return checkReceipt(evt, r, keysets, signature.holds)
}

// Rated is a rating together with the event that the rating was parsed from.
type Rated struct {
	Event  *nostr.Event
	Rating mostro.HostRating
}

// CheckAll checks the receipts of many ratings and returns the same receipts and
// errors as Check, in the order of list. The hosts' signatures are verified in
// one batch, which costs less.
func CheckAll(list []Rated, keysets Keysets) ([]Receipt, []error) {
	receipts, errs := make([]Receipt, len(list)), make([]error, len(list))
	var waiting []signature
	var of []int // by signature: the index of the signature's rating in list
	alone := make([]bool, len(list))
	for i, r := range list {
		var own []signature
		receipts[i], errs[i] = checkReceipt(r.Event, r.Rating, keysets, func(s signature) bool {
			own = append(own, s)
			return true
		})
		if errs[i] != nil {
			// Check verifies signatures in order, so it may find a bad signature
			// before this error.
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
			receipts[i], errs[i] = Check(r.Event, r.Rating, keysets)
		}
	}
	return receipts, errs
}

// checkReceipt passes the host's signatures over statements and tokens to holds.
func checkReceipt(evt *nostr.Event, r mostro.HostRating, keysets Keysets, holds func(signature) bool) (Receipt, error) {
	if evt == nil || evt.ID != r.EventID || evt.PubKey != r.Pubkey {
		return Receipt{}, forged(RuleRating, "the rating is of another event")
	}
	base := Receipt{Node: r.Host, Rater: r.Pubkey, Order: r.OrderID}
	if r.Token != "" {
		if s, ok := tokenSignature(r.Host, r.Pubkey, r.OrderID, r.Token); !ok || !holds(s) {
			return Receipt{}, forged(RuleToken, "not the host's signature over author and order")
		}
	}
	if len(r.Receipt) == 0 {
		if r.Token == "" {
			return base, nil
		}
		base.Kind = R1
		return base.sealed(), nil
	}
	if r.Platform != mostro.PlatformMostro {
		return Receipt{}, forged(RulePlatform, "d is not mostro:ORDER")
	}
	var err error
	switch values := r.Receipt[1:]; r.Receipt[0] {
	case "r0":
		err = base.checkDisclosed(values)
	case "r1":
		err = checkSigned(&base, values, holds)
	case "r2":
		err = checkBlind(&base, r, values, keysets)
	case "r3":
		err = checkOpened(&base, values, holds)
	default:
		err = forged(RuleForm, "unknown kind: want r0, r1, r2 or r3")
	}
	if err != nil {
		return Receipt{}, err
	}
	if base.Role != "" && r.Role != "" && base.Role != r.Role {
		return Receipt{}, forged(RuleRole, "the receipt is the "+base.Role+"'s")
	}
	return base.sealed(), nil
}

// sealed returns the receipt with its nullifier set, if it had none.
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
