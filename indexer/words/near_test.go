package words

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestNear(t *testing.T) {
	vocabulary := []string{"movil", "pago", "zelle", "transferencia", "banesco", "pix", "pagomovil"}
	for in, want := range map[string]string{
		"movl": "movil", "moviil": "movil", "mvoil": "movil", "zele": "zelle", "zellle": "zelle", "tranferencia": "transferencia", "trasnferensia": "transferencia",
		"banezco": "banesco", "pagomovl": "pagomovil", "movil": "movil", "pi": "", "pxi": "", "casa": "", "mercado": "", "pag1": "", strings.Repeat("a", 5000): "",
	} {
		if got := Near(in, vocabulary); got != want {
			t.Errorf("%.40q is near %q, want %q", in, got, want)
		}
	}
}

func TestUnderstand(t *testing.T) {
	for in, want := range map[string]Wish{
		"comprar bitcoin con zelle":            {Verb: "buy", Rest: []string{"zelle"}},
		"quiero vender 500 ves por Pago Móvil": {Verb: "sell", Number: "500", Rest: []string{"ves", "pago", "movil"}},
		"I want to buy bitcoin with Revolut":   {Verb: "buy", Rest: []string{"revolut"}},
		"quero comprar bitcoin com pix":        {Verb: "buy", Rest: []string{"pix"}},
		"100 200":                              {},
		"":                                     {},
		"vendo compro":                         {Verb: "sell"},
		strings.Repeat("x ", 40):               {Rest: slices.Repeat([]string{"x"}, MaxAsked)},
		"\u202e1234567890123456789012345678901234567890": {Rest: []string{"1234567890123456789012345678901234567890"}},
	} {
		if got := Understand(in); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%.60q is %+v, want %+v", in, got, want)
		}
	}
}

// FuzzNear: a word of the vocabulary is near to itself, and no word makes the search fail.
func FuzzNear(f *testing.F) {
	f.Add("pago movl", "PagoMovil")
	f.Fuzz(func(t *testing.T, a, b string) {
		vocabulary := Understand(a).Rest
		for _, w := range Understand(b).Rest {
			if near := Near(w, vocabulary); near != "" && !slices.Contains(vocabulary, near) {
				t.Errorf("%q is near %q, which is not in the vocabulary", w, near)
			}
			if len(w) > 3 && len(w) <= MaxWord && !strings.ContainsAny(w, "0123456789") && slices.Contains(vocabulary, w) && Near(w, vocabulary) != w {
				t.Errorf("%q is not near itself", w)
			}
		}
	})
}
