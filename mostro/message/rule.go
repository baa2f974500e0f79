package message

// Rule names one rule of the wire format that an input can break. The name is stable,
// so it can be a metric's label. A Rule is also an error: errors.Is(err, RuleArity) is
// true for every WireError with that rule.
type Rule string

// Error returns the rule's name.
func (r Rule) Error() string { return string(r) }

// The rules, in the order in which an incoming event is checked.
const (
	RuleKind         Rule = "kind"          // the event's kind is no transport, or not the requested one
	RuleEventID      Rule = "event-id"      // the id is not the hash of the event
	RuleSignature    Rule = "signature"     // the event's signature does not verify
	RuleWork         Rule = "work"          // too few leading zero bits (NIP-13)
	RuleSize         Rule = "size"          // too large, or empty although a value is required
	RuleEncryption   Rule = "encryption"    // not encrypted for this key, or damaged; the two cannot be distinguished
	RuleSealKind     Rule = "seal-kind"     // the gift wrap holds another kind than 13
	RuleSeal         Rule = "seal"          // the seal's id or signature is wrong
	RuleRumorKind    Rule = "rumor-kind"    // the seal holds another kind than 1
	RuleJSON         Rule = "json"          // not JSON
	RuleDuplicate    Rule = "duplicate"     // an object has the same key twice
	RuleType         Rule = "type"          // a value of another JSON type than the field's
	RuleRange        Rule = "range"         // a number that its field cannot hold
	RuleArity        Rule = "arity"         // a tuple or a one-key object with another number of elements
	RuleMissing      Rule = "missing"       // a required field is absent
	RuleUnknownField Rule = "unknown-field" // an unknown field in an object that refuses unknown fields
	RuleWrapper      Rule = "wrapper"       // unknown message wrapper
	RuleAction       Rule = "action"        // unknown action
	RulePayload      Rule = "payload"       // unknown payload
	RuleValue        Rule = "value"         // a word outside its vocabulary: status, kind, reason, initiator
	RuleUUID         Rule = "uuid"          // not a UUID
	RuleKey          Rule = "key"           // not a key
	RuleInnerSig     Rule = "inner-sig"     // the trade key's signature does not verify over the message
	RuleUnsigned     Rule = "unsigned"      // identity and trade key differ, and the message has no signature of the trade key
	RuleIdentity     Rule = "identity"      // the identity's proof does not verify for this trade key and message
	RuleStale        Rule = "stale"         // older than the receiver accepts
	RuleFuture       Rule = "future"        // dated further ahead than clocks differ
	RuleParty        Rule = "party"         // signed by a key outside the conversation
	RuleStructure    Rule = "structure"     // the payload or id does not fit the action
	RuleCanonical    Rule = "canonical"     // not the bytes that receivers sign and check
	RuleNoLegacyForm Rule = "no-legacy"     // the 2023 vocabulary has no form for this message
)

// WireError is the error for malformed input. It names the broken rule and the place.
type WireError struct {
	Rule   Rule
	Path   string // dotted path into the message, "" if there is none
	Detail string // for people; never holds decrypted text
}

// Error returns rule, path and detail: "arity: order.payload.dispute: want 2 elements,
// have 1".
func (e *WireError) Error() string {
	s := string(e.Rule)
	if e.Path != "" {
		s += ": " + e.Path
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Unwrap returns the Rule.
func (e *WireError) Unwrap() error { return e.Rule }

// NewError returns a WireError without a path.
func NewError(rule Rule, detail string) error { return &WireError{Rule: rule, Detail: detail} }

// InPath prepends one element to the path of a WireError. It returns any other error
// unchanged.
func InPath(name string, err error) error {
	e, ok := err.(*WireError)
	if !ok {
		return err
	}
	if e.Path == "" {
		e.Path = name
	} else if e.Path[0] == '[' {
		e.Path = name + e.Path
	} else {
		e.Path = name + "." + e.Path
	}
	return e
}
