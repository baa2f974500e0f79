package mostro

import (
	"strconv"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// TagWriter collects the tags of an event in the order of writing. An unknown value
// writes no tag.
type TagWriter nostr.Tags

// Add appends a tag.
func (w *TagWriter) Add(name string, values ...string) {
	*w = append(*w, append(nostr.Tag{name}, values...))
}

func (w *TagWriter) text(name, value string) {
	if value != "" {
		w.Add(name, value)
	}
}

func (w *TagWriter) list(name string, values []string) {
	w.text(name, strings.Join(values, ","))
}

// Whole appends a tag with a whole number, unless n is nil.
func (w *TagWriter) Whole(name string, n *int64) {
	if n != nil {
		w.Add(name, strconv.FormatInt(*n, 10))
	}
}

func (w *TagWriter) decimal(name string, d *Decimal) {
	if d != nil {
		w.Add(name, d.String())
	}
}

func (w *TagWriter) boolean(name string, b *bool) {
	if b != nil {
		w.Add(name, strconv.FormatBool(*b))
	}
}

func (w *TagWriter) time(name string, t nostr.Timestamp) {
	if t > 0 {
		w.Add(name, strconv.FormatInt(int64(t), 10))
	}
}

// startOfDay returns the start of a time's day in UTC.
func startOfDay(t nostr.Timestamp) nostr.Timestamp { return t - t%86400 }

// Instance writes Mostro's `y` tag, with the instance name if there is one.
func (w *TagWriter) Instance(name string) {
	if name = strings.TrimSpace(name); name != "" {
		w.Add("y", PlatformMostro, name)
	} else {
		w.Add("y", PlatformMostro)
	}
}
