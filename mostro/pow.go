package mostro

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/bits"
	"strconv"

	"github.com/nbd-wtf/go-nostr"
)

// Difficulty is NIP-13's measure of an event id: its leading zero bits, 0 for
// what is no id. The target that a nonce tag commits to is not looked at, as
// no Mostro does.
func Difficulty(id string) int {
	var b [32]byte
	if !decodeHex(b[:], id) {
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

// CheckWork demands a difficulty of an event: RuleWork, or nil. The id must
// have been checked, or be checked next.
func CheckWork(evt *nostr.Event, want int) error {
	if have := Difficulty(evt.ID); have < want {
		return broke(RuleWork, fmt.Sprintf("%d leading zero bits, want %d", have, want))
	}
	return nil
}

// Mine adds a nonce tag with which the event's id has the wanted difficulty.
// The event must have its author and all its fields, and is to be signed
// next. Each bit doubles the work; 0 changes nothing.
func Mine(ctx context.Context, evt *nostr.Event, want int) error {
	if want <= 0 {
		return nil
	}
	if want > 256 {
		return broke(RuleWork, "no id has more than 256 bits")
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
