package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/indexer/market"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/mostrodex/mostrodex/internal/lang"
	"github.com/mostrodex/mostrodex/mostro"
)

// problem is an RFC 9457 problem document. Detail tells the client how to correct the
// request.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Param  string `json:"param,omitempty"` // the invalid parameter
}

// in returns the problem in a language. A reason without a translation stays in English.
func (p *problem) in(l *lang.Lang) *problem {
	if l == lang.Default || l == lang.English {
		return p
	}
	out := *p
	if key := "problem." + strconv.Itoa(p.Status); p.Param != "" {
		out.Title = l.T("problem.param")
	} else if l.Has(key) {
		out.Title = l.T(key)
	}
	name, reason, ok := strings.Cut(p.Detail, ": ")
	if !ok || p.Param == "" || name != p.Param {
		out.Detail, _ = l.Translate(p.Detail)
		return &out
	}
	text, _ := l.Translate(reason)
	if inner, rest, ok := strings.Cut(reason, ": "); ok && text == reason { // q: key: reason
		rest, _ = l.Translate(rest)
		text = inner + ": " + rest
	}
	out.Detail = name + ": " + text
	return &out
}

// answer writes the problem in the language that a request to the API prefers.
func (p *problem) answer(w http.ResponseWriter, r *http.Request) {
	l := lang.Asked(r)
	w.Header().Add("Vary", "Accept-Language")
	w.Header().Set("Content-Language", l.Code)
	p.in(l).write(w)
}

func (p *problem) Error() string { return p.Title + ": " + p.Detail }

func refuse(status int, detail string) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

// problemOf turns every error into a problem document. If the error is the server's
// fault, its text is only in the program's log.
func problemOf(err error) *problem {
	var p *problem
	var q *orders.QueryError
	var figure *stats.ParamError
	var other interface { // an error of another room that calls API
		error
		Problem() (status int, param, detail string)
	}
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &other):
		status, param, detail := other.Problem()
		p = refuse(status, detail)
		if p.Param = param; param != "" {
			p.Title = "Parameter not understood"
		}
		return p
	case errors.As(err, &q):
		p = refuse(http.StatusBadRequest, q.Error())
		p.Title, p.Param = "Parameter not understood", q.Param
		return p
	case errors.As(err, &figure):
		p = refuse(http.StatusBadRequest, figure.Error())
		p.Title, p.Param = "Parameter not understood", figure.Param
		return p
	case errors.Is(err, market.ErrBehind):
		return refuse(http.StatusServiceUnavailable, "The statistics have not caught up with the log yet. Try again in a moment.")
	case errors.Is(err, mostro.ErrNotFound):
		return refuse(http.StatusNotFound, "Not held here, or deleted by its author.")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return refuse(http.StatusServiceUnavailable, "The answer took too long. Ask for less, or try again in a moment.")
	case errors.Is(err, indexer.ErrClosed):
		return refuse(http.StatusServiceUnavailable, "The index is being rebuilt or shut down. Try again in a moment.")
	}
	return refuse(http.StatusInternalServerError, "The index could not answer. The operator finds the reason in the log of the program.")
}

func (p *problem) write(w http.ResponseWriter) {
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // impossible: only strings and a number are encoded
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	w.Write(append(body, '\n')) // a write error means that the client is gone
}
