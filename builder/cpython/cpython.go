// Package cpython compiles CPython and makes it relocatable.
//
// The configure flags of the recipe decide how it is built and nothing else does.
// Where a version does not know --enable-static-libpython-for-interpreter yet
// (python/cpython#133313, in 3.15), the same is reached by linking the executable
// from the library's objects.
package cpython

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"ampoule/builder/buildlog"
	"ampoule/builder/cpython/pgo"
	"ampoule/builder/failure"
	"ampoule/builder/layers"
	"ampoule/builder/once"
	"ampoule/builder/progress"
	"ampoule/builder/relocate"
	"ampoule/builder/sandbox"
	"ampoule/recipes"
	"ampoule/store"
	"ampoule/tree"
)

// format is raised when this stage gives other bytes for the same inputs.
const format = 1

//go:embed finish.py
var finishScript []byte

//go:embed exec/ampoule_exec.c
var execSource []byte

// getpath is what is added to the module that computes the interpreter's paths.
//
//go:embed own_getpath.py
var getpath []byte

// What is added to the end of a module of the standard library.
var (
	//go:embed host_ssl.py
	hostSSL []byte
	//go:embed host_site.py
	hostSite []byte
	//go:embed host_venv.py
	hostVenv []byte
	//go:embed host_ctypes.py
	hostCtypes []byte
)

const staticLibpythonFlag = "--enable-static-libpython-for-interpreter"

// Spec is everything that decides an interpreter.
type Spec struct {
	// Version is a full version, such as 3.13.5.
	Version string
	// Source is the sha256, in hex, of the source archive in the store.
	Source string
	// Configure holds CPython's own configure flags.
	Configure []string
	// Knows says which configure flags this version itself has.
	Knows []string
	// Profile is the sha256, in hex, of the training profile in the store that it is
	// optimised by; empty of one that trains by itself, or is not optimised.
	Profile string
	// NoPIE has the executable loaded at a fixed address.
	NoPIE bool
	// Compiler, CPU, Env and Builtin are a recipe's python.compiler, python.cpu, python.env and python.builtin.
	Compiler, CPU string
	Env           map[string]string
	Builtin       []string
	// Compilers are the toolchain's packages of compilers, as NAME=VERSION.
	Compilers []string
	// Prefix is where it is installed, without the leading slash.
	Prefix string
	// Toolchain is the image that it is compiled in.
	Toolchain sandbox.Image
}

// Interpreter is a compiled CPython.
type Interpreter struct {
	// Key is the hash of everything that decided it.
	Key string
	// Layer holds it at its prefix; Debug holds the debug information that was
	// stripped from it, each file's at the same path with ".debug" behind it.
	Layer, Debug sandbox.Layer
	// Modules says of each standard extension module what became of it: "yes",
	// "missing", "disabled", "n/a", or "broken: " and why.
	Modules map[string]string
}

// Stage builds interpreters, or finds those that it built before.
type Stage struct {
	Store  *store.Store
	Runner sandbox.Runner
	Images sandbox.Images
	// Fetch brings source and profile into the store, when it is compiled; nil where they are there already.
	Fetch func(context.Context) error
	// Jobs is how many processors to use.
	Jobs int
	// Logs is the directory for the log.
	Logs string
	// Recipe is the name of the recipe that is built or locked: what a failed build
	// left is kept under it.
	Recipe string
}

// record is what the store remembers of an interpreter.
type record struct {
	Layer, Debug string
	Modules      map[string]string
}

// Content implements [store.Namer].
func (r record) Content() []string { return []string{r.Layer, r.Debug} }

// Version names what this package itself adds to what it makes of a spec.
func Version() string { return layers.Key("cpython", format, scripts()) }

// Rules names what is run for the interpreters of some recipes alone, and so is no part of [Version]; empty for
// one that needs nothing of that.
func Rules(p recipes.Python) string {
	if p.Profile == "" || !p.Bolt() {
		return ""
	}
	return layers.Key("bolt", format, arrangeRule)
}

// scripts are what changes an interpreter on the way.
func scripts() []string {
	return []string{
		string(finishScript), string(hostSSL), string(hostSite), string(hostVenv), string(hostCtypes), relocate.Module().SHA256,
		string(getpath), strings.Join(insertGetpath(), "\n"), string(execSource), strings.Join(compileExec(""), "\n"),
	}
}

// Key returns the hash of everything that decides the interpreter of a spec.
func Key(spec Spec) string {
	configure, makeArgs := configureArgs(spec)
	parts := map[string]any{
		"version": spec.Version, "source": spec.Source, "configure": configure, "make": makeArgs,
		"prefix": spec.Prefix, "toolchain": layers.DiffIDs(spec.Toolchain),
		"scripts": scripts(),
	}
	if slices.ContainsFunc(configure, addsABIFlag) {
		parts["executable"] = oneExecutable("")
	}
	if len(spec.Builtin) > 0 {
		parts["builtin"] = slices.Sorted(slices.Values(spec.Builtin))
	}
	if spec.Profile != "" {
		parts["profile"] = spec.Profile
		if spec.usesBolt() {
			parts["bolt"] = arrangeRule
		}
	}
	return layers.Key("interpreter", format, parts)
}

// addsABIFlag reports whether an argument of configure's gives the executable a name with an
// ABI flag.
func addsABIFlag(arg string) bool {
	return strings.HasPrefix(arg, "--disable-gil") || strings.HasPrefix(arg, "--with-pydebug")
}

// Build returns the interpreter of a spec. A step that fails gives a [*buildlog.StepError].
func (s *Stage) Build(ctx context.Context, spec Spec) (*Interpreter, error) {
	built, err := s.build(ctx, spec)
	if err == nil && s.Recipe != "" {
		err = failure.Forget(ctx, s.Store, s.Recipe, failedStep)
	}
	return built, err
}

func (s *Stage) build(ctx context.Context, spec Spec) (*Interpreter, error) {
	key := Key(spec)
	task := progress.Start(ctx, progress.StageInterpreter, "CPython "+spec.Version)
	rec, reused, err := once.Remembered(ctx, s.Store, task, "interpreter", key, func(ctx context.Context) (record, error) {
		if s.Fetch != nil {
			if err := s.Fetch(ctx); err != nil {
				return record{}, err
			}
		}
		if hint := unrepeatable(spec); hint != "" {
			task.Tell(hint)
		}
		return s.compileLogged(ctx, spec, task)
	})
	task.Finish(reused, err)
	if err != nil {
		return nil, err
	}
	return s.interpreter(key, rec), nil
}

// unrepeatable says that an interpreter is another one each time it is compiled, and what makes it one; nothing
// of one that is the same.
func unrepeatable(spec Spec) string {
	python := spec.python()
	python.Profile = spec.Profile
	switch {
	case python.Repeatable():
		return ""
	case python.Optimised():
		return "not repeatable: it trains while it is built, and counts something else each time; `ampoule pgo-profile --write` trains once, and pins the profile"
	default:
		return "not repeatable: BOLT counts something else in each build; with --enable-optimizations, `ampoule pgo-profile --write` pins a profile"
	}
}

// compileLogged compiles with a log of its own.
func (s *Stage) compileLogged(ctx context.Context, spec Spec, task *progress.Task) (_ record, err error) {
	log, err := buildlog.Open(s.Logs, "interpreter")
	if err != nil {
		return record{}, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	task.SetLog(log.Path())
	rec, err := s.compile(ctx, spec, log)
	if err != nil {
		return record{}, log.Fail("CPython "+spec.Version, err)
	}
	return rec, nil
}

func (s *Stage) interpreter(key string, rec record) *Interpreter {
	return &Interpreter{
		Key: key, Modules: rec.Modules,
		Layer: layers.Stored(s.Store, rec.Layer), Debug: layers.Stored(s.Store, rec.Debug),
	}
}

// Directories inside the sandbox.
const (
	archive  = sandbox.WorkDir + "/cpython.tar"
	source   = sandbox.WorkDir + "/cpython"
	debugDir = sandbox.WorkDir + "/debug"
	finish   = sandbox.WorkDir + "/finish.py"
)

func (s *Stage) compile(ctx context.Context, spec Spec, log *buildlog.Log) (rec record, err error) {
	profile, closer, err := s.profile(spec)
	if err != nil {
		return record{}, err
	}
	defer closer.Close()
	c, err := s.begin(ctx, spec, log)
	if err != nil {
		return record{}, err
	}
	defer func() { err = errors.Join(err, c.sb.Close()) }()
	if err := c.configure(ctx); err != nil {
		return record{}, err
	}
	if err := c.make(ctx, profile); err != nil {
		return record{}, err
	}
	python := Path(spec.Prefix, spec.Version)
	for _, step := range [][]string{
		append([]string{"make", "install", "TEST_MODULES=no"}, c.makeArgs...),
		compileExec("/" + spec.Prefix),
		oneExecutable(python),
	} {
		if err := c.run(ctx, log, step...); err != nil {
			return record{}, err
		}
	}
	var told strings.Builder
	finishing := func(jobs string) []string {
		return []string{python, "-I", "-S", finish, "/" + spec.Prefix, source, debugDir, jobs}
	}
	if err := c.runParallel(ctx, io.MultiWriter(&told, log), finishing); err != nil {
		return record{}, err
	}
	return s.save(ctx, c.sb, spec, told.String())
}

// compilation is a sandbox in which a CPython is compiled.
type compilation struct {
	stage *Stage
	spec  Spec
	sb    sandbox.Sandbox
	log   *buildlog.Log
	// configureArgs and makeArgs are what the two are told.
	configureArgs, makeArgs []string
	// counting says that what is compiled counts where it runs.
	counting bool
}

// begin starts the sandbox of a compilation, with the source in it.
func (s *Stage) begin(ctx context.Context, spec Spec, log *buildlog.Log) (*compilation, error) {
	image, err := s.Images.Load(ctx, spec.Toolchain.Config, spec.Toolchain.Layers...)
	if err != nil {
		return nil, err
	}
	sb, err := s.Runner.Start(ctx, sandbox.Spec{Image: image, Name: "cpython-" + spec.Version})
	if err != nil {
		return nil, err
	}
	if err := s.importSource(ctx, sb, spec); err != nil {
		return nil, errors.Join(err, sb.Close())
	}
	c := &compilation{stage: s, spec: spec, sb: sb, log: log}
	c.configureArgs, c.makeArgs = configureArgs(spec)
	return c, nil
}

// run runs one step in the source's directory.
func (c *compilation) run(ctx context.Context, output io.Writer, args ...string) error {
	return c.step(ctx, c.stepOf(output, args))
}

// runParallel runs one step that can use several processors, and is told how many it has.
func (c *compilation) runParallel(ctx context.Context, output io.Writer, args func(jobs string) []string) error {
	return c.step(ctx, sandbox.InParallel(c.stage.Jobs, func(n int) sandbox.Step { return c.stepOf(output, args(strconv.Itoa(n))) }))
}

func (c *compilation) stepOf(output io.Writer, args []string) sandbox.Step {
	// An executable that links libpython finds it so, until finish.py gives it its RPATH.
	env := sandbox.Env("LD_LIBRARY_PATH=/" + c.spec.Prefix + "/lib")
	if c.counting {
		env = append(env, countsFile)
	}
	return sandbox.Step{Args: args, Env: env, Dir: source, Stdout: output, Stderr: c.log}
}

// runMake runs make with arguments, and as many jobs as it gets.
func (c *compilation) runMake(ctx context.Context, args ...string) error {
	return c.runMakeTo(ctx, c.log, args...)
}

// runMakeTo is runMake whose complaints go to a writer.
func (c *compilation) runMakeTo(ctx context.Context, complaints io.Writer, args ...string) error {
	return c.step(ctx, sandbox.InParallel(c.stage.Jobs, func(n int) sandbox.Step {
		step := c.stepOf(c.log, slices.Concat([]string{"make", "-j" + strconv.Itoa(n)}, args, c.makeArgs))
		step.Stderr = complaints
		return step
	}))
}

func (c *compilation) step(ctx context.Context, step sandbox.Step) (err error) {
	compiles := step.Parallel != nil
	if compiles {
		if step.Memory, err = c.memory(); err != nil {
			return err
		}
	}
	err = c.sb.Exec(ctx, step)
	if compiles {
		c.tookMemory(err)
	}
	c.stage.keepFailure(ctx, c.sb, c.spec, step, c.log, err)
	return err
}

// configure unpacks the source, adds our parts to it, and configures it.
func (c *compilation) configure(ctx context.Context) error {
	for _, step := range [][]string{
		{"tar", "--extract", "--strip-components=1", "--file=" + archive},
		appendTo("Lib/ssl.py"), appendTo("Lib/site.py"), appendTo("Lib/venv/__init__.py"), appendTo("Lib/ctypes/util.py"), insertGetpath(),
	} {
		if err := c.run(ctx, c.log, step...); err != nil {
			return err
		}
	}
	if err := c.linkIn(ctx); err != nil {
		return err
	}
	return c.run(ctx, c.log, append([]string{"./configure"}, c.configureArgs...)...)
}

// make compiles everything: by a profile, if there is one.
func (c *compilation) make(ctx context.Context, profile *pgo.Profile) error {
	if profile == nil {
		return c.runMake(ctx)
	}
	if err := c.leaveOutTestProgram(ctx); err != nil {
		return err
	}
	if err := c.optimise(ctx, profile); err != nil {
		return err
	}
	if profile.About.Bolt == nil {
		return nil
	}
	return c.applyBolt(ctx, profile)
}

// optimise compiles everything by the counts of a profile, as far as BOLT has no part in it.
func (c *compilation) optimise(ctx context.Context, profile *pgo.Profile) error {
	if err := c.lay(ctx, profile); err != nil {
		return err
	}
	if err := c.makeByProfile(ctx); err != nil {
		return err
	}
	objects, err := c.objects(ctx)
	if err != nil {
		return err
	}
	return profile.About.FitsObjects(objects)
}

// makeByProfile compiles by the counts that are laid. Those of functions with another shape, which the compiler
// refuses, are a [*pgo.MisfitError].
func (c *compilation) makeByProfile(ctx context.Context) error {
	var shapes pgo.Shapes
	err := c.runMakeTo(ctx, io.MultiWriter(&shapes, c.log), byProfile(c.spec)...)
	if _, failed := errors.AsType[*sandbox.ExitError](err); failed {
		return cmp.Or(shapes.Err(), err)
	}
	return err
}

// failedStep is the interpreter's name among failed steps.
const failedStep = "interpreter"

// keepFailure keeps what a step left that ended with an error of its own. That it
// cannot be kept is only logged: the step's error is what matters.
func (s *Stage) keepFailure(ctx context.Context, sb sandbox.Sandbox, spec Spec, step sandbox.Step, log *buildlog.Log, err error) {
	var exit *sandbox.ExitError
	if !errors.As(err, &exit) || s.Recipe == "" {
		return
	}
	err = failure.Keep(ctx, s.Store, sb, failure.State{
		Recipe: s.Recipe, Step: failedStep, Title: "CPython " + spec.Version, Key: Key(spec), Image: spec.Toolchain,
		Args: step.Args, Env: step.Env, Dir: step.Dir, Log: log.Path(), Dirs: []string{sandbox.WorkDir, "/" + spec.Prefix, "/tmp"},
	})
	if err != nil {
		log.Printf("%v", err)
	}
}

// appendTo adds our part to a module of the standard library.
func appendTo(module string) []string {
	ours := sandbox.WorkDir + "/" + strings.ReplaceAll(module, "/", "_")
	return []string{"/bin/sh", "-c", `cat "$1" >> "$2"`, "sh", ours, module}
}

// insertGetpath adds our part to Modules/getpath.py: behind what finds the executable and
// reads pyvenv.cfg, and before what finds the prefix. A version without that place is an error.
func insertGetpath() []string {
	return []string{"/bin/sh", "-c", `awk -v ours="$1" '
	/^if not base_executable:$/ && !found { while ((getline line < ours) > 0) print line; found = 1 }
	{ print }
	END { if (!found) { print "Modules/getpath.py has no place for what Ampoule adds" > "/dev/stderr"; exit 1 } }
' "$2" > "$2.new" && mv "$2.new" "$2"`, "sh", sandbox.WorkDir + "/own_getpath.py", "Modules/getpath.py"}
}

// execName is the path, below the prefix, of the program that starts others.
const execName = "bin/ampoule-exec"

// compileExec compiles that program. It needs libc alone.
func compileExec(prefix string) []string {
	return []string{
		"gcc", "-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-fPIE", "-fstack-protector-strong", "-fstack-clash-protection", "-D_FORTIFY_SOURCE=2",
		"-pie", "-Wl,-z,relro,-z,now,-z,noexecstack", "-o", path.Join(prefix, execName), sandbox.WorkDir + "/ampoule_exec.c",
	}
}

// oneExecutable makes a build with ABI flags, which installs one file as python3.13td and
// python3.13, have a link for the latter. The two would be changed one after the other.
func oneExecutable(python string) []string {
	return []string{"/bin/sh", "-c", `for flagged in "$1"[a-z]*; do
	if [ "$flagged" -ef "$1" ]; then ln -sf "${flagged##*/}" "$1"; fi
done`, "sh", python}
}

func (s *Stage) importSource(ctx context.Context, sb sandbox.Sandbox, spec Spec) error {
	if err := sandbox.MakeDirs(ctx, sb, source, debugDir, sandbox.WorkDir+"/home", "/"+spec.Prefix); err != nil {
		return err
	}
	entry, err := layers.FileOf(s.Store, spec.Source, path.Base(archive))
	if err != nil {
		return err
	}
	t, err := tree.New([]tree.Entry{
		entry,
		tree.FileEntry(path.Base(finish), 0o644, finishScript),
		relocate.Module(),
		tree.FileEntry("Lib_ssl.py", 0o644, hostSSL),
		tree.FileEntry("Lib_site.py", 0o644, hostSite),
		tree.FileEntry("Lib_venv___init__.py", 0o644, hostVenv),
		tree.FileEntry("own_getpath.py", 0o644, getpath),
		tree.FileEntry("ampoule_exec.c", 0o644, execSource),
		tree.FileEntry("Lib_ctypes_util.py", 0o644, hostCtypes),
	})
	if err != nil {
		return err
	}
	return sandbox.ImportTree(ctx, sb, sandbox.WorkDir, t)
}

// configureArgs returns what configure and make are told.
func configureArgs(spec Spec) (configure, makeArgs []string) {
	flags := slices.Clone(spec.Configure)
	if i := slices.Index(flags, staticLibpythonFlag); i >= 0 && !slices.Contains(spec.Knows, staticLibpythonFlag) {
		flags = slices.Delete(flags, i, i+1)
		// The rule that links bin/python takes its objects from this variable.
		makeArgs = []string{"LINK_PYTHON_OBJS=$(LIBRARY_OBJS)"}
	}
	if spec.NoPIE {
		makeArgs = append(makeArgs, noPIE(spec)...)
	}
	return slices.Concat([]string{"--prefix=/" + spec.Prefix}, flags, variables(spec)), makeArgs
}

// noPIE has make link executables, and no library, for a fixed address. sysconfig is made of the
// Makefile and does not know of it, so what is compiled for the interpreter is as ever.
func noPIE(spec Spec) []string {
	// The rules that link executables take this variable, those that link modules do not. The
	// linker writes the search path of finish.py itself: an executable at a fixed address has no room
	// for a longer string table, and patchelf 0.14 breaks it where it makes some.
	args := []string{"LINKCC=$(PURIFY) $(CC) -no-pie -Wl,--disable-new-dtags,-rpath,'$$ORIGIN/../lib'"}
	python := recipes.Python{Configure: spec.Configure}
	// What is optimised when it is linked is compiled there as what comes of it asks for. Else no library is
	// made of a static interpreter's objects. Behind this, those of modules get $(CCSHARED).
	if python.LinkMode() == recipes.Static && !python.LinkTime() {
		args = append(args, "CFLAGSFORSHARED=-fno-pie")
	}
	return args
}

func (s *Stage) save(ctx context.Context, sb sandbox.Sandbox, spec Spec, told string) (record, error) {
	lines := strings.Split(strings.TrimSpace(told), "\n")
	var facts struct{ Modules map[string]string }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &facts); err != nil {
		return record{}, fmt.Errorf("reading what finish.py tells: %w", err)
	}
	layer, err := s.saveDir(ctx, sb, "/"+spec.Prefix, spec.Prefix)
	if err != nil {
		return record{}, err
	}
	debug, err := s.saveDir(ctx, sb, debugDir, spec.Prefix)
	if err != nil {
		return record{}, err
	}
	return record{Layer: layer, Debug: debug, Modules: facts.Modules}, nil
}

func (s *Stage) saveDir(ctx context.Context, sb sandbox.Sandbox, dir, prefix string) (string, error) {
	t, closer, err := layers.Export(ctx, s.Store, sb, dir)
	if err != nil {
		return "", err
	}
	defer closer.Close()
	layer, err := layers.Save(ctx, s.Store, t, prefix)
	return strings.TrimPrefix(layer.DiffID, "sha256:"), err
}

// MinorVersion returns 3.13 of 3.13.5.
func MinorVersion(version string) string {
	parts := strings.SplitN(version, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}
