package eventlog

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro"
)

// ExportFilter selects the events that Export writes. A zero field selects everything.
type ExportFilter struct {
	Kinds        []int
	Authors      []string // in hex
	Since, Until int64    // bounds of created_at in Unix seconds, inclusive
	After        uint64   // only entries with a greater seq
	Live         bool     // only events that are served now
	Public       bool     // without events hidden by moderation: banned and quarantined keys, banned events
	Evidence     bool     // write time and source of receipt too, for Import; for the operator only
}

// ParseExportFilter parses the URL parameters kinds, authors (comma-separated), since,
// until, after, live and format. It returns an error for an unknown parameter.
func ParseExportFilter(q url.Values) (f ExportFilter, err error) {
	for name, values := range q {
		value := values[len(values)-1]
		bad := func(want string) error { return fmt.Errorf("%s: %q is not %s", name, value, want) }
		switch name {
		case "kinds":
			for part := range strings.SplitSeq(value, ",") {
				k, err := strconv.Atoi(part)
				if err != nil || k < 0 || k > 65535 {
					return f, bad("a comma-separated list of kinds")
				}
				f.Kinds = append(f.Kinds, k)
			}
		case "authors":
			f.Authors = strings.Split(value, ",")
			for _, a := range f.Authors {
				if !hex32.Valid(a) {
					return f, bad("a comma-separated list of public keys in hex")
				}
			}
		case "since":
			f.Since, err = strconv.ParseInt(value, 10, 64)
		case "until":
			f.Until, err = strconv.ParseInt(value, 10, 64)
		case "after":
			f.After, err = strconv.ParseUint(value, 10, 64)
		case "live":
			f.Live, err = strconv.ParseBool(value)
		case "format":
			if value != "ndjson" {
				return f, bad("a format known for events; use ndjson")
			}
		default:
			return f, fmt.Errorf("unknown parameter %q; known: kinds, authors, since, until, after, live, format", name)
		}
		if err != nil {
			return f, bad("a number (live: true or false)")
		}
	}
	return f, nil
}

func (f *ExportFilter) wants(e mostro.Entry) bool {
	evt := e.Event
	return !mostro.IsMail(evt.Kind) &&
		(f.Kinds == nil || slices.Contains(f.Kinds, evt.Kind)) &&
		(f.Authors == nil || slices.Contains(f.Authors, evt.PubKey)) &&
		(f.Since == 0 || int64(evt.CreatedAt) >= f.Since) &&
		(f.Until == 0 || int64(evt.CreatedAt) <= f.Until)
}
