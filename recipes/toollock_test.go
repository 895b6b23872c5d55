package recipes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const uvSample = `version = 1
revision = 3
requires-python = ">=3.11"

[[package]]
name = "flask"
version = "3.0.3"
source = { registry = "https://index.example/simple" }
wheels = [{ url = "https://files.example/flask-3.0.3-py3-none-any.whl", hash = "sha256:` + hash + `" }]

[[package]]
name = "gunicorn"
version = "23.0.0"
source = { registry = "https://private.example/simple" }
sdist = { url = "https://files.example/gunicorn-23.0.0.tar.gz", hash = "sha256:` + hash + `" }

[[package]]
name = "svc"
version = "1"
source = { editable = "." }
dependencies = [{ name = "flask" }]

[package.optional-dependencies]
prod = [{ name = "gunicorn" }]
`

// readLock reads a uv.lock of a recipe, as its requirements say.
func readLock(t *testing.T, requirements, lock string) (*Recipe, *RequirementSet, error) {
	t.Helper()
	dir := t.TempDir()
	recipe := strings.Replace(goodRecipe, "requirements: requirements.txt", "requirements: "+requirements, 1)
	for name, text := range map[string]string{"ampoule.yaml": recipe, "uv.lock": lock} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := ReadRecipe(filepath.Join(dir, "ampoule.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := ReadRequirements(r)
	return r, set, err
}

func TestToolLock(t *testing.T) {
	t.Parallel()
	r, set, err := readLock(t, "{file: ./uv.lock, extras: [prod]}", uvSample)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(filepath.Dir(r.File()), "uv.lock")
	want := &RequirementSet{
		Requirements: []Requirement{
			{Name: "flask", Spec: "flask==3.0.3", Hashes: []string{"sha256:" + hash}, Position: Position{file, 5, 1}},
			{Name: "gunicorn", Spec: "gunicorn==23.0.0", Hashes: []string{"sha256:" + hash}, Position: Position{file, 11, 1}, Registry: "https://private.example/simple"},
		},
		RequireHashes: true, File: "uv.lock", Relock: "uv lock",
		FirstParty: []FirstParty{{"svc", Position{file, 17, 1}}},
		Files:      map[string][]byte{"uv.lock": []byte(uvSample)}, Patches: map[string][]byte{},
	}
	if diff := cmp.Diff(want, set); diff != "" {
		t.Error(diff)
	}
	if !set.Names("flask") || set.Names("svc") {
		t.Error("names are not those of the requirements")
	}
}

func TestToolLockFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ requirements, lock, want string }{
		"unknown extra":   {"{file: uv.lock, extras: [dev]}", uvSample, `uv.lock:17:1: uv.lock has no extra "dev"`},
		"unknown form":    {"uv.lock", strings.Replace(uvSample, "version = 1", "version = 2", 1), "uv.lock:1:1: version 2, revision 3 is a form of uv.lock that is not known"},
		"no lock":         {"poetry.lock", "", "ampoule.yaml:9:15: poetry.lock does not exist"},
		"another Python":  {"uv.lock", strings.Replace(uvSample, ">=3.11", ">=3.14", 1), "uv.lock:3:1: uv.lock is for Python >=3.14, and the recipe builds 3.13.5"},
		"broken":          {"uv.lock", "version = \n", "uv.lock:1:"},
		"a version twice": {"uv.lock", strings.Replace(uvSample, "version = 1\n", "version = 1\nversion = 1\n", 1), "uv.lock:2:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := readLock(t, c.requirements, c.lock); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// A lock of another tool that changed is a lock that is to be made anew.
func TestToolLockChanged(t *testing.T) {
	t.Parallel()
	r, set, err := readLock(t, "uv.lock", uvSample)
	if err != nil {
		t.Fatal(err)
	}
	l := &Lock{Answers: MakeAnswers(r, set), Python: LockedPython{Version: r.Python.Version}}
	if err := CheckFresh(r, set, l); err != nil {
		t.Fatal(err)
	}
	for name, lock := range map[string]string{
		"version": strings.ReplaceAll(uvSample, "3.0.3", "3.0.4"),
		"hash":    strings.Replace(uvSample, hash, strings.Repeat("f", 64), 1),
	} {
		r, set, err := readLock(t, "uv.lock", lock)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckFresh(r, set, l); err == nil || !strings.Contains(err.Error(), "uv.lock:5:1: the lock answers flask==3.0.3") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What the extra adds is to be locked too.
	r, set, err = readLock(t, "{file: uv.lock, extras: [prod]}", uvSample)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckFresh(r, set, l); err == nil || !strings.Contains(err.Error(), "the lock does not know gunicorn==23.0.0") {
		t.Error(err)
	}
}

// With hashes for all requirements, no index decides what is installed.
func TestIndexesWithHashes(t *testing.T) {
	t.Parallel()
	text := "-i https://user:secret@index.example/simple\n--extra-index-url https://x\n--trusted-host x\na==1 \\\n    --hash=sha256:" + hash + "\n    # via b\n"
	set, err := readSet(t, "r.txt", map[string]string{"r.txt": text})
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Requirements) != 1 || set.Relock != "" {
		t.Errorf("%+v", set)
	}
}
