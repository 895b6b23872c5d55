package recipes

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCanonicalRecipe holds the canonical form, and with it every key that was
// ever published, to what it was.
func TestCanonicalRecipe(t *testing.T) {
	t.Parallel()
	r := parseGood(t)
	data, err := json.MarshalIndent(canonical(r), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	key := Key(r, goodLock(), "linux/amd64", "1")
	golden(t, filepath.Join("testdata", "canonical.json"), append(data, '\n'))
	golden(t, filepath.Join("testdata", "key"), []byte(key+"\n"))
}

func TestKeyIsOfValues(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile(filepath.Join("testdata", "key"))
	if err != nil {
		t.Fatal(err)
	}
	other := `# another spelling of the same recipe
test: {commands: [["flask", --version]], imports: [psycopg2, flask]}
runtime:
  vm: {host: [libcuda.so.1], cpu: "x86-64-v2", glibc: 2.36}
  container:
    base:
      debian: bookworm   # slim enough
platforms: [linux/amd64]
pure: [sqlalchemy]
packages: {psycopg2: {build: [libpq-dev]}}
requirements: reqs/other.txt
gate:
  except:
    - {why: embeds Python, until: 2027-03-01, files: [bin/uwsgi], check: libpython-needed}
toolchain: {packages: [gdb]}
base: {debian: 'bookworm'}
python:
  optional: [_tkinter]
  configure:
    - --enable-optimizations
    - --with-lto
  version: 3.13.5
name: web
apiVersion: ampoule/v1
`
	r, err := ParseRecipe("elsewhere.yaml", []byte(other))
	if err != nil {
		t.Fatal(err)
	}
	if got := Key(r, goodLock(), "linux/amd64", "1"); got != strings.TrimSpace(string(want)) {
		t.Errorf("another spelling has another key: %s", cmp.Diff(canonical(parseGood(t)), canonical(r)))
	}
}

func TestKeyChanges(t *testing.T) {
	t.Parallel()
	r := parseGood(t)
	keys := map[string]string{Key(r, goodLock(), "linux/amd64", "1"): "nothing"}
	add := func(key, what string) {
		if other, same := keys[key]; same {
			t.Errorf("a change of %s gives the key of a change of %s", what, other)
		}
		keys[key] = what
	}
	for _, change := range [][2]string{
		{"name: web", "name: api"}, {"3.13.5", "3.13.15"}, {"--enable-optimizations, --with-lto", "--with-lto, --enable-optimizations"}, {"[_tkinter]", "[]"},
		{"base: {debian: bookworm}\nt", "base: {debian: trixie}\nt"}, {"base: {debian: bookworm}}", "base: {debian: trixie}}"}, {"[gdb]", "[]"},
		{"[libpq-dev]", "[libpq5]"}, {"[sqlalchemy]", "[]"}, {`"2.36"`, "2.31"}, {"x86-64-v2", "x86-64"}, {"[libcuda.so.1]", "[]"},
		{"bin/uwsgi", "bin/x"}, {"embeds Python", "x"}, {"2027", "2028"}, {"[flask, psycopg2]", "[]"}, {"[[flask, --version]]", "[[flask], [--version]]"},
	} {
		changed, err := ParseRecipe("r", []byte(strings.Replace(goodRecipe, change[0], change[1], 1)))
		if err != nil {
			t.Fatal(err)
		}
		add(Key(changed, goodLock(), "linux/amd64", "1"), change[0])
	}
	l := goodLock()
	l.Dists[0].SHA256 = strings.Repeat("2", 64)
	add(Key(r, l, "linux/amd64", "1"), "the lock")
	add(Key(r, goodLock(), "linux/arm64", "1"), "the platform")
	add(Key(r, goodLock(), "linux/amd64", "2"), "the builder")
}
