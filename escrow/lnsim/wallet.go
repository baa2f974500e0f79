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
	invoice, err := lightning.ParseInvoice(in.Bolt11)
	if err != nil {
		problem(rw, http.StatusBadRequest, err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), payPatience)
	defer cancel()
	payer := u.w.Node(u.name)
	sats, _ := invoice.AmountSats()
	err = payer.Pay(ctx, lightning.Payment{
		Bolt11:     in.Bolt11,
		AmountSats: in.AmountSats,
		MaxFeeSats: (sats+in.AmountSats)/100 + 10,
	})
	// If the payment already exists, the handler waits for it as for a new one, so
	// that a client may repeat its request.
	if err != nil && !errors.Is(err, lightning.ErrExists) {
		refuse(rw, err)
		return
	}
	state, err := payer.settled(ctx, invoice.Hash)
	if err != nil {
		problem(rw, http.StatusGatewayTimeout, "the payment is still in flight")
		return
	}
	answer(rw, map[string]string{"state": state})
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
	if errors.Is(err, lightning.ErrUnavailable) {
		status = http.StatusServiceUnavailable
	}
	problem(rw, status, err.Error())
}

func problem(rw http.ResponseWriter, status int, detail string) {
	rw.Header().Set("Content-Type", "application/problem+json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}
