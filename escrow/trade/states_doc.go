package trade

import (
	"fmt"
	"io"
	"strings"

	"github.com/mostrodex/mostrodex/mostro/message"
)

// WriteStates writes the transition table as Markdown: a diagram, then every row. The file
// docs/escrow-states.md is its output.
func WriteStates(w io.Writer) error {
	var b strings.Builder
	b.WriteString("<!-- Written by `go generate ./escrow/...` from the transition table in escrow/trade/states.go. Do not edit. -->\n\n")
	b.WriteString("# How a trade moves\n\n")
	b.WriteString("A trade changes its status in these ways and in no others: `trade.Step` refuses every other move as a bug.\n")
	b.WriteString("Rows marked *later* are doors of the protocol that are not opened yet.\n\n")
	b.WriteString("```mermaid\nstateDiagram-v2\n")
	drawn := make(map[string]bool)
	for _, t := range Transitions {
		if t.From == t.To {
			continue
		}
		line := fmt.Sprintf("    %s --> %s: %s\n", node(t.From), node(t.To), label(t))
		if !drawn[line] {
			drawn[line] = true
			b.WriteString(line)
		}
	}
	for _, s := range message.TradeStatuses() {
		if Terminal(s) && s != message.TradeCompletedByAdmin {
			fmt.Fprintf(&b, "    %s --> [*]\n", node(s))
		}
	}
	b.WriteString("```\n\n## Moves\n\n| From | On | By | To | What happens |\n|---|---|---|---|---|\n")
	for _, t := range Transitions {
		if t.From != t.To {
			row(&b, t)
		}
	}
	b.WriteString("\n## Changes that leave the status as it is\n\n| In | On | By | What happens |\n|---|---|---|---|\n")
	for _, t := range Transitions {
		if t.From == t.To {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", t.From, t.On, t.By, t.Does)
		}
	}
	for _, t := range anywhere {
		fmt.Fprintf(&b, "| any | %s | %s | %s |\n", t.On, t.By, t.Does)
	}
	b.WriteString("\n## What the book shows\n\n| Status | Published as |\n|---|---|\n")
	for _, s := range message.TradeStatuses() {
		shown := string(Public(s))
		if shown == "" {
			shown = "nothing"
		}
		fmt.Fprintf(&b, "| %s | %s |\n", s, shown)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func node(s message.TradeStatus) string {
	if s == none {
		return "[*]"
	}
	return strings.ReplaceAll(string(s), "-", "_")
}

func label(t Transition) string {
	if t.Later {
		return string(t.On) + " (later)"
	}
	return string(t.On)
}

func row(b *strings.Builder, t Transition) {
	from, does := string(t.From), t.Does
	if t.From == none {
		from = "–"
	}
	if t.Later {
		does = "*later*"
	}
	fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", from, t.On, t.By, t.To, does)
}
