package score

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Omission is something that a bundle leaves out.
type Omission struct {
	What  string `json:"what"`
	Count int64  `json:"count"` // 0 if a count makes no sense
	Text  string `json:"text"`
}

// Names of omissions.
const (
	OmitsOthers   = "other-mostros" // evidence of other Mostros; their ratings enter as given means
	OmitsErased   = "erased"        // content and signatures of events that their authors deleted
	OmitsLater    = "later"         // events received after the moment of the bundle
	OmitsEvents   = "other-events"  // events of the log that are no evidence for these scores
	OmitsRefusals = "refusals"      // refused events beyond the first ones
	OmitsUnkept   = "not-kept"      // what the log itself does not keep
)

// omissions count what WriteSignedBundle leaves out.
type omissions struct {
	only          string
	given, nodes  int
	later, others int64
	erased        int64
}

// Omitter is an optional interface of a Reader that hides events of the log.
type Omitter interface{ Omits() []Omission }

// list returns the omissions, each with the reason.
func (o omissions) list(l *Ledger, log Reader) (out []Omission) {
	add := func(what string, n int64, text string) { out = append(out, Omission{what, n, text}) }
	if o.only != "" {
		add(OmitsOthers, int64(max(0, o.nodes-o.given)), "keys with facts whose evidence is not in this bundle; the mean of their ratings is given, and not proven")
	}
	if o.erased > 0 {
		add(OmitsErased, o.erased, "events that their authors deleted: the facts are here, content and signature are not")
	}
	if o.later > 0 {
		add(OmitsLater, o.later, "events received after the moment of the bundle")
	}
	if o.others > 0 {
		add(OmitsEvents, o.others, "readable events of the log on which these scores do not depend")
	}
	refused := int64(0)
	for _, n := range l.book.Reasons {
		refused += n
	}
	if n := refused - int64(len(l.book.Refused)); n > 0 {
		add(OmitsRefusals, n, "refused events that are counted and not listed")
	}
	if x, ok := log.(Omitter); ok {
		out = append(out, x.Omits()...)
	}
	add(OmitsUnkept, 0, "health reports (38389), private messages, and events that were erased without facts: the log does not keep them; the columns of other relays are not part of these scores")
	return out
}

// checkOmits checks the omissions that follow from the bundle itself.
func checkOmits(list []Omission, only string, erased int64) error {
	have := map[string]int64{}
	for _, o := range list {
		if _, twice := have[o.What]; twice {
			return fmt.Errorf("%w: the omission %q is stated twice", ErrUnsound, clip([]byte(o.What)))
		}
		have[o.What] = o.Count
	}
	if have[OmitsErased] != erased {
		return fmt.Errorf("%w: the end states %d erased events, the bundle has %d", ErrUnsound, have[OmitsErased], erased)
	}
	if _, others := have[OmitsOthers]; others != (only != "") {
		return fmt.Errorf("%w: the end does not state whether other Mostros are left out", ErrUnsound)
	}
	if _, stated := have[OmitsUnkept]; !stated {
		return fmt.Errorf("%w: the end does not state what the log does not keep", ErrUnsound)
	}
	return nil
}

// BundleSigner signs bundles.
type BundleSigner interface {
	Pubkey() string
	Sign(evt *nostr.Event) error
}

// BundleD is the d tag of the event that signs a bundle.
const BundleD = "mostrodex-bundle"

// signed is the last line of a signed bundle. The content of the event is the SHA-256 of the
// line before, which holds the last link of the chain and the scores.
type signed struct {
	Signed *nostr.Event `json:"signed"`
}

// signEnd writes the end of a bundle, and the line with the signature if by is not nil. The
// signature is dated at the moment of the bundle.
func signEnd(out io.Writer, end bundleEnd, asOf int64, by BundleSigner) error {
	line, err := encodeLine(end)
	if err != nil {
		return err
	}
	if _, err := out.Write(line); err != nil || by == nil {
		return err
	}
	sum := sha256.Sum256(bytes.TrimRight(line, "\n"))
	evt := &nostr.Event{PubKey: by.Pubkey(), Kind: mostro.KindAppData, CreatedAt: nostr.Timestamp(asOf), Content: hex.EncodeToString(sum[:]), Tags: nostr.Tags{{"d", BundleD}}}
	if err := by.Sign(evt); err != nil {
		return fmt.Errorf("sign the bundle: %w", err)
	}
	if line, err = encodeLine(signed{evt}); err != nil {
		return err
	}
	_, err = out.Write(line)
	return err
}

func encodeLine(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}

// readSigner reads the line with the signature behind the end of a bundle. It returns "" if
// there is no such line.
func readSigner(in *bufio.Reader, end []byte, check func(*nostr.Event) error) (string, error) {
	if rest, _ := in.Peek(10); !bytes.Equal(rest, []byte(`{"signed":`)) {
		return "", nil
	}
	line, err := readLine(in)
	if err != nil {
		return "", err
	}
	var s signed
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil || s.Signed == nil {
		return "", fmt.Errorf("%w: the signature is not readable: %w", ErrUnsound, err)
	}
	if err := check(s.Signed); err != nil {
		return "", fmt.Errorf("%w: the signature of the bundle: %w", ErrUnsound, err)
	}
	sum := sha256.Sum256(bytes.TrimRight(end, "\n"))
	if s.Signed.Kind != mostro.KindAppData || s.Signed.Tags.GetD() != BundleD || s.Signed.Content != hex.EncodeToString(sum[:]) {
		return "", fmt.Errorf("%w: the signature is one of another bundle", ErrUnsound)
	}
	return s.Signed.PubKey, nil
}
