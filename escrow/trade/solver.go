package trade

import (
	"strings"

	"github.com/mostrodex/mostrodex/mostro/message"
)

// ParseSolver reads "KEY", "KEY:read", "KEY:read-write" or "KEY:write", where KEY is an npub
// or hex. Without a role it is read-write. The refusals are those of mostrod.
func ParseSolver(text string) (key string, role Role, err error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return "", "", Refuse(message.ReasonInvalidTextMessage)
	}
	name, suffix, ranked := strings.Cut(text, ":")
	role = RoleWrite
	switch {
	case ranked && suffix == "read":
		role = RoleRead
	case ranked && suffix != "read-write" && suffix != "write":
		return "", "", Refuse(message.ReasonInvalidParameters)
	}
	if key, err = message.ParsePubkey(name); err != nil {
		return "", "", Refuse(message.ReasonInvalidParameters)
	}
	return key, role, nil
}
