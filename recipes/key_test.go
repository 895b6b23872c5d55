package recipes

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
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
	key := Key(r, goodLock(), "linux/amd64", "1", "")
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
	if got := Key(r, goodLock(), "linux/amd64", "1", ""); got != strings.TrimSpace(string(want)) {
		t.Errorf("another spelling has another key: %s", cmp.Diff(canonical(parseGood(t)), canonical(r)))
	}
}

func TestKeyChanges(t *testing.T) {
	t.Parallel()
	r := parseGood(t)
	keys := map[string]string{Key(r, goodLock(), "linux/amd64", "1", ""): "nothing"}
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
		add(Key(changed, goodLock(), "linux/amd64", "1", ""), change[0])
	}
	l := goodLock()
	l.Dists[0].SHA256 = strings.Repeat("2", 64)
	add(Key(r, l, "linux/amd64", "1", ""), "the lock")
	add(Key(r, goodLock(), "linux/arm64", "1", ""), "the platform")
	add(Key(r, goodLock(), "linux/amd64", "2", ""), "the builder")
	add(Key(r, goodLock(), "linux/amd64", "1", "sha256:1"), "first-party code")
	add(Key(r, goodLock(), "linux/amd64", "1", "sha256:2"), "first-party code again")
}

// filler gives every text of a recipe a value, and every list, mapping and pointer one
// element. One text, the one with that number, has another value than the rest.
type filler struct {
	t *testing.T
	// texts counts them; changed is the number of the changed one, path and class are its.
	texts, changed int
	path, class    string
}

func (f *filler) fill(v reflect.Value, path, class string) {
	switch v.Kind() {
	case reflect.String:
		text := "x"
		if f.texts == f.changed {
			f.path, f.class, text = path, class, "y"
		}
		f.texts++
		v.SetString(text)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem(), path, class)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		f.fill(v.Index(0), path+"[]", class)
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		f.fill(value, path+"{}", class)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("x"), value)
	case reflect.Struct:
		f.fillStruct(v, path, class)
	default:
		f.t.Fatalf("%s is a %s: say here how it is changed", path, v.Kind())
	}
}

func (f *filler) fillStruct(v reflect.Value, path, class string) {
	if s, ok := v.Addr().Interface().(*Setting); ok {
		// It is a text or a list, and the text of one that is a list means nothing.
		s.List = nil
		f.fill(reflect.ValueOf(&s.Text).Elem(), path, class)
		return
	}
	for i := range v.NumField() {
		at := v.Type().Field(i)
		if !at.IsExported() {
			continue
		}
		own := class
		if class != classLock && class != classSource && class != classOut && class != classGroup {
			own = keyTagOf(at).option
		}
		f.fill(v.Field(i), path+"."+at.Name, own)
	}
}

// Every field of a recipe says what part it has in the key, and has it: whoever adds one
// and forgets that fails here.
func TestEveryFieldHasItsClass(t *testing.T) {
	t.Parallel()
	made := func(changed int) (*Recipe, filler) {
		f := filler{t: t, changed: changed}
		r := &Recipe{}
		f.fill(reflect.ValueOf(r).Elem(), "", "")
		return r, f
	}
	plain, all := made(-1)
	want := Key(plain, goodLock(), "linux/amd64", "1", "")
	var outside []string
	for i := range all.texts {
		r, f := made(i)
		same := Key(r, goodLock(), "linux/amd64", "1", "") == want
		if left := f.class == classLock || f.class == classSource || f.class == classOut || f.class == classGroup; same != left {
			t.Errorf("%s, class %q: a change of it leaves the key: %t", f.path, f.class, same)
		}
		if same {
			outside = append(outside, f.path)
		}
		if answers := MakeAnswers(r, &RequirementSet{}); f.class == classLock && !strings.HasPrefix(f.path, ".Requirements.") &&
			slices.Equal(answers.Recipe, MakeAnswers(plain, &RequirementSet{}).Recipe) {
			t.Errorf("%s: the lock has no answer to it", f.path)
		}
	}
	// What requirements say is answered by what they resolve to, in [RequirementSet].
	requirements := func(of string) []string {
		return []string{of + ".File", of + ".Extras[]", of + ".Groups[]", of + ".Package", of + ".List[]", of + ".Include[]"}
	}
	left := slices.Concat([]string{".Extends", ".Python.SHA256", ".Python.Except[].Files[]", ".Python.Except[].Why", ".Platforms[]"}, requirements(".Requirements"), requirements(".DependencyGroups{}"), []string{
		".App.Source", ".App.Members[]", ".App.Files[]", ".App.Extras[]", ".Train.Commands[][]", ".Train.Group", ".Packages{}.Settings.Crates[]",
		".Runtime.Libraries[]", ".Gate.Groups[].Group", ".Gate.Groups[].Exception.Check", ".Gate.Groups[].Exception.Files[]", ".Gate.Groups[].Exception.Why",
		".Gate.Groups[].Exception.Until",
	})
	if diff := cmp.Diff(left, outside); diff != "" {
		t.Errorf("fields that are not in the key (-want +got):\n%s", diff)
	}
}

// A field that nobody gave a class does not pass, neither into a key nor through tests.
func TestFieldWithoutClass(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("a field without a class was taken")
		}
	}()
	keyTagOf(reflect.StructField{Name: "Profile", Tag: `yaml:"profile"`})
}

// What is left out of the key has a reason.
func TestOutHasReason(t *testing.T) {
	t.Parallel()
	var look func(typ reflect.Type)
	look = func(typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			if !f.IsExported() {
				continue
			}
			if out := f.Tag.Get("out"); (keyTagOf(f).option == classOut) != (out != "") {
				t.Errorf("%s.%s: a reason stands beside fields that are left out, and beside no other: %q", typ.Name(), f.Name, out)
			}
			if f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[Requirements]() {
				look(f.Type)
			}
		}
	}
	look(reflect.TypeFor[Recipe]())
}
