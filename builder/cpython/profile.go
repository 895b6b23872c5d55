package cpython

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"ampoule/builder/buildlog"
	"ampoule/builder/cpython/pgo"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/store"
	"ampoule/tree"
)

// Trained is a training profile that was made.
type Trained struct {
	// SHA256 is the profile's, in hex; Size is in bytes.
	SHA256 string
	Size   int64
	About  pgo.About
}

// Workload is what an interpreter runs while it is trained. The zero value is CPython's own
// task.
type Workload struct {
	// Commands are run one after the other, each with the tree's bin directory first in its PATH.
	Commands [][]string
	// Tree is a whole installation of the same CPython, with what the commands take. The
	// interpreter that counts takes the place of its own.
	Tree *tree.Tree
}

// task is what CPython's own makefile trains with (PROFILE_TASK).
var task = []string{"-m", "test", "--pgo", "--timeout=1200"}

// Directories and names inside the sandbox.
const (
	countsDir = sandbox.WorkDir + "/counts"
	// profileStamp is what make looks at to know that training is done.
	profileStamp = "profile-run-stamp"
)

// withoutLTO are arguments of make for an interpreter that counts. Functions get their counters
// before GCC hands them to the linker, so its counts fit objects of a build with link-time optimisation.
// Linking that way takes minutes, more so with counters. CPython's Makefile has these variables for
// flags that come behind configure's.
var withoutLTO = []string{"CFLAGS_NODIST=-fno-lto", "LDFLAGS_NODIST=-fno-lto"}

// linkFreezerPlainly has make link the program that freezes modules without link-time optimisation. What it
// writes is the same, and linking takes as long as linking the interpreter otherwise.
const linkFreezerPlainly = "--eval=Programs/_freeze_module: PY_CORE_LDFLAGS=$(PY_LDFLAGS_NOLTO)"

// refuseMisfits has clang refuse counts of functions with another shape, as GCC does by itself. Of the program by which
// CPython tests embedding, which is compiled and never run, main has the name of another one.
var refuseMisfits = []string{"CFLAGS_NODIST=-Werror=profile-instr-out-of-date", "--eval=Programs/_testembed.o: PY_CORE_CFLAGS += -Wno-error=profile-instr-out-of-date"}

// linkHelpersFast has clang link programs that only serve the build without optimising them. Its objects are
// compiled when they are linked, so that it cannot do without link-time optimisation there.
const linkHelpersFast = "--eval=Programs/_freeze_module _bootstrap_python: PY_LDFLAGS_NOLTO += -O0"

// byProfile are arguments of make for a build by a profile. With BOLT, make goes as far as before BOLT: its own goal
// would count.
func byProfile(spec Spec) []string {
	args := []string{linkFreezerPlainly}
	if spec.usesBolt() {
		args = append(args, "profile-opt")
	}
	if driverOf(spec.Compiler).isClang() {
		args = append(args, linkHelpersFast)
		args = append(args, refuseMisfits...)
	}
	return args
}

// mostObjects bounds what is read of the list of object files, in bytes.
const mostObjects = 4 << 20

// Train compiles an interpreter that counts, has it run a workload, and puts the profile into the
// store. It gives another profile each time. A step that fails gives a [*buildlog.StepError].
func (s *Stage) Train(ctx context.Context, spec Spec, work Workload) (_ Trained, err error) {
	event := progress.Start(ctx, progress.StageInterpreter, "training profile of CPython "+spec.Version)
	defer func() { event.End(err) }()
	log, err := buildlog.Open(s.Logs, "pgo-profile")
	if err != nil {
		return Trained{}, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	event.SetLog(log.Path())
	trained, err := s.train(event.Within(ctx), spec, work, log)
	if err != nil {
		return Trained{}, log.Fail("training CPython "+spec.Version, err)
	}
	return trained, nil
}

func (s *Stage) train(ctx context.Context, spec Spec, work Workload, log *buildlog.Log) (_ Trained, err error) {
	profile, counts, err := s.trainCompiler(ctx, spec, work, log)
	if err != nil {
		return Trained{}, err
	}
	defer counts.Close()
	if spec.usesBolt() {
		data, err := s.trainBolt(ctx, spec, work, profile, log)
		if err != nil {
			return Trained{}, err
		}
		defer data.Close()
	}
	return saveProfile(ctx, s.Store, profile)
}

// trainCompiler makes a profile of what the compiler counts. It can be read until the closer is closed.
func (s *Stage) trainCompiler(ctx context.Context, spec Spec, work Workload, log *buildlog.Log) (_ *pgo.Profile, _ io.Closer, err error) {
	c, err := s.begin(ctx, spec, log)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, c.sb.Close()) }()
	if err := c.configure(ctx); err != nil {
		return nil, nil, err
	}
	about, err := c.about(ctx)
	if err != nil {
		return nil, nil, err
	}
	objects, err := c.instrument(ctx)
	if err != nil {
		return nil, nil, err
	}
	if about.Task, about.Commands, err = c.practise(ctx, work); err != nil {
		return nil, nil, err
	}
	if err := c.run(ctx, log, collectCounts(c.spec)...); err != nil {
		return nil, nil, err
	}
	counts, closer, err := layers.Export(ctx, s.Store, c.sb, countsDir)
	if err != nil {
		return nil, nil, err
	}
	profile, err := pgo.New(about, objects, counts)
	if err != nil {
		return nil, nil, errors.Join(err, closer.Close())
	}
	return profile, closer, nil
}

// instrument compiles an interpreter that counts, and lists its object files.
func (c *compilation) instrument(ctx context.Context) (objects []string, err error) {
	c.counting = true
	if err := c.runMake(ctx, append([]string{"profile-gen-stamp"}, withoutLTO...)...); err != nil {
		return nil, err
	}
	return c.objects(ctx)
}

// practise has the interpreter that counts run a workload, and says what it ran: CPython's own
// task, or commands.
func (c *compilation) practise(ctx context.Context, work Workload) (own []string, commands [][]string, err error) {
	if len(work.Commands) == 0 {
		env := sandbox.Env("LD_LIBRARY_PATH="+source, countsFile)
		return task, nil, c.step(ctx, sandbox.Step{Args: append([]string{"./python"}, task...), Env: env, Dir: source, Stdout: c.log, Stderr: c.log})
	}
	prefix := "/" + c.spec.Prefix
	if err := sandbox.ImportTree(ctx, c.sb, prefix, work.Tree); err != nil {
		return nil, nil, err
	}
	if err := c.run(ctx, c.log, placeCounting(Path(c.spec.Prefix, c.spec.Version), prefix)...); err != nil {
		return nil, nil, err
	}
	for _, command := range work.Commands {
		if err := c.step(ctx, sandbox.Step{Args: command, Env: workloadEnv(prefix), Dir: workloadDir, Stdout: c.log, Stderr: c.log}); err != nil {
			return nil, nil, err
		}
	}
	return nil, work.Commands, nil
}

// workloadDir is where the commands of a workload are run.
const workloadDir = sandbox.WorkDir + "/home"

// workloadEnv is the environment of a workload's commands.
func workloadEnv(prefix string) []string {
	env := sandbox.Env("LD_LIBRARY_PATH="+source+":"+prefix+"/lib", countsFile)
	for i, variable := range env {
		if paths, ok := strings.CutPrefix(variable, "PATH="); ok {
			env[i] = "PATH=" + prefix + "/bin:" + paths
		}
	}
	return env
}

// placeCounting puts the interpreter that counts, its libraries and its modules into a tree, in
// the place of those that are there.
func placeCounting(python, prefix string) []string {
	return []string{"/bin/sh", "-ec", `cp -f python "$(readlink -f "$1")"
for library in libpython*.so*; do
	if [ -e "$library" ]; then cp -f "$library" "$2/lib/"; fi
done
for modules in "$2"/lib/python*/lib-dynload; do cp -f build/lib.*/*.so "$modules/"; done`, "sh", python, prefix}
}

// profdata is clang's program for what it counts.
const profdata = "llvm-profdata"

// rawCounts are the files that programs which clang has count write where they end. Of each executable and
// library (%m) there are four, which the runtime adds to: without a bound there is one of each process, and
// CPython's task starts hundreds ("Source-based Code Coverage" of clang's documentation).
const rawCounts = "/code-%4m.profclangr"

// countsFile has what counts write there. Only clang reads it; GCC counts beside the objects.
const countsFile = "LLVM_PROFILE_FILE=" + source + rawCounts

// collectCounts copies what was counted to a directory of its own.
func collectCounts(spec Spec) []string {
	if c := driverOf(spec.Compiler); c.isClang() {
		return []string{"/bin/sh", "-ec", `mkdir -p "$1"
exec "$2" merge -output="$1/$3" *.profclangr`, "sh", countsDir, c.program(profdata), pgo.ClangData}
	}
	// Find fails where one of the copies does.
	return []string{"/bin/sh", "-ec", `mkdir -p "$1"
exec find . -name '*.gcda' -exec cp --parents --target-directory="$1" {} +`, "sh", countsDir}
}

// MergeProfiles makes one profile of several that a store has, by their sha256 in hex, and puts it
// there. Profiles that are not of one interpreter are a [*pgo.MisfitError].
func MergeProfiles(ctx context.Context, st *store.Store, sums []string) (_ Trained, err error) {
	profiles := map[string]*pgo.Profile{}
	for _, sum := range sums {
		p, closer, err := openProfile(st, sum)
		if err != nil {
			return Trained{}, err
		}
		defer closer.Close()
		profiles[sum] = p
	}
	merged, err := pgo.Merge(profiles)
	if err != nil {
		return Trained{}, err
	}
	return saveProfile(ctx, st, merged)
}

func saveProfile(ctx context.Context, st *store.Store, p *pgo.Profile) (Trained, error) {
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		return Trained{}, err
	}
	sum, size, err := st.Put(ctx, &b)
	return Trained{SHA256: sum, Size: size, About: p.About}, err
}

// about says what a profile of this compilation is made of.
func (c *compilation) about(ctx context.Context) (pgo.About, error) {
	about, used := aboutOf(c.spec), driverOf(c.spec.Compiler)
	told, option := &about.GCC, "-dumpfullversion"
	if used.isClang() {
		told, option = &about.Clang, "-dumpversion"
	}
	version, err := sandbox.Output(ctx, c.sb, sandbox.Step{
		Args: []string{used.program(used.name), option}, Env: sandbox.Env(), Dir: source, Stderr: c.log,
	}, 100)
	if err != nil {
		return about, err
	}
	*told = strings.TrimSpace(string(version))
	if about.Bolt != nil {
		about.Bolt.Version, err = c.boltVersion(ctx)
	}
	return about, err
}

// aboutOf is what is known of a profile without a compiler.
func aboutOf(spec Spec) pgo.About {
	configure, makeArgs := configureArgs(spec)
	about := pgo.About{
		Version: spec.Version, Source: spec.Source, Compilers: spec.Compilers, Configure: configure, Make: makeArgs,
		Builtin: slices.Sorted(slices.Values(spec.Builtin)),
	}
	if spec.usesBolt() {
		about.Bolt = &pgo.Bolt{}
	}
	return about
}

// objects lists the object files that were compiled, by their paths below the source.
func (c *compilation) objects(ctx context.Context) ([]string, error) {
	listed, err := sandbox.Output(ctx, c.sb, sandbox.Step{
		Args: []string{"find", ".", "-name", "*.o", "-printf", `%P\n`}, Env: sandbox.Env(), Dir: source, Stderr: c.log,
	}, mostObjects)
	if err != nil {
		return nil, err
	}
	found := strings.Fields(string(listed))
	slices.Sort(found)
	return found, nil
}

// lay puts the counts of a profile where the compiler looks for them, and lets make believe
// that training is done. A profile of another compiler is a [*pgo.MisfitError].
func (c *compilation) lay(ctx context.Context, p *pgo.Profile) error {
	about, err := c.about(ctx)
	if err != nil {
		return err
	}
	if err := p.About.Fits(about); err != nil {
		return err
	}
	counts, err := p.Counts(ctx)
	if err != nil {
		return err
	}
	if err := sandbox.ImportTree(ctx, c.sb, source, counts); err != nil {
		return err
	}
	return c.run(ctx, c.log, "touch", profileStamp)
}

// leaveOutTestProgram lets make believe that the program is made by which CPython tests embedding. No
// artifact has it, and with link-time optimisation linking it takes as long as the interpreter itself.
func (c *compilation) leaveOutTestProgram(ctx context.Context) error {
	return c.run(ctx, c.log, "/bin/sh", "-ec", leaveOut)
}

const (
	leaveOut = "touch --date=2100-01-01 Programs/_testembed"
	// leaveOutUnlessRun keeps the program if CPython's own task runs it, as that of CPython 3.11 does.
	leaveOutUnlessRun = "grep -qs test_embed Lib/test/libregrtest/pgo.py || " + leaveOut
)

// profile reads the profile of a spec and compares the two, before anything is compiled; nil
// without one. A profile that does not fit is a [*pgo.MisfitError].
func (s *Stage) profile(spec Spec) (*pgo.Profile, io.Closer, error) {
	if spec.Profile == "" {
		return nil, io.NopCloser(nil), nil
	}
	p, closer, err := openProfile(s.Store, spec.Profile)
	if err != nil {
		return nil, nil, err
	}
	build := aboutOf(spec)
	build.GCC, build.Clang = p.About.GCC, p.About.Clang
	if build.Bolt != nil && p.About.Bolt != nil {
		build.Bolt = p.About.Bolt
	}
	if err := p.About.Fits(build); err != nil {
		return nil, nil, errors.Join(err, closer.Close())
	}
	return p, closer, nil
}

// CheckProfile compares the profile of a spec with it, as far as that takes no compiler. One that does
// not fit is a [*pgo.MisfitError].
func (s *Stage) CheckProfile(spec Spec) error {
	_, closer, err := s.profile(spec)
	if err != nil {
		return err
	}
	return closer.Close()
}

// openProfile reads a profile of a store. Its counts can be read until it is closed.
func openProfile(st *store.Store, sum string) (*pgo.Profile, io.Closer, error) {
	f, err := st.Open(sum)
	if err != nil {
		return nil, nil, fmt.Errorf("opening training profile: %w", err)
	}
	p, err := readProfile(f)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return p, f, nil
}

func readProfile(f *os.File) (*pgo.Profile, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return pgo.Read(f, info.Size())
}
