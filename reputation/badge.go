package reputation

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"text/template"
	"unicode/utf8"

	"github.com/mostrodex/mostrodex/reputation/score"
)

// badge is the SVG template of a rank badge. The inserted values are numbers and words of
// this program only. The name of a node is never inserted.
var badge = template.Must(template.New("badge").Parse(`<svg xmlns="http://www.w3.org/2000/svg" width="{{.Width}}" height="20" role="img" aria-label="{{.Label}}: {{.Text}}">
<title>{{.Label}}: {{.Text}}</title>
<rect width="{{.Width}}" height="20" rx="3" fill="#3a3542"/>
<path fill="{{.Fill}}" d="M{{.Split}} 0h{{.Rest}}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-{{.Rest}}z"/>
<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="{{.LabelAt}}" y="14" textLength="{{.LabelLength}}">{{.Label}}</text>
<text x="{{.TextAt}}" y="14" textLength="{{.TextLength}}">{{.Text}}</text>
</g></svg>
`))

const badgeLabel = "mostro rank"

// badgeText returns the short text and the color of a badge. If ok is false, there is no
// score.
func badgeText(s *score.Score, ok bool) (text, fill string) {
	switch {
	case !ok:
		return "unknown", "#6b6673"
	case s.Unranked != "":
		return s.WatchProgress(), "#6b6673" // neutral, because too little is known for a verdict
	}
	text = strconv.Itoa(s.Rank) + " (" + strconv.FormatInt(int64(s.Lo/score.One), 10) + "–" + strconv.FormatInt(int64((s.Hi+score.One-1)/score.One), 10) + ")"
	switch {
	case s.Rank >= 60:
		return text, "#0a6a55"
	case s.Rank >= 30:
		return text, "#7a5a00"
	}
	return text, "#a3202a"
}

// badgeOf returns the SVG of a badge.
func badgeOf(s *score.Score, ok bool) []byte {
	text, fill := badgeText(s, ok)
	// textLength sets fixed widths, so that the text fits with every font.
	labelLength, textLength := 7*utf8.RuneCountInString(badgeLabel), 7*utf8.RuneCountInString(text)
	split := labelLength + 12
	var b bytes.Buffer
	if err := badge.Execute(&b, map[string]any{
		"Label": badgeLabel, "Text": text, "Fill": fill, "Width": split + textLength + 12, "Split": split, "Rest": textLength + 9,
		"LabelAt": split / 2, "LabelLength": labelLength, "TextAt": split + (textLength+12)/2, "TextLength": textLength,
	}); err != nil {
		panic(err) // impossible: all values are words and numbers
	}
	return b.Bytes()
}

// serveBadge answers GET /badge/{pubkey}.svg. If the key is unknown, the badge says so,
// because a broken picture tells a reader less.
func serveBadge(known Known, w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'")
	name, isSVG := strings.CutSuffix(r.PathValue("file"), ".svg")
	pubkey, err := parseKey(name)
	if !isSVG || err != nil {
		http.Error(w, "Badges are at /badge/PUBKEY.svg, PUBKEY being 64 hex digits or an npub.", http.StatusNotFound)
		return
	}
	s, ok := known.Score(pubkey)
	picture := badgeOf(&s, ok)
	sum := sha256.Sum256(picture)
	tag := `"` + hex.EncodeToString(sum[:16]) + `"`
	h.Set("ETag", tag)
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("Content-Type", "image/svg+xml; charset=utf-8")
	if strings.Contains(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(picture)))
	if r.Method != http.MethodHead {
		w.Write(picture) // the error is ignored: the client is gone
	}
}
