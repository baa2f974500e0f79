package envelope

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/reference"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// The vectors of section 10 of the wire reference. The vectors for derivation, messages
// and chat are small and stand in this file. The events are in testdata, and are
// compared with the reference if the reference is present.

const (
	wordsA = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"
	wordsB = "leader monkey parrot ring guide accident before fence cannon height naive bean"
)

func TestDerivationVectors(t *testing.T) {
	for _, v := range []struct {
		words          string
		index          uint32
		secret, pubkey string
	}{
		{wordsA, 0, "5b3aa1a51bcc7758ef9025bfb249d52a9fcdb88a63eb9d7a7595c95f89ed32ff", "faa27ea81c85e00798598b46d1f36c1700221a1242b563861fa536dc2314f1df"},
		{wordsA, 1, "43f1ed1ae2f64489f92f4224ac319d8d0c88f674cc03f236219e9c1fa0c4ea2c", "f5afa0b09d50fc78d3b3836122b43105a018a30e5ab3eccb36480a525271f3f1"},
		{wordsA, 2, "6048ac80896c859f976eb40a2918ec7d0782c3d55d348b98b49010b33619e6a5", "8717dc2de0ae9de4bc3aca6460ce6ae4ad6b6f8d6e5683305cda7bfdf9cdaf5a"},
		{wordsA, 3, "38130b8ddce870b3c62ba821a49d9424c2558cf86004916259b7a9b39982c7a7", "bf81491b3880b7821a4e1f9540ca63c6dfc337956c310659fdec80dc43f82e6b"},
		{wordsB, 0, "df5ba9d72ec62e9d39a095f1b86936fe10abfc7d56700caa1652a463a40d19b1", "b4bf6548df043786641d4b63e748eda4b55fce21beae991512d23487c7bd8950"},
		{wordsB, 1, "977b9da8056e6a83a991cb31ac507b0a618fbbee355e36e107e0e348686ab833", "1c71f0a29c9d14198781f36897c6d6c08e2c4f905ba69fc5f8e67d375d705a8a"},
		{wordsB, 2, "03c78114b80a2db782bb86be47c8062388d78a0585dfa79b8594e105740758c3", "5011d0e7a57ae27627ab76962537072c6809ef3b9e24c2e3db4e672c61624eef"},
		{wordsB, 5, "542fe37421c128dd421289d45f498cd99a06701706f33a1a74926e6d2d32182d", "088bb3266bde36a0d7080b8ae655e86f5c12ac13ec59fa12754f277cdc2c970b"},
	} {
		w, err := ParseWords("  " + strings.ToUpper(v.words[:1]) + strings.ReplaceAll(v.words[1:], " ", "\n ") + " ")
		if err != nil {
			t.Fatal(err)
		}
		k, err := w.derive(v.index)
		if err != nil {
			t.Fatal(err)
		}
		if s := k.Secret(); hex.EncodeToString(s[:]) != v.secret || k.Pubkey() != v.pubkey {
			t.Errorf("%.7s… %d: have %s, want %s", v.words, v.index, k.Pubkey(), v.pubkey)
		}
	}
}

const vectorBody = `{"order":{"version":2,"request_id":1,"trade_index":1,"id":"308e1272-d5f4-47e6-bd97-3504baea9c23","action":"take-sell","payload":null}}`

func keysA(t testing.TB) (identity, trade *Keys) {
	t.Helper()
	w, err := ParseWords(wordsA)
	if err != nil {
		t.Fatal(err)
	}
	if identity, err = w.Identity(); err != nil {
		t.Fatal(err)
	}
	if trade, err = w.Trade(1); err != nil {
		t.Fatal(err)
	}
	return identity, trade
}

// smallKeys returns a key pair with a small number as secret.
func smallKeys(t testing.TB, n byte) *Keys {
	t.Helper()
	k, err := KeysFromSecret([32]byte{31: n})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSignatureVectors(t *testing.T) {
	identity, trade := keysA(t)
	m, err := message.ParseMessage([]byte(vectorBody))
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(m.JSON()); hex.EncodeToString(sum[:]) != "842244a9e51ab0efc5943d05e423056d7f1e5cb39cd65f9d93d3db7010dbb9cb" {
		t.Errorf("message digest %x", sum)
	}
	zeros := bytes.NewReader(make([]byte, 64))
	sig, err := trade.signText(m.JSON(), zeros)
	if err != nil || sig != "5f5036fdb331a3cbfd5b2e125ba3a2a22ce198794126950b0151e760b12d7f186556c5c15040de62609cc057072f5be9939ffddb7b8942723c3f6e6bb78a8001" {
		t.Errorf("trade signature %s, %v", sig, err)
	}
	proof := append(proofPrefix(trade.Pubkey()), m.JSON()...)
	if sum := sha256.Sum256(proof); hex.EncodeToString(sum[:]) != "d43dc3243a6d20682b1934cb6be9179f84a9c69db564326ae42819815be2e7db" {
		t.Errorf("proof digest %x", sum)
	}
	sig, err = identity.signText(proof, zeros)
	if err != nil || sig != "c336461b7af70fea10f097b44d7c3d01f55d2511c6d6de0ff2757891b3f92f7802b810b09fde54fe456521153f554fbf0cd25f19bf5a297d93f002a3f77f2549" {
		t.Errorf("identity signature %s, %v", sig, err)
	}
}

// vectorEvent returns an event of section 10 by its id from testdata. If the reference
// is present, vectorEvent checks that testdata agrees with it.
func vectorEvent(t testing.TB, id string) (string, *nostr.Event) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "wire-vectors.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, `{"id":"`+id) {
			evt, err := message.DecodeRumor([]byte(line))
			if err != nil {
				t.Fatal(err)
			}
			return line, evt
		}
	}
	t.Fatalf("no vector %s", id)
	return "", nil
}

func TestVectorsAreTheReferences(t *testing.T) {
	b, err := os.ReadFile(reference.File(t, "reference", "wire.md"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile(filepath.Join("testdata", "wire-vectors.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(own)) {
		n++
		if !bytes.Contains(b, []byte("\n"+line)) {
			t.Errorf("not in the reference: %.80s", line)
		}
	}
	if n != 6 {
		t.Errorf("%d vectors, want 6", n)
	}
}

func TestV2Vector(t *testing.T) {
	identity, trade := keysA(t)
	node := smallKeys(t, 3)
	line, evt := vectorEvent(t, "4588fdf14a236f1d")
	env, err := Open(evt, node)
	if err != nil {
		t.Fatal(err)
	}
	if env.Transport != TransportV2 || env.Sender != trade.Pubkey() || env.Identity != identity.Pubkey() || env.FullPrivacy || !env.Signed ||
		env.CreatedAt != 1782000000 || env.ReplayID != evt.ID || env.EventID != evt.ID || string(env.RawMessage) != vectorBody {
		t.Errorf("opened as %+v", env)
	}
	// Sealing with the vector's randomness returns the same event.
	random := bytes.NewReader(bytes.Join([][]byte{make([]byte, 64), bytes.Repeat([]byte{0x11}, 32), make([]byte, 32)}, nil))
	made, err := Seal(context.Background(), env.Message, SealOptions{
		Transport: TransportV2, To: node.Pubkey(), Trade: trade, Identity: identity, Now: time.Unix(1782000000, 0), Expiration: 1784592000, Rand: random})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(mostro.EncodeEvent(made)); got != line {
		t.Errorf("sealed as\n%s\nwant\n%s", got, line)
	}
}

func TestV1Vector(t *testing.T) {
	identity, trade := keysA(t)
	node := smallKeys(t, 3)
	line, evt := vectorEvent(t, "ebfe79aba53509ef")
	_, seal := vectorEvent(t, "8acac7d09df66457")
	env, err := Open(evt, node)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(vectorBody, `"version":2`, `"version":1`, 1)
	if env.Transport != TransportV1 || env.Sender != trade.Pubkey() || env.Identity != identity.Pubkey() || env.FullPrivacy || !env.Signed ||
		env.CreatedAt != 1782000000 || env.ReplayID != seal.ID || env.EventID != evt.ID || string(env.RawMessage) != want {
		t.Errorf("opened as %+v", env)
	}
	back := func(seconds uint64) []byte { return binary.BigEndian.AppendUint64(nil, seconds) }
	random := bytes.NewReader(bytes.Join([][]byte{
		make([]byte, 32), back(10000), bytes.Repeat([]byte{0x22}, 32), make([]byte, 32), // rumor and seal
		append(make([]byte, 31), 5), back(20000), bytes.Repeat([]byte{0x33}, 32), make([]byte, 32), // wrap
	}, nil))
	made, err := Seal(context.Background(), env.Message, SealOptions{
		Transport: TransportV1, To: node.Pubkey(), Trade: trade, Identity: identity, Now: time.Unix(1782000000, 0), Rand: random})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(mostro.EncodeEvent(made)); got != line {
		t.Errorf("sealed as\n%s\nwant\n%s", got, line)
	}
}

func TestChatVector(t *testing.T) {
	alice, err := ParseSecret("548f68890c49fa42f104c60352395e60ff030b0b407e955f1eed1400d6c0347a\n")
	if err != nil {
		t.Fatal(err)
	}
	bob, err := ParseSecret("f258e73f07386d37133718b6127f873dd7c391b8f43b331ff8254034a13d2943")
	if err != nil {
		t.Fatal(err)
	}
	a, err := NewChat(alice, bob.Pubkey())
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewChat(bob, alice.Pubkey())
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string][2]string{
		"alice":       {alice.Pubkey(), "000053c3b4773182e7c4c1b72b272d34be01bf4414a6a25c998977c516a46a01"},
		"bob":         {bob.Pubkey(), "000009ae5cff9f6ba9b05159ec5ed58c187f5882ea77c81ed5dd19163272a5d7"},
		"old address": {a.OldAddress(), "27199d5878869ec3b4ae1ad5c2fed88840218a119f9ce892828b950fc96b4829"},
		"conv":        {a.Conv.Pubkey(), "bceb1cd2a8e98ee9729122a1693edcc39c3ace04582ff96a26705c5e4078a6f2"},
		"conv secret": {hexSecret(a.Conv), "786210709b3077748490720afcf6db73f8f8e85308341c2912a5067ba5e5583d"},
		"sign":        {b.Sign.Pubkey(), "1dba04571059183f76b148119cfa6f8004dad30cb4e810180a6df17386a7f0b4"},
		"sign secret": {hexSecret(b.Sign), "79d0e7d968d0f0fb32cf2676ea75892335a54285bcf851e875eb5b344d18a79b"},
		"shared":      {hexSecret(b.shared), "def6633a53d07d1e829484c4d4bdbbeed2f4b14c21743e63871c174338e39475"},
	} {
		if v[0] != v[1] {
			t.Errorf("%s: have %s, want %s", name, v[0], v[1])
		}
	}
	key, err := a.Conv.Conversation(a.Conv.Pubkey())
	if err != nil || hex.EncodeToString(key[:]) != "e1c964d44013e8486e9182bd6fc31b103ab0b92d7a149f1c136047cce84ea136" {
		t.Errorf("conversation key %x, %v", key, err)
	}
	line, evt := vectorEvent(t, "b3f25f3e5000e995")
	_, inner := vectorEvent(t, "4a57c4aa5e574ef8")
	at := time.Unix(1782000000, 0)
	msg, err := b.Open(evt, at)
	if err != nil {
		t.Fatal(err)
	}
	if msg.Text != "hello bob" || msg.Sender != alice.Pubkey() || msg.CreatedAt != 1782000000 || msg.InnerID != inner.ID || msg.OuterID != evt.ID {
		t.Errorf("opened as %+v", msg)
	}
	random := bytes.NewReader(bytes.Join([][]byte{make([]byte, 32), bytes.Repeat([]byte{0x44}, 32), make([]byte, 32)}, nil))
	made, err := a.Seal(alice, "hello bob", at, random)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(mostro.EncodeEvent(made)); got != line {
		t.Errorf("sealed as\n%s\nwant\n%s", got, line)
	}
}

func hexSecret(k *Keys) string {
	s := k.Secret()
	return hex.EncodeToString(s[:])
}
