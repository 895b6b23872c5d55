package foreign

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"ampoule/faults"
)

// sample gives the files of a sample as they can be changed.
func sample(t *testing.T, name string) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	root := os.DirFS("testdata/" + name)
	err := fs.WalkDir(root, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(root, file)
		files[file] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// change is a text of a file that becomes another one, wherever it stands; all of the file
// where old is empty.
type change struct{ file, old, new string }

func (c change) apply(t *testing.T, files fstest.MapFS) {
	t.Helper()
	text := c.new
	if c.old != "" {
		before := string(files[c.file].Data)
		if !strings.Contains(before, c.old) {
			t.Fatalf("%s has no %q", c.file, c.old)
		}
		text = strings.ReplaceAll(before, c.old, c.new)
	}
	files[c.file] = &fstest.MapFile{Data: []byte(text)}
}

// refusal is a lock that is refused: want is a line of the error, hint a part of the hint.
type refusal struct {
	sample  string
	query   Query
	changes []change
	want    string
	hint    string
}

var refusals = map[string]refusal{
	// Forms.
	"uv: another version":    {"uv-app", Query{}, []change{{"uv.lock", "version = 1\nrevision", "version = 2\nrevision"}}, "uv.lock:1:1: version 2, revision 5 is a form of uv.lock that is not known; version 1 up to revision 5 is", "export a requirements file"},
	"uv: a newer revision":   {"uv-app", Query{}, []change{{"uv.lock", "revision = 5", "revision = 6"}}, "uv.lock:2:1: version 1, revision 6 is a form", ""},
	"uv: no version":         {"uv-app", Query{}, []change{{"uv.lock", "version = 1\nrevision = 5\n", ""}}, "uv.lock:1:1: version 0, revision 0 is a form", ""},
	"poetry: another form":   {"poetry-2", Query{}, []change{{"poetry.lock", `"2.1"`, `"3.0"`}}, `lock-version "3.0" is a form of poetry.lock that is not known`, "export a requirements file"},
	"pdm: another form":      {"pdm-app", Query{}, []change{{"pdm.lock", `"4.5.1"`, `"5.0"`}}, `pdm.lock:7:1: lock_version "5.0" is a form of pdm.lock`, ""},
	"pipenv: another form":   {"pipenv", Query{}, []change{{"Pipfile.lock", `"pipfile-spec": 6`, `"pipfile-spec": 7`}}, `Pipfile.lock:6:9: pipfile-spec 7 is a form of Pipfile.lock`, ""},
	"pylock: another form":   {"pdm-pylock", Query{}, []change{{"pylock.toml", `lock-version = "1.0"`, `lock-version = "1.1"`}}, `pylock.toml:3:1: lock-version "1.1" is a form of pylock.toml`, ""},
	"uv: sources of old":     {"uv-app", Query{}, []change{{"uv.lock", `source = { virtual = "." }`, `source = "virtual+."`}}, "uv.lock is not of the form that it should have", "`uv lock`"},
	"pipenv: a list":         {"pipenv", Query{}, []change{{"Pipfile.lock", `"default": {`, `"default": [], "other": {`}}, "Pipfile.lock is not of the form that it should have", "`pipenv lock`"},
	"poetry: odd dependency": {"poetry-1", Query{Extras: []string{"prod"}}, []change{{"poetry.lock", `packaging = "*"`, `packaging = 1`}}, "the dependency packaging is neither text nor a table", ""},

	// Staleness.
	"uv: a requirement more":    {"uv-app", Query{}, []change{{"pyproject.toml", "dependencies = [", `dependencies = ["flask",`}}, "uv.lock is older than pyproject.toml: flask is required and is not locked", "`uv lock`, and `ampoule lock`"},
	"uv: a requirement less":    {"uv-app", Query{}, []change{{"pyproject.toml", `    "itsdangerous >= 2.1, < 3",` + "\n", ""}}, "itsdangerous<3,>=2.1 is locked and is not required", ""},
	"uv: another range":         {"uv-app", Query{}, []change{{"pyproject.toml", ">= 2.1, < 3", ">= 2.2"}}, "itsdangerous>=2.2 is required and is not locked; itsdangerous<3,>=2.1 is locked and is not required", ""},
	"uv: an extra's range":      {"uv-app", Query{Extras: []string{"prod"}}, []change{{"pyproject.toml", "gunicorn==23.0.0", "gunicorn>=23"}}, "gunicorn>=23 is required", ""},
	"uv: a group's range":       {"uv-app", Query{Groups: []string{"dev"}}, []change{{"pyproject.toml", "iniconfig>=2", "iniconfig>=1"}}, "iniconfig>=1 is required", ""},
	"uv: a member's range":      {"uv-workspace", Query{Package: "api-service", Extras: []string{"new"}}, []change{{"lib/pyproject.toml", "click>=8.1", "click>=8"}}, "uv.lock is older than lib/pyproject.toml: click>=8 is required", ""},
	"uv: another project":       {"uv-app", Query{}, []change{{"pyproject.toml", `"svc"`, `"other"`}}, "it has the project svc, not other", ""},
	"uv: the project is not in": {"uv-app", Query{}, []change{{"uv.lock", `virtual = "."`, `virtual = "elsewhere"`}}, "uv.lock:1:1: uv.lock is older than its project: the project svc is not in it", "`uv lock`"},
	"poetry: stale":             {"poetry-2", Query{}, []change{{"pyproject.toml", `"^2.1"`, `"^2.2"`}}, "poetry.lock is older than pyproject.toml: its content-hash is of other requirements", "`poetry lock`"},
	"poetry: stale, PEP 621":    {"poetry-2-pep621", Query{}, []change{{"pyproject.toml", `"idna (>=3)"`, `"idna"`}}, "its content-hash is of other requirements", ""},
	"pdm: stale":                {"pdm-app", Query{}, []change{{"pyproject.toml", "click==8.1.8", "click"}}, "pdm.lock:8:1: pdm.lock is older than pyproject.toml: its content_hash is of other requirements", "`pdm lock`"},
	"pdm: an odd hash":          {"pdm-app", Query{}, []change{{"pdm.lock", "sha256:584a", "md5:584a"}}, "is no sha256", ""},
	"pipenv: stale":             {"pipenv", Query{}, []change{{"Pipfile", `click = "==8.1.8"`, `click = "*"`}}, "Pipfile.lock:3:9: Pipfile.lock is older than Pipfile: its hash is of other requirements", "`pipenv lock`"},
	"poetry: no project":        {"poetry-2", Query{}, []change{{"pyproject.toml", "", "DELETE"}}, "poetry.lock:1:1: poetry.lock stands without pyproject.toml", ""},
	"pdm: no project":           {"pdm-plain", Query{}, []change{{"pyproject.toml", "", "DELETE"}}, "pdm.lock does not say which packages are the project's own requirements", ""},
	"a broken project":          {"pdm-app", Query{}, []change{{"pyproject.toml", "", "[project"}}, "pyproject.toml:1:", ""},

	// Pythons.
	"uv: another Python":     {"uv-app", Query{Python: "3.10.1"}, nil, "uv.lock:3:1: uv.lock is for Python >=3.11, and the recipe builds 3.10.1", "let the project be for 3.10.1"},
	"poetry: another Python": {"poetry-2", Query{Python: "3.10.1"}, nil, "poetry.lock is for Python >=3.11,<4.0, and", ""},
	"pdm: another Python":    {"pdm-app", Query{Python: "3.10.1"}, nil, "pdm.lock:10:1: pdm.lock is for Python >=3.11, and", ""},
	"pipenv: another Python": {"pipenv", Query{Python: "3.13.5"}, nil, "Pipfile.lock:7:9: Pipfile.lock is for Python 3.12, and", ""},
	"pylock: another Python": {"pdm-pylock", Query{Python: "3.10.1"}, nil, "pylock.toml:4:1: pylock.toml is for Python >=3.11, and", ""},
	"pylock: environments":   {"pdm-pylock", Query{}, []change{{"pylock.toml", `"python_version >= \"3.11\"",`, `"sys_platform == 'win32'",`}}, "pylock.toml:5:1: pylock.toml is for other environments: sys_platform == 'win32'", "linux/amd64"},

	// What is asked for.
	"uv: unknown extra":     {"uv-app", Query{Extras: []string{"web"}}, nil, `uv.lock has no extra "web"`, "its extras: all, prod"},
	"uv: unknown group":     {"uv-app", Query{Groups: []string{"web"}}, nil, `uv.lock has no group "web"`, "its groups: dev, test"},
	"uv: unknown member":    {"uv-workspace", Query{Package: "web"}, nil, `uv.lock has no package "web"`, "its packages: api-service, lib"},
	"uv: no member":         {"uv-workspace", Query{}, nil, "uv.lock:1:1: uv.lock is of a workspace whose root is no project", "requirements: {file: uv.lock, package: api-service}"},
	"poetry: unknown extra": {"poetry-2", Query{Extras: []string{"web"}}, nil, `poetry.lock has no extra "web"`, "its extras: prod"},
	"poetry: unknown group": {"poetry-2", Query{Groups: []string{"web"}}, nil, `poetry.lock has no group "web"`, "its groups: test"},
	"pdm: unknown group":    {"pdm-app", Query{Groups: []string{"web"}}, nil, `pdm.lock:5:1: pdm.lock has no group "web"`, "default, lint, prod, test"},
	"pipenv: category":      {"pipenv", Query{Groups: []string{"docs"}}, nil, `Pipfile.lock has no group "docs"`, "default, develop, web"},
	"pipenv: extras":        {"pipenv", Query{Extras: []string{"docs"}}, nil, `Pipfile.lock has no extras, such as "docs"`, "groups"},
	"pylock: unknown extra": {"pdm-pylock", Query{Extras: []string{"web"}}, nil, `pylock.toml:8:1: pylock.toml has no extra "web"`, "prod"},
	"pylock: unknown group": {"pdm-pylock", Query{Groups: []string{"web"}}, nil, `pylock.toml has no group "web"`, ""},
	"poetry: package":       {"poetry-2", Query{Package: "x"}, nil, "has no workspace with packages of its own", "remove `package`"},

	// Sources.
	"uv: git":           {"uv-app", Query{}, []change{{"uv.lock", `name = "itsdangerous"` + "\nversion = \"2.2.0\"\nsource = { registry = \"https://index.example/simple\" }", `name = "itsdangerous"` + "\nversion = \"2.2.0\"\nsource = { git = \"https://git.example/x?rev=1#abc\" }"}}, "itsdangerous comes from a git repository, not from an index", "require a release of it"},
	"uv: url":           {"uv-app", Query{}, []change{{"uv.lock", `name = "itsdangerous"` + "\nversion = \"2.2.0\"\nsource = { registry", `name = "itsdangerous"` + "\nversion = \"2.2.0\"\nsource = { url"}}, "itsdangerous comes from a URL", ""},
	"uv: path":          {"uv-app", Query{}, []change{{"uv.lock", `name = "itsdangerous"` + "\nversion = \"2.2.0\"\nsource = { registry", `name = "itsdangerous"` + "\nversion = \"2.2.0\"\nsource = { path"}}, "itsdangerous comes from the file", ""},
	"uv: no member's":   {"uv-workspace", Query{Package: "api-service", Extras: []string{"new"}}, []change{{"uv.lock", "    \"lib\",\n", ""}}, "lib comes from the directory lib, not from an index", "make it a member of the workspace"},
	"uv: no source":     {"uv-app", Query{}, []change{{"uv.lock", `name = "itsdangerous"` + "\nversion = \"2.2.0\"\nsource = { registry", `name = "itsdangerous"` + "\nversion = \"2.2.0\"\nsource = { odd"}}, "itsdangerous has no source", ""},
	"poetry: git":       {"poetry-2", Query{}, []change{{"poetry.lock", `type = "legacy"`, `type = "git"`}}, "click comes from a git repository", ""},
	"poetry: directory": {"poetry-2", Query{}, []change{{"poetry.lock", `type = "legacy"`, `type = "directory"`}}, "click comes from the directory", ""},
	"poetry: odd":       {"poetry-2", Query{}, []change{{"poetry.lock", `type = "legacy"`, `type = "cvs"`}}, `click has the source "cvs"`, ""},
	"pdm: git":          {"pdm-app", Query{}, []change{{"pdm.lock", `name = "click"`, "name = \"click\"\ngit = \"https://git.example/x\""}}, "click comes from a repository", ""},
	"pdm: editable":     {"pdm-app", Query{}, []change{{"pdm.lock", `name = "click"`, "name = \"click\"\neditable = true\npath = \"./click\""}}, "click comes from the path ./click", ""},
	"pipenv: git":       {"pipenv", Query{Python: "3.12.1"}, []change{{"Pipfile.lock", `"version": "==8.1.8"`, `"git": "https://git.example/x"`}}, "click comes from a repository", ""},
	"pipenv: file":      {"pipenv", Query{Python: "3.12.1"}, []change{{"Pipfile.lock", `"version": "==8.1.8"`, `"file": "https://x.example/click.whl"`}}, "click comes from a URL", ""},
	"pipenv: editable":  {"pipenv", Query{Python: "3.12.1"}, []change{{"Pipfile.lock", `"version": "==8.1.8"`, `"editable": true, "path": "./click"`}}, "click comes from the path ./click", ""},
	"pipenv: range":     {"pipenv", Query{Python: "3.12.1"}, []change{{"Pipfile.lock", `"==8.1.8"`, `">=8"`}}, `click has no exact version, but ">=8"`, ""},
	"pylock: vcs":       {"pylock-uv", Query{}, []change{{"pylock.svc.toml", `name = "itsdangerous"`, "name = \"itsdangerous\"\nvcs = {type = \"git\", url = \"https://x\"}"}}, "itsdangerous comes from a repository", ""},
	"pylock: archive":   {"pylock-uv", Query{}, []change{{"pylock.svc.toml", `name = "itsdangerous"`, "name = \"itsdangerous\"\narchive = {url = \"https://x\"}"}}, "itsdangerous comes from a URL", ""},
	"pylock: directory": {"pylock-uv", Query{}, []change{{"pylock.svc.toml", `name = "itsdangerous"`, "name = \"itsdangerous\"\ndirectory = {path = \"../x\"}"}}, "itsdangerous comes from the directory ../x", ""},

	// Contradictions.
	"uv: two versions":         {"uv-app", Query{}, []change{{"uv.lock", `marker = "python_full_version < '3.13'"`, `marker = "python_full_version < '3.14'"`}}, "click is locked as 8.1.7 (line 9) and 8.1.8, both for Python 3.13.5 on linux/amd64", ""},
	"uv: conflicting extras":   {"uv-workspace", Query{Package: "api-service", Extras: []string{"old", "new"}}, nil, "six is locked as 1.16.0", ""},
	"uv: two indexes":          {"uv-app", Query{}, []change{{"uv.lock", `name = "click"` + "\nversion = \"8.1.7\"\nsource = { registry = \"https://index.example/simple\" }", `name = "click"` + "\nversion = \"8.1.8\"\nsource = { registry = \"https://user:secret@other.example/simple\" }"}, {"uv.lock", `version = "8.1.7", source = { registry = "https://index.example/simple" }, marker = "python_full_version < '3.13'"`, `version = "8.1.8", source = { registry = "https://user:secret@other.example/simple" }`}}, "click comes from two indexes: https://other.example/simple (line 9) and https://index.example/simple", "one index"},
	"uv: nothing decides":      {"uv-app", Query{}, []change{{"uv.lock", `version = "8.1.7", source = { registry = "https://index.example/simple" }, `, ""}, {"uv.lock", "python_full_version < '3.13'", "python_full_version < '4'"}}, "click is locked as 8.1.7 and 8.1.8, and nothing says which", ""},
	"uv: a missing package":    {"uv-app", Query{}, []change{{"uv.lock", `name = "itsdangerous"` + "\nversion", `name = "other"` + "\nversion"}}, "svc depends on itsdangerous, which is not in the lock", ""},
	"poetry: missing":          {"poetry-1", Query{}, []change{{"poetry.lock", `name = "itsdangerous"`, `name = "other"`}}, "the project depends on itsdangerous ^2.1, which is not in the lock", ""},
	"poetry: two versions":     {"poetry-2", Query{}, []change{{"poetry.lock", `markers = "python_version < \"3.13\""`, ""}}, "click is locked as 8.1.7 (line 3) and 8.1.8", ""},
	"pdm: missing":             {"pdm-plain", Query{}, []change{{"pdm.lock", `name = "anyio"`, `name = "other"`}}, "is required and is not in the lock", ""},
	"uv: one without hashes":   {"uv-app", Query{}, []change{{"uv.lock", `hash = "sha256:c6242fc49e35958c8b15141343aa660db5fc54d4f13a1db01a3f5891b98700ef", `, ""}, {"uv.lock", `hash = "sha256:e0050c0b7da1eea53ffaf149c0cfbb5c6e2e2b69c4bef22c81fa6eb73e5f6173", `, ""}}, "itsdangerous has no hashes, although click has some", "`uv lock`"},
	"poetry: weak hashes":      {"poetry-2", Query{}, []change{{"poetry.lock", "sha256:", "md5:"}}, "click has no sha256 among its hashes", ""},
	"pdm: no hash":             {"pdm-app", Query{}, []change{{"pdm.lock", "sha256:63c1", "sha256:zzz1"}}, `click has the hash "sha256:zzz1`, ""},
	"a version that is none":   {"pdm-app", Query{}, []change{{"pdm.lock", `version = "8.1.8"`, `version = "latest"`}}, `click has the version "latest", which is none`, ""},
	"a name that is none":      {"pdm-app", Query{}, []change{{"pdm.lock", `name = "click"`, `name = "../click"`}}, `"../click" is no name`, ""},
	"a marker that is none":    {"poetry-2", Query{}, []change{{"poetry.lock", `python_version >= \"3.13\"`, `python >= \"3.13\"`}}, `"python" is no marker variable in the marker`, ""},
	"markers that are none":    {"poetry-2", Query{}, []change{{"poetry.lock", `markers = "python_version >= \"3.13\""`, `markers = 1`}}, "the markers of click are no texts", ""},
	"a constraint":             {"poetry-1", Query{}, []change{{"poetry.lock", `python-versions = ">=3.11,<4.0"`, `python-versions = ">=>3"`}}, "is no constraint", ""},
	"pylock: no files":         {"pylock-uv", Query{}, []change{{"pylock.svc.toml", "sdist = ", "x = "}, {"pylock.svc.toml", "wheels = ", "y = "}}, "click has neither wheels nor an sdist", ""},
	"pylock: package's Python": {"pdm-pylock", Query{}, []change{{"pylock.toml", `requires-python = ">=3.7"`, `requires-python = ">=3.14"`}}, "pylock.toml is for Python >=3.14", ""},

	// Malformed files.
	"uv: not TOML":         {"uv-app", Query{}, []change{{"uv.lock", "revision = 5", "revision = [\n5"}}, "uv.lock:4:1: uv.lock: this is not TOML", ""},
	"uv: an end":           {"uv-app", Query{}, []change{{"uv.lock", "", "version = 1\n[[package]]\nname = \"a"}}, "uv.lock:3:", ""},
	"uv: empty":            {"uv-app", Query{}, []change{{"uv.lock", "", ""}}, "uv.lock:1:1: version 0", ""},
	"uv: a key twice":      {"uv-app", Query{}, []change{{"uv.lock", "revision = 5", "revision = 5\nrevision = 5"}}, "uv.lock:3:1: uv.lock is not of the form", ""},
	"uv: not UTF-8":        {"uv-app", Query{}, []change{{"uv.lock", "revision = 5", "revision = 5 # \xff"}}, "it is not UTF-8 text", ""},
	"uv: deep":             {"uv-app", Query{}, []change{{"uv.lock", "revision = 5", "revision = 5\nx = " + strings.Repeat("[", 70) + strings.Repeat("]", 70)}}, "uv.lock:3:1: uv.lock: a value is nested too deeply", ""},
	"uv: very deep":        {"uv-app", Query{}, []change{{"uv.lock", "revision = 5", "revision = 5\nx = " + strings.Repeat("[", 1<<20)}}, "uv.lock:3:1: uv.lock: this is not TOML", ""},
	"uv: a long key":       {"uv-app", Query{}, []change{{"uv.lock", "revision = 5", "revision = 5\n" + strings.Repeat("a.", 1000) + "a = 1"}}, "uv.lock:3:1: uv.lock: a key has too many parts", ""},
	"uv: long keys within": {"uv-app", Query{}, []change{{"uv.lock", "revision = 5", "revision = 5\nx = {" + strings.Repeat("a.", 1000) + "a = 1}"}}, "uv.lock:3:1: uv.lock: a value is nested too deeply, or too long", ""},
	"uv: many packages":    {"uv-app", Query{}, []change{{"uv.lock", "", "version = 1\n" + strings.Repeat("[[package]]\n", maxPackages+1)}}, "uv.lock: it has too many tables package", ""},
	"uv: too large":        {"uv-app", Query{}, []change{{"uv.lock", "", strings.Repeat("#\n", maxBytes/2+1)}}, "reading uv.lock: it has more than 16777216 bytes", ""},
	"pipenv: not JSON":     {"pipenv", Query{}, []change{{"Pipfile.lock", `"develop": {`, `"develop": {{`}}, "Pipfile.lock: this is not JSON", "`pipenv lock`"},
	"pipenv: a key twice":  {"pipenv", Query{}, []change{{"Pipfile.lock", `"colorama"`, `"click"`}}, `"click" is written twice`, ""},
	"pipenv: more":         {"pipenv", Query{}, []change{{"Pipfile.lock", "\n}\n", "\n}\n{}"}}, "something follows its end", ""},
	"pipenv: deep":         {"pipenv", Query{}, []change{{"Pipfile.lock", "", strings.Repeat("[", 1<<20)}}, "it is nested too deeply", ""},
	"pipenv: not UTF-8":    {"pipenv", Query{}, []change{{"Pipfile.lock", "colorama", "color\xff"}}, "it is not UTF-8 text", ""},
	"pipenv: empty":        {"pipenv", Query{}, []change{{"Pipfile.lock", "", "EMPTY"}}, "this is not JSON", ""},
}

// What cannot be had to the letter is refused, with its place and a way out.
func TestRefused(t *testing.T) {
	t.Parallel()
	for name, c := range refusals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := sample(t, c.sample)
			for _, change := range c.changes {
				switch change.new {
				case "DELETE":
					delete(files, change.file)
				case "EMPTY":
					files[change.file] = &fstest.MapFile{}
				default:
					change.apply(t, files)
				}
			}
			q := c.query
			if q.Python == "" {
				q.Python = "3.13.5"
			}
			lock, err := Read(files, lockOf(t, files), q)
			if err == nil {
				t.Fatalf("it is read: %v", pins(lock))
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %.2000v, want %s", err, c.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("credentials are told: %v", err)
			}
			told, ok := errors.AsType[Faults](err)
			if ok && (told.Kind() != faults.Input || !strings.Contains(told.Hint(), c.hint)) {
				t.Errorf("hint %s, want %s", told.Hint(), c.hint)
			}
		})
	}
}

func lockOf(t *testing.T, files fs.FS) string {
	t.Helper()
	found, err := Detect(files)
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	return found[0].File
}

func TestRecognise(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]Format{
		"uv.lock": UV, "a/poetry.lock": Poetry, "pdm.lock": PDM, "Pipfile.lock": Pipenv, "pylock.toml": Pylock, "pylock.dev-1.toml": Pylock,
		"pylock..toml": "", "pylock.a.b.toml": "", "UV.LOCK": "", "uv.lock.bak": "", "requirements.txt": "", "pyproject.toml": "",
	} {
		if got, ok := Recognise(file); ok != (want != "") || ok && got != want {
			t.Errorf("%s: %s, %t", file, got, ok)
		}
	}
	found, err := Detect(fstest.MapFS{"poetry.lock": {}, "pylock.a.toml": {}, "uv.lock": {}, "pdm.lock/x": {}, "a/uv.lock": {}})
	want := []Found{{"uv.lock", UV}, {"poetry.lock", Poetry}, {"pylock.a.toml", Pylock}}
	if diff := cmp.Diff(want, found); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// A lock below the recipe's directory has its project beside it.
func TestReadBelow(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{}
	for name, file := range sample(t, "uv-workspace") {
		files[path.Join("deploy", name)] = file
	}
	lock, err := Read(files, "deploy/uv.lock", Query{Python: "3.13.5", Package: "lib"})
	if err != nil {
		t.Fatal(err)
	}
	if len(lock.Packages) != 1 || lock.Files["deploy/lib/pyproject.toml"] == nil || lock.Packages[0].String() != "deploy/uv.lock:41:1" {
		t.Errorf("%v", lock.Packages)
	}
}

// The project and members of its workspace are first-party code.
func TestFirstParty(t *testing.T) {
	t.Parallel()
	lock, err := Read(sample(t, "uv-workspace"), "uv.lock", Query{Python: "3.13.5", Package: "api-service", Extras: []string{"old"}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range lock.FirstParty {
		names = append(names, p.Name)
	}
	if diff := cmp.Diff([]string{"api-service", "lib"}, names); diff != "" {
		t.Error(diff)
	}
}

// What comes from another index than most is told, without credentials.
func TestRegistries(t *testing.T) {
	t.Parallel()
	files := sample(t, "uv-app")
	change{"uv.lock", `name = "itsdangerous"` + "\nversion = \"2.2.0\"\nsource = { registry = \"https://index.example/simple\" }", `name = "itsdangerous"` + "\nversion = \"2.2.0\"\nsource = { registry = \"https://user:secret@private.example/simple/\" }"}.apply(t, files)
	lock, err := Read(files, "uv.lock", Query{Python: "3.13.5", Extras: []string{"prod"}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range lock.Packages {
		got[p.Name] = p.Registry
	}
	want := map[string]string{"click": "", "gunicorn": "", "itsdangerous": "https://private.example/simple", "packaging": ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPoetryConstraint(t *testing.T) {
	t.Parallel()
	for text, versions := range map[string]struct{ in, out string }{
		"^1.2.3":             {"1.2.3 1.9", "1.2.2 2.0"},
		"^0.2.3":             {"0.2.3 0.2.9", "0.3 1.0"},
		"^0.0.3":             {"0.0.3", "0.0.4"},
		"^0":                 {"0.1", "1.0"},
		"~1.2":               {"1.2 1.2.9", "1.3 1.1"},
		"~1":                 {"1.9", "2"},
		"~=1.4.2":            {"1.4.9", "1.5"},
		"1.2":                {"1.2 1.2.0", "1.2.1"},
		"=1.2":               {"1.2", "1.3"},
		"1.*":                {"1.0 1.9", "2.0"},
		"*":                  {"0 9", ""},
		"":                   {"0 9", ""},
		">=1,<2 || >=3":      {"1.5 3", "2"},
		">=1.0 <2.0":         {"1.5", "2.5"},
		"!=3.0.*,>=2.7":      {"3.1 2.7", "3.0.1 2.6"},
		">=2.7, !=3.0.* | 1": {"1 3.1", "3.0.1"},
		"<4.0.*":             {"3.9", "4.0"},
	} {
		allows, err := poetryConstraint(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for v := range strings.FieldsSeq(versions.in) {
			if !allows(v) {
				t.Errorf("%s does not allow %s", text, v)
			}
		}
		for v := range strings.FieldsSeq(versions.out) {
			if allows(v) {
				t.Errorf("%s allows %s", text, v)
			}
		}
	}
	for _, text := range []string{">=>1", "^", "^x", "~1.99999999999999999999", ">=1 or 2", "||;"} {
		if _, err := poetryConstraint(text); err == nil {
			t.Errorf("%s is a constraint", text)
		}
	}
}

// Python's JSON, as python -c 'import json; print(json.dumps(…, sort_keys=True))' writes it.
func TestPythonJSON(t *testing.T) {
	t.Parallel()
	value := map[string]any{
		"b": []any{true, int64(-3), 1.5, 2.0, nil, map[string]any{}}, "a": "q\"\\\n\r\t\b\f\x7f\x01ü€😀/<&",
	}
	var b strings.Builder
	pythonJSON(&b, value, ", ", ": ")
	want := `{"a": "q\"\\\n\r\t\b\f\u007f\u0001\u00fc\u20ac\ud83d\ude00/<&", "b": [true, -3, 1.5, 2.0, null, {}]}`
	if b.String() != want {
		t.Errorf("%s\n%s", b.String(), want)
	}
}
