package jsontext

import "testing"

func TestTextAsSerdeWritesIt(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"a/b<>&", `"a/b<>&"`},
		{"\u2028\u2029\x7f", "\"\u2028\u2029\x7f\""},
		{"\x00\x01\x1f\b\t\n\f\r", `"\u0000\u0001\u001f\b\t\n\f\r"`},
		{`"\`, `"\"\\"`},
		{"é🙂", `"é🙂"`},
		{"\xff", "\"\ufffd\""},
		{"ok\xc3", "\"ok\ufffd\""},
	} {
		if got := string(AppendString(nil, c.in)); got != c.want {
			t.Errorf("%q: have %s, want %s", c.in, got, c.want)
		}
	}
}
