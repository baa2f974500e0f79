package backup

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
)

// write writes a backup of three parts.
func write(t testing.TB, w Writer) *Manifest {
	t.Helper()
	for name, text := range map[string]string{"log/1": "records", "rules.json": "{}"} {
		p, err := w.Create(name, int64(len(text)))
		if err == nil {
			_, err = io.WriteString(p, text)
		}
		if err == nil {
			err = p.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	p, err := w.Create("events.keys", -1)
	if err == nil {
		_, err = p.Write(make([]byte, 2*pieceBytes+5))
	}
	if err == nil {
		err = p.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := w.Commit(Manifest{Program: "test", At: 1_790_000_000, Head: 1})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func readAll(from string, stdin io.Reader) (parts map[string]int, m *Manifest, err error) {
	parts = make(map[string]int)
	m, _, err = Read(from, "", stdin, func(name string, r io.Reader) error {
		b, err := io.ReadAll(r)
		parts[name] = len(b)
		return err
	})
	return parts, m, err
}

func TestBothFormsAreRead(t *testing.T) {
	var b bytes.Buffer
	want := write(t, NewStream(&b))
	dir := filepath.Join(t.TempDir(), "backups")
	d, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(dir); !errors.Is(err, ErrBusy) {
		t.Errorf("a directory is opened twice: %v", err)
	}
	inDir := write(t, d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for from, m := range map[string]*Manifest{"-": want, dir: inDir} {
		parts, got, err := readAll(from, bytes.NewReader(b.Bytes()))
		if err != nil || got.ID() != m.ID() || len(parts) != 3 || parts["events.keys"] != 2*pieceBytes+5 || parts["log/1"] != 7 {
			t.Errorf("%s: %v, %+v, %v", from, parts, got, err)
		}
	}
}

// TestEveryByteMatters flips single bytes of a stream, and cuts it at many lengths. Either the
// backup is refused, or the byte has no meaning and the content is the same.
func TestEveryByteMatters(t *testing.T) {
	var b bytes.Buffer
	w := NewStream(&b)
	p, err := w.Create("events.keys", -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Write([]byte("keys and values")); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	want, err := w.Commit(Manifest{At: 1_790_000_000})
	if err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	for i := range whole {
		changed := bytes.Clone(whole)
		changed[i] ^= 0x41
		parts, m, err := readAll("-", bytes.NewReader(changed))
		if err == nil && (m.ID() != want.ID() || len(parts) != 1 || parts["events.keys"] != 15) {
			t.Errorf("byte %d was changed: %v, %+v", i, parts, m)
		}
	}
	end := bytes.LastIndex(whole, []byte("\n")) + 1 // behind it are only zeros
	for n := range end {
		if _, _, err := readAll("-", bytes.NewReader(whole[:n])); !errors.Is(err, ErrArchive) {
			t.Fatalf("a stream of %d bytes: %v", n, err)
		}
	}
}

// TestHostileNames gives names that lead out of a directory, and files that are no files.
func TestHostileNames(t *testing.T) {
	for _, name := range []string{"../x", "a/../../x", "/etc/passwd", "..", ".", "", "a/b/c", "a//b", "a\x00b", "keys/..", "keys/.ssh", ".hidden", "a\\b", "C:x", strings.Repeat("a", 400), "é"} {
		if ValidName(name) {
			t.Errorf("%q is a valid name", name)
		}
	}
	header := func(h *tar.Header, body string) error {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		h.Size = int64(len(body))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
		_, _, err := readAll("-", bytes.NewReader(b.Bytes()))
		return err
	}
	for what, h := range map[string]*tar.Header{
		"a symbolic link":  {Typeflag: tar.TypeSymlink, Name: "keys/x", Linkname: "/etc/passwd"},
		"a hard link":      {Typeflag: tar.TypeLink, Name: "keys/x", Linkname: "/etc/passwd"},
		"a device":         {Typeflag: tar.TypeChar, Name: "keys/x", Devmajor: 1, Devminor: 3},
		"a directory":      {Typeflag: tar.TypeDir, Name: "keys/x"},
		"a parent":         {Typeflag: tar.TypeReg, Name: "../x"},
		"an absolute path": {Typeflag: tar.TypeReg, Name: "/x"},
	} {
		if err := header(h, ""); !errors.Is(err, ErrArchive) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// A sparse file of 1 TiB in a stream of some kilobytes.
	bomb := "1\n0\n1\n"
	h := &tar.Header{Typeflag: tar.TypeReg, Name: "events.keys", Format: tar.FormatPAX}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	h.Size = 512
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, bomb+strings.Repeat("\x00", 512-len(bomb))); err != nil {
		t.Fatal(err)
	}
	raw := sparse(b.Bytes())
	if sh, err := tar.NewReader(bytes.NewReader(raw)).Next(); err != nil || sh.Size != 1<<40 {
		t.Fatalf("the test makes no sparse file: %+v, %v", sh, err)
	}
	if _, _, err := readAll("-", bytes.NewReader(raw)); !errors.Is(err, ErrArchive) {
		t.Errorf("a sparse file: %v", err)
	}
}

// sparse puts the extended header of a sparse file of 1 TiB before a tar file.
func sparse(file []byte) []byte {
	records := ""
	for _, kv := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=events.keys", "GNU.sparse.realsize=1099511627776"} {
		n := len(kv) + 4
		if n > 99 {
			panic("long")
		}
		records += itoa(n) + " " + kv + "\n"
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	// A name of a type that archive/tar does not write: made by hand from a regular header.
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "x", Size: int64(len(records)), Format: tar.FormatUSTAR}); err != nil {
		panic(err)
	}
	io.WriteString(w, records)
	w.Flush()
	raw := b.Bytes()
	raw[156] = 'x'
	copy(raw[148:156], "        ")
	sum := 0
	for _, c := range raw[:512] {
		sum += int(c)
	}
	copy(raw[148:156], []byte{byte('0' + sum>>15&7), byte('0' + sum>>12&7), byte('0' + sum>>9&7), byte('0' + sum>>6&7), byte('0' + sum>>3&7), byte('0' + sum&7), 0, ' '})
	return append(raw, file...)
}

func itoa(n int) string { return string([]byte{byte('0' + n/10), byte('0' + n%10)}) }

func TestPruneKeepsUsedParts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "backups")
	d, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	first := write(t, d)
	p, err := d.Create("only-in-the-second", -1)
	if err == nil {
		_, err = io.WriteString(p, "unique")
	}
	if err == nil {
		err = p.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	second := write(t, d)
	if NameOf(second) <= NameOf(first) {
		t.Errorf("the second backup is %s, the first one %s, and the clock did not move", NameOf(second), NameOf(first))
	}
	third := write(t, d)
	if err := d.Prune(1); err != nil {
		t.Fatal(err)
	}
	if _, m, err := readAll(dir, nil); err != nil || m.ID() != third.ID() {
		t.Errorf("%+v, %v", m, err)
	}
	left, err := os.ReadDir(filepath.Join(dir, partsDir))
	if err != nil || len(left) != 3 {
		t.Errorf("%d parts are left: %v", len(left), err)
	}
}

// TestInterruptedBackup ends backups at several points. The next one removes their rest, and the
// complete ones stay.
func TestInterruptedBackup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "backups")
	d, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := write(t, d)
	begin := func(name string) PartWriter {
		p, err := d.Create(name, -1)
		if err == nil {
			_, err = io.WriteString(p, name)
		}
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	count := func() int {
		list, err := os.ReadDir(filepath.Join(dir, partsDir))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	begin("discarded").Discard()
	if n := count(); n != 3 {
		t.Errorf("%d parts after one was discarded", n)
	}
	if err := begin("closed").Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Abandon(); err != nil || count() != 3 {
		t.Errorf("%d parts after a backup was abandoned: %v", count(), err)
	}
	// Killed: nothing is closed but the lock.
	begin("killed in its middle")
	if err := begin("killed behind it").Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 5 {
		t.Errorf("%d parts after a kill: the test does not apply", n)
	}
	if d, err = OpenDir(dir); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if n := count(); n != 3 {
		t.Errorf("%d parts after the next start", n)
	}
	if _, m, err := readAll(dir, nil); err != nil || m.ID() != want.ID() {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestFollowedCommits(t *testing.T) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	to, with := []age.Recipient{key.Recipient()}, []age.Identity{key}
	dir := filepath.Join(t.TempDir(), "backups")
	d, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	name := NameOf(write(t, d))
	for _, n := range [][]uint64{{4, 5}, {6}, {6, 7, 8}, {10}} {
		var list []Commit
		for _, n := range n {
			list = append(list, Commit{n, []byte{byte(n)}})
		}
		if err := d.Append(name, to, list); err != nil {
			t.Fatal(err)
		}
	}
	var got []byte
	last, missing, err := Following(dir, name, with, 4, func(c Commit) error { got = append(got, c.Body...); return nil })
	if err != nil || last != 8 || missing != 9 || string(got) != "\x05\x06\x07\x08" {
		t.Errorf("last %d, missing %d, %v, %v", last, missing, got, err)
	}
	if _, _, err := Following(dir, name, nil, 4, nil); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("without an identity: %v", err)
	}
	path := filepath.Join(dir, FollowDir(name), "00000000000000000006.age")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Following(dir, name, with, 4, func(Commit) error { return nil }); !errors.Is(err, ErrArchive) {
		t.Errorf("a changed file: %v", err)
	}
}

// FuzzRead reads arbitrary bytes as a stream and as a manifest. Reading never panics, and takes
// no more bytes than the input has.
func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	w := NewStream(&b)
	for _, name := range []string{SecretName, "log/1", "events.keys"} {
		p, err := w.Create(name, -1)
		if err == nil {
			_, err = p.Write([]byte("0123456789"))
		}
		if err == nil {
			err = p.Close()
		}
		if err != nil {
			f.Fatal(err)
		}
	}
	m, err := w.Commit(Manifest{Program: "fuzz", At: 1})
	if err != nil {
		f.Fatal(err)
	}
	text, err := m.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(text)
	f.Add(sparse(b.Bytes()))
	f.Fuzz(func(t *testing.T, in []byte) {
		total := 0
		_, _, _ = Read("-", "", bytes.NewReader(in), func(name string, r io.Reader) error {
			if !ValidName(name) {
				t.Fatalf("a part has the name %q", name)
			}
			n, err := io.Copy(io.Discard, r)
			total += int(n)
			if name == SecretName {
				_, _ = Decrypt(r, nil)
			}
			return err
		})
		if total > len(in) {
			t.Fatalf("%d bytes of content from %d bytes", total, len(in))
		}
		_, _ = parseManifest(bytes.NewReader(in))
	})
}

func TestPiecesAreJoined(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for _, size := range []int{0, 1, pieceBytes - 1, pieceBytes, pieceBytes + 1, 3 * pieceBytes} {
		var b bytes.Buffer
		s := NewSender(&b)
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(random.Uint32())
		}
		if err := s.Stream("a", func(w io.Writer) error { _, err := w.Write(want); return err }); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Bytes("b", nil), s.Close()); err != nil {
			t.Fatal(err)
		}
		r := NewReceiver(&b)
		name, part, err := r.Next()
		if err != nil || name != "a" {
			t.Fatal(name, err)
		}
		if got, err := io.ReadAll(part); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d of %d bytes: %v", len(got), size, err)
		}
		if name, _, err := r.Next(); err != nil || name != "b" {
			t.Errorf("the next part is %q: %v", name, err)
		}
	}
}
