package webpage

import (
	"strings"
	"testing"
)

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"Pago Móvil\nBanesco": "Pago Móvil\nBanesco", "a\r\nb": "a\nb", "a\tb\x00\x1b[31m": "a\ufffdb\ufffd\ufffd[31m",
		"\u202egpj.exe": "\ufffdgpj.exe", "a\u200bb\u2028c\ufeff": "a\ufffdb\ufffdc\ufffd", "\u3164": "\ufffd", "\xff": "\ufffd",
		"e" + strings.Repeat("\u0301", 50): "e" + strings.Repeat("\u0301", maxMarks), "مرحبا": "مرحبا",
	} {
		if got := Plain(in); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
}
