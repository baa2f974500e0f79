package disputes

import "github.com/mostrodex/mostrodex/internal/webpage"

// Plain returns a text of a user in a form that cannot change how the page around it looks or
// reads.
func Plain(s string) string { return webpage.Plain(s) }

// short returns the beginning of a public key.
func short(key string) string {
	if len(key) <= 12 {
		return key
	}
	return key[:12] + "…"
}
