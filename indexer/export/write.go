package export

import (
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/mostrodex/mostrodex/internal/jsontext"
)

// Writer writes the rows of one data set.
type Writer interface {
	// Write writes a row, which is a pointer to the row type of the data set. Write does not
	// keep the row.
	Write(row any) error
	// Close writes the rest. Close does not close the writer below.
	Close() error
}

// bufferSize is the size from which buffered rows are written.
const bufferSize = 64 << 10

// textWriter writes rows as lines of text.
type textWriter struct {
	set *Set
	w   io.Writer
	buf []byte
	row func(dst []byte, v reflect.Value) []byte
}

// NewNDJSON returns a Writer of one JSON object per line. Times are RFC 3339 texts. An unknown
// value is null.
func NewNDJSON(w io.Writer, set *Set) Writer {
	t := &textWriter{set: set, w: w}
	t.row = t.jsonRow
	return t
}

// NewCSV returns a Writer of CSV (RFC 4180, UTF-8) that begins with a line of names. Times are
// RFC 3339 texts, lists are JSON. An unknown value is an empty cell. Texts are written so that
// no program takes a cell for a formula (Guard).
func NewCSV(w io.Writer, set *Set) Writer {
	t := &textWriter{set: set, w: w}
	for i := range set.Columns {
		if i > 0 {
			t.buf = append(t.buf, ',')
		}
		t.buf = append(t.buf, set.Columns[i].Name...)
	}
	t.buf = append(t.buf, '\r', '\n')
	t.row = t.csvRow
	return t
}

// Write writes a row.
func (t *textWriter) Write(row any) error {
	v := reflect.ValueOf(row).Elem()
	if v.Type() != t.set.row {
		return fmt.Errorf("a row of %s is no %s", t.set.Name, v.Type())
	}
	t.buf = t.row(t.buf, v)
	if len(t.buf) < bufferSize {
		return nil
	}
	return t.Close()
}

// Close writes the buffered rows.
func (t *textWriter) Close() error {
	_, err := t.w.Write(t.buf)
	t.buf = t.buf[:0]
	return err
}

// valueOf returns the value of a column in a row. ok is false if it is null.
func valueOf(row reflect.Value, c *Column) (v reflect.Value, ok bool) {
	v = row
	for _, i := range c.index {
		v = v.Field(i)
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return v, false
		}
		v = v.Elem()
	}
	return v, c.Type != Text || c.Null == "" || v.Len() > 0
}

// appendPlain appends a value that is neither a text nor a list.
func appendPlain(dst []byte, v reflect.Value, kind Type) []byte {
	switch kind {
	case Time:
		at := v.Addr().Interface().(*time.Time).UTC()
		dst = at.AppendFormat(dst, time.RFC3339) // the layout that package time writes fast
		ms := at.Nanosecond() / 1e6
		return append(dst[:len(dst)-1], '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
	case Integer:
		return strconv.AppendInt(dst, v.Int(), 10)
	case Number:
		return strconv.AppendFloat(dst, v.Float(), 'f', -1, 64)
	}
	return strconv.AppendBool(dst, v.Bool())
}

func (t *textWriter) jsonRow(dst []byte, row reflect.Value) []byte {
	for i := range t.set.Columns {
		c := &t.set.Columns[i]
		dst = append(dst, ',')
		if i == 0 {
			dst[len(dst)-1] = '{'
		}
		dst = append(append(append(dst, '"'), c.Name...), '"', ':')
		v, ok := valueOf(row, c)
		switch {
		case !ok:
			dst = append(dst, "null"...)
		case c.Type == Text:
			dst = jsontext.AppendString(dst, v.String())
		case c.Type == List:
			dst = appendList(dst, v.Interface().([]string))
		case c.Type == Time:
			dst = append(appendPlain(append(dst, '"'), v, c.Type), '"')
		default:
			dst = appendPlain(dst, v, c.Type)
		}
	}
	return append(dst, '}', '\n')
}

func appendList(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = jsontext.AppendString(dst, s)
	}
	return append(dst, ']')
}

func (t *textWriter) csvRow(dst []byte, row reflect.Value) []byte {
	for i := range t.set.Columns {
		c := &t.set.Columns[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		v, ok := valueOf(row, c)
		switch {
		case !ok:
		case c.Type == Text:
			dst = appendCell(dst, v.String())
		case c.Type == List:
			dst = appendCell(dst, string(appendList(nil, v.Interface().([]string))))
		default:
			dst = appendPlain(dst, v, c.Type)
		}
	}
	return append(dst, '\r', '\n')
}

// appendCell appends a text as a cell of CSV.
func appendCell(dst []byte, s string) []byte {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		c := s[i]
		plain = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || i > 0 && (c == '-' || c == '.' || c == ':' || c == '/' || c == '_')
	}
	if plain && s != "" {
		return append(dst, s...)
	}
	s = Guard(s)
	dst = append(dst, '"')
	for {
		at := strings.IndexByte(s, '"')
		if at < 0 {
			return append(append(dst, s...), '"')
		}
		dst = append(append(dst, s[:at+1]...), '"')
		s = s[at+1:]
	}
}

// Guard returns a text in which no cell begins with a character that makes a spreadsheet
// compute a formula: = + - @, their full-width forms, a tab or a carriage return. An apostrophe
// is put before such a character at the begin of the text, and also behind each character that
// may begin a cell in a program that reads the file with another separator or other quotes
// (comma, semicolon, tab, bar, line end, quotation mark). Spaces and invisible characters
// before it do not count. NDJSON and Parquet have the exact texts.
func Guard(s string) string {
	if !strings.ContainsAny(s, "=+-@\t\r\n") && !strings.Contains(s, "\xef") {
		return s // no trigger, and no full-width one
	}
	begins, guarded := true, false
	var out strings.Builder
	for i, r := range s {
		put := false
		switch {
		case begins && isTrigger(r), i == 0 && (r == '\t' || r == '\r' || r == '\n'):
			put = true
		}
		if put && !guarded {
			out.WriteString(s[:i])
			guarded = true
		}
		if put {
			out.WriteByte('\'')
		}
		if guarded {
			out.WriteRune(r)
		}
		switch {
		case isSeparator(r):
			begins = true
		case begins && (unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r)):
		default:
			begins = false
		}
	}
	if !guarded {
		return s
	}
	return out.String()
}

func isTrigger(r rune) bool {
	switch r {
	case '=', '+', '-', '@', '＝', '＋', '－', '＠':
		return true
	}
	return false
}

func isSeparator(r rune) bool {
	switch r {
	case ',', ';', '\t', '|', '\n', '\r', '"', '\v', '\f', '\u0085', '\u2028', '\u2029':
		return true
	}
	return false
}
