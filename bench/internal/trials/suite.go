package trials

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ampoule/artifact"
	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/recorded"
	"ampoule/recipes"
	"ampoule/recipes/profiles"
	"ampoule/store"
)

// suiteFiles build the tests of CPython to a wheel, and run them.
//
//go:embed suite
var suiteFiles embed.FS

// linkModes are the ways in which interpreters are linked, and testedPython their version.
var linkModes = []struct {
	name      string
	configure []string
}{
	{name: "static"},
	{name: "shared", configure: []string{"--enable-shared"}},
	{name: "embed", configure: []string{"--enable-shared", "--enable-static-libpython-for-interpreter"}},
}

const testedPython = "3.13.5"

// suiteDist is the distribution that the tests are, and suiteDriver what runs them.
const (
	suiteDist   = "cpython-tests"
	suiteDriver = "cpython_tests.py"
)

// suitePackages are what compiling CPython takes, and what its tests ask for of a system.
const suitePackages = "ca-certificates,build-essential,pkg-config,libssl-dev,libffi-dev,libsqlite3-dev,libbz2-dev,liblzma-dev,libreadline-dev," +
	"libncurses-dev,uuid-dev,zlib1g-dev,libgdbm-dev,libexpat1-dev,xz-utils,media-types,netbase,tzdata"

// SuiteModes lists the link modes of [Trials.Suite].
func SuiteModes() []string {
	var names []string
	for _, m := range linkModes {
		names = append(names, m.name)
	}
	return names
}

// Suite runs CPython's own tests over the artifacts of the link modes, all or those asked for,
// and over the same source compiled as it comes, in containers that differ in the interpreter alone. The
// artifacts have the optimised interpreter that recipes have. The tests lie over an artifact as a
// dependency group, and each module of them is recorded as it ends.
func (t *Trials) Suite(ctx context.Context, asked []string) error {
	names, err := chosen(SuiteModes(), asked)
	if err != nil {
		return err
	}
	book, err := recorded.Open[recorded.SuiteTest](filepath.Join(t.Results, recorded.SuiteFile))
	if err != nil {
		return err
	}
	for _, m := range linkModes {
		if !slices.Contains(names, m.name) {
			continue
		}
		err := inTemp(func(work string) error {
			s := &ownTests{t: t, book: book, dir: work, mode: m.name, configure: m.configure}
			return s.run(ctx)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

// ownTests are the tests of one link mode.
type ownTests struct {
	t         *Trials
	book      *recorded.Book[recorded.SuiteTest]
	dir, mode string
	// configure chooses the link mode, of both sides.
	configure []string
	ampoule   drive.Program
	// ref is the artifact, and group its dependency group of tests, with its digest.
	ref, group string
}

func (s *ownTests) run(ctx context.Context) error {
	world, err := s.t.system(ctx, "suite-world", suite, suitePackages)
	if err != nil {
		return err
	}
	s.t.Say("%s: locking and building it, with the tests as a group", s.mode)
	if err := s.prepare(ctx); err != nil {
		return err
	}
	driver, err := suiteFiles.ReadFile("suite/" + suiteDriver)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.path(suiteDriver), driver, 0o644); err != nil {
		return err
	}
	raw, err := s.compile(ctx, world)
	if err != nil {
		return fmt.Errorf("compiling the same source as it comes: %w", err)
	}
	both := func(interpreter string) []string {
		// What root has compiled nobody can change. A file system that cannot be written is something else to tests.
		return append(s.container(world, interpreter, filepath.Dir(s.path(suiteDriver))+":/srv/suite:ro", raw+":"+rawPrefix), "/srv/suite/"+suiteDriver)
	}
	ours := both(path.Join("/", artifact.Prefix, "bin/python3"))
	listed, err := s.ampoule.Run(ctx, ours...)
	if err != nil {
		return fmt.Errorf("listing the tests: %w", err)
	}
	names := strings.Fields(listed.Out)
	return errors.Join(
		s.side(ctx, "the artifact", names, ours, func(r *recorded.SuiteTest) **recorded.SuiteRun { return &r.Ours }),
		s.side(ctx, "the same source compiled as it comes", names, both(rawPrefix+"/bin/python3"), func(r *recorded.SuiteTest) **recorded.SuiteRun { return &r.Raw }),
	)
}

// container is a call of a program in a container of the artifact that has programs and settings of a
// whole system: the runtime's base has neither a compiler nor a list of services, which tests ask for.
// The engine's own init stays in /usr/sbin. The driver puts files of the tree to another place, so it is root.
func (s *ownTests) container(world, program string, mounts ...string) []string {
	args := []string{"run", "--network", "none", "--user", "0", "--group", s.group}
	for _, dir := range []string{"/etc", "/usr/bin", "/usr/include", "/usr/lib", "/usr/libexec", "/usr/share"} {
		mounts = append(mounts, world+dir+":"+dir+":ro")
	}
	for _, mount := range mounts {
		args = append(args, "--volume", mount)
	}
	return append(args, s.ref, "--", program)
}

// rawPrefix is where the containers have the interpreter that was compiled as the source comes.
const rawPrefix = "/srv/raw"

// compileRaw compiles CPython with its own flags. A libpython of its own has to be found, also by a process
// without an environment.
const compileRaw = `source=$1 prefix=$2 jobs=$3; shift 3
mkdir /tmp/source; tar -C /tmp/source --strip-components 1 -xf "$source"; cd /tmp/source
{ ./configure --prefix="$prefix" LDFLAGS="-Wl,-rpath,$prefix/lib" "$@"; make -j"$jobs"; make install; } >&2`

// compile gives the directory of the interpreter that is compared with, which is compiled once.
func (s *ownTests) compile(ctx context.Context, world string) (string, error) {
	archive, python, err := s.t.source(ctx, filepath.Dir(s.path(recipeFile)))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(s.path(python.File), archive, 0o644); err != nil {
		return "", err
	}
	args := append([]string{"-ec", compileRaw, "sh", "/srv/suite/" + python.File, rawPrefix, fmt.Sprint(s.t.jobs())}, s.configure...)
	dir := filepath.Join(s.t.Machines, "suite-raw-"+s.mode)
	return dir, once(dir, fmt.Sprint(python.SHA256, suitePackages, args), func() error {
		s.t.Say("%s: compiling the same source as it comes", s.mode)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		_, err := s.ampoule.Run(ctx, append(s.container(world, "sh", filepath.Dir(s.path(python.File))+":/srv/suite:ro", dir+":"+rawPrefix), args...)...)
		return err
	})
}

// side runs what is not recorded yet of one side, which is what of gives.
func (s *ownTests) side(ctx context.Context, what string, names, command []string, of func(*recorded.SuiteTest) **recorded.SuiteRun) error {
	var left []string
	for _, name := range names {
		r, _ := s.book.Get(s.mode + "/" + name)
		if *of(&r) == nil || s.t.Again {
			left = append(left, name)
		}
	}
	s.t.Say("%s: %s: %d modules, of which %d are recorded already", s.mode, what, len(names), len(names)-len(left))
	if len(left) == 0 {
		return nil
	}
	told := &suiteLines{take: func(name string, run recorded.SuiteRun) error {
		r, _ := s.book.Get(s.mode + "/" + name)
		r.Name, r.Outcome = s.mode+"/"+name, s.t.today()
		*of(&r) = &run
		r.Passed = r.Ours != nil && r.Raw != nil && len(r.Worse()) == 0
		if run.Result == recorded.SuiteFailed {
			s.t.Say("%s: %s: %s failed: %s", s.mode, what, name, strings.Join(run.Failed, ", "))
		}
		return s.book.Put(r)
	}}
	program := s.ampoule
	program.Out = told
	_, err := program.Run(ctx, append(slices.Clone(command), left...)...)
	return errors.Join(err, told.err)
}

// suiteLines reads what the tests' driver prints.
type suiteLines struct {
	take func(name string, run recorded.SuiteRun) error
	rest []byte
	err  error
}

// Write implements [io.Writer]. It never fails: an error ends no tests.
func (l *suiteLines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		l.rest = rest
		var told struct {
			Test string `json:"test"`
			recorded.SuiteRun
		}
		err := json.Unmarshal(line, &told)
		if err == nil {
			err = l.take(told.Test, told.SuiteRun)
		}
		l.err = errors.Join(l.err, err)
	}
}

func (s *ownTests) path(name string) string { return filepath.Join(s.dir, "suite-"+s.mode, name) }

// prepare publishes the artifact with the group of tests.
func (s *ownTests) prepare(ctx context.Context) error {
	if err := os.MkdirAll(s.path(""), 0o755); err != nil {
		return err
	}
	s.ampoule = s.t.in(s.t.Store)
	s.ampoule.Env = append(slices.Clone(s.ampoule.Env), "XDG_CONFIG_HOME="+s.dir)
	source, err := s.source(ctx)
	if err != nil {
		return err
	}
	sdist := fmt.Sprintf("%s-%s.tar.gz", strings.ReplaceAll(suiteDist, "-", "_"), testedPython)
	stop, err := s.publish(ctx, sdist, source)
	if err != nil {
		return err
	}
	defer stop()
	if err := s.write("dependency-groups: {suite: [" + suiteDist + "]}\n"); err != nil {
		return err
	}
	if _, err := s.ampoule.Run(ctx, "lock", "-f", s.path(recipeFile)); err != nil {
		return err
	}
	b, _, err := (&Trials{Ampoule: s.ampoule, Jobs: s.t.Jobs}).build(ctx, s.t.Store, filepath.Dir(s.path(recipeFile)), "--group", "suite")
	if err != nil {
		return err
	}
	group, err := b.group()
	s.ref, s.group = b.Ref, "suite@"+group
	return err
}

// write writes the recipe, with more behind it.
func (s *ownTests) write(more string) error {
	what, _ := interpreter{configure: slices.Concat(s.configure, optimised)}.shipped()
	text, err := what.recipe("suite/"+s.mode, more)
	if err != nil {
		return err
	}
	return os.WriteFile(s.path(recipeFile), []byte(text), 0o644)
}

// interpreter is one that Ampoule builds.
type interpreter struct {
	configure []string
	// suite is the base's; bookworm where it is empty. keys are further ones of a recipe's python.
	suite string
	keys  map[string]string
	// builtin says that modules are linked in: those of [profiles.Builtin]. initialExec adds [profiles.InitialExec].
	builtin, initialExec bool
}

// recipe is a recipe of an interpreter alone, with more behind it.
func (i interpreter) recipe(name, more string) (string, error) {
	python := map[string]any{"version": testedPython, "configure": append([]string{}, i.configure...), "optional": []string{"_tkinter"}}
	for key, value := range i.keys {
		python[key] = value
	}
	if i.builtin {
		python["builtin"] = profiles.Builtin
	}
	if i.initialExec {
		python["env"] = map[string]string{"CFLAGS_NODIST": profiles.InitialExec}
	}
	text, err := json.Marshal(python)
	return fmt.Sprintf(`apiVersion: ampoule/v1
name: %s
python: %s
base: {debian: %s}
runtime: {container: {base: {debian: %s}}}
%s`, name, text, i.base(), i.base(), more), err
}

// mode is the interpreter's link mode.
func (i interpreter) mode() recipes.LinkMode {
	return recipes.Python{Configure: i.configure}.LinkMode()
}

// base is the Debian suite of the interpreter's base.
func (i interpreter) base() string { return cmp.Or(i.suite, "bookworm") }

// source locks the recipe without its tests, and makes the distribution of tests of CPython's archive.
func (s *ownTests) source(ctx context.Context) (sdist []byte, err error) {
	dir := filepath.Dir(s.path(recipeFile))
	if err := s.write(""); err != nil {
		return nil, err
	}
	if _, err := s.t.lock(ctx, s.t.Store, dir); err != nil {
		return nil, err
	}
	archive, python, err := s.t.source(ctx, dir)
	if err != nil {
		return nil, err
	}
	return s.sdist(archive, python)
}

// source gives CPython's archive, which the store has for whoever has locked the recipe in a directory.
func (t *Trials) source(ctx context.Context, dir string) ([]byte, recipes.LockedPython, error) {
	lock, err := readLock(dir)
	if err != nil {
		return nil, recipes.LockedPython{}, err
	}
	st, err := store.Open(t.Store)
	if err != nil {
		return nil, recipes.LockedPython{}, err
	}
	release, err := st.Use(ctx)
	if err != nil {
		return nil, recipes.LockedPython{}, err
	}
	defer release()
	archive, err := os.ReadFile(st.Path(lock.Python.SHA256))
	if err != nil {
		err = fmt.Errorf("reading CPython's source: %w", err)
	}
	return archive, lock.Python, err
}

// sdist makes the distribution of tests: the source of CPython, and what builds it.
func (s *ownTests) sdist(archive []byte, python recipes.LockedPython) ([]byte, error) {
	facts, err := json.Marshal(map[string]any{"version": python.Version, "configure": append([]string{}, s.configure...), "source": python.File})
	if err != nil {
		return nil, err
	}
	backend, err := suiteFiles.ReadFile("suite/backend.py")
	if err != nil {
		return nil, err
	}
	metadata := fmt.Sprintf("Metadata-Version: 2.2\nName: %s\nVersion: %s\n", suiteDist, python.Version)
	project := fmt.Sprintf("[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n[project]\nname = %q\nversion = %q\n", suiteDist, python.Version)
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	packed := tar.NewWriter(zipped)
	top := strings.ReplaceAll(suiteDist, "-", "_") + "-" + python.Version
	for _, f := range []struct {
		name string
		text []byte
	}{
		{"PKG-INFO", []byte(metadata)}, {"pyproject.toml", []byte(project)}, {"facts.json", facts},
		{"backend.py", backend}, {python.File, archive},
	} {
		head := &tar.Header{Name: path.Join(top, f.name), Mode: 0o644, Size: int64(len(f.text)), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
		if err := packed.WriteHeader(head); err != nil {
			return nil, err
		}
		if _, err := packed.Write(f.text); err != nil {
			return nil, err
		}
	}
	err = errors.Join(packed.Close(), zipped.Close())
	return out.Bytes(), err
}

// publish serves an index that has the tests alone, and configures it, until it is stopped.
func (s *ownTests) publish(ctx context.Context, name string, sdist []byte) (stop func(), err error) {
	sum, err := store.Sum(ctx, bytes.NewReader(sdist))
	if err != nil {
		return nil, err
	}
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /simple/"+suiteDist+"/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!DOCTYPE html><html><body><a href="/files/%[1]s#sha256=%[2]s">%[1]s</a></body></html>`, name, sum)
	})
	mux.HandleFunc("GET /files/"+name, func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(sdist))
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	settings := filepath.Join(s.dir, "ampoule", "config.toml")
	text := fmt.Sprintf("[sources.suite]\nmirrors = [\"http://%s/simple\"]\nnames = [%q]\n", l.Addr(), suiteDist)
	err = os.MkdirAll(filepath.Dir(settings), 0o755)
	if err == nil {
		err = os.WriteFile(settings, []byte(text), 0o644)
	}
	return func() { _ = server.Close() }, err
}
