package suggest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/recipes"
	"ampoule/recipes/project"
)

var update = flag.Bool("update", false, "write the golden files")

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "My App")
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// said is all that a suggestion tells.
func said(s *Suggestion) string {
	lines := slices.Clone(s.Chosen)
	for _, l := range s.Left {
		lines = append(lines, l.String())
	}
	return strings.Join(lines, "\n")
}

// newestOf is the newest known release of a series, such as "3.13.".
func newestOf(series string) string {
	newest := ""
	for _, r := range recipes.KnownPythons() {
		if strings.HasPrefix(r.Version, series) {
			newest = r.Version
		}
	}
	return newest
}

func TestRecipe(t *testing.T) {
	t.Parallel()
	newest, of13 := newestOf("3."), newestOf("3.13.")
	cases := map[string]struct {
		files                       map[string]string
		name, version, requirements string
		list                        []string
		told                        []string
	}{
		"nearly nothing":       {map[string]string{"README": ""}, "my-app", newest, "", nil, []string{"the newest known", "no requirements"}},
		"requirements.txt":     {map[string]string{"requirements.txt": "flask", ".python-version": "3.13\n"}, "my-app", of13, "requirements.txt", nil, []string{".python-version wants Python 3.13; the recipe has " + of13}},
		"full version":         {map[string]string{".python-version": "# pinned\n3.13.5\n", "runtime.txt": "python-3.13.5", "requirements.txt": ""}, "my-app", "3.13.5", "requirements.txt", nil, nil},
		"unknown full version": {map[string]string{"runtime.txt": "python-3.19.4\n", "requirements.txt": ""}, "my-app", "3.19.4", "requirements.txt", nil, []string{"sha256 is missing"}},
		"runtime series":       {map[string]string{"runtime.txt": "python-3.13.x\n", "requirements.txt": ""}, "my-app", of13, "requirements.txt", nil, nil},
		"directory of files":   {map[string]string{"requirements/base.txt": "a", "requirements/dev.txt": "-r base.txt\nb"}, "my-app", newest, "requirements/base.txt", nil, []string{"dependency group dev is that of requirements/dev.txt"}},
		"requirements.in":      {map[string]string{"requirements.in": "a"}, "my-app", newest, "requirements.in", nil, nil},
		"what the image has":   {map[string]string{"requirements.txt": "a", "requirements/web.txt": "b", "Dockerfile": "FROM python:3.13\nRUN pip install -r /app/requirements/web.txt gunicorn==23.0.0"}, "my-app", of13, "requirements/web.txt", nil, []string{"pip install gunicorn==23.0.0: it is not among the requirements"}},
		"pyproject":            {map[string]string{"pyproject.toml": "[project]\nname='Shop.API'\nrequires-python='>=3.9,<4'\ndependencies=['Flask>=3', 'x @ https://e/x']"}, "shop-api", newest, "", []string{"flask>=3"}, []string{"x is required from a URL", "pyproject.toml wants Python >=3.9,<4"}},
		"Pipfile":              {map[string]string{"Pipfile": "[requires]\npython_version='3.13'\n[packages]\nflask='*'\nx={version='~=1.2',extras=['a']}\ny={git='https://e/y'}\n[dev-packages]\npytest='*'"}, "my-app", of13, "", []string{"flask", "x[a]~=1.2"}, []string{"Pipfile:6:", "group dev"}},
		"Poetry":               {map[string]string{"pyproject.toml": "[tool.poetry]\nname='p'\n[tool.poetry.dependencies]\npython='^3.11'\nflask='^3.0.1'\nz='^0.3'\nw='~1.4'\n[build-system]\nbuild-backend='poetry.core.masonry.api'"}, "p", newest, "", []string{"flask<4,>=3.0.1", "z<0.4,>=0.3", "w<1.5,>=1.4"}, []string{"the project itself"}},
		"Poetry with its lock": {map[string]string{"pyproject.toml": "[tool.poetry]\nname='p'\n[tool.poetry.dependencies]\nflask='^3.0.1'\n[tool.poetry.extras]\nasync=['x']", "poetry.lock": "[[package]]\nname='flask'\n", "requirements.txt": ""}, "p", newest, "poetry.lock", nil, []string{"is a form of poetry.lock that is not known", "extra async"}},
		"setup.py":             {map[string]string{"setup.py": "REQ = ['flask>=3',\n 'x']\nsetup(name='tool', install_requires=REQ, extras_require={'a': ['b']})"}, "tool", newest, "", []string{"flask>=3", "x"}, []string{"extra a"}},
		"computed":             {map[string]string{"setup.py": "setup(name='tool', install_requires=open('r').read().split())"}, "tool", newest, "", nil, []string{"only running the project's code tells"}},
		"setup.cfg":            {map[string]string{"setup.cfg": "[metadata]\nname=c\n[options]\ninstall_requires =\n  a>1\n  b\n"}, "c", newest, "", []string{"a>1", "b"}, nil},
		"refused options":      {map[string]string{"requirements.txt": "--pre\nflask"}, "my-app", newest, "requirements.txt", nil, []string{"--pre is not honoured"}},
		"itself alone":         {map[string]string{"requirements.txt": "-e .\n", "setup.py": "setup(name='x', install_requires=['a'])"}, "x", newest, "", []string{"a"}, []string{"requirements.txt:1:1: the project itself"}},
		"odd names":            {map[string]string{"pyproject.toml": "[project]\nname='123'\ndependencies=[]"}, "123", newest, "", nil, nil},
		"two files":            {map[string]string{".python-version": "3.13.5", "runtime.txt": "\npython-3.11.2", "requirements.txt": ""}, "my-app", "3.13.5", "requirements.txt", nil, []string{"runtime.txt:2:1: python-3.11.2: it wants Python python-3.11.2, and other files want another one: the recipe has 3.13.5"}},
		"against the project":  {map[string]string{".python-version": "3.11.2", "pyproject.toml": "[project]\nrequires-python='>=3.13'"}, "my-app", newest, "", nil, []string{".python-version:1:1: 3.11.2: it wants"}},
		"a matrix":             {map[string]string{"tox.ini": "[tox]\nenvlist=py311\n  py313", "requirements.txt": ""}, "my-app", of13, "requirements.txt", nil, nil},
		"an image of 3.10":     {map[string]string{"pyproject.toml": "[project]\nname='p'\nrequires-python='>=3.9'", "docker/Dockerfile": "FROM python:3.10-slim"}, "p", newestOf("3.11."), "", nil, []string{"docker/Dockerfile:1:6: FROM python:3.10-slim: it wants Python 3.10, which Ampoule does not build; the recipe has 3.11."}},
		"jobs with 3.10":       {map[string]string{"setup.cfg": "[options]\npython_requires= >= 3.10\ninstall_requires=\n  a", ".github/workflows/a.yml": "with:\n  python-version: '3.10'\n", ".github/workflows/b.yml": "with:\n  python-version: '3.9'\n"}, "my-app", newestOf("3.11."), "", []string{"a"}, []string{"a.yml:2:20: python 3.10: it wants"}},
		"other images":         {map[string]string{".python-version": "pypy3.11", "Dockerfile": "FROM python:3.13", "requirements.txt": ""}, "my-app", of13, "requirements.txt", nil, []string{"pypy3.11: it wants Python pypy3.11, which Ampoule does not build"}},
		"an image for tests":   {map[string]string{"requirements.txt": "-r requirements/prod.txt", "requirements/prod.txt": "a", "requirements/dev.txt": "b", "Dockerfile": "RUN uv pip install -r requirements/dev.txt"}, "my-app", newest, "requirements.txt", nil, nil},
		"an image of two":      {map[string]string{"requirements.txt": "a", "extra_requirements.txt": "b", "Dockerfile": "RUN pip install -r requirements.txt -r extra_requirements.txt"}, "my-app", newest, "requirements.txt", nil, []string{"extra_requirements.txt: a requirements file: an image installs it too, and a recipe names one file"}},
		"no libraries":         {map[string]string{"requirements.txt": "a", "Dockerfile": "RUN apt-get install libldap-common libsasl2-modules-gssapi-mit libxml2-utils"}, "my-app", newest, "requirements.txt", nil, []string{"libldap-common: it has no library", "libsasl2-modules-gssapi-mit: it has", "libxml2-utils: it has"}},
		"a mirror's release":   {map[string]string{"runtime.txt": "python-3.11.6", "requirements.txt": ""}, "my-app", "3.11.6", "requirements.txt", nil, []string{"Debian does not have the source of Python 3.11.6"}},
		"a lock of tools":      {map[string]string{"pyproject.toml": "[project]\nname='p'\ndependencies=['virtualenv', 'tomli; python_version<\"3\"']", "pylock.toml": "lock-version = '1.0'\ncreated-by = 'x'\n[[packages]]\nname = 'pytz'\nversion = '1'\nwheels = [{name = 'pytz-1-py3-none-any.whl', url = 'https://e/pytz-1-py3-none-any.whl', hashes = {sha256 = '" + strings.Repeat("a", 64) + "'}}]\n"}, "p", newest, "", []string{"virtualenv", `tomli; python_version < "3"`}, []string{"virtualenv: the project requires it, and pylock.toml does not pin it"}},
		"a lock of it":         {map[string]string{"pyproject.toml": "[project]\nname='p'\ndependencies=['pytz', 'tomli; python_version<\"3\"']", "pylock.toml": "lock-version = '1.0'\ncreated-by = 'x'\n[[packages]]\nname = 'pytz'\nversion = '1'\nwheels = [{name = 'pytz-1-py3-none-any.whl', url = 'https://e/pytz-1-py3-none-any.whl', hashes = {sha256 = '" + strings.Repeat("a", 64) + "'}}]\n"}, "p", newest, "pylock.toml", nil, nil},
		"hostile texts":        {map[string]string{"requirements.txt": "a", "Procfile": "web: x \x1b[31m\r# y"}, "my-app", newest, "requirements.txt", nil, []string{"Procfile:1:1"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Recipe(write(t, c.files), Options{})
			if err != nil {
				t.Fatal(err)
			}
			r, err := recipes.ParseRecipe("ampoule.yaml", s.Recipe)
			if err != nil {
				t.Fatalf("%v\n%s", err, s.Recipe)
			}
			if r.Name != c.name || r.Python.Version != c.version || r.Requirements.File != c.requirements || !slices.Equal(r.Python.Optional, []string{"_tkinter"}) {
				t.Errorf("got\n%s", s.Recipe)
			}
			if diff := cmp.Diff(c.list, r.Requirements.List); diff != "" {
				t.Errorf("requirements (-want +got):\n%s", diff)
			}
			for _, want := range c.told {
				if !strings.Contains(said(s), want) {
					t.Errorf("no %q in %s", want, said(s))
				}
			}
		})
	}
}

func TestRecipeRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"Python 2":       {map[string]string{"runtime.txt": "python-2.7.18"}, "runtime.txt:1:1: runtime.txt wants Python python-2.7.18; Ampoule builds CPython 3.11 and later"},
		"3.10":           {map[string]string{"Dockerfile": "FROM python:3.10"}, "Dockerfile:1:6: Dockerfile wants Python 3.10; "},
		"another Python": {map[string]string{".python-version": "pypy3.10-7.3"}, "wants Python pypy3.10-7.3"},
		"none for them":  {map[string]string{"pyproject.toml": "[project]\nrequires-python='>=4'"}, "wants Python >=4"},
		"broken TOML":    {map[string]string{"pyproject.toml": "[project]\nname="}, "pyproject.toml:2:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Recipe(write(t, c.files), Options{})
			var faults recipes.Faults
			if !errors.As(err, &faults) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Hints and recipes never contradict what a project requires.
func TestRecipeOfUnknownSeries(t *testing.T) {
	t.Parallel()
	s, err := Recipe(write(t, map[string]string{"pyproject.toml": "[project]\nname='svc'\nversion='1'\nrequires-python='>=3.19,<3.20'\ndependencies=['flask==3.0.3']"}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(s.Recipe); !strings.Contains(got, "\n  version: 3.19.0\n") || !strings.Contains(got, "  # sha256: ") || !strings.Contains(said(s), "python.version 3.19.0: this Ampoule knows no release") {
		t.Errorf("got\n%s\n%s", got, said(s))
	}
}

// The lines for a lock file of another tool, which come first where recipes can name it.
func TestLockFile(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"pyproject.toml": "[project]\nname='p'\n[project.optional-dependencies]\nasync=['x']", "poetry.lock": "[[package]]\nname='Flask'\n"})
	repository, err := project.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer repository.Close()
	s := &suggester{dir: dir, repository: repository, metadata: repository.Metadata(), names: map[string]bool{}}
	if got := s.lockFile(repository.LockFiles(), "requirements.txt"); got != "requirements: poetry.lock" || !s.requires("flask") {
		t.Errorf("got %q, %v", got, s.names)
	}
	got := said(&Suggestion{Chosen: s.chosen, Left: s.left})
	for _, want := range []string{"requirements are the pins of poetry.lock", "not taken from requirements.txt", "pyproject.toml:4:8: extra async: "} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}

// A recipe goes into version control: no credentials of an address get there.
func TestNoCredentials(t *testing.T) {
	t.Parallel()
	s, err := Recipe(write(t, map[string]string{
		"requirements.txt": "flask\nx @ git+https://me:s3cret@git.example/x\n", "Dockerfile": "RUN pip install git+https://me:s3cret@git.example/y --index-url https://me:s3cret@index.example\nCMD fetch https://me:s3cret@e.example/z\n",
		"pyproject.toml": "[tool.poetry]\nname='p'\n[tool.poetry.dependencies]\nz={git='https://me:s3cret@git.example/z'}\n",
	}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if all := string(s.Recipe) + said(s); strings.Contains(all, "s3cret") || !strings.Contains(all, "git.example/y") {
		t.Errorf("got %s", all)
	}
}

// Requirements for tests become dependency groups, if everything of them can be read; others are
// told.
func TestDependencyGroups(t *testing.T) {
	t.Parallel()
	const project = "[project]\nname='p'\ndependencies=['flask']\n[project.optional-dependencies]\ntesting=['hypothesis']\nasync=['trio']\n" +
		"[dependency-groups]\ntest=['pytest', {include-group='base'}]\nbase=['six']\nlint=['ruff']\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  map[string][]string
		told  []string
	}{
		"files": {map[string]string{"requirements.txt": "flask", "requirements-test.txt": "-r requirements.txt\npytest", "dev-requirements.txt": "black", "requirements/docs.txt": "sphinx"},
			map[string][]string{"test": {"flask", "pytest"}, "dev": {"black"}}, []string{"dependency group test is that of requirements-test.txt", "requirements/docs.txt: a requirements file"}},
		"tables":           {map[string]string{"pyproject.toml": project}, map[string][]string{"test": {"pytest", "six"}, "testing": {"hypothesis"}}, []string{"group lint: a group of dependencies", "extra async: which extras"}},
		"what is refused":  {map[string]string{"requirements.txt": "flask", "requirements-test.txt": "--pre\npytest"}, nil, []string{"requirements-test.txt: a requirements file: it looks like a group"}},
		"no such table":    {map[string]string{"pyproject.toml": "[tool.poetry]\nname='p'\n[tool.poetry.group.test.dependencies]\npytest='*'\n"}, nil, []string{"group test: a group of dependencies"}},
		"of one name":      {map[string]string{"requirements.txt": "flask", "requirements/test.txt": "pytest", "pyproject.toml": "[dependency-groups]\ntest=['nose']\n"}, map[string][]string{"test": {"pytest"}}, []string{"group test: a group of dependencies"}},
		"nothing for them": {map[string]string{"requirements.txt": "flask", "requirements-dev.txt": "-e .\n"}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := write(t, c.files)
			s, err := Recipe(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			r, err := recipes.ParseRecipe(filepath.Join(dir, "ampoule.yaml"), s.Recipe)
			if err != nil {
				t.Fatal(err)
			}
			set, err := recipes.ReadRequirements(r)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string][]string{}
			for name, group := range set.Groups {
				got[name] = recipes.MakeGroupAnswers(group)
			}
			if len(got) == 0 {
				got = nil
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("groups (-want +got):\n%s\n%s", diff, s.Recipe)
			}
			for _, want := range c.told {
				if !strings.Contains(said(s), want) {
					t.Errorf("no %q in %s", want, said(s))
				}
			}
		})
	}
}

// A recipe names files from where it stands, and messages from where the person is.
func TestFilesFromTheRecipe(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"requirements.txt": "flask", "Procfile": "web: gunicorn x\n"})
	s, err := Recipe(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(s.Recipe), "\n# - Procfile:1:1: ") || !strings.Contains(said(s), filepath.Join(dir, "Procfile")+":1:1: ") {
		t.Errorf("got\n%s\n%s", s.Recipe, said(s))
	}
}

func TestAdopt(t *testing.T) {
	t.Parallel()
	s, err := Recipe(write(t, map[string]string{"requirements.txt": "a"}), Options{Adopt: time.Date(2026, 12, 31, 23, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := recipes.ParseRecipe("ampoule.yaml", s.Recipe)
	if err != nil {
		t.Fatal(err)
	}
	want := []recipes.Acceptance{{Match: []string{"*"}, Why: "adopted", Until: "2027-03-31"}}
	if diff := cmp.Diff(want, r.Binary.Accept); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, ok := r.Accepted("numpy"); !ok {
		t.Error("numpy is not accepted")
	}
}

// TestProjects holds what is written for projects of several kinds, in testdata, to what
// a person has read: the recipe, and what is told of it.
func TestProjects(t *testing.T) {
	t.Parallel()
	projects, err := filepath.Glob("testdata/*.golden")
	if err != nil || len(projects) < 8 {
		t.Fatalf("%d projects, %v", len(projects), err)
	}
	for _, golden := range projects {
		name := strings.TrimSuffix(golden, ".golden")
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			// The copy is the repository: that of the tests says other things.
			dir := filepath.Join(t.TempDir(), filepath.Base(name))
			if err := os.CopyFS(dir, os.DirFS(name)); err != nil {
				t.Fatal(err)
			}
			at := dir
			if base := filepath.Base(name); base == "monorepo" {
				if err := os.Mkdir(filepath.Join(dir, ".git"), 0o700); err != nil {
					t.Fatal(err)
				}
				at = filepath.Join(dir, "services", "api")
			}
			s, err := Recipe(at, Options{})
			if err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(fmt.Sprintf("%s\n== told\n%s\n", s.Recipe, said(s)), at+"/", "")
			got = strings.ReplaceAll(got, dir+"/", "")
			r, err := recipes.ParseRecipe("ampoule.yaml", s.Recipe)
			if err != nil {
				t.Fatal(err)
			}
			// A release that becomes known changes no project.
			if version := r.Python.Version; version == newestOf(version[:strings.LastIndexByte(version, '.')+1]) {
				got = strings.Replace(got, flags(version, r.Base.Debian), "  FLAGS\n", 1)
				got = strings.ReplaceAll(got, version, "NEWEST")
			}
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// flags are the lines about the interpreter's flags.
func flags(version, suite string) string {
	var b strings.Builder
	draft{version: version, suite: suite}.configure(func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) })
	return b.String()
}

// An interpreter for which a profile ships is optimised, another one is plain.
func TestFlags(t *testing.T) {
	t.Parallel()
	optimised, plain := flags("3.13.5", "bookworm"), flags("3.13.5", "sid")
	if !strings.Contains(optimised, "\n  configure: [--enable-optimizations, --with-lto]\n  profile: sha256:") {
		t.Errorf("with a profile:\n%s", optimised)
	}
	if !strings.HasSuffix(plain, "\n  configure: []\n") {
		t.Errorf("without a profile:\n%s", plain)
	}
	// They stand in the recipe.
	for _, suite := range []string{"bookworm", "sid"} {
		if text := (draft{name: "app", version: "3.13.5", known: true, suite: suite}).text(); !strings.Contains(string(text), flags("3.13.5", suite)) {
			t.Errorf("a recipe is\n%s", text)
		}
	}
}
