package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/audit"
	"github.com/mostrodex/mostrodex/escrow/devfee"
	"github.com/mostrodex/mostrodex/escrow/disputes"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// controlFile is the operator's socket in the data directory. It serves HTTP to users that
// may read the escrow's own files.
const controlFile = "control.sock"

// maxSocketPath is the longest path of a socket that every system can bind.
const maxSocketPath = 103

// listenControl binds the control socket. At no moment can another user connect to the
// socket, because it is created in a directory of mode 0700 and moved to its place with mode
// 0600. The stores are already open and locked, so an existing file was left by a process
// that has ended.
func listenControl(data string) (net.Listener, error) {
	path := filepath.Join(data, controlFile)
	dir, err := os.MkdirTemp(data, ".c")
	if err != nil {
		return nil, fmt.Errorf("the control socket: %w", err)
	}
	defer os.RemoveAll(dir)
	born := filepath.Join(dir, "s")
	if n := max(len(path), len(born)); n > maxSocketPath {
		return nil, fmt.Errorf("the control socket's path would have %d bytes, and systems take %d: choose a data directory with a shorter name", n, maxSocketPath)
	}
	l, err := net.Listen("unix", born)
	if err != nil {
		return nil, fmt.Errorf("the control socket: %w", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // the listener knows only its old path
	if err = os.Chmod(born, 0o600); err == nil {
		err = os.Rename(born, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the control socket: %w", err), l.Close())
	}
	return controlListener{l, path}, nil
}

// controlListener removes its file when it is closed.
type controlListener struct {
	net.Listener
	path string
}

func (l controlListener) Close() error {
	err := l.Listener.Close()
	if gone := os.Remove(l.path); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// These types are the answers of the control socket.
type (
	controlStatus struct {
		Paused      bool  `json:"paused"`      // paused by the operator: no new trades
		Reconciling bool  `json:"reconciling"` // the store may be an older copy: no new trades
		Open        int   `json:"open_trades"`
		Frozen      int   `json:"frozen_trades"`
		HeldSats    int64 `json:"held_sats"` // that the Lightning node holds for open trades
		// DevFees is the sum of the development fees that are not paid.
		DevFees devfee.Total `json:"dev_fees"`
		// Closed lists the reasons for refusing new orders; Warnings lists other problems.
		Closed   []string `json:"closed,omitempty"`
		Warnings []string `json:"warnings,omitempty"`
	}
	maintenanceStatus struct {
		escrow.Maintenance
		Escrowed int  `json:"escrowed_orders"`  // trades that need the wallet of the Lightning node
		Payouts  int  `json:"inflight_payouts"` // payouts whose outcome is not known
		Pending  int  `json:"pending_orders"`   // orders without a taker; for information
		Drained  bool `json:"drained"`          // no trade needs the wallet
	}
	journalEntry struct {
		N     uint32      `json:"n"`
		Input trade.Input `json:"input"`
	}
)

// controlServer answers the operator's verbs on the control socket.
type controlServer struct {
	engine  *escrow.Engine
	db      *escrow.DB
	auditor *audit.Auditor
	invite  func() (string, error) // returns a link that logs the operator in to the dispute inbox
}

// handler serves the operator's verbs. Every trade and input in its answers is
// redacted.
func (s controlServer) handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, fn func(req *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, req *http.Request) {
			v, err := fn(req)
			if err != nil {
				controlError(w, err)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v) // an error means that the operator has disconnected
		})
	}
	handle("GET /status", s.status)
	handle("POST /pause", func(req *http.Request) (any, error) {
		if err := s.engine.Pause(req.Context(), true); err != nil {
			return nil, err
		}
		return s.status(req)
	})
	handle("POST /resume", func(req *http.Request) (any, error) {
		if err := s.engine.Pause(req.Context(), false); err != nil {
			return nil, err
		}
		return s.status(req)
	})
	handle("GET /maintenance", s.maintenance)
	handle("POST /maintenance", func(req *http.Request) (any, error) {
		on, err := strconv.ParseBool(req.URL.Query().Get("on"))
		if err != nil {
			return nil, errControlInput{errors.New("on is true or false")}
		}
		err = s.engine.Maintain(req.Context(), on, req.URL.Query().Get("reason"))
		if errors.Is(err, escrow.ErrOwnReason) {
			return nil, errControlInput{err}
		}
		if err != nil {
			return nil, err
		}
		return s.maintenance(req)
	})
	handle("GET /ledger", s.ledger)
	devFeeRoutes(s.engine, handle)
	handle("POST /trades/{id}/suspense", s.suspense)
	handle("GET /trades", s.trades)
	handle("GET /trades/{id}", s.trade)
	handle("GET /trades/{id}/journal", s.journal)
	handle("GET /disputes", s.disputes)
	handle("GET /disputes/{id}", s.dispute)
	for verb, action := range map[string]message.Action{
		"take": message.ActionAdminTakeDispute, "settle": message.ActionAdminSettle, "cancel": message.ActionAdminCancel,
	} {
		handle("POST /disputes/{id}/"+verb, func(req *http.Request) (any, error) {
			id, err := pathID(req)
			if err != nil {
				return nil, err
			}
			if err := s.engine.Decide(req.Context(), id, action, req.URL.Query().Get("reason")); err != nil {
				return nil, decisionError(err)
			}
			return s.dispute(req)
		})
	}
	handle("GET /users/{key}", s.user)
	handle("POST /users/{key}/rebind", func(req *http.Request) (any, error) {
		key, err := pathKey(req.PathValue("key"))
		if err != nil {
			return nil, err
		}
		to, err := pathKey(req.URL.Query().Get("to"))
		if err != nil {
			return nil, err
		}
		if _, err = s.engine.RebindReputation(req.Context(), key, to, req.URL.Query().Get("reason")); err != nil {
			return nil, noUser(err)
		}
		return s.user(req)
	})
	handle("POST /issuers/{key}/revoke", func(req *http.Request) (any, error) {
		key, err := pathKey(req.PathValue("key"))
		if err != nil {
			return nil, err
		}
		var after int64
		if text := req.URL.Query().Get("after"); text != "" {
			if after, err = strconv.ParseInt(text, 10, 64); err != nil {
				return nil, errControlInput{errors.New("after is a time in unix seconds")}
			}
		}
		n, err := s.engine.RevokeImports(req.Context(), key, after, req.URL.Query().Get("reason"))
		return revokedImports{n}, err
	})
	handle("POST /inbox", func(*http.Request) (any, error) {
		link, err := s.invite()
		return map[string]string{"url": link}, err
	})
	handle("GET /solvers", s.solvers)
	handle("POST /solvers/{key}", func(req *http.Request) (any, error) {
		key, err := message.ParsePubkey(req.PathValue("key"))
		if err != nil {
			return nil, escrow.ErrSolverKey
		}
		err = s.engine.SetSolver(req.Context(), key, trade.Role(req.URL.Query().Get("role")))
		if errors.Is(err, mostro.ErrNotFound) {
			return nil, errConflict{errors.New("this key is no solver of the list: see 'mostrodex solver list'")}
		}
		if err != nil {
			return nil, err
		}
		return s.solvers(req)
	})
	for verb, do := range map[string]func(*http.Request, trade.OrderID) error{
		"close": func(req *http.Request, id trade.OrderID) error {
			err := s.engine.Close(req.Context(), id, trade.Outcome(req.URL.Query().Get("outcome")), req.URL.Query().Get("reason"))
			if errors.Is(err, trade.ErrNothing) {
				return errConflict{errors.New("the trade is not in a state for this: only a frozen trade is closed as paid, only a frozen trade " +
					"or one whose escrow is gone as refunded, and none whose escrow is settled; a dispute is ended by 'mostrodex dispute'")}
			}
			return err
		},
		"overpaid": func(req *http.Request, id trade.OrderID) error {
			return s.engine.Overpaid(req.Context(), id, req.URL.Query().Get("reason"))
		},
		"resume": func(req *http.Request, id trade.OrderID) error { return s.engine.Resume(req.Context(), id) },
		"pay":    func(req *http.Request, id trade.OrderID) error { return s.engine.PayAfterAll(req.Context(), id) },
	} {
		handle("POST /trades/{id}/"+verb, func(req *http.Request) (any, error) {
			id, err := pathID(req)
			if err != nil {
				return nil, err
			}
			if err := do(req, id); err != nil {
				return nil, err
			}
			return s.trade(req)
		})
	}
	return mux
}

func (s controlServer) status(req *http.Request) (any, error) {
	paused, reconciling, err := s.engine.Paused(req.Context())
	if err != nil {
		return nil, err
	}
	trades, err := s.engine.Trades(req.Context())
	if err != nil {
		return nil, err
	}
	status := s.engine.Status()
	a := controlStatus{Paused: paused, Reconciling: reconciling, Open: len(trades), Closed: status.Closed, Warnings: status.Warnings}
	for i := range trades {
		if trades[i].Frozen {
			a.Frozen++
		}
	}
	if a.HeldSats, err = s.engine.HeldSats(req.Context()); err != nil {
		return nil, err
	}
	if a.DevFees, err = s.engine.DevFeeTotal(req.Context()); err != nil {
		return nil, err
	}
	a.Warnings = slices.Concat(a.Warnings, s.auditor.Warnings())
	return a, nil
}

func (s controlServer) maintenance(req *http.Request) (any, error) {
	m, err := s.engine.Maintenance(req.Context())
	if err != nil {
		return nil, err
	}
	trades, err := s.engine.Trades(req.Context())
	if err != nil {
		return nil, err
	}
	a := maintenanceStatus{Maintenance: m}
	for i := range trades {
		t := &trades[i]
		if t.NeedsWallet() {
			a.Escrowed++
		}
		if t.Payout.Hash != (trade.Hash{}) {
			a.Payouts++
		}
		if t.Status == message.TradePending {
			a.Pending++
		}
	}
	a.Drained = a.Escrowed == 0 && a.Payouts == 0
	return a, nil
}

// trades lists the open trades, or with ?all=true all trades of the store, newest
// first.
func (s controlServer) trades(req *http.Request) (any, error) {
	list := []trade.Trade{}
	var err error
	if req.URL.Query().Get("all") == "true" {
		err = s.db.Trades(func(t trade.Trade) error { list = append(list, t); return nil })
	} else {
		list, err = s.engine.Trades(req.Context())
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b trade.Trade) int {
		return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), slices.Compare(a.ID[:], b.ID[:]))
	})
	for i := range list {
		list[i] = list[i].Redacted()
	}
	return map[string]any{"items": list}, nil
}

func (s controlServer) trade(req *http.Request) (any, error) {
	id, err := pathID(req)
	if err != nil {
		return nil, err
	}
	t, err := s.engine.Trade(req.Context(), id)
	if err != nil {
		return nil, err
	}
	return t.Redacted(), nil
}

// disputes lists the trades in dispute, or with ?all=true all trades that ever were, the
// ones that the rule decides soonest first. With ?closed=true it lists the ones that are over,
// the newest first.
func (s controlServer) disputes(req *http.Request) (any, error) {
	list := []trade.Trade{}
	if req.URL.Query().Get("closed") == "true" {
		err := s.db.Trades(func(t trade.Trade) error {
			if disputes.Over(&t) {
				list = append(list, t.Redacted())
			}
			return req.Context().Err()
		})
		slices.SortFunc(list, func(a, b trade.Trade) int { return byEnd(&a, &b) })
		return map[string]any{"items": list}, err
	}
	add := func(t trade.Trade) error {
		if t.Dispute.Status != "" {
			list = append(list, t.Redacted())
		}
		return nil
	}
	if req.URL.Query().Get("all") == "true" {
		if err := s.db.Trades(add); err != nil {
			return nil, err
		}
	} else {
		trades, err := s.engine.Trades(req.Context())
		if err != nil {
			return nil, err
		}
		for _, t := range trades {
			if t.Status == message.TradeDispute {
				_ = add(t) // never fails
			}
		}
	}
	slices.SortFunc(list, func(a, b trade.Trade) int {
		x, y := dueAt(&a), dueAt(&b)
		if (x == 0) != (y == 0) {
			return cmp.Compare(y, x) // those that are over last
		}
		return cmp.Or(cmp.Compare(x, y), cmp.Compare(b.Dispute.OpenedAt, a.Dispute.OpenedAt), slices.Compare(a.ID[:], b.ID[:]))
	})
	return map[string]any{"items": list}, nil
}

// dispute returns the trade of a dispute. The id is that of the dispute or of the order.
func (s controlServer) dispute(req *http.Request) (any, error) {
	id, err := pathID(req)
	if err != nil {
		return nil, err
	}
	t, err := disputeOf(req.Context(), s.engine, s.db, id)
	return t.Redacted(), err
}

// disputeOf returns the trade of a dispute, by the id of the dispute or of the order.
func disputeOf(ctx context.Context, engine *escrow.Engine, db *escrow.DB, id trade.OrderID) (trade.Trade, error) {
	t, err := engine.Trade(ctx, id)
	if errors.Is(err, mostro.ErrNotFound) {
		found := false
		err = db.Trades(func(one trade.Trade) error {
			if one.Dispute.ID == id && one.Dispute.Status != "" {
				t, found = one, true
			}
			return ctx.Err()
		})
		if err == nil && !found {
			err = mostro.ErrNotFound
		}
	}
	if err != nil {
		return trade.Trade{}, err
	}
	if t.Dispute.Status == "" {
		return trade.Trade{}, errConflict{fmt.Errorf("trade %s is not in dispute", id)}
	}
	return t, nil
}

func (s controlServer) solvers(req *http.Request) (any, error) {
	list, err := s.engine.Solvers(req.Context())
	return map[string]any{"items": list}, err
}

func (s controlServer) journal(req *http.Request) (any, error) {
	id, err := pathID(req)
	if err != nil {
		return nil, err
	}
	if _, err := s.engine.Trade(req.Context(), id); err != nil {
		return nil, err
	}
	list := []journalEntry{}
	err = s.db.Journal(id, func(n uint32, in trade.Input) error {
		list = append(list, journalEntry{n, in.Redacted()})
		return nil
	})
	return map[string]any{"items": list}, err
}

// revokedImports is the number of imports of reputation that were taken back.
type revokedImports struct {
	Revoked int `json:"revoked"`
}

// user returns the reputation of an identity.
func (s controlServer) user(req *http.Request) (any, error) {
	key, err := pathKey(req.PathValue("key"))
	if err != nil {
		return nil, err
	}
	r, err := s.engine.Reputation(req.Context(), key)
	return r, noUser(err)
}

// noUser says which thing does not exist.
func noUser(err error) error {
	if errors.Is(err, mostro.ErrNotFound) {
		return errConflict{errors.New("no identity with this key has traded here or imported reputation: trade keys are not identities")}
	}
	return err
}

func pathKey(text string) (string, error) {
	key, err := message.ParsePubkey(text)
	if err != nil {
		return "", errControlInput{fmt.Errorf("%q is not a public key: name an npub, or 64 hex digits", text)}
	}
	return key, nil
}

// errControlInput is an error in the operator's request.
type errControlInput struct{ error }

func pathID(req *http.Request) (trade.OrderID, error) {
	id, err := message.ParseUUID(req.PathValue("id"))
	if err != nil {
		return id, errControlInput{fmt.Errorf("%q is not the id of a trade", req.PathValue("id"))}
	}
	return id, nil
}

func controlError(w http.ResponseWriter, err error) {
	status, detail := http.StatusInternalServerError, err.Error()
	var input errControlInput
	switch {
	case errors.As(err, &input), errors.Is(err, escrow.ErrReason), errors.Is(err, escrow.ErrSolverKey), errors.Is(err, escrow.ErrSolverRole), errors.Is(err, escrow.ErrAssistant):
		status = http.StatusBadRequest
	case errors.As(err, new(errConflict)), errors.Is(err, escrow.ErrUnderWay), errors.Is(err, escrow.ErrRefundMoves), errors.Is(err, escrow.ErrFeePayment), errors.Is(err, escrow.ErrFeeMoves), errors.Is(err, escrow.ErrNotOverpaid), errors.Is(err, escrow.ErrUncompared):
		status = http.StatusConflict
	case errors.Is(err, mostro.ErrNotFound):
		status, detail = http.StatusNotFound, "there is no such trade"
	case errors.Is(err, trade.ErrNothing), errors.Is(err, trade.ErrTable):
		status, detail = http.StatusConflict, "the trade is not in a state for this: it has to be frozen, and for pay its fiat sent or disputed"
	case errors.Is(err, escrow.ErrStopped):
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}
