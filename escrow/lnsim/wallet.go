package lnsim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
)

const (
	maxWalletBody = 64 << 10
	maxBlocks     = 100_000 // limit of one request
	walletExpiry  = 24 * time.Hour
	// payPatience bounds the time that a request waits until its payment is held or has
	// ended.
	payPatience = 30 * time.Second
)

// wallet serves the node of a world with the given name.
type wallet struct {
	w    *World
	name string
}

func (u wallet) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /lnsim/invoice", u.serveInvoice)
	mux.HandleFunc("POST /lnsim/pay", u.servePay)
	mux.HandleFunc("POST /lnsim/blocks", u.serveBlocks)
	mux.HandleFunc("GET /lnsim/balance", func(rw http.ResponseWriter, _ *http.Request) {
		answer(rw, u.w.Purse(u.name))
	})
	return mux
}

func (u wallet) serveInvoice(rw http.ResponseWriter, r *http.Request) {
	var in struct {
		AmountSats *int64 `json:"amount_sats"`
		Memo       string `json:"memo"`
	}
	if !read(rw, r, &in) {
		return
	}
	if in.AmountSats == nil {
		problem(rw, http.StatusBadRequest, "amount_sats is missing")
		return
	}
	bolt11, err := u.w.Node(u.name).AddInvoice(r.Context(), *in.AmountSats, in.Memo, walletExpiry)
	if err != nil {
		refuse(rw, err)
		return
	}
	answer(rw, map[string]string{"bolt11": bolt11})
}

func (u wallet) servePay(rw http.ResponseWriter, r *http.Request) {
	var in struct {
		Bolt11     string `json:"bolt11"`
		AmountSats int64  `json:"amount_sats"`
	}
	if !read(rw, r, &in) {
		return
	}
	state, err := PayFrom(r.Context(), u.w, u.name, in.Bolt11, in.AmountSats)
	if err != nil {
		refuse(rw, err)
		return
	}
	answer(rw, map[string]string{"state": state})
}

// errInFlight reports a payment that is neither held nor has ended in time.
var errInFlight = errors.New("the payment is still in flight")

// PayFrom pays an invoice from the named node of a world, and returns when the payment is held or has ended, with
// its state. If the payment already exists, PayFrom waits for it as for a new one, so that a
// client may repeat its request. sats is the amount if the invoice states none.
func PayFrom(ctx context.Context, w *World, name, bolt11 string, sats int64) (state string, err error) {
	invoice, err := lightning.ParseInvoice(bolt11)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, payPatience)
	defer cancel()
	payer := w.Node(name)
	stated, _ := invoice.AmountSats()
	err = payer.Pay(ctx, lightning.Payment{
		Bolt11:     bolt11,
		AmountSats: sats,
		MaxFeeSats: (stated+sats)/100 + 10,
	})
	if err != nil && !errors.Is(err, lightning.ErrExists) {
		return "", err
	}
	if state, err = payer.settled(ctx, invoice.Hash); err != nil {
		return "", errInFlight
	}
	return state, nil
}

func (u wallet) serveBlocks(rw http.ResponseWriter, r *http.Request) {
	var in struct {
		N int `json:"n"`
	}
	if !read(rw, r, &in) {
		return
	}
	if in.N < 1 || in.N > maxBlocks {
		problem(rw, http.StatusBadRequest, fmt.Sprintf("n must be from 1 to %d", maxBlocks))
		return
	}
	u.w.Mine(in.N)
	answer(rw, map[string]uint32{"height": u.w.Height()})
}

// read decodes the request's body, which must be one JSON object. If the body is not,
// read writes the error response and returns false.
func read(rw http.ResponseWriter, r *http.Request, into any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxWalletBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		problem(rw, http.StatusBadRequest, "the body is not JSON of the expected form")
		return false
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		problem(rw, http.StatusBadRequest, "the body must be one JSON object")
		return false
	}
	return true
}

func answer(rw http.ResponseWriter, body any) {
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(body) // an error means that the client is gone
}

func refuse(rw http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	switch {
	case errors.Is(err, errInFlight):
		status = http.StatusGatewayTimeout
	case errors.Is(err, lightning.ErrUnavailable):
		status = http.StatusServiceUnavailable
	}
	problem(rw, status, err.Error())
}

func problem(rw http.ResponseWriter, status int, detail string) {
	rw.Header().Set("Content-Type", "application/problem+json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}
