package receipt

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/mostrodex/mostrodex/mostro"
)

// manySigned returns valid signatures of some keys, over messages of any length.
func manySigned(t testing.TB, n, keys int, r *rand.Rand) []signature {
	t.Helper()
	list := make([]signature, n)
	for i := range list {
		k := keyPair(t, byte(2+r.IntN(keys)))
		msg := make([]byte, r.IntN(80))
		for j := range msg {
			msg[j] = byte(r.Uint32())
		}
		sig, err := signRaw(k, msg, repeatable())
		if err != nil {
			t.Fatal(err)
		}
		list[i] = signature{k.Pubkey(), msg, sig}
	}
	return list
}

// plus returns the sum of a scalar and n, modulo the curve's order.
func plus(raw []byte, n uint32, negative bool) []byte {
	var a, b btcec.ModNScalar
	a.SetByteSlice(raw)
	b.SetInt(n)
	if negative {
		b.Negate()
	}
	sum := a.Add(&b).Bytes()
	return sum[:]
}

// TestProveMany checks that every signature that is proven in a batch also verifies
// alone. A valid signature may stay unproven only if it is near an invalid one.
func TestProveMany(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 40))
	n := 300
	if testing.Short() { // under -race each signature costs ten times as much
		n = 80
	}
	good := manySigned(t, n, 7, r)
	for name, spoil := range map[string]func(list []signature) (wrong int){
		"none":          func([]signature) int { return 0 },
		"another text":  func(l []signature) int { l[n-50].msg = append(slices.Clone(l[n-50].msg), 1); return 1 },
		"another key":   func(l []signature) int { l[3].pubkey = keyPair(t, 99).Pubkey(); return 1 },
		"no key":        func(l []signature) int { l[3].pubkey = strings.Repeat("0", 63) + "5"; return 1 }, // no point has this x
		"not hex":       func(l []signature) int { l[3].pubkey = "x"; return 1 },
		"big letters":   func(l []signature) int { l[3].pubkey = strings.ToUpper(l[3].pubkey); return 1 },
		"s too great":   func(l []signature) int { copy(l[7].sig[32:], strings.Repeat("\xff", 32)); return 1 },
		"r too great":   func(l []signature) int { copy(l[7].sig[:32], strings.Repeat("\xff", 32)); return 1 },
		"r no point":    func(l []signature) int { clear(l[7].sig[:32]); l[7].sig[31] = 5; return 1 },
		"s is nothing":  func(l []signature) int { clear(l[7].sig[32:]); return 1 },
		"all is zero":   func(l []signature) int { clear(l[7].sig[:]); return 1 },
		"the last, s+1": func(l []signature) int { copy(l[n-1].sig[32:], plus(l[n-1].sig[32:], 1, false)); return 1 },
		// Their plain sum does not change.
		"two that make up for each other": func(l []signature) int {
			copy(l[10].sig[32:], plus(l[10].sig[32:], 77, false))
			copy(l[11].sig[32:], plus(l[11].sig[32:], 77, true))
			return 2
		},
		"twice the same":       func(l []signature) int { l[20] = l[21]; return 0 },
		"twice the same wrong": func(l []signature) int { l[21].sig[40] ^= 1; l[20] = l[21]; return 2 },
		"a negative secret": func(l []signature) int { // signed with the other of the two points: -s
			var s btcec.ModNScalar
			s.SetByteSlice(l[9].sig[32:])
			b := s.Negate().Bytes()
			copy(l[9].sig[32:], b[:])
			return 1
		},
		"all": func(l []signature) int {
			for i := range l {
				l[i].sig[63] ^= 1
			}
			return n
		},
	} {
		t.Run(name, func(t *testing.T) {
			list := slices.Clone(good)
			wrong := spoil(list)
			proven := proveMany(list)
			count := 0
			for i, ok := range proven {
				holds := list[i].holds()
				if !holds {
					wrong--
				}
				if ok && !holds {
					t.Errorf("signature %d is proven and does not hold", i)
				}
				if ok {
					count++
				}
			}
			if wrong != 0 {
				t.Errorf("%d fewer are wrong than was meant", wrong)
			}
			if name == "none" && count != n || name != "all" && count < n/2 {
				t.Errorf("%d of %d are proven", count, n)
			}
		})
	}
	if few := proveMany(good[:manySignatures-1]); slices.Contains(few, true) {
		t.Error("few are proven together")
	}
}

// TestCheckReceipts checks that CheckAll returns the same receipts and the same
// error texts as Check.
func TestCheckReceipts(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	hash := strings.Repeat("ab", 32)
	for _, share := range []int{0, 1, 40} { // of 200, the number of wrong receipts
		var list []Rated
		for i := range 200 {
			host, rater := keyPair(t, byte(3+i%5)), keyPair(t, byte(100+i%50))
			order := fmt.Sprintf("308e1272-d5f4-47e6-bd97-%012d", i)
			rating := mostro.HostRating{EventID: fmt.Sprint(i), Pubkey: rater.Pubkey(), Host: host.Pubkey(), OrderID: order, Platform: mostro.PlatformMostro}
			st := Statement{Node: host.Pubkey(), Rater: rater.Pubkey(), Order: order, Role: RoleBuyer, BandSats: 20000, Day: "2026-11-22"}
			switch i % 10 {
			case 7, 8:
				token, err := SignToken(host, rater.Pubkey(), order, repeatable())
				if err != nil {
					t.Fatal(err)
				}
				rating.Token = token
			case 9: // the rating has no receipt
			case 6:
				st.Hash = hash
				fallthrough
			default:
				values, err := st.Sign(host, repeatable())
				if err != nil {
					t.Fatal(err)
				}
				if i%10 == 6 { // opened with the wrong values
					values = append([]string{"r3", "lnbc1", strings.Repeat("0", 64)}, values...)
				}
				rating.Receipt = values
			}
			if r.IntN(200) < share {
				switch at := len(rating.Receipt) - 1; {
				case at < 0 && rating.Token != "":
					rating.Token = flip(rating.Token, r.IntN(128))
				case at < 0:
				case i%4 == 0:
					rating.Role = RoleSeller
				case i%4 == 1:
					rating.Host = hex.EncodeToString(make([]byte, 32))
				default:
					rating.Receipt = swap(rating.Receipt, at, flip(rating.Receipt[at], r.IntN(128)))
				}
			}
			evt := tagged(t, mostro.KindHostRating, `[]`)
			evt.ID, evt.PubKey = rating.EventID, rating.Pubkey
			list = append(list, Rated{evt, rating})
		}
		receipts, errs := CheckAll(list, nil)
		held, refused := 0, 0
		for i, one := range list {
			want, wantErr := Check(one.Event, one.Rating, nil)
			if receipts[i] != want || !reflect.DeepEqual(errs[i], wantErr) {
				t.Fatalf("rating %d: %+v, %v; alone %+v, %v", i, receipts[i], errs[i], want, wantErr)
			}
			if wantErr != nil {
				refused++
			} else if want.Kind != None {
				held++
			}
		}
		if held < 100 || refused < 20 || share == 40 && refused < 30 {
			t.Errorf("%d hold, %d are refused", held, refused)
		}
	}
}

func BenchmarkProveMany(b *testing.B) {
	for _, c := range []struct{ n, keys int }{{100, 50}, {800, 200}, {1600, 200}} {
		list := manySigned(b, c.n, c.keys, rand.New(rand.NewPCG(1, 1)))
		b.Run(fmt.Sprintf("%d of %d keys", c.n, c.keys), func(b *testing.B) {
			for b.Loop() {
				if slices.Contains(proveMany(list), false) {
					b.Fatal("not proven")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*c.n), "us/signature")
		})
	}
	// The worst case of an attack: every signature is wrong, and each is then verified
	// alone.
	b.Run("all 800 wrong", func(b *testing.B) {
		list := manySigned(b, 800, 200, rand.New(rand.NewPCG(1, 1)))
		for i := range list {
			list[i].sig[63] ^= 1
		}
		for b.Loop() {
			if slices.Contains(proveMany(list), true) {
				b.Fatal("proven")
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*800), "us/signature")
	})
	b.Run("one of 800 wrong", func(b *testing.B) {
		list := manySigned(b, 800, 200, rand.New(rand.NewPCG(1, 1)))
		list[300].sig[63] ^= 1
		unproven := 0
		for b.Loop() {
			unproven = 0
			for _, ok := range proveMany(list) {
				if !ok {
					unproven++
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*800), "us/signature")
		b.ReportMetric(float64(unproven), "unproven")
	})
	b.Run("alone", func(b *testing.B) {
		s := manySigned(b, 1, 1, rand.New(rand.NewPCG(1, 1)))[0]
		for b.Loop() {
			if !s.holds() {
				b.Fatal("does not hold")
			}
		}
	})
}
