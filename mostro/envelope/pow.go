package envelope

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/bits"
	"strconv"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// Difficulty returns the number of leading zero bits of an event id (NIP-13), or 0 if
// id is malformed. The target in the nonce tag is ignored, as Mostro ignores it.
func Difficulty(id string) int {
	var b [32]byte
	if !hex32.Decode(b[:], id) {
		return 0
	}
	return zeroBits(b)
}

func zeroBits(b [32]byte) int {
	n := 0
	for _, c := range b {
		n += bits.LeadingZeros8(c)
		if c != 0 {
			break
		}
	}
	return n
}

// CheckWork returns a WireError with RuleWork if the event's id has fewer than want
// leading zero bits. The caller must also check the id itself, before or after.
func CheckWork(evt *nostr.Event, want int) error {
	if have := Difficulty(evt.ID); have < want {
		return message.NewError(message.RuleWork, fmt.Sprintf("%d leading zero bits, want %d", have, want))
	}
	return nil
}

// Mine appends a nonce tag with which the event's id has at least want leading zero
// bits. Author and all other fields must be set before, and the event must be signed
// after. Each bit doubles the work; 0 changes nothing. If ctx ends first, Mine removes
// the tag and returns ctx's error.
func Mine(ctx context.Context, evt *nostr.Event, want int) error {
	if want <= 0 {
		return nil
	}
	if want > 256 {
		return message.NewError(message.RuleWork, "no id has more than 256 bits")
	}
	tag := nostr.Tag{"nonce", "0", strconv.Itoa(want)}
	evt.Tags = append(evt.Tags[:len(evt.Tags):len(evt.Tags)], tag)
	for n := uint64(0); ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			evt.Tags = evt.Tags[:len(evt.Tags)-1]
			return fmt.Errorf("mine %d bits: %w", want, ctx.Err())
		}
		tag[1] = strconv.FormatUint(n, 10)
		if zeroBits(sha256.Sum256(evt.Serialize())) >= want {
			return nil
		}
	}
}
