package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/tree"
)

// repository is a directory with a repository of git.
type repository struct {
	t   *testing.T
	dir string
}

// environ is that of git in tests: nothing of this machine's configuration.
func environ(home string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "GIT_CONFIG_NOSYSTEM=1"}
}

func newRepository(t *testing.T) repository {
	t.Helper()
	r := repository{t, t.TempDir()}
	r.git("init", "--quiet", "--initial-branch=main")
	return r
}

// git runs git as a person does.
func (r repository) git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always"}, args...)...)
	cmd.Dir, cmd.Env = r.dir, environ(r.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// write writes files, by path; those that end in * are executable.
func (r repository) write(files map[string]string) {
	r.t.Helper()
	for name, text := range files {
		mode := fs.FileMode(0o644)
		plain, executable := strings.CutSuffix(name, "*")
		if executable {
			mode = 0o755
		}
		file := filepath.Join(r.dir, plain)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			r.t.Fatal(err)
		}
	}
}

// commit commits everything, and returns the commit.
func (r repository) commit() string {
	r.t.Helper()
	r.git("add", "--all")
	r.git("commit", "--quiet", "--allow-empty", "-m", "x")
	return r.git("rev-parse", "HEAD")
}

// spec asks for the directories of a repository, whose recipe is at its top.
func (r repository) spec(dirs ...string) Spec {
	spec := Spec{Dir: r.dir, At: recipes.Position{File: "ampoule.yaml", Line: 3, Column: 6}}
	for _, dir := range dirs {
		spec.Sources = append(spec.Sources, Source{Dir: dir, At: recipes.Position{File: "pyproject.toml", Line: 2}})
	}
	return spec
}

func (r repository) read(spec Spec) (*Workspace, error) {
	r.t.Helper()
	return Read(r.t.Context(), spec, environ(r.dir))
}

func (r repository) mustRead(spec Spec) *Workspace {
	r.t.Helper()
	w, err := r.read(spec)
	if err != nil {
		r.t.Fatal(err)
	}
	return w
}

// paths lists what a tree holds, directories apart.
func paths(t *tree.Tree) []string {
	var all []string
	for _, e := range t.Entries() {
		if e.Kind != tree.Dir {
			all = append(all, fmt.Sprintf("%s %o", e.Path, e.Mode))
		}
	}
	return all
}

// What is tracked is read as it stands on disk, whatever is committed of it.
func TestRead(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.write(map[string]string{
		"pyproject.toml": "[project]\n", "src/web/__init__.py": "one\n", "bin/start*": "#!/bin/sh\n", "gone.py": "", ".gitignore": "*.pyc\n",
		"ampoule.yaml": "name: web\n", "naïve name.txt": "",
	})
	if err := os.Symlink("web", filepath.Join(r.dir, "src/link")); err != nil {
		t.Fatal(err)
	}
	commit := r.commit()
	spec := r.spec(".")
	spec.Except, spec.Beside = []string{"ampoule.yaml"}, []string{"ampoule.yaml"}
	clean := r.mustRead(spec)
	if diff := cmp.Diff(State{Commit: commit}, clean.State); diff != "" {
		t.Errorf("right after the commit (-want +got):\n%s", diff)
	}
	r.write(map[string]string{"src/web/__init__.py": "two\n", "src/web/staged.py": "", "untracked.py": "", "src/web/x.pyc": ""})
	r.git("add", "src/web/staged.py")
	if err := errors.Join(os.Remove(filepath.Join(r.dir, "gone.py")), os.Chmod(filepath.Join(r.dir, "bin/start"), 0o644)); err != nil {
		t.Fatal(err)
	}
	dirty := r.mustRead(spec)
	want := []string{".gitignore 644", "bin/start 644", "naïve name.txt 644", "pyproject.toml 644", "src/link 777", "src/web/__init__.py 644", "src/web/staged.py 644"}
	if diff := cmp.Diff(want, paths(dirty.Projects[0].Tree)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	e, _ := dirty.Projects[0].Tree.Lookup("src/web/__init__.py")
	if data, err := e.ReadAll(); err != nil || string(data) != "two\n" {
		t.Errorf("it holds %q, %v", data, err)
	}
	if diff := cmp.Diff(State{
		Commit: commit, Dirty: true, Changed: []string{"bin/start", "gone.py", "src/web/__init__.py", "src/web/staged.py"}, Untracked: []string{"untracked.py"},
	}, dirty.State); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if clean.Hash() == dirty.Hash() {
		t.Error("other files have the same hash")
	}
	r.git("checkout", "--quiet", "--force", "HEAD")
	r.git("rm", "--quiet", "--cached", "--ignore-unmatch", "src/web/staged.py")
	if again := r.mustRead(spec); again.Hash() != clean.Hash() || again.State.Dirty {
		t.Errorf("the same files again: %+v", again.State)
	}
	r.write(map[string]string{"ampoule.yaml": "name: api\n"})
	if w := r.mustRead(spec); w.Hash() != clean.Hash() || !w.State.Dirty || !slices.Equal(w.State.Changed, []string{"ampoule.yaml"}) {
		t.Errorf("with another recipe: %+v", w.State)
	}
}

// Several sources, some of them above the recipe's directory.
func TestSources(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.write(map[string]string{
		"services/web/pyproject.toml": "", "services/web/web.py": "", "libs/foo/setup.py": "", "libs/foo/foo.py": "", "libs/bar/pyproject.toml": "",
	})
	r.commit()
	spec := r.spec(".", "../../libs/foo")
	spec.Dir = filepath.Join(r.dir, "services", "web")
	before := r.mustRead(spec)
	var got [][]string
	for _, p := range before.Projects {
		got = append(got, append([]string{p.Dir}, paths(p.Tree)...))
	}
	if diff := cmp.Diff([][]string{{".", "pyproject.toml 644", "web.py 644"}, {"../../libs/foo", "foo.py 644", "setup.py 644"}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.write(map[string]string{"libs/bar/pyproject.toml": "# of nobody here\n"})
	if w := r.mustRead(spec); w.State.Dirty || w.Hash() != before.Hash() {
		t.Errorf("a file of another project: %+v", w.State)
	}
	spec.Sources[1].Dir = "../../../elsewhere"
	if _, err := r.read(spec); faults.Of(err) != faults.Input || !strings.Contains(fmt.Sprint(err), "is outside of") {
		t.Errorf("outside of the repository: %v", err)
	}
}

// Files that the recipe names need not be tracked.
func TestNamedFiles(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.write(map[string]string{"pyproject.toml": "", "src/web.py": "", "docs/x.md": "", ".gitignore": "src/made.py\n"})
	commit := r.commit()
	r.write(map[string]string{"src/made.py": "made\n", "src/deep/er.py": "", "docs/x.md": "changed, and not named\n"})
	spec := r.spec(".")
	spec.Files = []string{"pyproject.toml", "src"}
	w := r.mustRead(spec)
	if diff := cmp.Diff([]string{"pyproject.toml 644", "src/deep/er.py 644", "src/made.py 644", "src/web.py 644"}, paths(w.Projects[0].Tree)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(State{Commit: commit, Generated: []string{"src/deep/er.py", "src/made.py"}}, w.State); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	spec.Files = []string{"*"}
	w = r.mustRead(spec)
	if slices.ContainsFunc(paths(w.Projects[0].Tree), func(p string) bool { return strings.HasPrefix(p, ".git/") }) || !w.State.Dirty {
		t.Errorf("of everything: %q, %+v", paths(w.Projects[0].Tree), w.State)
	}
	for pattern, says := range map[string]string{"lib": `"lib" matches nothing`, "src": "matches neither pyproject.toml nor setup.py"} {
		spec.Files = []string{pattern}
		if _, err := r.read(spec); faults.Of(err) != faults.Input || !strings.Contains(fmt.Sprint(err), says) || !strings.HasPrefix(fmt.Sprint(err), "reading the application: .: ampoule.yaml:3:6:") {
			t.Errorf("%s: %v", pattern, err)
		}
	}
	// Without git, the same.
	if err := os.RemoveAll(filepath.Join(r.dir, ".git")); err != nil {
		t.Fatal(err)
	}
	spec.Files = []string{"pyproject.toml", "src"}
	bare, err := Read(t.Context(), spec, []string{"PATH="})
	if err != nil || bare.State.Commit != "" || !bare.State.Dirty || len(paths(bare.Projects[0].Tree)) != 4 {
		t.Errorf("without git: %+v, %v", bare, err)
	}
}

// What cannot be read as it is meant is refused by name, all at once.
func TestRefuses(t *testing.T) {
	t.Parallel()
	pointer := string(lfsPointerTo(strings.Repeat("0", 64), 12345))
	for name, c := range map[string]struct {
		make func(t *testing.T, r repository)
		spec func(*Spec)
		// says are all in one error, hint in its hints.
		says []string
		hint string
		kind faults.Kind
	}{
		"pointers of Git LFS": {make: func(_ *testing.T, r repository) {
			r.write(map[string]string{"data/model.bin": pointer, "data/other.bin": pointer})
			r.commit()
		}, says: []string{"data/model.bin: it is a pointer of Git LFS", "data/other.bin: it is a pointer"}, hint: "git lfs pull"},
		"a submodule that is not there": {make: func(t *testing.T, r repository) {
			other := newRepository(t)
			other.write(map[string]string{"x.py": ""})
			other.commit()
			r.git("submodule", "--quiet", "add", other.dir, "vendor/other")
			r.commit()
			r.git("submodule", "--quiet", "deinit", "--all", "--force")
		}, says: []string{"vendor/other: the submodule is not there"}, hint: "git submodule update --init"},
		"links that lead out": {make: func(t *testing.T, r repository) {
			for link, target := range map[string]string{"abs": "/etc/passwd", "up": "../secret", "src/up": "../../secret", "dir": "src", "through": "dir/web.py"} {
				if err := errors.Join(os.MkdirAll(filepath.Join(r.dir, "src"), 0o755), os.Symlink(target, filepath.Join(r.dir, link))); err != nil {
					t.Fatal(err)
				}
			}
			r.commit()
		}, says: []string{"abs: it is a link to /etc/passwd, which is outside", "/up: it is a link to ../secret", "src/up: it is a link to ../../secret", "through: it is a link to dir/web.py, which leads through the link dir"}, hint: "put the file itself there"},
		"a name that is not UTF-8": {make: func(_ *testing.T, r repository) {
			r.write(map[string]string{"caf\xe9.py": ""})
			r.commit()
		}, says: []string{`the name "caf\xe9.py" is not UTF-8`}, hint: "rename the file"},
		"a socket and a pipe": {make: func(t *testing.T, r repository) {
			if err := syscall.Mkfifo(filepath.Join(r.dir, "pipe"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, spec: func(s *Spec) { s.Files = []string{"pyproject.toml", "pipe"} }, says: []string{"pipe: it is a pipe"}, hint: "leave it out"},
		"an undecided merge": {make: func(t *testing.T, r repository) {
			r.write(map[string]string{"x.py": "0\n"})
			r.commit()
			r.git("checkout", "--quiet", "-b", "other")
			r.write(map[string]string{"x.py": "1\n"})
			r.commit()
			r.git("checkout", "--quiet", "main")
			r.write(map[string]string{"x.py": "2\n"})
			r.commit()
			cmd := exec.Command("git", "-c", "user.name=a", "-c", "user.email=a@example.org", "merge", "other")
			cmd.Dir = r.dir
			if cmd.Run() == nil {
				t.Fatal("the merge has no conflict")
			}
		}, says: []string{"x.py: a merge has left it undecided"}, hint: "resolve the conflict"},
		"a source without a project": {make: func(_ *testing.T, r repository) { r.write(map[string]string{"lib/x.py": ""}); r.commit() },
			spec: func(s *Spec) { s.Sources[0].Dir = "lib" }, says: []string{"ampoule.yaml:3:6: lib: git tracks neither pyproject.toml nor setup.py"}, hint: "git add lib/pyproject.toml"},
		"a source that is not there": {make: func(*testing.T, repository) {},
			spec: func(s *Spec) { s.Sources[0].Dir = "nowhere" }, says: []string{"nowhere is no directory of the working tree"}, hint: "app.source and app.members"},
		"no repository": {make: func(t *testing.T, r repository) {
			if err := os.RemoveAll(filepath.Join(r.dir, ".git")); err != nil {
				t.Fatal(err)
			}
		}, says: []string{"ampoule.yaml:3:6: . is in no git repository"}, hint: "files: [pyproject.toml, src]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t)
			r.write(map[string]string{"pyproject.toml": ""})
			r.commit()
			c.make(t, r)
			spec := r.spec(".")
			if c.spec != nil {
				c.spec(&spec)
			}
			_, err := r.read(spec)
			for _, says := range c.says {
				if !strings.Contains(fmt.Sprint(err), says) {
					t.Errorf("it does not say %q:\n%v", says, err)
				}
			}
			if hints := strings.Join(faults.Hints(err), "\n"); !strings.Contains(hints, c.hint) || faults.Of(err) != faults.Input {
				t.Errorf("kind %d, hints %q", faults.Of(err), hints)
			}
		})
	}
}

// Submodules that are there are part of the code.
func TestSubmodule(t *testing.T) {
	t.Parallel()
	other := newRepository(t)
	other.write(map[string]string{"x.py": "", "deep/y.py": ""})
	other.commit()
	r := newRepository(t)
	r.write(map[string]string{"pyproject.toml": ""})
	r.git("submodule", "--quiet", "add", other.dir, "vendor/other")
	r.commit()
	w := r.mustRead(r.spec("."))
	if diff := cmp.Diff([]string{".gitmodules 644", "pyproject.toml 644", "vendor/other/deep/y.py 644", "vendor/other/x.py 644"}, paths(w.Projects[0].Tree)); diff != "" || w.State.Dirty {
		t.Errorf("%+v (-want +got):\n%s", w.State, diff)
	}
	inside := repository{t, filepath.Join(r.dir, "vendor", "other")}
	inside.write(map[string]string{"x.py": "changed\n"})
	if w := r.mustRead(r.spec(".")); !slices.Equal(w.State.Changed, []string{"vendor/other/x.py"}) {
		t.Errorf("changed there: %+v", w.State)
	}
	inside.commit()
	if w := r.mustRead(r.spec(".")); !slices.Equal(w.State.Changed, []string{"vendor/other"}) {
		t.Errorf("committed there alone: %+v", w.State)
	}
}

// A file that Git LFS has brought is what the commit's pointer says.
func TestLargeFiles(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	const sum = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" // of "test"
	r.write(map[string]string{"pyproject.toml": "", "model.bin": string(lfsPointerTo(sum, 4))})
	r.commit()
	r.write(map[string]string{"model.bin": "test"})
	if w := r.mustRead(r.spec(".")); w.State.Dirty {
		t.Errorf("the file itself: %+v", w.State)
	}
	r.write(map[string]string{"model.bin": "tent"})
	if w := r.mustRead(r.spec(".")); !slices.Equal(w.State.Changed, []string{"model.bin"}) {
		t.Errorf("another file: %+v", w.State)
	}
}

// Files that change after they were read are told when they are read again.
func TestChanges(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(file string) error{
		"other bytes": func(file string) error { return os.WriteFile(file, []byte("two\n"), 0o644) },
		"shorter":     func(file string) error { return os.WriteFile(file, []byte("on"), 0o644) },
		"longer":      func(file string) error { return os.WriteFile(file, []byte("one\nmore\n"), 0o644) },
		"gone":        os.Remove,
		"a link": func(file string) error {
			return errors.Join(os.Rename(file, file+".old"), os.Symlink(file+".old", file))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t)
			r.write(map[string]string{"pyproject.toml": "", "web.py": "one\n"})
			r.commit()
			w := r.mustRead(r.spec("."))
			if err := w.Projects[0].Tree.WriteTar(discard{}, "app", tree.Time); err != nil {
				t.Fatal(err)
			}
			if err := change(filepath.Join(r.dir, "web.py")); err != nil {
				t.Fatal(err)
			}
			var changed *ChangedError
			err := w.Projects[0].Tree.WriteTar(discard{}, "app", tree.Time)
			if !errors.As(err, &changed) || changed.Path != filepath.Join(r.dir, "web.py") || faults.Of(err) != faults.Input {
				t.Errorf("got %v", err)
			}
		})
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func TestLimits(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.write(map[string]string{"pyproject.toml": "12345", "a.py": "12345", "b.py": ""})
	r.commit()
	for name, c := range map[string]struct {
		limits limits
		files  []string
		says   string
	}{
		"enough":          {limits{3, 10}, nil, ""},
		"files":           {limits{2, 10}, nil, "more than 2 files"},
		"bytes":           {limits{3, 9}, nil, "more than 9 bytes"},
		"files, by name":  {limits{2, 10}, []string{"*"}, "more than 2 files"},
		"enough, by name": {limits{3, 10}, []string{"*"}, ""},
	} {
		spec := r.spec(".")
		spec.Files = c.files
		_, err := read(t.Context(), spec, environ(r.dir), c.limits)
		if c.says == "" && err != nil || c.says != "" && (!strings.Contains(fmt.Sprint(err), c.says) || faults.Of(err) != faults.Input) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Git runs nothing that a repository asks for, and changes nothing in it.
func TestNothingRuns(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.write(map[string]string{"pyproject.toml": "", "web.py": "", ".gitattributes": "* filter=evil diff=evil\n"})
	r.commit()
	r.git("tag", "v1.0")
	mark := filepath.Join(t.TempDir(), "ran")
	evil := filepath.Join(t.TempDir(), "evil")
	if err := os.WriteFile(evil, []byte("#!/bin/sh\necho \"$0 $*\" >>"+mark+"\ncat\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"core.fsmonitor", "filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "diff.evil.textconv", "diff.external", "core.pager", "core.sshCommand"} {
		r.git("config", key, evil)
	}
	hooks := filepath.Join(r.dir, ".git", "hooks")
	if err := os.MkdirAll(hooks, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, hook := range []string{"post-index-change", "fsmonitor-watchman", "post-checkout", "reference-transaction"} {
		if err := os.Link(evil, filepath.Join(hooks, hook)); err != nil {
			t.Fatal(err)
		}
	}
	// The index is older than the file, so that git would look again and write what it saw.
	r.write(map[string]string{"web.py": "changed\n"})
	index := filepath.Join(r.dir, ".git", "index")
	before, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	spec := r.spec(".")
	spec.Sources[0].Tagged = true
	if w := r.mustRead(spec); !slices.Equal(w.State.Changed, []string{"web.py"}) {
		t.Errorf("state %+v", w.State)
	}
	if ran, err := os.ReadFile(mark); err == nil {
		t.Errorf("it ran:\n%s", ran)
	}
	if after, err := os.ReadFile(index); err != nil || string(after) != string(before) {
		t.Errorf("the index changed, %v", err)
	}
}

// Variables that git's own hooks have lead nowhere else.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	r, other := newRepository(t), newRepository(t)
	for _, one := range []repository{r, other} {
		one.write(map[string]string{"pyproject.toml": one.dir})
		one.commit()
	}
	env := append(environ(r.dir), "GIT_DIR="+filepath.Join(other.dir, ".git"), "GIT_INDEX_FILE=/nowhere", "GIT_WORK_TREE="+other.dir)
	w, err := Read(t.Context(), r.spec("."), env)
	if err != nil || w.State.Dirty || w.State.Commit != r.git("rev-parse", "HEAD") {
		t.Errorf("%+v, %v", w, err)
	}
	_, err = Read(t.Context(), r.spec("."), []string{"PATH=/nowhere"})
	if !errors.Is(err, errNoGit) || faults.Of(err) != faults.Machine {
		t.Errorf("without git: %v", err)
	}
}

// A repository before its first commit, and one that names files by SHA-256.
func TestOtherRepositories(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.write(map[string]string{"pyproject.toml": ""})
	r.git("add", "--all")
	if w := r.mustRead(r.spec(".")); w.State.Commit != "" || !w.State.Dirty || w.Projects[0].Tree.Len() != 1 {
		t.Errorf("before the first commit: %+v", w.State)
	}
	r = repository{t, t.TempDir()}
	r.git("init", "--quiet", "--object-format=sha256")
	r.write(map[string]string{"pyproject.toml": "x"})
	commit := r.commit()
	if w := r.mustRead(r.spec(".")); w.State.Commit != commit || len(commit) != 64 || w.State.Dirty {
		t.Errorf("with SHA-256: %+v", w.State)
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.write(map[string]string{"pyproject.toml": ""})
	commit := r.commit()
	spec := r.spec(".")
	spec.Sources[0].Tagged = true
	version := func() string {
		t.Helper()
		return r.mustRead(spec).Projects[0].Version
	}
	if _, err := r.read(spec); !strings.Contains(fmt.Sprint(err), "pyproject.toml:2: the version comes from tags, and no tag") || faults.Of(err) != faults.Input {
		t.Errorf("without tags: %v", err)
	}
	r.git("tag", "release-candidate")
	if _, err := r.read(spec); err == nil {
		t.Error("a tag without a number gives a version")
	}
	r.git("tag", "v1.2.3")
	first := r.mustRead(spec)
	if first.Projects[0].Version != "1.2.3" {
		t.Errorf("at the tag: %s", first.Projects[0].Version)
	}
	r.write(map[string]string{"pyproject.toml": "# changed\n"})
	if got, want := version(), "1.2.4.dev0+g"+commit[:12]+".dirty"; got != want {
		t.Errorf("dirty at the tag: %s, want %s", got, want)
	}
	commit = r.commit()
	if got, want := version(), "1.2.4.dev1+g"+commit[:12]; got != want {
		t.Errorf("behind the tag: %s, want %s", got, want)
	}
	r.git("tag", "web-2.0rc1")
	if got := version(); got != "2.0rc1" {
		t.Errorf("at a candidate with a name: %s", got)
	}
	commit = r.commit()
	if got, want := version(), "2.0rc2.dev1+g"+commit[:12]; got != want {
		t.Errorf("behind a candidate: %s, want %s", got, want)
	}
	// The version is part of the code: the same files with another one are another artifact.
	before := r.mustRead(spec)
	r.commit()
	if after := r.mustRead(spec); after.Hash() == before.Hash() || after.Projects[0].Tree.Hash() != before.Projects[0].Tree.Hash() {
		t.Error("another version has the same hash, or another tree")
	}
	shallow := repository{t, filepath.Join(t.TempDir(), "clone")}
	r.git("clone", "--quiet", "--depth=1", "file://"+r.dir, shallow.dir)
	spec.Dir = shallow.dir
	if _, err := shallow.read(spec); !strings.Contains(fmt.Sprint(err), "this is a shallow clone") || !strings.Contains(strings.Join(faults.Hints(err), " "), "--unshallow") {
		t.Errorf("in a shallow clone: %v", err)
	}
	spec.Sources[0].Tagged = false
	if w := shallow.mustRead(spec); w.Projects[0].Version != "" || w.State.Dirty {
		t.Errorf("a shallow clone without versions: %+v", w)
	}
}

// Files that a recipe shares with others stand above it: they are told of, and are no code.
func TestBesideAbove(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.write(map[string]string{"pyproject.toml": "[project]\n", "python.yaml": "one\n", "web/ampoule.yaml": "extends: ../python.yaml\n"})
	r.commit()
	spec := r.spec("..")
	spec.Dir = filepath.Join(r.dir, "web")
	spec.Except, spec.Beside = []string{"../python.yaml", "ampoule.yaml"}, []string{"../python.yaml", "ampoule.yaml"}
	clean := r.mustRead(spec)
	if clean.State.Dirty || !slices.Equal(paths(clean.Projects[0].Tree), []string{"pyproject.toml 644"}) {
		t.Errorf("right after the commit: %+v, %v", clean.State, paths(clean.Projects[0].Tree))
	}
	r.write(map[string]string{"python.yaml": "two\n"})
	if w := r.mustRead(spec); w.Hash() != clean.Hash() || !slices.Equal(w.State.Changed, []string{"python.yaml"}) {
		t.Errorf("with another shared file: %+v", w.State)
	}
	spec.Beside = []string{"../../elsewhere.yaml"}
	if w := r.mustRead(spec); !slices.Equal(w.State.Changed, []string{"../elsewhere.yaml"}) {
		t.Errorf("with a file of no repository: %+v", w.State)
	}
}

// A system without modes takes what may be run from the commit.
func TestIsExecutable(t *testing.T) {
	t.Parallel()
	run, plain := &blob{mode: modeExecutable}, &blob{mode: modeFile}
	for _, c := range []struct {
		mode      fs.FileMode
		committed *blob
		modes     bool
		want      bool
	}{
		{0o755, plain, true, true}, {0o644, run, true, false}, {0o755, nil, true, true},
		{0o666, run, false, true}, {0o777, plain, false, false}, {0o777, nil, false, false},
	} {
		if got := isExecutable(c.mode, c.committed, c.modes); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}
