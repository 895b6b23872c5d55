package recipes

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// appSet reads a recipe with an app, and what it requires, from files by path. Faults have
// the files' paths from the recipe's directory.
func appSet(t *testing.T, app, requirements string, files map[string]string) (*Recipe, *RequirementSet, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "service")
	files["ampoule.yaml"] = "apiVersion: ampoule/v1\nname: web\npython: {version: 3.13.5}\nbase: {debian: bookworm}\n" +
		"runtime: {container: {base: {debian: bookworm}}}\nrequirements: " + requirements + "\n"
	if app != "" {
		files["ampoule.yaml"] += "app: " + app + "\n"
	}
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	relative := func(err error) error {
		faults, ok := errors.AsType[Faults](err)
		for i := range faults {
			faults[i].File = strings.TrimPrefix(faults[i].File, dir+"/")
		}
		if ok {
			return faults
		}
		return err
	}
	r, err := ReadRecipe(filepath.Join(dir, "ampoule.yaml"))
	if err != nil {
		return nil, nil, relative(err)
	}
	set, err := ReadRequirements(r)
	if err != nil {
		return nil, nil, relative(err)
	}
	for i := range set.Requirements {
		set.Requirements[i].File = strings.TrimPrefix(set.Requirements[i].File, dir+"/")
	}
	for i := range set.Projects {
		set.Projects[i].At.File = strings.TrimPrefix(set.Projects[i].At.File, dir+"/")
	}
	return r, set, nil
}

const appProject = `[build-system]
requires = ["Setuptools >= 61"]

[project]
name = "Web.App"
version = "1.0"
dependencies = [
    "Flask >= 3 ; python_version >= '3.12'",
    "tomli ; python_version < '3.11'",
    "helper",
    "web-app[cache]",
]
[project.optional-dependencies]
cache = ["redis[hiredis]>=5"]
dev = ["pytest ; sys_platform == 'linux'"]
[tool.uv.sources]
helper = { workspace = true }
`

func TestProjects(t *testing.T) {
	t.Parallel()
	r, set, err := appSet(t, "{source: ., members: [../helper], extras: [dev]}", "[gunicorn]", map[string]string{
		"pyproject.toml": appProject, "../helper/setup.py": "", "../helper/setup.cfg": "[options]\nname = no\n[metadata]\nname = helper\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, q := range set.Requirements {
		got = append(got, q.String()+" "+q.Project+" "+q.Spec)
	}
	want := []string{
		"ampoule.yaml:6:16  gunicorn", "pyproject.toml:8:5 . flask>=3", "pyproject.toml:15:8 . pytest", "pyproject.toml:14:10 . redis[hiredis]>=5",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requirements (-want +got):\n%s", diff)
	}
	answers := MakeAnswers(r, set)
	wantAnswers := []string{
		"app.extras: dev", "app.members: ../helper", "app.source: .",
		"app[../helper].dependencies: backend", "app[../helper].name: helper", "app[../helper].version: backend",
		"app[.].build-system.requires: setuptools>=61", "app[.].name: web-app", "app[.].version: static",
	}
	var about []string
	for _, line := range answers.Recipe {
		if strings.HasPrefix(line, "app") {
			about = append(about, line)
		}
	}
	if diff := cmp.Diff(wantAnswers, about); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}

// Whatever changes in a project but its code makes the lock stale, at its line.
func TestProjectsAnswer(t *testing.T) {
	t.Parallel()
	files := func(change ...string) map[string]string {
		return map[string]string{"pyproject.toml": strings.NewReplacer(change...).Replace(appProject), "../helper/pyproject.toml": "[project]\nname = \"helper\"\nversion = \"1\"\n"}
	}
	const app = "{source: ., members: [../helper]}"
	r, set, err := appSet(t, app, "[]", files())
	if err != nil {
		t.Fatal(err)
	}
	lock := &Lock{Answers: MakeAnswers(r, set), Python: LockedPython{Version: "3.13.5"}, App: []LockedApp{{Source: "."}, {Source: "../helper"}}}
	for name, c := range map[string]struct {
		app    string
		change []string
		says   string
	}{
		"nothing":                  {app, nil, ""},
		"the version":              {app, []string{`version = "1.0"`, `version = "1.1"`}, ""},
		"a dependency":             {app, []string{"Flask >= 3", "Flask >= 3.1"}, "pyproject.toml:8:5: the lock answers flask>=3, not flask>=3.1"},
		"a dependency more":        {app, []string{`    "helper",`, `    "helper", "rich",`}, "pyproject.toml:10:15: the lock does not know rich"},
		"the build's requirements": {app, []string{"Setuptools >= 61", "hatchling"}, "pyproject.toml:5:8: the lock answers app[.].build-system.requires: setuptools>=61, not app[.].build-system.requires: hatchling"},
		"where the version is":     {app, []string{`version = "1.0"`, `dynamic = ["version"]`}, "pyproject.toml:5:8: the lock answers app[.].version: static, not app[.].version: backend"},
		"where dependencies are":   {app, []string{`version = "1.0"`, "version = \"1.0\"\ndynamic = [\"dependencies\"]"}, "the lock does not know app[.].dependencies: backend"},
		"an extra":                 {"{source: ., members: [../helper], extras: [dev]}", nil, "the lock does not know app.extras: dev"},
		"a member":                 {"{source: ../helper, members: [.]}", nil, "the lock answers app.source: ., not app.source: ../helper"},
		"a command":                {"{source: ., members: [../helper], command: [flask]}", nil, ""},
	} {
		r, set, err := appSet(t, c.app, "[]", files(c.change...))
		if err != nil {
			t.Fatal(err)
		}
		err = CheckFresh(r, set, lock)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	lock.App = lock.App[:1]
	if err := CheckFresh(r, set, lock); err == nil || !strings.Contains(err.Error(), "the lock does not have the first-party code in ../helper") {
		t.Errorf("without a member: %v", err)
	}
}

func TestVersionRules(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]string{
		"[project]\nname='a'\nversion='1'\n":                                                                                                            {VersionStatic, ""},
		"[project]\nname='a'\ndynamic=['version']\n":                                                                                                    {VersionBackend, ""},
		"[project]\nname='a'\ndynamic=['version']\n[build-system]\nrequires=['setuptools_scm[toml]>=8']\n":                                              {VersionTags, "SETUPTOOLS_SCM_PRETEND_VERSION"},
		"[project]\nname='a'\ndynamic=['version']\n[build-system]\nrequires=['hatchling', 'hatch-vcs']\n":                                               {VersionTags, "SETUPTOOLS_SCM_PRETEND_VERSION"},
		"[project]\nname='a'\nversion='1'\n[build-system]\nrequires=['setuptools-scm']\n":                                                               {VersionStatic, ""},
		"[build-system]\nrequires=['pbr']\n":                                                                                                            {VersionTags, "PBR_VERSION"},
		"[project]\nname='a'\ndynamic=['version']\n[tool.pdm.version]\nsource='scm'\n":                                                                  {VersionTags, "PDM_BUILD_SCM_VERSION"},
		"[tool.poetry]\nname='a'\nversion='1'\n":                                                                                                        {VersionStatic, ""},
		"[tool.poetry]\nname='a'\nversion='0'\n[tool.poetry-dynamic-versioning]\nenable=true\n[build-system]\nrequires=['poetry-dynamic-versioning']\n": {VersionTags, "POETRY_DYNAMIC_VERSIONING_BYPASS"},
	} {
		_, set, err := appSet(t, "{source: .}", "[]", map[string]string{"pyproject.toml": text})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := [2]string{set.Projects[0].Version, set.Projects[0].VersionVariable}; got != want {
			t.Errorf("%s gives %q, want %q", text, got, want)
		}
	}
}

// First-party code that cannot be built as it is meant is refused where it says so.
func TestProjectsRefused(t *testing.T) {
	t.Parallel()
	const head = "[project]\nname = \"web\"\nversion = \"1\"\n"
	for name, c := range map[string]struct {
		app   string
		files map[string]string
		says  []string
		hint  string
	}{
		"no directory": {"{source: src}", nil, []string{"ampoule.yaml:7:15: src is no directory"}, "relative to the recipe's"},
		"no project":   {"{source: ., members: [lib]}", map[string]string{"pyproject.toml": head, "lib/x.py": ""}, []string{"ampoule.yaml:7:28: lib has neither pyproject.toml nor setup.py"}, "PEP 517"},
		"not TOML":     {"{source: .}", map[string]string{"pyproject.toml": "[project]\nname = web\n"}, []string{"pyproject.toml:2:8: it is not as a pyproject.toml is"}, ""},
		"no requires":  {"{source: .}", map[string]string{"pyproject.toml": head + "[build-system]\nbuild-backend = \"x\"\n"}, []string{"pyproject.toml: build-system has no requires"}, "PEP 518"},
		"tags that nobody tells": {"{source: .}", map[string]string{"pyproject.toml": "[project]\nname = \"web\"\ndynamic = [\"version\"]\n[build-system]\nrequires = [\"versioneer\"]\n"},
			[]string{"pyproject.toml:5:13: versioneer takes the version from a repository"}, "setuptools-scm or hatch-vcs"},
		"an address": {"{source: .}", map[string]string{"pyproject.toml": head + "dependencies = [\"a @ git+https://example.org/a\", \"b b\"]\n"},
			[]string{"pyproject.toml:4:17: a is required from a URL", "pyproject.toml:4:50: \"b\" stands"}, "require it by name"},
		"a path": {"{source: .}", map[string]string{"pyproject.toml": head + "dependencies = [\"foo @ file:./libs/foo\"]\n"},
			[]string{"pyproject.toml:4:17: foo is required from a path"}, "app.members"},
		"a path for uv": {"{source: .}", map[string]string{"pyproject.toml": head + "dependencies = [\"foo\"]\n[tool.uv.sources]\nfoo = { path = \"libs/foo\" }\n"},
			[]string{"pyproject.toml:6:1: tool.uv.sources takes foo from libs/foo, which is no member"}, "app: {source: ., members: [libs/foo]}"},
		"a workspace for uv": {"{source: .}", map[string]string{"pyproject.toml": head + "dependencies = [\"foo\"]\n[tool.uv.sources]\nfoo = { workspace = true }\n"},
			[]string{"pyproject.toml:6:1: tool.uv.sources takes foo from the workspace"}, "members: ["},
		"an address for uv": {"{source: .}", map[string]string{"pyproject.toml": head + "dependencies = [\"foo\"]\n[tool.uv.sources]\nfoo = { git = \"https://example.org/foo\" }\nother = { path = \"x\" }\n"},
			[]string{"pyproject.toml:6:1: tool.uv.sources takes foo from an address"}, "require it by name"},
		"extras of a member": {"{source: ., members: [lib]}", map[string]string{"pyproject.toml": head + "dependencies = [\"lib[x]\"]\n", "lib/pyproject.toml": "[project]\nname = \"lib\"\nversion = \"1\"\n"},
			[]string{"pyproject.toml:4:17: lib[x] asks for extras of first-party code"}, "by name"},
		"an extra that is not there": {"{source: ., extras: [prodd, x]}", map[string]string{"pyproject.toml": head + "[project.optional-dependencies]\nProd = [\"a\"]\n"},
			[]string{"ampoule.yaml:7:27: pyproject.toml has no extra prodd", "ampoule.yaml:7:34: pyproject.toml has no extra x"}, "did you mean \"prod\"?"},
		"an extra of none":   {"{source: ., extras: [prod]}", map[string]string{"pyproject.toml": head}, []string{"ampoule.yaml:7:27: pyproject.toml has no extra prod"}, "it has none"},
		"the source twice":   {"{source: ., members: [.]}", map[string]string{"pyproject.toml": head}, []string{"ampoule.yaml:7:28: . is the source already"}, ""},
		"an empty command":   {"{source: ., command: []}", map[string]string{"pyproject.toml": head}, []string{"app.command has no program"}, "gunicorn"},
		"an absolute path":   {"{source: /srv/web}", nil, []string{`ampoule.yaml:7:15: app.source: "/srv/web" is not a directory`}, "relative to the recipe's"},
		"an unclean path":    {"{source: ./src/}", nil, []string{`"./src/" is not a directory`}, "write src"},
		"a name of an extra": {"{source: ., extras: [Dev]}", nil, []string{`"Dev" is not the normalised name`}, "write dev"},
		"a pattern above":    {"{source: ., files: [../x]}", nil, []string{`"../x" is not a pattern`}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{}
			for name, text := range c.files {
				files[name] = text
			}
			_, _, err := appSet(t, c.app, "[]", files)
			faults, ok := errors.AsType[Faults](err)
			if !ok || len(faults) != len(c.says) || !strings.Contains(faults.Hint(), c.hint) {
				t.Fatalf("got %v, want %q; hint %q", err, c.says, faults.Hint())
			}
			for i, says := range c.says {
				if !strings.Contains(faults[i].String(), says) {
					t.Errorf("got %s, want %s", faults[i], says)
				}
			}
		})
	}
}

// Requirements that name a path say what to write into the recipe, all in one.
func TestOwnPaths(t *testing.T) {
	t.Parallel()
	for lines, c := range map[string]struct{ app, hint string }{
		// The case of a service that is installed into its own environment.
		"-e ./src\nflask==3.0.3\n":           {"", "app: {source: src}"},
		".\n":                                {"", "app: {source: .}"},
		"-e .[dev, Post_gres]\n./libs/foo\n": {"", "app: {source: ., members: [libs/foo], extras: [dev, post-gres]}"},
		"foo @ file:libs/foo\n--editable=../shared\n":    {"", "app: {source: libs/foo, members: [../shared]}"},
		"-e file:./libs/foo\nlibs/bar/\n":                {"", "app: {source: libs/foo, members: [libs/bar]}"},
		"-e ./libs/foo ; python_version > \"3\"\n-e .\n": {"{source: .}", "app: {source: ., members: [libs/foo]}"},
	} {
		files := map[string]string{"r.txt": lines, "pyproject.toml": "[project]\nname = \"web\"\nversion = \"1\"\n"}
		_, _, err := appSet(t, c.app, "r.txt", files)
		faults, ok := errors.AsType[Faults](err)
		if !ok || !strings.Contains(faults[0].String(), "r.txt:1:1: ") || !strings.Contains(faults[0].What, "is first-party code") || !strings.Contains(faults.Hint(), c.hint) {
			t.Errorf("%q: %v, hint %q, want %q", lines, err, faults.Hint(), c.hint)
		}
		if _, yaml, found := strings.Cut(faults.Hint(), "recipe: app: "); found {
			if _, err := ParseRecipe("pasted", []byte(strings.Replace(files["ampoule.yaml"], "requirements: r.txt\n", "app: "+yaml+"\n", 1))); err != nil && c.app == "" {
				t.Errorf("the hint cannot be pasted: %v", err)
			}
		}
	}
	// What the app has is no fault: tools write such lines of their own accord.
	files := map[string]string{"r.txt": "-e .\n./libs/foo\n", "pyproject.toml": "[project]\nname = \"web\"\nversion = \"1\"\n",
		"libs/foo/pyproject.toml": "[project]\nname = \"foo\"\nversion = \"1\"\n"}
	if _, _, err := appSet(t, "{source: ., members: [libs/foo]}", "r.txt", files); err != nil {
		t.Error(err)
	}
	// What is no directory is told as before.
	for _, text := range []string{"./foo-1.0-py3-none-any.whl", "./foo-1.0.tar.gz", "git+https://example.org/x", "-e git+https://example.org/x", "/abs/path", "~/x", "foo @ https://example.org/x.whl"} {
		lines := ownLines{recipe: &Recipe{}}
		if lines.take(text, Position{}) {
			t.Errorf("%s is taken for first-party code in %s", text, lines.lines[0].dir)
		}
	}
	for _, text := range []string{"flask", "flask>=3; python_version < '4'", "a[b]~=1.0", "-r requirements/base.txt", "-rreqs/base.txt", "-c x/y.txt", "--require-hashes"} {
		lines := ownLines{recipe: &Recipe{}}
		if lines.take(text, Position{}) {
			t.Errorf("%s is taken for first-party code", text)
		}
	}
	_, _, err := appSet(t, "", `["flask", "./libs/foo"]`, map[string]string{})
	if faults, ok := errors.AsType[Faults](err); !ok || faults[0].Line != 6 || !strings.Contains(faults.Hint(), "app: {source: libs/foo}") {
		t.Errorf("in a recipe's list: %v", err)
	}
}

// Files that give hashes need none for what first-party code requires: the resolver's choice
// must have one in the end.
func TestProjectsWithHashes(t *testing.T) {
	t.Parallel()
	_, set, err := appSet(t, "{source: .}", "r.txt", map[string]string{
		"r.txt": "flask==3 --hash=sha256:" + hash + "\n", "pyproject.toml": "[project]\nname = \"web\"\nversion = \"1\"\ndependencies = [\"flask\"]\n",
	})
	if err != nil || !set.RequireHashes || len(set.Requirements) != 2 {
		t.Errorf("%+v, %v", set, err)
	}
}

// What the lock has of first-party code goes and comes back, and is whole.
func TestLockedApp(t *testing.T) {
	t.Parallel()
	l := goodLock()
	without := l.Encode()
	l.App = []LockedApp{
		{Source: ".", Name: "web-app", Version: VersionTags, Requires: []string{"flask>=3"}, Build: &BuildSet{Requires: []string{"setuptools"}, Dists: []string{l.Dists[0].ID()}, Env: map[string]string{"A": "b"}}},
		{Source: "../helper", Name: "helper", Version: VersionStatic, Build: &BuildSet{}},
	}
	again, err := ParseLock("l", l.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if string(again.Encode()) != string(l.Encode()) || len(again.App) != 2 || again.App[0].Build.Env["A"] != "b" || again.App[1].Source != "../helper" {
		t.Errorf("it came back as\n%s", again.Encode())
	}
	if strings.Contains(string(without), "\napp:") {
		t.Error("a lock without first-party code speaks of it")
	}
	for what, change := range map[string]func(*Lock){
		"the lock has no dist nothing==1":                               func(l *Lock) { l.App[0].Build.Dists = []string{"nothing==1"} },
		"the lock has no package nothing of bookworm":                   func(l *Lock) { l.App[0].Build.Packages = []string{"nothing"} },
		"is called helper, as is that in .":                             func(l *Lock) { l.App[0].Name = "helper" },
		"the first-party code in . is called flask, as is flask==3.1.0": func(l *Lock) { l.App[0].Name = "flask" },
	} {
		changed, err := ParseLock("l", l.Encode())
		if err != nil {
			t.Fatal(err)
		}
		change(changed)
		if err := changed.Check(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("got %v, want %q", err, what)
		}
	}
}
