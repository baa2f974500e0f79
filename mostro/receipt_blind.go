package mostro

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
	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/crypto/chacha20"
)

// R2: the host signs, at settlement, something that it cannot read; what comes
// out is a signature that anybody can check and that the host cannot connect
// with the trade. RFC 9474, RSABSSA-SHA384-PSS-Deterministic: what is signed
// holds 32 random bytes, so nothing needs to be added to it.
//
// Not the blind tokens of Cashu: those only the mint itself can check. Their
// proof for others (a DLEQ with the blinding factor) leads the mint back to
// the blinded message that it signed, and so to the trade.

// Sizes of the scheme: RSA keys have 2048 bits and the exponent 65537.
const (
	blindBits = 2048
	blindLen  = blindBits / 8
	blindExp  = 65537

	blindVariant = blindrsa.SHA384PSSDeterministic
	blindScheme  = "rsabssa-sha384-pss-deterministic"
)

// EpochOf names the month of a time, UTC: "2026-11". A keyset signs for one.
func EpochOf(at time.Time) string { return at.UTC().Format("2006-01") }

// Keyset is the public key by which a host signs the blind receipts of one
// epoch: kind 38377, addressed by the epoch. There is to be one per epoch and
// host, and its key never changes.
type Keyset struct {
	EventID   string
	Pubkey    string // the host, hex
	CreatedAt nostr.Timestamp

	ID    string // 32 hex digits: of the key
	Epoch string // "2026-11"
	// Issued is how many blind receipts the host says it has signed by this
	// keyset so far; nil unknown. It is to be compared with what was spent.
	Issued       *int64
	InstanceName string

	key *rsa.PublicKey
}

// NewKeyset makes the public form of a key for blind receipts.
func NewKeyset(node, epoch string, key *rsa.PublicKey) (Keyset, error) {
	if _, err := time.Parse("2006-01", epoch); err != nil {
		return Keyset{}, forged(ReceiptKeysetBad, "the epoch is not a month")
	}
	if err := checkBlindKey(key); err != nil {
		return Keyset{}, err
	}
	return Keyset{Pubkey: node, ID: keysetID(key), Epoch: epoch, key: key}, nil
}

// NewBlindKey makes a key for a keyset.
func NewBlindKey() (*rsa.PrivateKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, blindBits)
	if err != nil {
		return nil, fmt.Errorf("new key for blind receipts: %w", err)
	}
	return key, nil
}

func checkBlindKey(key *rsa.PublicKey) error {
	if key == nil || key.N == nil || key.N.BitLen() != blindBits || key.E != blindExp || key.N.Bit(0) == 0 {
		return forged(ReceiptKeysetBad, "want an RSA key of 2048 bits with the exponent 65537")
	}
	return nil
}

func keysetID(key *rsa.PublicKey) string {
	sum := sha256.Sum256(append([]byte("mostro-receipt/keyset\n"), x509.MarshalPKCS1PublicKey(key)...))
	return hex.EncodeToString(sum[:16])
}

// ParseKeyset reads kind 38377, and kind 38387 of programs before November
// 2026. The key, and so its id, is the same in both.
func ParseKeyset(evt *nostr.Event) (Keyset, error) {
	if err := expect(evt, ClassKeyset); err != nil {
		return Keyset{}, err
	}
	if err := once(evt, "d", "z", "y", "scheme", "key", "issued"); err != nil {
		return Keyset{}, err
	}
	t := tagReader(evt.Tags)
	_, second := t.claim()
	k := Keyset{EventID: evt.ID, Pubkey: evt.PubKey, CreatedAt: evt.CreatedAt, Epoch: t.value("d"), Issued: t.whole("issued"), InstanceName: second}
	if at, err := time.Parse("2006-01", k.Epoch); err != nil || EpochOf(at) != k.Epoch {
		return Keyset{}, malformed(evt, "d is not a month")
	}
	if t.value("scheme") != blindScheme {
		return Keyset{}, malformed(evt, "unknown scheme")
	}
	text := t.value("key")
	if len(text) > 2*(blindLen+64) {
		return Keyset{}, malformed(evt, "key is too long")
	}
	der, err := hex.DecodeString(text)
	if err != nil || hex.EncodeToString(der) != text {
		return Keyset{}, malformed(evt, "key is not lower-case hex")
	}
	if k.key, err = x509.ParsePKCS1PublicKey(der); err != nil {
		return Keyset{}, malformed(evt, "key is not a public key of PKCS #1")
	}
	if checkBlindKey(k.key) != nil {
		return Keyset{}, malformed(evt, "key is not RSA of 2048 bits with the exponent 65537")
	}
	k.ID = keysetID(k.key)
	return k, nil
}

// Event builds the keyset's event, ready to be signed by the host. It never
// expires: receipts are checked for as long as ratings count.
func (k Keyset) Event() nostr.Event {
	w := tagWriter{{"d", k.Epoch}}
	w.add("z", keysetZ)
	w.instance(k.InstanceName)
	w.add("scheme", blindScheme)
	if k.key != nil {
		w.add("key", hex.EncodeToString(x509.MarshalPKCS1PublicKey(k.key)))
	}
	w.whole("issued", k.Issued)
	w.add("alt", "Key for blind receipts of trades, "+k.Epoch)
	return nostr.Event{PubKey: k.Pubkey, CreatedAt: k.CreatedAt, Kind: KindReceiptKeys, Tags: nostr.Tags(w)}
}

// BlindRequest is a receipt on its way: what is asked for, and what is needed
// to make use of the answer. Its secrets belong to the rater alone.
type BlindRequest struct {
	Blinded []byte // to be sent to the host
	Rater   string // the key that can spend the receipt
	Secret  string // 64 hex digits

	keyset Keyset
	state  blindrsa.State
	client blindrsa.Client
}

// blindMessage is what the host signs without seeing it. The author's key is
// in it, so that nobody else can spend what they see published.
func blindMessage(node, keyset, rater, secret string) []byte {
	return []byte(strings.Join([]string{"mostro-receipt/blind", node, keyset, rater, secret}, "\n"))
}

// Blind begins to ask for a blind receipt. rater should be a key that was
// never used before: not the trade key, which the host knows. A nil source of
// randomness is crypto/rand.
func (k Keyset) Blind(rater string, random io.Reader) (*BlindRequest, error) {
	if random == nil {
		random = rand.Reader
	}
	if !isHex(rater, 64) {
		return nil, forged(ReceiptFields, "the author's key is no key")
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

// BlindFor is Blind with all that is random derived from the rater's secret
// key: asked again, after an answer that was lost, it asks for the very same,
// which a host gives as often as it is asked.
func (k Keyset) BlindFor(rater *Keys, order string) (*BlindRequest, error) {
	secret := rater.Secret()
	h := hmac.New(sha256.New, secret[:])
	h.Write([]byte(strings.Join([]string{"mostro-receipt/blinding", k.Pubkey, k.ID, order}, "\n")))
	stream, err := chacha20.NewUnauthenticatedCipher(h.Sum(nil), make([]byte, chacha20.NonceSize))
	if err != nil {
		return nil, fmt.Errorf("blind: %w", err)
	}
	return k.Blind(rater.pubkey, keystream{stream})
}

// keystream reads the stream of a cipher whose key is used for nothing else.
type keystream struct{ cipher *chacha20.Cipher }

func (s keystream) Read(b []byte) (int, error) {
	clear(b)
	s.cipher.XORKeyStream(b, b)
	return len(b), nil
}

// Unblind turns the host's answer into the values of the receipt tag, and
// checks them.
func (q *BlindRequest) Unblind(signed []byte) ([]string, error) {
	sig, err := q.client.Finalize(q.state, signed)
	if err != nil {
		return nil, forged(ReceiptBlind, "the host's answer does not verify")
	}
	if !q.keyset.verifies(q.Rater, q.Secret, sig) {
		return nil, forged(ReceiptBlind, "the host's answer does not verify")
	}
	return []string{"r2", q.keyset.ID, q.Secret, hex.EncodeToString(sig)}, nil
}

// SignBlinded signs what a rater blinded. It sees nothing of what it signs, so
// the key must be used for nothing else.
func SignBlinded(key *rsa.PrivateKey, blinded []byte) ([]byte, error) {
	if err := checkBlindKey(&key.PublicKey); err != nil {
		return nil, err
	}
	if len(blinded) != blindLen {
		return nil, forged(ReceiptBlind, fmt.Sprintf("want %d bytes", blindLen))
	}
	sig, err := blindrsa.NewSigner(key).BlindSign(blinded)
	if err != nil {
		return nil, forged(ReceiptBlind, "not a number below the modulus")
	}
	return sig, nil
}

func (k Keyset) verifies(rater, secret string, sig []byte) bool {
	v, err := blindrsa.NewVerifier(blindVariant, k.key)
	return err == nil && v.Verify(blindMessage(k.Pubkey, k.ID, rater, secret), sig) == nil
}

// BlindNullifier gives what may be spent once of a secret, and what a rating
// by R2 is addressed by: "mostro:" and this.
func BlindNullifier(secret string) string {
	sum := sha256.Sum256([]byte("mostro-receipt/secret\n" + secret))
	return hex.EncodeToString(sum[:])
}

// checkBlind checks keyset, secret and signature.
func (r *Receipt) checkBlind(rating HostRating, values []string, keysets Keysets) error {
	if len(values) != 3 {
		return forged(ReceiptFields, "r2 has keyset, secret and signature")
	}
	id, secret := values[0], values[1]
	if !isHex(secret, 64) {
		return forged(ReceiptSecret, "want 64 lower-case hex digits")
	}
	nullifier := BlindNullifier(secret)
	if rating.OrderID != nullifier || rating.Order != "" {
		return forged(ReceiptOrder, "a rating by r2 names its nullifier and no order")
	}
	var evt *nostr.Event
	if keysets != nil {
		evt = keysets(r.Node, id)
	}
	if evt == nil {
		return forged(ReceiptKeyset, strconv.Quote(id)+" of this host is not known")
	}
	keyset, err := ParseKeyset(evt)
	if err != nil || keyset.Pubkey != r.Node || keyset.ID != id {
		return forged(ReceiptKeysetBad, "what was found is not the host's keyset of that id")
	}
	var sig [blindLen]byte
	if !decodeHex(sig[:], values[2]) || !keyset.verifies(r.Rater, secret, sig[:]) {
		return forged(ReceiptBlind, "not the keyset's signature over this secret and author")
	}
	r.Kind, r.Order, r.Nullifier, r.Keyset, r.Epoch = ReceiptR2, "", nullifier, keyset.ID, keyset.Epoch
	return nil
}
