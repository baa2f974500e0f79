package disputes

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mostrodex/mostrodex/internal/testkit"
)

// TestShots writes pictures of the pages to the directory in TEST_DISPUTES_SHOTS, at the widths
// of a phone and of a desk.
func TestShots(t *testing.T) {
	dir := os.Getenv("TEST_DISPUTES_SHOTS")
	if dir == "" {
		t.Skip("set TEST_DISPUTES_SHOTS=DIR to look at the pages")
	}
	r := newRig(t)
	buyer, seller := newKeys(t), newKeys(t)
	first := r.dispute(deal{fiat: "EUR", amount: 1250, method: "SEPA instant, Revolut", left: 20, byBuyer: true, age: 70_000, buyer: buyer, seller: seller})
	r.dispute(deal{fiat: "VES", amount: 250_000, method: "Pago Móvil, Banesco", left: 60, age: 40_000})
	r.dispute(deal{fiat: "CUP", amount: 18_000, method: "Transfermóvil", left: 110, byBuyer: true, age: 20_000})
	r.dispute(deal{fiat: "ARS", amount: 90_000, method: "Mercado Pago " + hostile, left: 115, age: 15_000})
	r.chat(buyer, seller, buyer, "I have sent the 1,250 EUR at 10:12, the receipt is in the app.")
	r.chat(buyer, seller, seller, "Nothing has arrived. Please ask your bank.")
	r.chat(buyer, r.keys, buyer, "Hello, here is the receipt of my bank: reference 7731-22.")
	b := testkit.NewBrowser(t)
	b.Size(1280, 900)
	b.Open(r.srv.URL + r.x.Invite())
	b.Shot(filepath.Join(dir, "link.png"))
	b.Eval(`document.querySelector("form").requestSubmit()`)
	b.Until(`document.title`, "Disputes · Mostrodex")
	shots := func(name string) {
		for _, width := range []int{1280, 360} {
			b.Size(width, 900)
			b.Shot(filepath.Join(dir, name+map[int]string{1280: "-1280.png", 360: "-360.png"}[width]))
		}
	}
	shots("list")
	b.Open(r.srv.URL + "/disputes/" + first.String())
	b.Eval(`document.querySelector("form[action$=take]").requestSubmit()`)
	b.Until(`document.querySelector("[role=status]") ? "done" : ""`, "done")
	b.Eval(`document.querySelector("input[name=key]").value = "` + r.shared(buyer, seller) + `"; document.querySelector("form[action$=chat]").requestSubmit()`)
	b.Until(`document.querySelector("[role=status]") ? document.querySelector("[role=status]").innerText : ""`, doneText["chat"])
	shots("show")
	b.Open(r.srv.URL + "/disputes/login")
	shots("login")
}
