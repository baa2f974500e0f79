package receipt

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/cloudflare/circl/blindsign/blindrsa"
	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/crypto/chacha20"
)

// R2: the host signs a blinded message at settlement. Unblinding turns the host's
// answer into a signature that anyone can verify and that the host cannot link to the
// trade. The scheme is RFC 9474, RSABSSA-SHA384-PSS-Deterministic. The signed message
// holds 32 random bytes, so the scheme's own randomizer is not needed.
//
// Blind tokens of Cashu do not fit: only the mint can verify a Cashu token. The Cashu
// proof for other verifiers (a DLEQ with the blinding factor) lets the mint find the
// blinded message that it signed, and with it the trade.

// Sizes of the scheme: RSA keys have 2048 bits and the exponent 65537.
const (
	blindBits = 2048
	blindLen  = blindBits / 8
	blindExp  = 65537

	blindVariant = blindrsa.SHA384PSSDeterministic
	blindScheme  = "rsabssa-sha384-pss-deterministic"
)

// EpochOf returns the month of a time in UTC: "2026-11". A keyset signs for one epoch.
func EpochOf(at time.Time) string { return at.UTC().Format("2006-01") }

// Keyset is the public key with which a host signs the blind receipts of one epoch:
// kind 38377, with the epoch as d tag. A host should publish one keyset per epoch and
// never change its key.
type Keyset struct {
	EventID   string
	Pubkey    string // the host, hex
	CreatedAt nostr.Timestamp

	ID    string // 32 hex digits, derived from the key
	Epoch string // "2026-11"
	// Issued is the number of blind receipts that the host has signed with this keyset
	// so far, as the host states; nil if unknown. A reader can compare Issued with the
	// number of receipts that were spent.
	Issued       *int64
	InstanceName string

	key *rsa.PublicKey
}

// NewKeyset returns the keyset of a public key. NewKeyset returns an Error with
// RuleKeysetBad if epoch is not a month or if the key is not RSA with 2048 bits and
// the exponent 65537.
func NewKeyset(node, epoch string, key *rsa.PublicKey) (Keyset, error) {
	if _, err := time.Parse("2006-01", epoch); err != nil {
		return Keyset{}, forged(RuleKeysetBad, "the epoch is not a month")
	}
	if err := checkBlindKey(key); err != nil {
		return Keyset{}, err
	}
	return Keyset{Pubkey: node, ID: keysetID(key), Epoch: epoch, key: key}, nil
}

// NewBlindKey generates an RSA key for a keyset.
func NewBlindKey() (*rsa.PrivateKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, blindBits)
	if err != nil {
		return nil, fmt.Errorf("new key for blind receipts: %w", err)
	}
	return key, nil
}

func checkBlindKey(key *rsa.PublicKey) error {
	if key == nil || key.N == nil || key.N.BitLen() != blindBits || key.E != blindExp || key.N.Bit(0) == 0 {
		return forged(RuleKeysetBad, "want an RSA key of 2048 bits with the exponent 65537")
	}
	return nil
}

func keysetID(key *rsa.PublicKey) string {
	sum := sha256.Sum256(append([]byte("mostro-receipt/keyset\n"), x509.MarshalPKCS1PublicKey(key)...))
	return hex.EncodeToString(sum[:16])
}

// ParseKeyset parses kind 38377, and kind 38387 of programs before November 2026. Key
// and id are the same under both kinds.
func ParseKeyset(evt *nostr.Event) (Keyset, error) {
	if err := mostro.Expect(evt, mostro.ClassKeyset); err != nil {
		return Keyset{}, err
	}
	if err := mostro.Once(evt, "d", "z", "y", "scheme", "key", "issued"); err != nil {
		return Keyset{}, err
	}
	t := mostro.TagReader(evt.Tags)
	_, second := t.Claim()
	k := Keyset{EventID: evt.ID, Pubkey: evt.PubKey, CreatedAt: evt.CreatedAt, Epoch: t.Value("d"), Issued: t.Whole("issued"), InstanceName: second}
	if at, err := time.Parse("2006-01", k.Epoch); err != nil || EpochOf(at) != k.Epoch {
		return Keyset{}, mostro.MalformedEvent(evt, "d is not a month")
	}
	if t.Value("scheme") != blindScheme {
		return Keyset{}, mostro.MalformedEvent(evt, "unknown scheme")
	}
	text := t.Value("key")
	if len(text) > 2*(blindLen+64) {
		return Keyset{}, mostro.MalformedEvent(evt, "key is too long")
	}
	der, err := hex.DecodeString(text)
	if err != nil || hex.EncodeToString(der) != text {
		return Keyset{}, mostro.MalformedEvent(evt, "key is not lower-case hex")
	}
	if k.key, err = x509.ParsePKCS1PublicKey(der); err != nil {
		return Keyset{}, mostro.MalformedEvent(evt, "key is not a public key of PKCS #1")
	}
	if checkBlindKey(k.key) != nil {
		return Keyset{}, mostro.MalformedEvent(evt, "key is not RSA of 2048 bits with the exponent 65537")
	}
	k.ID = keysetID(k.key)
	return k, nil
}

// Event returns the keyset's event, ready to be signed by the host. The event has no
// expiration, because receipts are checked as long as ratings count.
func (k Keyset) Event() nostr.Event {
	w := mostro.TagWriter{{"d", k.Epoch}}
	w.Add("z", "receipt-keys")
	w.Instance(k.InstanceName)
	w.Add("scheme", blindScheme)
	if k.key != nil {
		w.Add("key", hex.EncodeToString(x509.MarshalPKCS1PublicKey(k.key)))
	}
	w.Whole("issued", k.Issued)
	w.Add("alt", "Key for blind receipts of trades, "+k.Epoch)
	return nostr.Event{PubKey: k.Pubkey, CreatedAt: k.CreatedAt, Kind: mostro.KindReceiptKeys, Tags: nostr.Tags(w)}
}

// BlindRequest is a pending request for a blind receipt. It holds the message to send
// and the state that Unblind needs. The secrets of a BlindRequest belong to the rater
// and must not be sent to the host.
type BlindRequest struct {
	Blinded []byte // send this to the host
	Rater   string // the key that can spend the receipt
	Secret  string // 64 hex digits

	keyset Keyset
	state  blindrsa.State
	client blindrsa.Client
}

// blindMessage returns the message that the host signs blindly. The message includes
// the author's key, so that a reader of the published receipt cannot spend it.
func blindMessage(node, keyset, rater, secret string) []byte {
	return []byte(strings.Join([]string{"mostro-receipt/blind", node, keyset, rater, secret}, "\n"))
}

// Blind starts a request for a blind receipt. rater should be a key that was never used
// before. rater should not be the trade key, because the host knows the trade key. If
// random is nil, Blind uses crypto/rand.
func (k Keyset) Blind(rater string, random io.Reader) (*BlindRequest, error) {
	if random == nil {
		random = rand.Reader
	}
	if !hex32.Valid(rater) {
		return nil, forged(RuleFields, "the author's key is not a public key")
	}
	var secret [32]byte
	if _, err := io.ReadFull(random, secret[:]); err != nil {
		return nil, fmt.Errorf("draw a secret: %w", err)
	}
	q := &BlindRequest{Rater: rater, Secret: hex.EncodeToString(secret[:]), keyset: k}
	var err error
	if q.client, err = blindrsa.NewClient(blindVariant, k.key); err != nil {
		return nil, fmt.Errorf("blind: %w", err)
	}
	if q.Blinded, q.state, err = q.client.Blind(random, blindMessage(k.Pubkey, k.ID, rater, q.Secret)); err != nil {
		return nil, fmt.Errorf("blind: %w", err)
	}
	return q, nil
}

// BlindFor is like Blind, but derives all randomness from the rater's secret key, the
// keyset and the order. If the host's answer was lost, BlindFor returns the same
// request again. A host answers the same request as often as it is sent.
func (k Keyset) BlindFor(rater *envelope.Keys, order string) (*BlindRequest, error) {
	secret := rater.Secret()
	h := hmac.New(sha256.New, secret[:])
	h.Write([]byte(strings.Join([]string{"mostro-receipt/blinding", k.Pubkey, k.ID, order}, "\n")))
	stream, err := chacha20.NewUnauthenticatedCipher(h.Sum(nil), make([]byte, chacha20.NonceSize))
	if err != nil {
		return nil, fmt.Errorf("blind: %w", err)
	}
	return k.Blind(rater.Pubkey(), keystream{stream})
}

// keystream is a reader of a cipher's keystream. The cipher's key is used for nothing
// else.
type keystream struct{ cipher *chacha20.Cipher }

func (s keystream) Read(b []byte) (int, error) {
	clear(b)
	s.cipher.XORKeyStream(b, b)
	return len(b), nil
}

// Unblind turns the host's answer into the values of the receipt tag. If the signature
// does not verify, Unblind returns an Error with RuleBlind.
func (q *BlindRequest) Unblind(signed []byte) ([]string, error) {
	sig, err := q.client.Finalize(q.state, signed)
	if err != nil {
		return nil, forged(RuleBlind, "the host's answer does not verify")
	}
	if !q.keyset.verifies(q.Rater, q.Secret, sig) {
		return nil, forged(RuleBlind, "the host's answer does not verify")
	}
	return []string{"r2", q.keyset.ID, q.Secret, hex.EncodeToString(sig)}, nil
}

// SignBlinded signs the blinded message of a rater. The signer cannot read the message,
// so the key must be used for nothing else.
func SignBlinded(key *rsa.PrivateKey, blinded []byte) ([]byte, error) {
	if err := checkBlindKey(&key.PublicKey); err != nil {
		return nil, err
	}
	if len(blinded) != blindLen {
		return nil, forged(RuleBlind, fmt.Sprintf("want %d bytes", blindLen))
	}
	sig, err := blindrsa.NewSigner(key).BlindSign(blinded)
	if err != nil {
		return nil, forged(RuleBlind, "not a number below the modulus")
	}
	return sig, nil
}

func (k Keyset) verifies(rater, secret string, sig []byte) bool {
	v, err := blindrsa.NewVerifier(blindVariant, k.key)
	return err == nil && v.Verify(blindMessage(k.Pubkey, k.ID, rater, secret), sig) == nil
}

// BlindNullifier returns the nullifier of a secret. The d tag of a rating with R2 is
// "mostro:" and the nullifier.
func BlindNullifier(secret string) string {
	sum := sha256.Sum256([]byte("mostro-receipt/secret\n" + secret))
	return hex.EncodeToString(sum[:])
}

// checkBlind checks keyset, secret and signature, and sets the fields of r that R2 proves.
func checkBlind(r *Receipt, rating mostro.HostRating, values []string, keysets Keysets) error {
	if len(values) != 3 {
		return forged(RuleFields, "r2 needs keyset, secret and signature")
	}
	id, secret := values[0], values[1]
	if !hex32.Valid(secret) {
		return forged(RuleSecret, "want 64 lower-case hex digits")
	}
	nullifier := BlindNullifier(secret)
	if rating.OrderID != nullifier || rating.Order != "" {
		return forged(RuleOrder, "a rating with r2 names its nullifier and no order")
	}
	var evt *nostr.Event
	if keysets != nil {
		evt = keysets(r.Node, id)
	}
	if evt == nil {
		return forged(RuleKeyset, strconv.Quote(id)+" of this host is not known")
	}
	keyset, err := ParseKeyset(evt)
	if err != nil || keyset.Pubkey != r.Node || keyset.ID != id {
		return forged(RuleKeysetBad, "the keyset found is not the host's keyset of that id")
	}
	var sig [blindLen]byte
	if !hex32.Decode(sig[:], values[2]) || !keyset.verifies(r.Rater, secret, sig[:]) {
		return forged(RuleBlind, "not the keyset's signature over this secret and author")
	}
	r.Kind, r.Order, r.Nullifier, r.Keyset, r.Epoch = R2, "", nullifier, keyset.ID, keyset.Epoch
	return nil
}
