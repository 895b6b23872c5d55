package recipes

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const goodRecipe = `apiVersion: ampoule/v1
name: web
python:
  version: 3.13.5
  configure: [--enable-optimizations, --with-lto]
  optional: [_tkinter]
base: {debian: bookworm}
toolchain: {packages: [gdb]}
requirements: requirements.txt
packages:
  psycopg2: {build: [libpq-dev]}
pure: [sqlalchemy]
runtime:
  container: {base: {debian: bookworm}}
  vm: {glibc: "2.36", cpu: x86-64-v2, host: [libcuda.so.1]}
gate:
  except: [{check: libpython-needed, files: [bin/uwsgi], why: embeds Python, until: 2027-03-01}]
test:
  imports: [flask, psycopg2]
  commands: [[flask, --version]]
`

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func parseGood(t *testing.T) *Recipe {
	t.Helper()
	r, err := ParseRecipe("ampoule.yaml", []byte(goodRecipe))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestParseRecipe(t *testing.T) {
	t.Parallel()
	got := parseGood(t)
	want := &Recipe{
		APIVersion: APIVersion, Name: "web",
		Python:       Python{Version: "3.13.5", Configure: []string{"--enable-optimizations", "--with-lto"}, Optional: []string{"_tkinter"}},
		Platforms:    []string{"linux/amd64"},
		Base:         Base{Debian: "bookworm"},
		Toolchain:    Toolchain{Packages: []string{"gdb"}},
		Requirements: Requirements{File: "requirements.txt"},
		Packages:     map[string]Packages{"psycopg2": {Settings: Settings{Build: []string{"libpq-dev"}}}},
		Pure:         []string{"sqlalchemy"},
		Runtime:      Runtime{Container: &Container{Base{Debian: "bookworm"}}, VM: &VM{"2.36", "x86-64-v2", []string{"libcuda.so.1"}}},
		Gate:         Gate{Except: []Exception{{"libpython-needed", []string{"bin/uwsgi"}, "embeds Python", "2027-03-01"}}},
		Test:         Test{[]string{"flask", "psycopg2"}, [][]string{{"flask", "--version"}}},
	}
	ignorePlaces := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".positions" }, cmp.Ignore())
	if diff := cmp.Diff(want, got, ignorePlaces); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestRecipeFaults changes one thing in a good recipe and expects faults at their
// places, with a part of what they say and of their hints.
func TestRecipeFaults(t *testing.T) {
	t.Parallel()
	type want struct{ at, what, hint string }
	cases := map[string]struct {
		old, new string
		want     []want
	}{
		"unknown key":      {"pure:", "puer:", []want{{"12:1", `"puer" is no key of a recipe`, `did you mean "pure"?`}}},
		"future keys":      {"pure: [", "app: {}\nextends: x\ngroups: {}\nchannels: {}\npure: [", []want{{"12:6", "app.source is missing", "source: ."}, {"13:10", "extends", ""}, {"14:1", `"groups"`, ""}, {"15:1", `"channels"`, ""}}},
		"flags":            {"  optional:", "  flags: x\n  optional:", []want{{"6:3", `"flags" is no key of python`, "configure"}}},
		"profile, no hash": {"  optional:", "  profile: x\n  optional:", []want{{"6:12", `"x" is not "sha256:"`, ""}}},
		"profile of nothing": {
			"[--enable-optimizations, --with-lto]", "[--with-lto]\n  profile: sha256:" + strings.Repeat("a", 64),
			[]want{{"6:12", "decides nothing", "--enable-optimizations"}},
		},
		"training of nothing": {
			"[--enable-optimizations, --with-lto]\n  optional: [_tkinter]\n", "[--with-lto]\ntrain: {commands: [[bench], [\"\"]], group: speed}\n",
			[]want{{"6:1", "train without --enable-optimizations decides nothing", "add --enable-optimizations"}, {"6:30", "a command has no program", "python3"}, {"6:43", "the dependency group speed, which train takes, is missing", "dependency-groups: {speed: ["}},
		},
		"training without commands": {
			"pure:", "train: {group: x}\npure:",
			[]want{{"12:8", "train.commands is missing", ""}, {"12:16", "the dependency group x, which train takes, is missing", ""}},
		},
		"no form of an executable": {
			"  optional:", "  executable: pie\n  optional:",
			[]want{{"6:15", `"pie" is not no-pie`, ""}},
		},
		"a fixed address of nothing": {
			"[--enable-optimizations, --with-lto]", "[--enable-shared]\n  executable: no-pie",
			[]want{{"6:15", "an executable that holds libpython, and this one loads it", "--enable-static-libpython-for-interpreter"}},
		},
		"no compiler": {"  optional:", "  compiler: g++-13\n  optional:", []want{{"6:13", `"g++-13" is not a compiler`, "write gcc"}}},
		"a level above the machine's": {
			"  optional:", "  cpu: x86-64-v3\n  optional:",
			[]want{{"6:8", "python.cpu is x86-64-v3, and runtime.vm.cpu promises no more than x86-64-v2", "raise runtime.vm.cpu"}},
		},
		"a level that the compiler lacks": {
			"  optional: [_tkinter]\nbase: {debian: bookworm}", "  cpu: x86-64-v2\nbase: {debian: bullseye}",
			[]want{{"6:8", "bullseye knows no levels", "newer base"}},
		},
		"flags that are not for env": {
			"  optional: [_tkinter]\n", "  env:\n    CFLAGS: -march=native\n    CFLAGS_NODIST: -O2 -flto=4 -march=x86-64-v3\n    LDFLAGS: $(X)\n    OPT: -fprofile-use=x\n    BOLT_APPLY_FLAGS: -x\n    CC: clang\n",
			[]want{
				{"7:5", "python.env.CFLAGS: -march=native compiles for the processor of the machine that builds", "python.cpu"},
				{"8:5", "-flto=4 is for a configure flag to say", "--with-lto"}, {"8:5", "-march=x86-64-v3 is for python.cpu to say", ""},
				{"9:14", `"$(X)" is not flags`, ""}, {"10:5", "is for the training profile to say", "python.profile"},
				{"11:5", "BOLT_APPLY_FLAGS without --enable-bolt decides nothing", ""}, {"12:5", `"CC" is not a variable`, ""},
			},
		},
		"duplicate key":        {"pure:", "name: x\npure:", []want{{"12:1", `"name" is written twice`, "line 2"}}},
		"wrong type":           {"pure: [sqlalchemy]", "pure: {sqlalchemy: 1}", []want{{"12:7", "pure is a list, not a mapping", ""}}},
		"text for a list":      {"[_tkinter]", "_tkinter", []want{{"6:13", "python.optional is a list, not text", "[_tkinter]"}}},
		"truth for text":       {"name: web", "name: true", []want{{"2:7", "name is text, not true or false", `"true"`}}},
		"nothing":              {"name: web", "name:", []want{{"2:1", "name is text, not nothing", ""}}},
		"missing":              {"name: web\n", "", []want{{"1:1", "name is missing", "name: web"}}},
		"missing below":        {"  version: 3.13.5\n", "", []want{{"4:3", "python.version is missing", "3.13.5"}}},
		"second document":      {"pure:", "---\npure:", []want{{"13:1", "a second document", "one document"}, {"1:1", "runtime is missing", ""}}},
		"anchor":               {"name: web", "name: &n web", []want{{"2:7", "an anchor", ""}}},
		"alias":                {"name: web", "name: *n", []want{{"2:7", "an alias", ""}}},
		"merge key":            {"pure:", "<<: {}\npure:", []want{{"12:1", "a merge key", ""}}},
		"tag":                  {"name: web", "name: !!str web", []want{{"2:7", "a tag", ""}}},
		"partial version":      {"3.13.5", "3.13", []want{{"4:12", `"3.13" is not a full version`, "3.13.15"}}},
		"float version":        {"3.13.5", "3.10", []want{{"4:12", `"3.10" is not a full version`, "CPython before 3.11 is not built; the newest known releases are 3.11.16"}}},
		"range":                {"3.13.5", `">=3.11"`, []want{{"4:12", `">=3.11" is not a full version`, "3.11.2"}}},
		"too old":              {"3.13.5", "3.9.18", []want{{"4:12", `"3.9.18" is not a full version`, "before 3.11 is not built"}}},
		"wildcard":             {"3.13.5", `3.13.*`, []want{{"4:12", `"3.13.*" is not a full version`, "3.13.15"}}},
		"tag for a digest":     {"base: {debian: bookworm}\nt", "base: {image: \"debian:12\"}\nt", []want{{"7:15", "base.image", "a tag"}}},
		"two bases":            {"base: {debian: bookworm}\nt", "base: {debian: bookworm, image: \"d@" + digest + "\"}\nt", []want{{"7:1", "both debian and image", ""}}},
		"no base":              {"base: {debian: bookworm}\nt", "base: {}\nt", []want{{"7:1", "neither debian nor image", ""}}},
		"unknown suite":        {"base: {debian: bookworm}\nt", "base: {debian: bokworm}\nt", []want{{"7:16", "base.debian", "bookworm"}}},
		"platform":             {"pure:", "platforms: [linux/arm64]\npure:", []want{{"12:13", "only linux/amd64 is", ""}}},
		"name":                 {"name: web", "name: Web_", []want{{"2:7", "name", ""}}},
		"hash":                 {"  optional", "  sha256: " + digest + "\n  optional", []want{{"6:11", "python.sha256", "alone"}}},
		"contradiction":        {"--with-lto", "--with-lto, --without-lto", []want{{"5:51", "--without-lto contradicts --with-lto", "line 5"}}},
		"two values":           {"--with-lto", "--with-lto=full, --with-lto=thin", []want{{"5:56", "contradicts", ""}}},
		"feature off and on":   {"--with-lto", "--disable-optimizations", []want{{"5:39", "contradicts --enable-optimizations", ""}}},
		"twice":                {"--with-lto", "--with-lto, --with-lto=yes", []want{{"5:51", "says again", ""}}},
		"unknown flag":         {"--with-lto", "--with-ltoo", []want{{"5:39", "CPython 3.13.5 has no configure flag --with-ltoo", "--with-lto"}}},
		"enable for with":      {"--with-lto", "--enable-lto", []want{{"5:39", "no configure flag", `"--with-lto"`}}},
		"unknown in 3.13":      {"--with-lto", "--without-cxx-main", []want{{"5:39", "no configure flag", ""}}},
		"prefix":               {"--with-lto", "--prefix=/usr", []want{{"5:39", "--prefix says where", "remove"}}},
		"cut short":            {"--with-lto", "-libdi=/usr", []want{{"5:39", "says where", ""}}},
		"other directories":    {"--with-lto", "--datarootdir=/x, --with-platlibdir=lib64, --srcdir=., --cache-file=x", []want{{"5:39", "says where", ""}, {"5:57", "says where", ""}, {"5:82", "says where", ""}, {"5:94", "says where", ""}}},
		"cross":                {"--with-lto", "--host=arm, --build=x, --target=y", []want{{"5:39", "--host", ""}, {"5:51", "--build", ""}, {"5:62", "--target", ""}}},
		"variable":             {"--with-lto", "CFLAGS=-O3, CC=clang", []want{{"5:39", "sets a variable", "python.env"}, {"5:51", "sets a variable", "python.compiler"}}},
		"no flag":              {"--with-lto", "lto", []want{{"5:39", "is no flag", ""}}},
		"negative with value":  {"--with-lto", "--without-lto=x", []want{{"5:39", "is no configure flag", "no value"}}},
		"embed without shared": {"--with-lto", "--enable-static-libpython-for-interpreter", []want{{"5:39", "without --enable-shared", ""}}},
		"check":                {"libpython-needed", "libpython", []want{{"17:20", "gate.except[0].check", "libpython-needed"}}},
		"date":                 {"2027-03-01", "2027-02-30", []want{{"17:85", "not a date", ""}}},
		"glob":                 {"bin/uwsgi", "'[x'", []want{{"17:46", "gate.except[0].files[0]", ""}}},
		"providers": {"gate:\n", "gate:\n  providers: [{libraries: [../x], files: [], why: x}, {libraries: [a], files: [b], why: c}]\n", []want{
			{"17:28", "gate.providers[0].libraries[0]", ""}, {"17:42", "is empty", ""}}},
		"distribution":   {"psycopg2: {b", "Psycopg_2: {b", []want{{"11:3", "normalised name", "psycopg-2"}}},
		"Debian package": {"libpq-dev", "libpq-dev=15", []want{{"11:22", "Debian package", "the lock pins"}}},
		"no packages":    {"[libpq-dev]", "[]", []want{{"11:3", "packages.psycopg2 says nothing", ""}}},
		"settings of packages": {"{build: [libpq-dev]}", "{env: {PATH: x}, requires: [a b], config-settings: {x: {}}, patches: [../a.patch], overrides: all}", []want{
			{"11:20", "packages.psycopg2.env: \"PATH\" is not", "same in every build"}, {"11:41", "is not a requirement by name", "stands where"}, {"11:68", "config-settings.x is text or a list", ""},
			{"11:83", "patches[0]", ""}, {"11:107", "is not none", ""}}},
		"binary": {"pure: [", "binary: {accept: [{match: [\"[\", Torch], why: x, until: soon}, {match: []}]}\npure: [", []want{
			{"12:28", "pattern of", ""}, {"12:33", "pattern of", ""}, {"12:56", "a date", ""}, {"12:63", "why is missing", ""}, {"12:63", "until is missing", ""}, {"12:71", "is empty", ""}}},
		"twice in a set":         {"[gdb]", "[gdb, gdb]", []want{{"8:29", `"gdb" twice`, ""}}},
		"requirement":            {"requirements.txt", `["flask=3"]`, []want{{"9:16", "stands where", "NAME==VERSION"}}},
		"requirements mapping":   {"requirements.txt", `{fil: x}`, []want{{"9:16", `"fil" is no key of requirements`, `did you mean "file"?`}, {"9:15", "requirements.file is missing", "requirements.txt"}}},
		"lock as requirements":   {"requirements.txt", `conda-lock.yml`, []want{{"9:15", "requirements file", "uv.lock, poetry.lock"}}},
		"project as lock":        {"requirements.txt", `pyproject.toml`, []want{{"9:15", "requirements file", "uv.lock, poetry.lock"}}},
		"extras of no lock":      {"requirements.txt", `{file: r.txt, extras: [a], groups: [b], package: c}`, []want{{"9:29", "r.txt has no extras", "remove requirements.extras"}, {"9:42", "r.txt has no groups", ""}, {"9:64", "r.txt has no packages of a workspace", ""}}},
		"extras of Pipfile.lock": {"requirements.txt", `{file: Pipfile.lock, extras: [a], groups: [b]}`, []want{{"9:36", "Pipfile.lock has no extras", ""}}},
		"extra is no name":       {"requirements.txt", `{file: uv.lock, extras: [a b]}`, []want{{"9:40", "the normalised name of an extra", ""}}},
		"file outside":           {"requirements.txt", `../r.txt`, []want{{"9:15", "requirements file", "own directory"}}},
		"CPU level":              {"x86-64-v2", "x86-64-v5", []want{{"15:28", "x86-64 level", "x86-64-v"}}},
		"glibc":                  {`"2.36"`, "2.37", []want{{"15:15", "glibc", "2.31 (bullseye)"}}},
		"soname":                 {"libcuda.so.1", "/lib/libcuda", []want{{"15:46", "a soname", ""}}},
		"command without words":  {"[[flask, --version]]", "[[]]", []want{{"20:14", "has no program", ""}}},
		"syntax":                 {"pure: [sqlalchemy]", "pure: [sqlalchemy", []want{{"13:1", "this is not YAML", ""}}},
		"nothing but a comment":  {goodRecipe, "# nothing\n", []want{{"1:1", "the file is empty", ""}}},
		"nothing at all":         {goodRecipe, "", []want{{"1:1", "the file is empty", ""}}},
		"null document":          {goodRecipe, "---\n", []want{{"1:1", "the file is empty", ""}}},
		"a list":                 {goodRecipe, "- a\n", []want{{"1:1", "a list where keys", ""}}},
		"directive":              {goodRecipe, "%YAML 1.2\n---\n" + goodRecipe, []want{{"1:1", "a YAML directive", ""}}},
		"not UTF-8":              {"web", "w\xffb", []want{{"2:8", "not UTF-8", ""}}},
		"control character":      {"web", "w\x00b", []want{{"2:8", "control character", ""}}},
		"deep":                   {"[sqlalchemy]", strings.Repeat("[", 1000), []want{{"12:39", "nested too deeply", ""}}},
		"deep in a line":         {"[sqlalchemy]", "\n" + strings.Repeat("- ", 1000), []want{{"13:65", "nested too deeply", ""}}},
		"too long":               {"web", strings.Repeat("x", 1<<20), []want{{"1:1", "more than", ""}}},
		"many keys":              {"pure:", strings.Repeat("x: 1\n", 6000) + "pure:", []want{{"5001:2", "more than 5000 keys", ""}}},
		"no target":              {"  container: {base: {debian: bookworm}}\n  vm: {glibc: \"2.36\", cpu: x86-64-v2, host: [libcuda.so.1]}", "  {}", []want{{"13:1", "neither container nor vm", ""}}},
		"an import with a dash":  {"[flask, psycopg2]", "[flask-x]", []want{{"19:13", "a module to import", ""}}},
		"an odd API version":     {"ampoule/v1", "ampoule/v2", []want{{"1:13", "apiVersion", "ampoule/v1"}}},
		"a path for a container": {"container: {base: {debian: bookworm}}", "container: {base: {image: x/y}}", []want{{"14:29", "runtime.container.base.image", "a tag"}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(goodRecipe, c.old, c.new, 1)
			if text == goodRecipe {
				t.Fatal("nothing changed")
			}
			_, err := ParseRecipe("a.yaml", []byte(text))
			faults, ok := errors.AsType[Faults](err)
			if !ok || len(faults) != len(c.want) {
				t.Fatalf("got %d faults, want %d:\n%v", len(faults), len(c.want), err)
			}
			for _, w := range c.want {
				if !slices.ContainsFunc(faults, func(f Fault) bool {
					return f.Position().String() == "a.yaml:"+w.at && strings.Contains(f.What, w.what) && strings.Contains(f.Hint, w.hint)
				}) {
					t.Errorf("no fault at %s with %q and hint %q:\n%v\n%s", w.at, w.what, w.hint, err, faults.Hint())
				}
			}
		})
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	text := "apiVersion: v0\nnam: x\npython: {version: 3.13, configure: [--prefix=/x], foo: 1}\nbase: {image: a}\nruntime: {}\nrequirements: ['a b', 'c @ https://x']\npure: [A, *x]\n"
	_, err := ParseRecipe("r", []byte(text))
	faults, _ := errors.AsType[Faults](err)
	var lines []int
	for _, f := range faults {
		lines = append(lines, f.Line)
	}
	if want := []int{1, 1, 2, 3, 3, 3, 4, 5, 6, 6, 7, 7}; !slices.Equal(lines, want) {
		t.Errorf("faults in lines %v, want %v:\n%v", lines, want, err)
	}
}

func TestGoodSpellings(t *testing.T) {
	t.Parallel()
	for name, change := range map[string][2]string{
		"unquoted glibc":        {`"2.36"`, "2.36"},
		"image":                 {"base: {debian: bookworm}\nt", "base: {image: registry.example:5000/a/b:12@" + digest + "}\nt"},
		"unknown version":       {"3.13.5", "3.12.11"},
		"flag of another":       {"3.13.5\n  configure: [--enable-optimizations", "3.12.11\n  configure: [--with-no-such"},
		"release candidate":     {"3.13.5", "3.15.0rc1"},
		"shared":                {"--with-lto", "--enable-shared"},
		"embed":                 {"--with-lto", "--enable-shared, --enable-static-libpython-for-interpreter"},
		"negative":              {"--with-lto", "--without-doc-strings, --disable-ipv6, --with-ensurepip=no"},
		"numbers in commands":   {"--version", "1.10"},
		"no requirements":       {"requirements: requirements.txt\n", ""},
		"list of requirements":  {"requirements.txt", `["Flask[async] >= 3; python_version < '4'"]`},
		"byte order mark":       {"apiVersion", "\ufeffapiVersion"},
		"CRLF":                  {"name: web\n", "name: web\r\n"},
		"begin and end":         {goodRecipe, "---\n" + goodRecipe + "...\n"},
		"no tests":              {"test:\n  imports: [flask, psycopg2]\n  commands: [[flask, --version]]\n", ""},
		"vm alone":              {"  container: {base: {debian: bookworm}}\n", ""},
		"requirements by block": {"requirements.txt", "\n  - flask\n  - psycopg2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(goodRecipe, change[0], change[1], 1)
			if text == goodRecipe {
				t.Fatal("nothing changed")
			}
			if _, err := ParseRecipe("r", []byte(text)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNumbersStayAsWritten(t *testing.T) {
	t.Parallel()
	r, err := ParseRecipe("r", []byte(strings.Replace(goodRecipe, "[flask, --version]", "[a, 1.10, 0x10, 1_0, 1e3, .inf]", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "1.10", "0x10", "1_0", "1e3", ".inf"}, r.Test.Commands[0]); diff != "" {
		t.Error(diff)
	}
}

func TestAt(t *testing.T) {
	t.Parallel()
	r := parseGood(t)
	for path, want := range map[string]string{
		"python.version":           "4:12",
		"python.configure":         "5:3",
		"python.configure.1":       "5:39",
		"python.sha256":            "3:1",
		"packages.psycopg2":        "11:3",
		"packages.flask":           "10:1",
		"packages.psycopg2.build":  "11:14",
		"requirements.0":           "9:15",
		"gate.except.0.files.0":    "17:46",
		"runtime.vm.glibc.nothing": "15:15",
		"platforms":                "1:1",
	} {
		if got := r.At(strings.Split(path, ".")...).String(); got != "ampoule.yaml:"+want {
			t.Errorf("%s is at %s, want %s", path, got, want)
		}
	}
	if got := r.Fault("is odd", "mend it", "pure").String(); got != "ampoule.yaml:12:1: is odd" {
		t.Errorf("got %s", got)
	}
	if got := (&Recipe{}).At("pure"); got != (Position{}) {
		t.Errorf("a recipe that was not read has a place: %v", got)
	}
}

func TestReadRecipe(t *testing.T) {
	t.Parallel()
	if _, err := ReadRecipe(filepath.Join(t.TempDir(), "ampoule.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	file := filepath.Join(t.TempDir(), "ampoule.yaml")
	if err := os.WriteFile(file, []byte(goodRecipe), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := ReadRecipe(file)
	if err != nil || r.File() != file {
		t.Errorf("got %v, %v", r, err)
	}
}

// TestCatalogue reads every recipe that ships with Ampoule, with its requirements
// and, once it has one, its lock.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("catalogue/*/ampoule.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recipes: %v", err)
	}
	for _, file := range files {
		r, err := ReadRecipe(file)
		if err != nil {
			t.Error(err)
			continue
		}
		reqs, err := ReadRequirements(r)
		if err != nil {
			t.Error(err)
			continue
		}
		l, err := ReadLock(filepath.Join(filepath.Dir(file), "ampoule.lock"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Error(err)
		} else if err := CheckFresh(r, reqs, l); err != nil {
			t.Error(err)
		}
	}
}

func FuzzParseRecipe(f *testing.F) {
	f.Add([]byte(goodRecipe))
	f.Add([]byte("a: &b [*b, !c {<<: d}]\n---\n? x\n: |\n  y\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseRecipe("r", data)
		if (r == nil) == (err == nil) {
			t.Fatalf("got %v and %v", r, err)
		}
		if faults, ok := errors.AsType[Faults](err); err != nil && (!ok || len(faults) == 0 || faults[0].Line < 1 || faults[0].Column < 1) {
			t.Fatalf("%T without a place: %v", err, err)
		}
		if r != nil {
			Key(r, &Lock{}, "linux/amd64", "1", "")
			MakeAnswers(r, nil)
		}
	})
}
