package backup

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"
)

// pieceBytes is the length of the pieces of a part whose length is not known when it begins.
// Only the last piece is shorter.
const pieceBytes = 4 << 20

// pieceMark ends the name of a piece.
const pieceMark = "#"

// ErrArchive is returned if the bytes of an archive are not as they were written.
var ErrArchive = errors.New("the backup is damaged or incomplete")

func damagef(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrArchive}, args...)...)
}

// nameRule is the form of a part's name: one or two words, without "..".
var nameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,149}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,149})?$`)

// ValidName reports whether a part may have this name. No part of a valid name leads to a
// parent directory or begins with a dot.
func ValidName(name string) bool { return nameRule.MatchString(name) && !strings.Contains(name, "..") }

// Sender writes parts to a stream.
type Sender struct{ tar *tar.Writer }

// NewSender returns a Sender that writes to w.
func NewSender(w io.Writer) *Sender { return &Sender{tar.NewWriter(w)} }

func (s *Sender) header(name string, size int64) error {
	return s.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, Format: tar.FormatPAX})
}

// Sized writes a part of size bytes, which write writes.
func (s *Sender) Sized(name string, size int64, write func(io.Writer) error) error {
	if err := s.header(name, size); err != nil {
		return err
	}
	if err := write(s.tar); err != nil {
		return err
	}
	return s.tar.Flush()
}

// Bytes writes a part.
func (s *Sender) Bytes(name string, b []byte) error {
	return s.Sized(name, int64(len(b)), func(w io.Writer) error { _, err := w.Write(b); return err })
}

// Part writes a part whose length is not known. The caller closes the part.
func (s *Sender) Part(name string) io.WriteCloser { return &pieces{s: s, name: name} }

// Stream calls write with a part whose length is not known.
func (s *Sender) Stream(name string, write func(io.Writer) error) error {
	p := s.Part(name)
	if err := write(p); err != nil {
		return err
	}
	return p.Close()
}

// Close ends the stream.
func (s *Sender) Close() error { return s.tar.Close() }

type pieces struct {
	s    *Sender
	name string
	buf  bytes.Buffer
}

func (p *pieces) Write(b []byte) (n int, err error) {
	for n < len(b) {
		some := b[n:min(len(b), n+pieceBytes-p.buf.Len())]
		p.buf.Write(some)
		n += len(some)
		if p.buf.Len() == pieceBytes {
			if err := p.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (p *pieces) flush() error {
	err := p.s.Bytes(p.name+pieceMark, p.buf.Bytes())
	p.buf.Reset()
	return err
}

// Close writes the last piece.
func (p *pieces) Close() error { return p.flush() }

// Receiver reads the parts of a stream.
type Receiver struct {
	tar *tar.Reader
}

// NewReceiver returns a Receiver that reads from r.
func NewReceiver(r io.Reader) *Receiver { return &Receiver{tar: tar.NewReader(r)} }

// Next returns the next part. The part is valid until the next call. Next returns io.EOF at
// the end of the stream.
func (r *Receiver) Next() (name string, part io.Reader, err error) {
	h, err := r.tar.Next()
	switch {
	case errors.Is(err, io.EOF):
		return "", nil, io.EOF
	case err != nil:
		return "", nil, r.fault(err)
	case h.Typeflag != tar.TypeReg:
		return "", nil, damagef("%.40q is not a file", h.Name)
	case h.Size < 0 || isSparse(h):
		return "", nil, damagef("%.40q has no length", h.Name)
	}
	if h.Name == ErrorName {
		return "", nil, r.reported()
	}
	name, inPieces := strings.CutSuffix(h.Name, pieceMark)
	if !ValidName(name) {
		return "", nil, damagef("%.40q is not the name of a part", name)
	}
	if !inPieces {
		return name, faulty{r, r.tar}, nil
	}
	if h.Size > pieceBytes {
		return "", nil, damagef("a piece of %s has %d bytes", name, h.Size)
	}
	return name, &joined{r: r, name: h.Name, last: h.Size < pieceBytes}, nil
}

// ErrorName is the name of a part that holds the error because of which a stream ends.
const ErrorName = "error.txt"

// reported returns the error that the sender of a stream has reported.
func (r *Receiver) reported() error {
	b, err := io.ReadAll(io.LimitReader(r.tar, 4096))
	if err != nil {
		return r.fault(err)
	}
	return fmt.Errorf("the sender of the backup has ended it: %s", strings.ToValidUTF8(strings.Map(printable, string(b)), "?"))
}

// printable replaces characters that change the state of a terminal.
func printable(c rune) rune {
	if unicode.IsPrint(c) {
		return c
	}
	return ' '
}

// fault returns the error of the reader below, or ErrArchive if tar does not accept the bytes.
func (r *Receiver) fault(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return damagef("it ends too early")
	}
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) || errors.Is(err, tar.ErrInsecurePath) || strings.HasPrefix(err.Error(), "archive/tar:") {
		return damagef("it is not a backup, or was changed")
	}
	return err
}

// faulty translates the errors of reads.
type faulty struct {
	r  *Receiver
	in io.Reader
}

func (f faulty) Read(b []byte) (int, error) {
	n, err := f.in.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = f.r.fault(err)
	}
	return n, err
}

// joined reads the pieces of a part.
type joined struct {
	r    *Receiver
	name string
	last bool
}

func (j *joined) Read(b []byte) (int, error) {
	for {
		n, err := j.r.tar.Read(b)
		switch {
		case n > 0:
			return n, nil
		case err == nil:
			return 0, nil
		case !errors.Is(err, io.EOF):
			return 0, j.r.fault(err)
		case j.last:
			return 0, io.EOF
		}
		h, err := j.r.tar.Next()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, j.r.fault(err)
		}
		if h.Name == ErrorName {
			return 0, j.r.reported()
		}
		if h.Name != j.name || h.Typeflag != tar.TypeReg || h.Size > pieceBytes || isSparse(h) {
			return 0, damagef("a piece of %s is missing", strings.TrimSuffix(j.name, pieceMark))
		}
		j.last = h.Size < pieceBytes
	}
}

// isSparse reports whether a file is longer than its bytes in the stream. Such a file could
// fill the disk from a short stream.
func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}
