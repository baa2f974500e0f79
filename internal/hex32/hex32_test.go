package hex32

import "testing"

func TestDecode(t *testing.T) {
	var b [2]byte
	if !Decode(b[:], "0a9f") || b != [2]byte{0x0a, 0x9f} {
		t.Errorf("0a9f is decoded as %x", b)
	}
	for _, s := range []string{"", "0a9", "0a9f0", "0A9f", "0a9F", "g000", "000g", "0x9f", "é9"} {
		if Decode(b[:], s) {
			t.Errorf("%q is accepted", s)
		}
	}
	if !Decode(nil, "") {
		t.Error("an empty text for no bytes is refused")
	}
}
