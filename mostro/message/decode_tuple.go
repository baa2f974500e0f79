package message

// Tuple is the decrypted JSON array of transports v1 and v2. A nil Sig or Identity
// stands for null.
type Tuple struct {
	Message     Message
	Raw         []byte // the message as sent
	Canonical   []byte // AppendJSON of Message
	Sig         *string
	Identity    *string // v2 only, with IdentitySig
	IdentitySig string
}

// ParseTuple parses the array: two elements on v1, three on v2. It verifies no
// signature. The error is a WireError.
func ParseTuple(plain []byte, arity int) (*Tuple, error) {
	r := newReader(plain)
	t := new(Tuple)
	err := r.tuple(arity, func(i int) (err error) {
		switch i {
		case 0:
			r.scan.Next()
			start := r.scan.Pos
			t.Message, err = r.message()
			t.Raw = plain[start:r.scan.Pos]
		case 1:
			t.Sig, err = r.stringOrNull()
		default:
			if null, err := r.null(); null || err != nil {
				return err
			}
			t.Identity = new(string)
			err = r.tuple(2, func(i int) (err error) {
				if i == 0 {
					*t.Identity, err = r.string()
				} else {
					t.IdentitySig, err = r.string()
				}
				return err
			})
		}
		return err
	})
	if err == nil {
		err = r.end()
	}
	if err != nil {
		return nil, err
	}
	t.Canonical = t.Message.AppendJSON(make([]byte, 0, len(t.Raw)+64))
	return t, nil
}
