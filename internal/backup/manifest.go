package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Format is the version of archives that this program writes. It reads no later version.
const Format = 1

// Manifest describes a backup.
type Manifest struct {
	Format  int    `json:"format"`
	Program string `json:"program"` // version of the program that made the backup
	At      int64  `json:"at"`      // time of the backup, in unix seconds
	Head    uint64 `json:"head"`    // last entry of the log
	Live    int    `json:"live,omitempty"`
	// Escrow describes the store of the escrow; nil if the backup has none.
	Escrow *Escrow `json:"escrow,omitempty"`
	Parts  []Part  `json:"parts"`
}

// Escrow describes the store of an escrow in a backup.
type Escrow struct {
	Pubkey  string `json:"pubkey"`
	Commits uint64 `json:"commits"` // of the store, as the witness file counts them
}

// Part describes a part of a backup.
type Part struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// The names of parts that this package knows.
const (
	SecretName   = "secret.age"
	manifestName = "manifest.json"
)

// maxManifest bounds the length of a manifest: about 500,000 parts.
const maxManifest = 128 << 20

// encode returns the file of a manifest: one line of JSON and one line with its SHA-256.
func (m *Manifest) encode() ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(b, "\n%s\n", sumOf(b)), nil
}

// ID returns a short name of a backup that depends on every byte of the backup.
func (m *Manifest) ID() string {
	b, err := json.Marshal(m)
	if err != nil {
		return ""
	}
	return sumOf(b)[:16]
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// parseManifest reads the file of a manifest.
func parseManifest(r io.Reader) (*Manifest, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return nil, err
	}
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	var format struct {
		Format int `json:"format"`
	}
	if !ok || len(b) > maxManifest || json.Unmarshal(line, &format) != nil {
		return nil, damagef("its manifest is not legible")
	}
	if format.Format > Format {
		return nil, fmt.Errorf("the backup has format %d, and this program knows formats up to %d: upgrade mostrodex", format.Format, Format)
	}
	if string(rest) != sumOf(line)+"\n" {
		return nil, damagef("its manifest was changed")
	}
	m := new(Manifest)
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if d.Decode(m) != nil || m.Format < 1 {
		return nil, damagef("its manifest is not legible")
	}
	names := make(map[string]bool)
	for _, p := range m.Parts {
		sum, err := hex.DecodeString(p.SHA256)
		if err != nil || len(sum) != sha256.Size || p.SHA256 != strings.ToLower(p.SHA256) || p.Bytes < 0 || !ValidName(p.Name) || p.Name == manifestName || names[p.Name] {
			return nil, damagef("its manifest has a part %.40q", p.Name)
		}
		names[p.Name] = true
	}
	return m, nil
}
