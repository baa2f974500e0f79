package receipt

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"golang.org/x/crypto/chacha20"
	"pgregory.net/rapid"
)

// pad adds NIP-44's padding.
func pad(plain []byte) []byte {
	b := make([]byte, 2+envelope.PaddedLen(len(plain)))
	binary.BigEndian.PutUint16(b, uint16(len(plain)))
	copy(b[2:], plain)
	return b
}

// encryptPadded encrypts padded bytes without checking the padding.
func encryptPadded(t testing.TB, key envelope.ConversationKey, padded []byte) string {
	t.Helper()
	nonce := bytes.Repeat([]byte{7}, 32)
	keys, err := key.MessageKeys(nonce)
	if err != nil {
		t.Fatal(err)
	}
	cipher, err := chacha20.NewUnauthenticatedCipher(keys[:32], keys[32:44])
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, len(padded))
	cipher.XORKeyStream(body, padded)
	h := hmac.New(sha256.New, keys[44:])
	h.Write(nonce)
	h.Write(body)
	return base64.StdEncoding.EncodeToString(h.Sum(append(append([]byte{2}, nonce...), body...)))
}

// TestSignRaw compares the signature over raw text with BIP-340's vectors for messages
// of other lengths than 32 bytes, and with the library's signature for 32 bytes.
func TestSignRaw(t *testing.T) {
	secret := strings.Repeat("0340", 16)
	k, err := envelope.ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	if k.Pubkey() != "778caa53b4393ac467774d09497a87224bf9fab6f6e68b23086497324d6fd117" {
		t.Fatal("not the vector's key")
	}
	for msg, want := range map[string]string{
		"":                                   "71535db165ecd9fbbc046e5ffaea61186bb6ad436732fccc25291a55895464cf6069ce26bf03466228f19a3a62db8a649f2d560fac652827d1af0574e427ab63",
		"11":                                 "08a20a0afef64124649232e0693c583ab1b9934ae63b4c3511f3ae1134c6a303ea3173bfea6683bd101fa5aa5dbc1996fe7cacfc5a577d33ec14564cec2bacbf",
		"0102030405060708090a0b0c0d0e0f1011": "5130f39a4059b43bc7cac09a19ece52b5d8699d1a71e3c52da9afdb6b50ac370c4a482b77bf960f8681540e25b6771ece1e5a37fd80e5a51897c5566a97ea5a5",
		strings.Repeat("99", 100):            "403b12b0d8555a344175ea7ec746566303321e5dbfa8be6f091635163eca79a8585ed3e3170807e7c03b720fc54c7b23897fcba0e9d0b4a06894cfd249f22367",
	} {
		raw, _ := hex.DecodeString(msg)
		sig, err := signRaw(k, raw, bytes.NewReader(make([]byte, 32)))
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(sig[:]); got != want {
			t.Errorf("message of %d bytes: %s, want %s", len(raw), got, want)
		}
		if !verifyRawHex(k.Pubkey(), raw, want) || verifyRawHex(k.Pubkey(), append(raw, 0), want) {
			t.Errorf("message of %d bytes: verified wrongly", len(raw))
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		var secret [32]byte
		copy(secret[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "secret"))
		k, err := envelope.KeysFromSecret(secret)
		if err != nil {
			t.Skip("no valid secret key: draw another")
		}
		digest := sha256.Sum256(rapid.SliceOf(rapid.Byte()).Draw(t, "text"))
		var aux [32]byte
		repeatable().Read(aux[:])
		private, p := btcec.PrivKeyFromBytes(secret[:])
		want, err := schnorr.Sign(private, digest[:], schnorr.CustomNonce(aux))
		if err != nil {
			t.Fatal(err)
		}
		if !verifyRawHex(k.Pubkey(), digest[:], hex.EncodeToString(want.Serialize())) {
			t.Fatal("the library's signature does not verify")
		}
		raw, err := signRaw(k, digest[:], repeatable())
		if err != nil {
			t.Fatal(err)
		}
		if raw != [64]byte(want.Serialize()) || !want.Verify(digest[:], p) {
			t.Fatalf("%x, the library signs %x", raw, want.Serialize())
		}
	})
}

func verifyRawHex(pubkey string, msg []byte, sig string) bool {
	s := signature{pubkey: pubkey, msg: msg}
	return hex32.Decode(s.sig[:], sig) && s.holds()
}

// TestSharedPoint compares the published point with the Diffie-Hellman point of the
// envelope, and checks that changed proofs are refused.
func TestSharedPoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) *envelope.Keys {
			var secret [32]byte
			copy(secret[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, name))
			k, err := envelope.KeysFromSecret(secret)
			if err != nil {
				t.Skip("no valid secret key: draw another")
			}
			return k
		}
		own, peer := draw("own"), draw("peer")
		p, _ := message.ParsePoint(peer.Pubkey())
		me, _ := message.ParsePoint(own.Pubkey())
		point, proof, err := sharedPoint(own, p, []byte("x"), repeatable())
		if err != nil {
			t.Fatal(err)
		}
		secret := own.Secret()
		private, _ := btcec.PrivKeyFromBytes(secret[:])
		if !bytes.Equal(point.SerializeCompressed()[1:], btcec.GenerateSharedSecret(private, p)) {
			t.Fatal("not the shared point")
		}
		if !provenShared(me, p, point, proof, []byte("x")) {
			t.Fatal("an honest proof is refused")
		}
		if provenShared(me, p, point, proof, []byte("y")) {
			t.Fatal("proven for another context")
		}
		wrong := rapid.IntRange(0, 511).Draw(t, "bit")
		proof[wrong/8] ^= 1 << (wrong % 8)
		if provenShared(me, p, point, proof, []byte("x")) {
			t.Fatal("a changed proof is accepted")
		}
		proof[wrong/8] ^= 1 << (wrong % 8)
		if own.Pubkey() != peer.Pubkey() && provenShared(p, me, point, proof, []byte("x")) {
			t.Fatal("proven for the other side")
		}
	})
}
