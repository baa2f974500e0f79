package envelope

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strconv"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// CheckEvent verifies id and signature of an event with untrusted fields. The length
// checks must come first, because the C signature check trusts the lengths. The error is a WireError.
func CheckEvent(evt *nostr.Event) error {
	var id, pubkey [32]byte
	var sig [64]byte
	if !hex32.Decode(id[:], evt.ID) {
		return message.NewError(message.RuleEventID, "want 64 lower-case hex digits")
	}
	if !hex32.Decode(pubkey[:], evt.PubKey) {
		return message.NewError(message.RuleKey, "want 64 lower-case hex digits")
	}
	if !hex32.Decode(sig[:], evt.Sig) {
		return message.NewError(message.RuleSignature, "want 128 lower-case hex digits")
	}
	if !evt.CheckID() {
		return message.NewError(message.RuleEventID, "not the hash of this event")
	}
	if ok, err := evt.CheckSignature(); err != nil || !ok {
		return message.NewError(message.RuleSignature, "does not verify")
	}
	return nil
}

// signEvent sets id and signature. evt.PubKey must be the public key of keys.
func signEvent(evt *nostr.Event, keys *Keys, random io.Reader) error {
	digest := sha256.Sum256(evt.Serialize())
	sig, err := keys.sign(digest, random)
	if err != nil {
		return err
	}
	evt.ID = hex.EncodeToString(digest[:])
	evt.Sig = hex.EncodeToString(sig[:])
	return nil
}

func expirationTag(at nostr.Timestamp) nostr.Tag {
	return nostr.Tag{"expiration", strconv.FormatInt(int64(at), 10)}
}
