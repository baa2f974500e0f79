package lang

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

var verb = regexp.MustCompile(`%(\[(\d)\])?[a-z]`)

// verbs returns the verbs of a format, by the number of the argument.
func verbs(format string) string {
	var all []string
	at := 0
	for _, m := range verb.FindAllStringSubmatch(strings.ReplaceAll(format, "%%", ""), -1) {
		if at++; m[2] != "" {
			at = int(m[2][0] - '0')
		}
		all = append(all, string('0'+rune(at))+m[0][len(m[0])-1:])
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " ")
}

// TestTextsAreComplete checks that each text exists in all languages, is not empty, and takes the
// same arguments in all of them.
func TestTextsAreComplete(t *testing.T) {
	prepare()
	if len(Default.texts.keys) < 50 {
		t.Fatalf("only %d texts", len(Default.texts.keys))
	}
	for key, byCode := range Default.texts.keys {
		want := verbs(byCode["en"][len(byCode["en"])-1])
		for _, l := range All {
			forms := byCode[l.Code]
			if len(forms) == 0 {
				t.Errorf("%s has no text in %s", key, l.Name)
				continue
			}
			if got := verbs(forms[len(forms)-1]); got != want {
				t.Errorf("%s in %s has the verbs %q, want %q", key, l.Name, got, want)
			}
			for _, form := range forms {
				if strings.TrimSpace(form) == "" {
					t.Errorf("%s is empty in %s", key, l.Name)
				}
				if bare := verb.ReplaceAllString(strings.ReplaceAll(form, "%%", ""), ""); strings.Contains(bare, "%") {
					t.Errorf("%s in %s has a percent sign that is not written %%%%: %s", key, l.Name, form)
				}
			}
		}
	}
}

var (
	comment    = regexp.MustCompile(`(?m)^\s*//.*$`)
	inGo       = regexp.MustCompile(`\b(?:l|lang\.\w+(?:\(r\))?)\.(?:T|HTML)\("([a-z0-9_.-]+)"`)
	inTemplate = regexp.MustCompile(`\b(?:t|th) "([a-z0-9_.-]+)"`)
	anyKey     = regexp.MustCompile(`"([a-z0-9_-]+\.[a-z0-9_.-]+)"`)
	family     = regexp.MustCompile(`"([a-z0-9_.-]+\.)"`) // the begin of keys that are put together
)

// TestEachTextIsUsed reads the program's sources. A key that is used has a text, and a text is
// used.
func TestEachTextIsUsed(t *testing.T) {
	prepare()
	used, families := map[string]bool{}, map[string]bool{}
	root := "../.."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "testdata" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if d.IsDir() || strings.HasSuffix(path, "_test.go") || filepath.Ext(path) != ".go" && filepath.Ext(path) != ".html" {
			return nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		exact := inTemplate
		if filepath.Ext(path) == ".go" {
			if !strings.Contains(string(raw), "internal/lang\"") && !strings.HasPrefix(path, filepath.Join(root, "internal", "lang")) {
				return nil
			}
			raw, exact = comment.ReplaceAll(raw, nil), inGo
			for _, m := range anyKey.FindAllStringSubmatch(string(raw), -1) {
				used[m[1]] = true
			}
		}
		for _, m := range family.FindAllStringSubmatch(string(raw), -1) {
			families[m[1]] = true
		}
		for _, m := range exact.FindAllStringSubmatch(string(raw), -1) {
			if key := m[1]; !strings.HasSuffix(key, ".") {
				used[key] = true
				if !English.Has(key) {
					t.Errorf("%s uses the text %s, which does not exist", path, key)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for key := range Default.texts.keys {
		at := strings.LastIndex(key, ".") + 1
		if !used[key] && !families[key[:at]] {
			t.Errorf("the text %s is not used", key)
		}
	}
}

func TestBrokenTextsAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"no English":       `a.b = { es = "x" }`,
		"another language": `a.b = { en = "x", xx = "y" }`,
		"unknown form":     `a.b = { en = { few = "x", other = "y" } }`,
		"no other":         `a.b = { en = { one = "x" } }`,
		"number":           `a.b = { en = 5 }`,
	} {
		if _, err := parse(fstest.MapFS{"text/x.toml": {Data: []byte(text)}}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	twice := fstest.MapFS{"text/x.toml": {Data: []byte(`a = { en = "x" }`)}, "text/y.toml": {Data: []byte(`a = { en = "x" }`)}}
	if _, err := parse(twice); err == nil {
		t.Error("a key is given twice, and there is no error")
	}
}

func TestTexts(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Spanish.T("rank.warnings", 1), "1 advertencia"}, {Spanish.T("rank.warnings", 2500), "2.500 advertencias"}, {English.T("rank.warnings", 2500), "2,500 warnings"},
		{Portuguese.T("rank.warnings", 2), "2 avisos"}, {Default.T("rank.warnings", 0), "0 warnings"},
		{Spanish.Number("-1234567.50"), "−1.234.567,50"}, {English.Number("1234567.50"), "1,234,567.50"}, {Spanish.Number("999"), "999"}, {Spanish.Number("1e9"), "1e9"}, {Spanish.Number(""), ""}, {Spanish.Number("-"), "-"},
		{Spanish.Ago(3 * time.Hour), "hace 3 h"}, {Portuguese.Ago(-90 * time.Second), "em 1 min"}, {Spanish.Date(time.Unix(1764547200, 0)), "1 de diciembre de 2025"},
		{Spanish.Link("/x"), "/es/x"}, {Default.Link("/x"), "/x"}, {Spanish.T("no.such"), "⟦no.such⟧"},
		{string(Spanish.HTML("note.uses_name", "<b>")), "usa el nombre de &lt;b&gt;"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

// TestLanguageOfAPath checks which language a path has, and that paths with escapes, the API and
// words that only begin like a language are left alone.
func TestLanguageOfAPath(t *testing.T) {
	h := Front(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(Of(r).Prefix + " " + r.URL.EscapedPath()))
	}))
	for target, want := range map[string]string{
		"/": " /", "/es/": "/es /", "/pt/orders/a%2Fb/c": "/pt /orders/a%2Fb/c", "/en/instances?x=1": "/en /instances", "/est/x": " /est/x", "/es/api/v1/orders": " /es/api/v1/orders",
		"/fr/": " /fr/", "/%65s/x": " /%65s/x", "/es/es/": "/es /es/", "/es//evil.example": "/es //evil.example", "/ES/": " /ES/",
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
		if w.Body.String() != want {
			t.Errorf("%s is %q, want %q", target, w.Body, want)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/es", nil))
	if w.Code != http.StatusPermanentRedirect || w.Header().Get("Location") != "/es/" {
		t.Errorf("/es: %d %s", w.Code, w.Header().Get("Location"))
	}
}

var accepts = []struct {
	header, prefix string
}{
	{"", ""}, {"es-VE,es;q=0.9,en;q=0.8", "/es"}, {"pt-BR", "/pt"}, {"pt-PT", "/pt"}, {"en-US,en;q=0.9,es;q=0.8", ""}, {"fr-FR,fr;q=0.9", ""}, {"fr,es;q=0.5", "/es"}, {"*", ""}, {"es-419", "/es"},
	{";;;q=,,", ""}, {"es;q=nonsense", ""}, {strings.Repeat("es-", 60), ""}, {strings.Repeat("a-", 50_000), ""}, {"\x00\xff", ""}, {"es;q=0", ""}, {"x-evil", ""},
}

func TestAcceptLanguage(t *testing.T) {
	for _, c := range accepts {
		r := httptest.NewRequest("GET", "/orders/x?q=1", nil)
		r.Header.Set("Accept-Language", c.header)
		w := httptest.NewRecorder()
		sent := Redirect(w, r)
		if sent != (c.prefix != "") || sent && (w.Code != http.StatusFound || w.Header().Get("Location") != c.prefix+"/orders/x?q=1") {
			t.Errorf("%.40q: redirected %t to %q, want %q", c.header, sent, w.Header().Get("Location"), c.prefix)
		}
		if w.Header().Get("Vary") != "Accept-Language" {
			t.Errorf("%.40q: Vary is %q", c.header, w.Header().Get("Vary"))
		}
	}
	r := With(httptest.NewRequest("GET", "/", nil), English)
	r.Header.Set("Accept-Language", "es")
	if Redirect(httptest.NewRecorder(), r) {
		t.Error("a page with a language in its path is redirected")
	}
}

// FuzzAsked: no header makes the choice fail, and the answer is one of the languages.
func FuzzAsked(f *testing.F) {
	for _, c := range accepts {
		f.Add(c.header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Accept-Language"] = []string{header}
		if l := Asked(r); l != Default && !slices.Contains(All, l) {
			t.Errorf("%q: %v", header, l)
		}
	})
}

func TestTranslate(t *testing.T) {
	for english, want := range map[string]string{
		"unknown parameter; known are q, fiat and sort":                     "parámetro desconocido; se conocen q, fiat y sort",
		`"a or b" is not buy or sell`:                                       `"a or b" no es buy o sell`,
		`"0" is not a whole number from 1 to 500`:                           `"0" no es un número entero de 1 a 500`,
		`"x is not y" is not true, false or any`:                            `"x is not y" no es true, false o any`,
		"nothing like this is known":                                        "nothing like this is known",
		`"<b>%s%d" is not a decimal number`:                                 `"<b>%s%d" no es un número decimal`,
		strings.Repeat("x is not y ", 10_000):                               strings.Repeat("x is not y ", 10_000),
		`"x" is not a decimal number of percent, such as -1.5`:              `"x" no es un porcentaje decimal, como -1.5`,
		"The answer took too long. Ask for less, or try again in a moment.": "La respuesta tardó demasiado. Se puede pedir menos, o probar de nuevo en un momento.",
	} {
		if got, _ := Spanish.Translate(english); got != want {
			t.Errorf("%.80q is %.120q, want %.80q", english, got, want)
		}
		if got, _ := English.Translate(english); got != english {
			t.Errorf("%.80q in English is %.80q", english, got)
		}
	}
}

// reasons are the sentences of errors in the sources.
var reasons = regexp.MustCompile("Reason: (?:fmt\\.Sprintf\\()?\"((?:[^\"\\\\]|\\\\.)*)\"|refuse\\(http\\.\\w+, \"((?:[^\"\\\\]|\\\\.)*)\"|return (?:\\w+, |time\\.Time\\{\\}, )?fmt\\.Errorf\\(\"(%q (?:[^\"\\\\]|\\\\.)*)\"")

// TestReasonsHaveTranslations reads the sentences of errors of the orders and the site. Each has
// a translation.
func TestReasonsHaveTranslations(t *testing.T) {
	n := 0
	for _, pattern := range []string{"../../indexer/orders/*.go", "../../indexer/web/*.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			for _, m := range reasons.FindAllStringSubmatch(string(raw), -1) {
				english := m[1] + m[2] + m[3]
				english = strings.NewReplacer("%q", `"x"`, "%d", "5", "%s", "x", `\"`, `"`).Replace(english)
				n++
				found := false
				for _, rest := range []string{"", "x", "5 bytes", "5 times"} { // the source may continue the sentence
					_, code := Spanish.Translate(english + rest)
					found = found || code != ""
				}
				if !found {
					t.Errorf("%s: %q has no translation", name, english)
				}
			}
		}
	}
	if n < 40 {
		t.Errorf("only %d sentences were found", n)
	}
}
