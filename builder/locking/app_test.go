package locking

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ampoule/recipes"
	"ampoule/tree"
)

// appRecipe reads a recipe with first-party code from files, by path.
func appRecipe(t *testing.T, files map[string]string) (*recipes.Recipe, *recipes.RequirementSet) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := recipes.ReadRecipe(filepath.Join(dir, "ampoule.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	reqs, err := recipes.ReadRequirements(r)
	if err != nil {
		t.Fatal(err)
	}
	return r, reqs
}

const appHead = `apiVersion: ampoule/v1
name: web
python: {version: 3.13.5}
base: {debian: bookworm}
runtime: {container: {base: {debian: bookworm}}}
`

// code packs a directory of first-party code.
func (w *world) code(t *testing.T, files map[string]string) Code {
	t.Helper()
	var entries []tree.Entry
	for name, text := range files {
		entries = append(entries, tree.FileEntry(name, 0o644, []byte(text)))
	}
	all, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := all.WriteTar(&b, "app", tree.Time); err != nil {
		t.Fatal(err)
	}
	return Code{SHA256: put(t, w.st, b.String())}
}

// lockedApp locks first-party code, and gives the lock.
func (w *world) lockedApp(t *testing.T, reqs *recipes.RequirementSet, previous *recipes.Lock, code ...Code) (*recipes.Lock, error) {
	t.Helper()
	p := w.start(reqs, Options{App: code, Previous: previous})
	if err := p.lockDists(t.Context()); err != nil {
		return nil, err
	}
	return p.lock, nil
}

// The dependencies of first-party code are resolved with those of the recipe, and what its
// build takes as that of an sdist; nothing of its code is in the lock.
func TestLockApp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	setuptools := w.file("setuptools", "setuptools-80.1-py3-none-any.whl", emptyZip)
	flask := w.file("flask", "flask-3.1-py3-none-any.whl", emptyZip)
	gunicorn := w.file("gunicorn", "gunicorn-23.0-py3-none-any.whl", emptyZip)
	wheel := w.file("wheel", "wheel-0.45-py3-none-any.whl", emptyZip)
	w.uv = func(asked, _ string) (string, string) {
		releases := map[string][]indexFile{}
		for id, file := range map[string]indexFile{"setuptools==80.1": setuptools, "flask==3.1": flask, "gunicorn==23.0": gunicorn, "wheel==0.45": wheel} {
			if name, _, _ := strings.Cut(id, "=="); strings.Contains(asked, name) {
				releases[id] = []indexFile{file}
			}
		}
		return w.resolved(releases), ""
	}
	pyproject := "[build-system]\nrequires = [\"setuptools>=61\"]\n[project]\nname = \"Web_App\"\nversion = \"1.0\"\ndependencies = [\"flask>=3\", \"helper\"]\n"
	legacy := "[build-system]\nrequires = [\"setuptools\"]\n"
	var reqs *recipes.RequirementSet
	w.recipe, reqs = appRecipe(t, map[string]string{
		"ampoule.yaml":   appHead + "requirements: [gunicorn]\napp: {source: ., members: [libs/helper]}\npackages: {helper: {env: {HELP: \"1\"}}}\n",
		"pyproject.toml": pyproject, "libs/helper/pyproject.toml": legacy,
	})
	// The member's name and dependencies are known to its backend alone.
	w.names = map[string]string{"web.tar": "Name: Helper\n"}
	w.depends["web.tar"] = []string{`gunicorn`, `flask; python_version < "3"`}
	w.dynamic["helper.tar"] = []string{"wheel"}
	code := w.code(t, map[string]string{"pyproject.toml": pyproject, "web.py": "one"})
	member := w.code(t, map[string]string{"pyproject.toml": legacy})
	lock, err := w.lockedApp(t, reqs, nil, code, member)
	if err != nil {
		t.Fatal(err)
	}
	want := []recipes.LockedApp{
		{Source: ".", Name: "web-app", Version: "static", Requires: []string{"flask>=3"}, Build: &recipes.BuildSet{
			Requires: []string{"setuptools>=61"}, Added: []string{}, Dynamic: []string{}, Dists: []string{"setuptools==80.1"}, Env: map[string]string{}, ConfigSettings: map[string]recipes.Setting{},
		}},
		{Source: "libs/helper", Name: "helper", Version: "backend", Requires: []string{"gunicorn"}, Build: &recipes.BuildSet{
			Requires: []string{"setuptools"}, Added: []string{}, Dynamic: []string{"wheel"}, Dists: []string{"setuptools==80.1", "wheel==0.45"}, Env: map[string]string{"HELP": "1"}, ConfigSettings: map[string]recipes.Setting{},
		}},
	}
	if diff := cmp.Diff(want, lock.App, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"flask==3.1", "gunicorn==23.0"}, lock.Requirements); diff != "" {
		t.Errorf("requirements (-want +got):\n%s", diff)
	}
	if len(lock.Dists) != 4 {
		t.Errorf("dists: %+v", lock.Dists)
	}
	for _, asked := range w.asked {
		if strings.Contains(asked, "helper") {
			t.Errorf("first-party code was looked for in an index: %q", asked)
		}
	}
	// Another commit of the same project.
	again, err := w.lockedApp(t, reqs, lock, w.code(t, map[string]string{"pyproject.toml": pyproject, "web.py": "two"}), member)
	if err != nil || string(again.Encode()) != string(lock.Encode()) {
		t.Errorf("another code gives another lock, or %v", err)
	}
	if text := string(lock.Encode()); strings.Contains(text, code.SHA256) || strings.Contains(text, member.SHA256) {
		t.Error("the lock has the hash of the code")
	}
}

// A backend is told the version that tags give, which is no part of the lock.
func TestLockTellsVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	setuptools := w.file("setuptools", "setuptools-80.1-py3-none-any.whl", emptyZip)
	scm := w.file("setuptools-scm", "setuptools_scm-8.0-py3-none-any.whl", emptyZip)
	w.uv = func(asked, _ string) (string, string) {
		if strings.TrimSpace(asked) == "" {
			return w.resolved(nil), ""
		}
		return w.resolved(map[string][]indexFile{"setuptools==80.1": {setuptools}, "setuptools-scm==8.0": {scm}}), ""
	}
	pyproject := "[build-system]\nrequires = [\"setuptools\", \"setuptools-scm\"]\n[project]\nname = \"web\"\ndynamic = [\"version\"]\n"
	var reqs *recipes.RequirementSet
	w.recipe, reqs = appRecipe(t, map[string]string{"ampoule.yaml": appHead + "app: {source: .}\n", "pyproject.toml": pyproject})
	code := w.code(t, map[string]string{"pyproject.toml": pyproject})
	code.Env = map[string]string{reqs.Projects[0].VersionVariable: "1.2.3"}
	lock, err := w.lockedApp(t, reqs, nil, code)
	if err != nil {
		t.Fatal(err)
	}
	if lock.App[0].Version != recipes.VersionTags || strings.Contains(string(lock.Encode()), "1.2.3") {
		t.Errorf("locked: %s", lock.Encode())
	}
	told := false
	for _, s := range w.runner.Sandboxes() {
		for _, step := range s.Steps() {
			for _, variable := range step.Env {
				told = told || variable == "SETUPTOOLS_SCM_PRETEND_VERSION=1.2.3"
			}
		}
	}
	if !told {
		t.Error("no backend was told the version")
	}
}

// What an index has under the name of first-party code is not taken for it.
func TestLockAppRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	web := w.file("web", "web-9.0-py3-none-any.whl", emptyZip)
	plugin := w.file("plugin", "plugin-1.0-py3-none-any.whl", emptyZip)
	w.uv = func(string, string) (string, string) {
		return w.resolved(map[string][]indexFile{"web==9.0": {web}, "plugin==1.0": {plugin}}), ""
	}
	pyproject := "[project]\nname = \"web\"\nversion = \"1\"\ndependencies = [\"plugin\"]\n"
	var reqs *recipes.RequirementSet
	w.recipe, reqs = appRecipe(t, map[string]string{"ampoule.yaml": appHead + "app: {source: .}\n", "pyproject.toml": pyproject})
	_, err := w.lockedApp(t, reqs, nil, w.code(t, map[string]string{"pyproject.toml": pyproject}))
	var faults recipes.Faults
	if !errors.As(err, &faults) || faults[0].Line != 2 || !strings.Contains(err.Error(), "web is the name of first-party code, and of a distribution that is required too") {
		t.Errorf("got %v", err)
	}
	pyproject = "[project]\nname = \"web\"\nversion = \"1\"\ndynamic = [\"dependencies\"]\n"
	w.recipe, reqs = appRecipe(t, map[string]string{"ampoule.yaml": appHead + "app: {source: .}\n", "pyproject.toml": pyproject})
	w.depends["web.tar"] = []string{"plugin @ https://example.org/plugin.whl"}
	w.names = map[string]string{"web.tar": "Name: web\n"}
	_, err = w.lockedApp(t, reqs, nil, w.code(t, map[string]string{"pyproject.toml": pyproject}))
	if !errors.As(err, &faults) || !strings.Contains(err.Error(), "plugin is required from a URL") {
		t.Errorf("an address: %v", err)
	}
	// What a backend has said of other code is no answer.
	pyproject += "# another one\n"
	w.recipe, reqs = appRecipe(t, map[string]string{"ampoule.yaml": appHead + "app: {source: ., extras: [prodd]}\n", "pyproject.toml": pyproject})
	w.names = map[string]string{"web.tar": "Name: web\nProvides-Extra: Prod\n"}
	_, err = w.lockedApp(t, reqs, nil, w.code(t, map[string]string{"pyproject.toml": pyproject}))
	if !errors.As(err, &faults) || faults[0].Column != 27 || faults[0].What != "web has no extra prodd" || faults[0].Hint != `did you mean "prod"?` {
		t.Errorf("an extra that is not there: %v, %+v", err, faults)
	}
}

// What building first-party code takes of Debian stays in the lock, and what nothing takes does not.
func TestAppKeepsDebianPackages(t *testing.T) {
	t.Parallel()
	deb := func(name string) recipes.Deb { return recipes.Deb{Name: name} }
	d := &debianLocker{
		lock: &recipes.Lock{
			Base: recipes.LockedBase{Suite: "bookworm"},
			App:  []recipes.LockedApp{{Name: "web", Build: &recipes.BuildSet{Packages: []string{"libpq-dev"}}}},
		},
		debs: map[string]map[string]recipes.Deb{"bookworm": {"libpq-dev": deb("libpq-dev"), "left": deb("left")}},
	}
	d.prune()
	if diff := cmp.Diff(map[string]recipes.Suite{"bookworm": {deb("libpq-dev")}}, d.lock.Debian); diff != "" {
		t.Error(diff)
	}
}
