package cpython

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/cpython/pgo"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/faults"
	"ampoule/tree"
)

// fdata is what one branch of a program counts.
const fdata = "1 main 58 1 list_append/1 0 0 2000\n"

// bolts is what BOLT finds in a sandbox.
type bolts struct {
	version string
	// binaries are the Makefile's, ran those that a workload runs, and told is what llvm-bolt says of one.
	binaries, ran []string
	told          string
}

func (b *bolts) handler(next fake.Handler) fake.Handler {
	return func(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
		line := strings.Join(step.Args, " ")
		switch {
		case strings.HasSuffix(line, "/llvm-bolt --version"):
			fmt.Fprintf(step.Stdout, "Debian LLVM version %s\n  Optimized build.\n", b.version)
			return nil
		case strings.Contains(line, listRule):
			fmt.Fprintln(step.Stdout, strings.Join(b.binaries, "\n"))
			return nil
		case strings.Contains(line, mergeRule):
			for _, name := range b.ran {
				if strings.Contains(line, " binary="+name+" ") {
					return s.Write(tree.FileEntry(boltDir[1:]+"/"+name+pgo.BoltExt, 0o644, []byte(fdata)))
				}
			}
			return s.Write(tree.Entry{Path: boltDir[1:], Kind: tree.Dir, Mode: 0o755})
		case strings.Contains(line, arrangeRule):
			fmt.Fprint(step.Stdout, b.told)
			return nil
		}
		return next(ctx, s, step)
	}
}

const told = "BOLT-INFO: Target architecture: x86_64\nBOLT-INFO: 9 out of 13 functions in the binary (69.2%) have non-empty execution profile\n"

// arranged is a scene with an interpreter that BOLT arranges.
func arranged(t *testing.T) (*scene, *bolts) {
	t.Helper()
	b := &bolts{version: "19.1.7", binaries: []string{"python", "libpython3.13.so.1.0"}, ran: []string{"python"}, told: told}
	objects := []string{"Objects/list.o"}
	s := newScene(t, b.handler(trainer(&objects)))
	s.spec.Configure, s.spec.Compilers = []string{"--enable-optimizations", "--enable-bolt"}, []string{"gcc-12=12.2.0-14", "bolt-19=1:19.1.7-3"}
	return s, b
}

// BOLT's data is counted in the interpreter that the compiler's counts make, by the same workload. The build arranges by
// it what it has linked, before anything is installed.
func TestTrainBolt(t *testing.T) {
	t.Parallel()
	s, _ := arranged(t)
	trained, err := s.Train(s.events.Context(t.Context()), s.spec, Workload{})
	if err != nil {
		t.Fatal(err)
	}
	want := &pgo.Bolt{Version: "19.1.7", Binaries: map[string]pgo.Binary{
		"python": {Branches: 1, Match: pgo.Match{Functions: 9}}, "libpython3.13.so.1.0": {},
	}}
	if diff := cmp.Diff(want, trained.About.Bolt); diff != "" || trained.About.Counted() != 1 {
		t.Errorf("trained (-want +got):\n%s", diff)
	}
	const program = "./python -m test --pgo --timeout=1200\n"
	rule := func(rule, binary string) string {
		return "make -j3 " + strings.Join(boltRule(s.spec, rule, binary), " ") + "\n"
	}
	if lines := stepsOf(t, s.runner, 0); !strings.Contains(lines, program) || strings.Contains(lines, boltGoal) {
		t.Errorf("for the compiler, these steps are run:%s", lines)
	}
	list := "make --silent " + strings.Join(boltRule(s.spec, listRule, ""), " ") + "\n"
	byCounts := "touch profile-run-stamp\nmake -j3 " + linkFreezerPlainly + " profile-opt\nfind . -name *.o -printf %P\\n\n" + list
	counting := rule(instrumentRule, "python") + rule(instrumentRule, "libpython3.13.so.1.0") + program +
		rule(mergeRule, "python") + rule(mergeRule, "libpython3.13.so.1.0") + rule(arrangeRule, "python")
	if lines := stepsOf(t, s.runner, 1); !strings.HasSuffix(lines, byCounts+counting) {
		t.Errorf("for BOLT, these steps are run:%s", lines)
	}

	s.spec.Profile = trained.SHA256
	if err := s.CheckProfile(s.spec); err != nil {
		t.Error(err)
	}
	if _, err := s.build(t); err != nil {
		t.Fatal(err)
	}
	if lines := stepsOf(t, s.runner, 2); !strings.Contains(lines, byCounts+rule(arrangeRule, "python")+"touch profile-bolt-stamp\nmake install ") || strings.Contains(lines, "--pgo") {
		t.Errorf("by the profile, these steps are run:%s", lines)
	}
	e, _ := s.runner.Sandboxes()[2].Files().Lookup(source[1:] + "/python.fdata")
	if data, err := e.ReadAll(); string(data) != fdata || err != nil {
		t.Errorf("BOLT reads %q, %v", data, err)
	}
}

// A recipe's commands are run twice: with the compiler's counters, and with BOLT's.
func TestTrainBoltWorkload(t *testing.T) {
	t.Parallel()
	s, _ := arranged(t)
	laid, err := tree.New([]tree.Entry{tree.FileEntry("bin/python3.13", 0o555, []byte("plain")), tree.FileEntry("bin/bench", 0o755, nil)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Train(s.events.Context(t.Context()), s.spec, Workload{Commands: [][]string{{"bench", "--fast"}}, Tree: laid}); err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		if lines := stepsOf(t, s.runner, n); strings.Count(lines, "\nbench --fast\n") != 1 || strings.Contains(lines, "--pgo") {
			t.Errorf("in sandbox %d, these steps are run:%s", n, lines)
		}
	}
}

// What BOLT has counted, or finds, otherwise than in training is refused: before anything is compiled, as far as the profile shows it.
func TestBoltMisfit(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]struct {
		change  func(s *scene, b *bolts)
		started int
	}{
		"and the recipe has no --enable-bolt":                 {func(s *scene, _ *bolts) { s.spec.Configure = s.spec.Configure[:1] }, 0},
		"the compiler is gcc-12=12.2.0-14 bolt-19=1:19.1.7-3": {func(s *scene, _ *bolts) { s.spec.Compilers[1] = "bolt-19=1:19.1.8-1" }, 0},
		"configure is": {func(s *scene, _ *bolts) { s.spec.Env = map[string]string{"LDFLAGS": "-Wl,-z,pack-relative-relocs"} }, 0},
		"BOLT is 19.1.7 in the profile, and 19.1.8 in the build":                              {func(_ *scene, b *bolts) { b.version = "19.1.8" }, 1},
		"BOLT arranges libpython3.13.so.1.0, python in the profile, and python3 in the build": {func(_ *scene, b *bolts) { b.binaries = []string{"python3"} }, 1},
		"data for 9 functions of python in the build, and 1 do not fit": {func(_ *scene, b *bolts) {
			b.told += "BOLT-WARNING: 1 (11.1% of all profiled) function have invalid (possibly stale) profile.\n"
		}, 1},
		"data for 8 functions of python in the build, and 0 do not fit; in training it had data for 9, and 0": {func(_ *scene, b *bolts) { b.told = strings.Replace(b.told, "9 out of 13", "8 out of 13", 1) }, 1},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			s, b := arranged(t)
			trained, err := s.Train(s.events.Context(t.Context()), s.spec, Workload{})
			if err != nil {
				t.Fatal(err)
			}
			s.spec.Profile = trained.SHA256
			c.change(s, b)
			_, err = s.build(t)
			expectMisfit(t, err, want)
			if told := s.CheckProfile(s.spec); (told != nil) != (c.started == 0) {
				t.Errorf("without a compiler: %v", told)
			}
			boxes := s.runner.Sandboxes()[2:]
			if len(boxes) != c.started {
				t.Errorf("%d sandboxes were started", len(boxes))
			}
			for _, box := range boxes {
				for _, step := range box.Steps() {
					if step.Args[1] == "install" {
						t.Error("it is installed")
					}
				}
			}
		})
	}
}

// A profile of before, without BOLT's data, is not one for BOLT.
func TestProfileWithoutBolt(t *testing.T) {
	t.Parallel()
	s, _ := arranged(t)
	with := s.spec.Configure
	s.spec.Configure = with[:1]
	trained, err := s.Train(s.events.Context(t.Context()), s.spec, Workload{})
	if err != nil {
		t.Fatal(err)
	}
	if trained.About.Bolt != nil || len(s.runner.Sandboxes()) != 1 {
		t.Errorf("trained %+v in %d sandboxes", trained, len(s.runner.Sandboxes()))
	}
	s.spec.Profile, s.spec.Configure = trained.SHA256, with
	expectMisfit(t, s.CheckProfile(s.spec), "it has no data for BOLT, and the recipe has --enable-bolt")
}

// What is strange about BOLT ends the training, and no profile comes of it.
func TestBoltFails(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(b *bolts){
		"did not say of how many functions": func(b *bolts) { b.told = "BOLT-INFO: all is well\n" },
		"BOLT counted nothing":              func(b *bolts) { b.ran = nil },
		`"py/thon" is no file's name`:       func(b *bolts) { b.binaries = []string{"py/thon"} },
		"has no BOLT_BINARIES":              func(b *bolts) { b.binaries = nil },
		"for its version":                   func(b *bolts) { b.version = "next" },
	} {
		s, b := arranged(t)
		change(b)
		trained, err := s.Train(s.events.Context(t.Context()), s.spec, Workload{})
		if err == nil || !strings.Contains(err.Error(), want) || trained.SHA256 != "" || faults.Of(err) != faults.Build {
			t.Errorf("%+v, %v of kind %s, want %q", trained, err, faults.Of(err), want)
		}
		for _, box := range s.runner.Sandboxes() {
			if !box.Closed() {
				t.Errorf("%s: a sandbox stays", want)
			}
		}
	}
}

// The host's make runs the rules as CPython's Makefile would: with its own names and its flags, but for the one that makes stacks executable, and with programs that stand for BOLT's. What is
// arranged keeps its other names and its time.
func TestBoltRules(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const makefile = `BUILDPYTHON=python
BOLT_BINARIES := $(BUILDPYTHON) libpython.so.1
BOLT_INSTRUMENT_FLAGS := -skip-funcs=match/1
BOLT_APPLY_FLAGS := -skip-funcs=match/1 -use-gnu-stack -icf=1
`
	// Each run counts into a file of its own, and what is arranged says by what.
	const bolt = `#!/bin/sh -e
case "$*" in
*-instrument*) printf '#!/bin/sh\necho "1 main 0 1 main 4 0 1" > %s.$1.fdata\n' "${4#*=}" > "$6"; chmod +x "$6"; test "$5 $7" = "-o -skip-funcs=match/1";;
*) { cat "$1"; echo "$5 $6 $7 $8 by"; cat "${4#-data=}"; } > "$3"; test "$2" = -o;;
esac
`
	for name, text := range map[string]string{"Makefile": makefile, "python": "linked\n", "libpython.so.1": "library\n", "bolt": bolt, "merge": "#!/bin/sh\nexec cat \"$@\"\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	rule := func(rule, binary string) string {
		t.Helper()
		args := append([]string{"make", "--silent"}, boltRule(Spec{}, rule, binary)...)
		return run(append(args, "fdata=counted", "bolt=./bolt", "merge=./merge")...)
	}
	read := func(name string) string {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if got := rule(listRule, ""); got != "python\nlibpython.so.1\n" {
		t.Errorf("the binaries are %q", got)
	}
	for _, name := range []string{"python", "libpython.so.1"} {
		rule(instrumentRule, name)
	}
	run("./python", "7")
	run("./python", "8")
	for _, name := range []string{"python", "libpython.so.1"} {
		rule(mergeRule, name)
	}
	const counted = "1 main 0 1 main 4 0 1\n1 main 0 1 main 4 0 1\n"
	if got := read("counted/python.fdata"); got != counted || read("python") != "linked\n" || read("libpython.so.1") != "library\n" {
		t.Errorf("counted %q, and %q is left", got, read("python"))
	}
	if _, err := os.Stat(filepath.Join(dir, "counted/libpython.so.1.fdata")); err == nil {
		t.Error("what did not run has counts")
	}
	run("cp", "counted/python.fdata", ".")
	run("ln", "python", "python-link")
	run("touch", "--date=2001-01-01", "python")
	rule(arrangeRule, "python")
	was, err := os.Stat(filepath.Join(dir, "python"))
	if err != nil || was.ModTime().UTC().Year() > 2001 || was.Mode() != 0o755 {
		t.Errorf("what is arranged is %v, %v", was, err)
	}
	if got, want := read("python-link"), "linked\n-skip-funcs=match/1 -icf=1 -align-blocks -block-alignment=64 by\n"+counted; got != want {
		t.Errorf("the other name has %q", got)
	}
	// What the recipe says of alignment stands alone.
	run("cp", "counted/python.fdata", "libpython.so.1.fdata")
	for _, flag := range []string{"-align-blocks=false", "--block-alignment=32"} {
		args := append([]string{"make", "--silent", "BOLT_APPLY_FLAGS=" + flag}, boltRule(Spec{}, arrangeRule, "libpython.so.1")...)
		run(append(args, "bolt=./bolt")...)
		if got := read("libpython.so.1"); !strings.HasSuffix(got, "\n"+flag+"    by\n"+counted) {
			t.Errorf("with %s of a recipe, it has %q", flag, got)
		}
	}
}
