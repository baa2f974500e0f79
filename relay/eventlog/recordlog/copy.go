package recordlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// Span is a run of records in one file of the log: the bytes from From to To, behind the
// header of the file or behind an earlier span.
type Span struct {
	First    uint64   // seq of the first record of the file
	From, To uint64   // seqs of the first and of the last record of the span
	At, End  int64    // offsets of the bytes in the file; At is 0 if the span begins with the header
	Erased   int64    // bytes of the file's scrubbed payloads
	LastID   [32]byte // event id of record To
}

// maxSpans is the number of spans of a file above which the file is copied again as one span.
const maxSpans = 64

// Spans returns the whole log as one span for each file that has records. If a span of have
// is unchanged in the log, Spans returns it, and another span with the records behind it. A
// span has changed if a payload of its file was erased since, if the file was compacted, or
// if it belongs to another log. Only the committer calls Spans and SpansAfter.
func (l *Log) Spans(have []Span) (list []Span, err error) {
	held := make(map[uint64][]Span)
	for _, s := range have {
		held[s.First] = append(held[s.First], s)
	}
	for _, lf := range l.files {
		list = append(list, l.unchanged(lf, held[lf.first])...)
		if list, err = l.withRest(list, lf); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// unchanged returns the spans of have that are the beginning of a file.
func (l *Log) unchanged(lf *logFile, have []Span) (list []Span) {
	next, at := lf.first, int64(0)
	for _, s := range have {
		if s.From != next || s.At != at || s.To < s.From || s.Erased != lf.erasedBytes {
			break
		}
		if _, in, end := l.span(s.To, s.To); len(in) == 0 || s.To-lf.first >= uint64(len(lf.offsets)) || end != s.End {
			break
		}
		if r, err := l.ReadHead(s.To); err != nil || r.ID != s.LastID {
			break
		}
		list = append(list, s)
		next, at = s.To+1, s.End
	}
	if len(list) >= maxSpans {
		return nil
	}
	return list
}

// SpansAfter returns spans of the records behind the last span of list, as if they had been
// copied together with the other spans of the same file.
func (l *Log) SpansAfter(list []Span) (more []Span, err error) {
	all := slices.Clone(list)
	for _, lf := range l.files {
		if len(list) == 0 || lf.first >= list[len(list)-1].First {
			if all, err = l.withRest(all, lf); err != nil {
				return nil, err
			}
		}
	}
	return all[len(list):], nil
}

// withRest appends a span with the records of a file behind the last span of list.
func (l *Log) withRest(list []Span, lf *logFile) ([]Span, error) {
	s := Span{First: lf.first, From: lf.first, To: lf.first + uint64(len(lf.offsets)) - 1, End: lf.size, Erased: lf.erasedBytes}
	if len(list) > 0 && list[len(list)-1].First == lf.first {
		before := list[len(list)-1]
		s.From, s.At, s.Erased = before.To+1, before.End, before.Erased
	}
	if s.To < s.From {
		return list, nil
	}
	r, err := l.ReadHead(s.To)
	if err != nil && !IsDamage(err) {
		return nil, err
	}
	s.LastID = r.ID // of a damaged record: zero, so that the span is copied again
	return append(list, s), nil
}

// CopySpan writes the bytes of a span. The caller makes sure that no file is compacted
// meanwhile. If a payload is scrubbed meanwhile, the bytes may have a part of it.
func (l *Log) CopySpan(w io.Writer, s Span) error {
	l.mu.RLock()
	lf := l.fileOf(s.From)
	f, first := lf.f, lf.first
	l.mu.RUnlock()
	if first != s.First {
		return fmt.Errorf("entry %d: %w", s.From, ErrNoRecord)
	}
	n, err := io.Copy(w, io.NewSectionReader(f, s.At, s.End-s.At))
	if err == nil && n != s.End-s.At {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("read entries %d to %d: %w", s.From, s.To, err)
	}
	return nil
}

// Count returns the number of records in b, which holds the bytes of a span. damaged is the
// number of records whose payload is neither intact nor erased. Count returns an error if b
// is not a sequence of complete records.
func (s Span) Count(b []byte) (records uint64, damaged int, err error) {
	if s.At == 0 {
		if len(b) < logFileHead || !bytes.HasPrefix(b, []byte(logMagic)) || binary.BigEndian.Uint64(b[len(logMagic):]) != s.First {
			return 0, 0, fmt.Errorf("the header of the file that begins with entry %d: %w", s.First, ErrDamagedRecord)
		}
		b = b[logFileHead:]
	}
	for len(b) > 0 {
		head, rest, ok := splitRecord(b)
		if !ok {
			return records, damaged, fmt.Errorf("entry %d: %w", s.From+records, ErrDamagedRecord)
		}
		if _, _, err := parseRecord(b); err != nil {
			damaged++
		}
		records++
		b = rest[binary.LittleEndian.Uint32(head[4:]):]
	}
	return records, damaged, nil
}
