package eventlog

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
)

// TestFormatExample compares the example of FORMAT.md with the record that the code
// writes.
func TestFormatExample(t *testing.T) {
	r := recordlog.Record{FirstOfWrite: true, ReceivedAt: 1_700_000_000_123, Source: mostro.Source{Origin: mostro.OriginClient}, Kind: 1, CreatedAt: 1_700_000_000}
	for i := range r.ID {
		r.ID[i], r.PubKey[i] = 0x11, 0x22
	}
	record := recordlog.AppendRecord(nil, r, []byte(`{"kind":1}`))
	var lines strings.Builder
	for i := 0; i < len(record); i += 16 {
		part := record[i:min(i+16, len(record))]
		lines.WriteString(strings.TrimRight(strings.Split(hex.Dump(part), "|")[0][10:], " ") + "\n")
	}
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), "```\n"+lines.String()+"```") {
		t.Errorf("FORMAT.md does not contain the record:\n%s", lines.String())
	}
}
