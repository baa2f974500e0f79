package nodecard

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/lightning"
)

// described is a node that answers with a description, or with an error.
type described struct {
	lightning.Node
	info lightning.NodeInfo
	err  error
}

func (d *described) Info(context.Context) (lightning.NodeInfo, error) { return d.info, d.err }

// TestLowDisk: a low disk stops new trades of a node that can be used, is no answer of the node,
// and hides no problem of the node.
func TestLowDisk(t *testing.T) {
	why := ""
	c := &Card{LowDisk: func() string { return why }}
	node := &described{info: lightning.NodeInfo{Pubkey: "a", Synced: true}}
	ask := func(answer, state Problem) {
		t.Helper()
		if got := c.Ask(t.Context(), node, 0, nil).Problem; got != answer {
			t.Errorf("the node's answer is %q, want %q", got, answer)
		}
		if got := c.State().Problem; got != state {
			t.Errorf("the state is %q, want %q", got, state)
		}
	}
	ask(Usable, Usable)
	why = "no space"
	ask(Usable, LowDisk)
	if got := c.State().Detail; got != why {
		t.Errorf("the detail is %q", got)
	}
	node.info.Synced = false
	ask(Unsynced, Unsynced)
	node.err = errors.New("x")
	ask(Unavailable, Unavailable)
	node.info.Synced, node.err, why = true, nil, ""
	ask(Usable, Usable)
}

// TestCertificateProblem: the detail of an error of a certificate says where the remedy is.
func TestCertificateProblem(t *testing.T) {
	c := new(Card)
	s := c.Ask(t.Context(), &described{err: errors.New("x509: certificate has expired")}, 0, nil)
	if s.Problem != Unavailable || !strings.Contains(s.Detail, "docs/lightning.md") {
		t.Errorf("%+v", s)
	}
}
