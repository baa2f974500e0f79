package orders

// Hidden is a set of hidden keys and events in the form that queries use. A Hidden is
// never modified. A nil *Hidden hides nothing.
type Hidden struct {
	Version         uint64          // of the rules
	Never, OnDemand map[string]bool // public keys that are never shown, and those that are shown with Query.Spam
	Events          map[string]bool // ids
	Versions        map[Key]uint32  // created_at by order, for the order events in Events
}

// Hides reports whether an event of an author is hidden. If spam is set, quarantined
// authors stay visible.
func (l *Hidden) Hides(pubkey, id string, spam bool) bool {
	return l != nil && (l.Never[pubkey] || l.Events[id] || !spam && l.OnDemand[pubkey])
}

// Authors returns the public keys whose orders are hidden. If spam is set, quarantined
// keys are left out.
func (l *Hidden) Authors(spam bool) (keys []string) {
	if l == nil {
		return nil
	}
	for k := range l.Never {
		keys = append(keys, k)
	}
	for k := range l.OnDemand {
		if !spam {
			keys = append(keys, k)
		}
	}
	return keys
}
