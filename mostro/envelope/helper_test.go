package envelope

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro/message"
)

var tradeID = message.UUID{0x30, 0x8e, 0x12, 0x72, 0xd5, 0xf4, 0x47, 0xe6, 0xbd, 0x97, 0x35, 0x04, 0xba, 0xea, 0x9c, 0x23}

var wrappers = []message.Wrapper{message.WrapperOrder, message.WrapperDispute, message.WrapperCantDo, message.WrapperRate, message.WrapperDM, message.WrapperRestore}

// payloadSamples returns each payload type with all fields and with as few fields as
// possible, from the golden file of the codec.
func payloadSamples(t testing.TB) []message.Payload {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "message", "testdata", "payloads.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	var payloads []message.Payload
	for line := range strings.Lines(string(b)) {
		m, err := message.ParseMessage([]byte(strings.TrimSuffix(line, "\n")))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		payloads = append(payloads, m.Payload)
	}
	return payloads
}

func wantRule(t *testing.T, err error) {
	t.Helper()
	var w *message.WireError
	if !errors.As(err, &w) || w.Rule == "" {
		t.Fatalf("an error of another kind: %v", err)
	}
}
