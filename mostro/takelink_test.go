package mostro

import (
	"strings"
	"testing"
)

var linkAuthor, linkOther = strings.Repeat("ab", 32), strings.Repeat("cd", 32)

// linkCase is a link and whether TakeLink returns it.
type linkCase struct {
	platform, link string
	ok             bool
}

func checkTakeLinks(t *testing.T, cases []linkCase) {
	for _, c := range cases {
		o := Order{Platform: c.platform, Pubkey: linkAuthor, D: "id-1", Link: c.link}
		if got := o.TakeLink(); (got != "") != c.ok || c.ok && got != c.link {
			t.Errorf("%s %q: %q, want offered %t", c.platform, c.link, got, c.ok)
		}
	}
}

func TestTakeLinkOfNoDialect(t *testing.T) {
	checkTakeLinks(t, []linkCase{
		{"bitway", "https://bitway.me/offers/1", false}, // a platform without a dialect
		{"", "https://example.org/", false},
	})
}
