package mostro

import (
	"strconv"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// tagWriter collects the tags of an event in the order of writing. An unknown value
// writes no tag.
type tagWriter nostr.Tags

func (w *tagWriter) add(name string, values ...string) {
	*w = append(*w, append(nostr.Tag{name}, values...))
}

func (w *tagWriter) text(name, value string) {
	if value != "" {
		w.add(name, value)
	}
}

func (w *tagWriter) list(name string, values []string) {
	w.text(name, strings.Join(values, ","))
}

func (w *tagWriter) whole(name string, n *int64) {
	if n != nil {
		w.add(name, strconv.FormatInt(*n, 10))
	}
}

func (w *tagWriter) decimal(name string, d *Decimal) {
	if d != nil {
		w.add(name, d.String())
	}
}

func (w *tagWriter) boolean(name string, b *bool) {
	if b != nil {
		w.add(name, strconv.FormatBool(*b))
	}
}

func (w *tagWriter) time(name string, t nostr.Timestamp) {
	if t > 0 {
		w.add(name, strconv.FormatInt(int64(t), 10))
	}
}

// instance writes Mostro's `y` tag, with the instance name if there is one.
func (w *tagWriter) instance(name string) {
	if name = strings.TrimSpace(name); name != "" {
		w.add("y", PlatformMostro, name)
	} else {
		w.add("y", PlatformMostro)
	}
}
