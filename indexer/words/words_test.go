package words

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFold(t *testing.T) {
	for in, want := range map[string]string{
		"Pago Móvil": "pago movil", "Depósito": "deposito", "CÓDIGOS": "codigos", "Straße": "strasse", "Ørsted": "orsted", "Đồng": "dong",
		"İstanbul": "istanbul", "São Tomé": "sao tome", "ＰＩＸ": "pix", "plain": "plain", "½": "1⁄2", "ﬁat": "fiat",
	} {
		if got := Fold(in); got != want {
			t.Errorf("Fold(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestWords(t *testing.T) {
	for in, want := range map[string]string{
		"QR Santander, BBVA": "qr|santander|bbva", "USDT - TRC20": "usdt|trc20", "支付宝 Alipay": "支|付|宝|alipay", "🇪🇸": "", "": "",
		"a_b.c": "a|b|c", strings.Repeat("x", 60) + " y": strings.Repeat("x", MaxWord) + "|y",
	} {
		if got := strings.Join(Split(nil, in), "|"); got != want {
			t.Errorf("words(%q) = %q, want %q", in, got, want)
		}
	}
	if got := Asked("banco de Venezuela banco"); !slices.Equal(got, []string{"banco", "venezuela"}) {
		t.Errorf("asked gives %q", got)
	}
	if got := Asked("de la"); !slices.Equal(got, []string{"de", "la"}) {
		t.Errorf("asked of joins alone gives %q", got)
	}
}

func TestCountryAndLanguageWords(t *testing.T) {
	for ask, code := range map[string]string{
		"venezuela": "VES", "bolívares": "VES", "euro": "EUR", "España": "EUR", "brasil": "BRL", "portugués": "BRL", "português": "MZN", "Portuguese": "BRL",
		"japon": "JPY", "colombia": "COP", "reales": "BRL", "cuba": "MLC", "costa": "CRC", "suíça": "CHF", "german": "EUR", "usd": "USD", "libra": "GBP", "México": "MXN",
	} {
		if got := CurrenciesOf(Fold(ask)); !slices.Contains(got, code) {
			t.Errorf("%q stands for %v, want %s among them", ask, got, code)
		}
	}
	for _, ask := range []string{"de", "zelle", "xx", "sepia"} {
		if got := CurrenciesOf(ask); len(got) != 0 {
			t.Errorf("%q stands for %v", ask, got)
		}
	}
	for _, code := range currencyCodes() {
		if len(code) < 3 || strings.ToUpper(code) != code {
			t.Errorf("%q is not a currency code", code)
		}
	}
}

// FuzzWords checks that a query made of words of a text finds the text.
func FuzzWords(f *testing.F) {
	for _, s := range []string{"Pago Móvil", "ß ﬁ İ", "支付宝", "a\u0301b", "\xff", "\xf0Ū"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		have := Split(nil, s)
		for _, w := range have {
			if w == "" || utf8.RuneCountInString(w) > MaxWord || strings.ContainsAny(w, " \x00") {
				t.Errorf("%q contains the word %q", s, w)
			}
		}
		if !AllBegin(have, Asked(s)) {
			t.Errorf("%q does not match itself: %q, %q", s, have, Asked(s))
		}
		if got := Split(nil, strings.Join(have, " ")); !slices.Equal(got, have) {
			t.Errorf("words of words of %q: %q, then %q", s, have, got)
		}
	})
}
