package cpython

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/buildlog"
	"ampoule/builder/cpython/pgo"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/faults"
	"ampoule/tree"
)

// counts are those of GCC 12.2 for an object without functions.
func counts() []byte {
	var b []byte
	for _, word := range []uint32{0x67636461, 0x4232322a, 0, 0, 0} {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	return b
}

// clangCounts are those of clang for one function: a header, a bucket with it, and the table of one bucket.
func clangCounts() []byte {
	var b []byte
	for _, word := range []uint64{0x8169666f72706cff, 12, 0, 0, 74} {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	b = append(b, 1, 0)
	for _, word := range []uint64{7, 8, 0, 0x6e69616d5f5f5f5f, 1, 1, 40} {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	return b
}

// trainer is a compiler that counts: its objects are those given.
func trainer(objects *[]string) fake.Handler {
	return func(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
		switch line := strings.Join(step.Args, " "); {
		case line == "gcc -dumpfullversion":
			fmt.Fprintln(step.Stdout, "12.2.0")
			return nil
		case line == "clang-19 -dumpversion":
			fmt.Fprintln(step.Stdout, "19.1.7")
			return nil
		case strings.Contains(line, "llvm-profdata-19 "+pgo.ClangData):
			return s.Write(tree.FileEntry(countsDir[1:]+"/"+pgo.ClangData, 0o644, clangCounts()))
		case strings.HasPrefix(line, "find . -name *.o"):
			fmt.Fprintln(step.Stdout, strings.Join(*objects, "\n"))
			return nil
		case strings.Contains(line, countsDir):
			return s.Write(tree.FileEntry(countsDir[1:]+"/Objects/list.gcda", 0o644, counts()))
		}
		return compiler(ctx, s, step)
	}
}

// optimised is a scene with an interpreter that is to be trained.
func optimised(t *testing.T, objects *[]string) *scene {
	t.Helper()
	s := newScene(t, trainer(objects))
	s.spec.Configure, s.spec.Compilers = []string{"--enable-optimizations"}, []string{"gcc-12=12.2.0-14"}
	return s
}

func TestTrain(t *testing.T) {
	t.Parallel()
	objects := []string{"Objects/list.o", "Python/pylifecycle.o"}
	s := optimised(t, &objects)
	trained, err := s.Train(s.events.Context(t.Context()), s.spec, Workload{})
	if err != nil {
		t.Fatal(err)
	}
	if trained.About.Counted() != 1 || trained.About.GCC != "12.2.0" || trained.Size == 0 {
		t.Errorf("trained %+v", trained)
	}
	lines := stepsOf(t, s.runner, 0)
	for _, want := range []string{"make -j3 profile-gen-stamp CFLAGS_NODIST=-fno-lto LDFLAGS_NODIST=-fno-lto", "./python -m test --pgo --timeout=1200"} {
		if !strings.Contains(lines, "\n"+want+"\n") {
			t.Errorf("%q was not run, but%s", want, lines)
		}
	}

	plain := Key(s.spec)
	s.spec.Profile = trained.SHA256
	if Key(s.spec) == plain {
		t.Error("a profile does not change the key")
	}
	if _, err := s.build(t); err != nil {
		t.Fatal(err)
	}
	lines = stepsOf(t, s.runner, 1)
	if !strings.Contains(lines, "\ntouch profile-run-stamp\nmake -j3 "+linkFreezerPlainly+"\n") || strings.Contains(lines, "--pgo") {
		t.Errorf("by the profile, these steps are run:%s", lines)
	}
	files := s.runner.Sandboxes()[1].Files()
	if e, ok := files.Lookup(source[1:] + "/Objects/list.gcda"); !ok || e.Size != int64(len(counts())) {
		t.Error("the counts are not beside the object")
	}
}

// That an interpreter is another one in each build is told once, where it is compiled.
func TestUnrepeatable(t *testing.T) {
	t.Parallel()
	objects := []string{"Objects/list.o"}
	for name, c := range map[string]struct {
		configure []string
		pinned    bool
		want      string
	}{
		"plain":          {nil, false, ""},
		"trained":        {[]string{"--enable-optimizations"}, false, "`ampoule pgo-profile --write` trains once"},
		"with BOLT":      {[]string{"--enable-optimizations", "--enable-bolt"}, false, "`ampoule pgo-profile --write` trains once"},
		"with BOLT only": {[]string{"--enable-bolt"}, false, "with --enable-optimizations, `ampoule pgo-profile --write`"},
		"by a profile":   {[]string{"--enable-optimizations"}, true, ""},
	} {
		s := optimised(t, &objects)
		s.spec.Configure = c.configure
		if c.pinned {
			trained, err := s.Train(t.Context(), s.spec, Workload{})
			if err != nil {
				t.Fatal(err)
			}
			s.spec.Profile = trained.SHA256
		}
		var told []string
		for range 2 {
			if _, err := s.build(t); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, e := range s.events.Events() {
				if e.Kind == progress.Told {
					told = append(told, e.Message)
				}
			}
		}
		if c.want == "" && len(told) > 0 || c.want != "" && (len(told) != 1 || !strings.Contains(told[0], c.want)) {
			t.Errorf("%s: told %q, want %q", name, told, c.want)
		}
	}
}

// Clang counts into files of its own, wherever its programs run, and one file comes of them.
func TestTrainClang(t *testing.T) {
	t.Parallel()
	objects := []string{"Objects/list.o"}
	s := optimised(t, &objects)
	s.spec.Compiler, s.spec.Compilers = "clang-19", []string{"clang-19=1:19.1.7-3"}
	trained, err := s.Train(s.events.Context(t.Context()), s.spec, Workload{})
	if err != nil {
		t.Fatal(err)
	}
	if trained.About.Functions != 1 || trained.About.Clang != "19.1.7" || trained.About.GCC != "" {
		t.Errorf("trained %+v", trained)
	}
	counting := 0
	for _, step := range s.runner.Sandboxes()[0].Steps() {
		if slices.Contains(step.Env, countsFile) {
			counting++
		} else if step.Args[0] == "make" || step.Args[0] == "./python" {
			t.Errorf("%q counts elsewhere", step.Args)
		}
	}
	if counting == 0 {
		t.Error("nothing counts")
	}
	s.spec.Profile = trained.SHA256
	if _, err := s.build(t); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.runner.Sandboxes()[1].Files().Lookup(source[1:] + "/" + pgo.ClangData); !ok {
		t.Error("the counts are not where the Makefile looks")
	}
	if lines := stepsOf(t, s.runner, 1); !strings.Contains(lines, "\nmake -j3 "+strings.Join(byProfile(s.spec), " ")+"\n") || !strings.Contains(lines, "-Werror=profile-instr-out-of-date") {
		t.Errorf("counts of another shape are passed over:%s", lines)
	}
	s.spec.Compiler, s.spec.Compilers = "", []string{"gcc-14=14.2.0-19"}
	if _, err := s.build(t); err == nil || !strings.Contains(err.Error(), "the compiler is clang-19=1:19.1.7-3 in the profile, and gcc-14=") {
		t.Errorf("by GCC: %v", err)
	}
}

// A workload runs in the directory that is given to it, with the interpreter that counts in its tree.
func TestTrainWorkload(t *testing.T) {
	t.Parallel()
	objects := []string{"Objects/list.o"}
	s := optimised(t, &objects)
	laid, err := tree.New([]tree.Entry{tree.FileEntry("bin/python3.13", 0o555, []byte("plain")), tree.FileEntry("bin/bench", 0o755, nil)})
	if err != nil {
		t.Fatal(err)
	}
	work := Workload{Commands: [][]string{{"bench", "--fast"}, {"python3", "-m", "bench"}}, Tree: laid}
	trained, err := s.Train(s.events.Context(t.Context()), s.spec, work)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(work.Commands, trained.About.Commands); diff != "" || trained.About.Task != nil {
		t.Errorf("trained with %q (-want +got):\n%s", trained.About.Task, diff)
	}
	place := strings.Join(placeCounting("/opt/ampoule/bin/python3.13", "/opt/ampoule"), " ")
	if lines := stepsOf(t, s.runner, 0); !strings.Contains(lines, "\n"+place+"\nbench --fast\npython3 -m bench\n") || strings.Contains(lines, "--pgo") {
		t.Errorf("these steps are run:%s", lines)
	}
	if _, ok := s.runner.Sandboxes()[0].Files().Lookup("opt/ampoule/bin/bench"); !ok {
		t.Error("the tree is not there")
	}
}

// placeCounting is run by the host's shell: it replaces files that cannot be written, and follows the
// link of a name with ABI flags.
func TestPlaceCounting(t *testing.T) {
	t.Parallel()
	build, prefix := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		build + "/python": "counts", build + "/libpython3.13.so.1.0": "counts", build + "/build/lib.linux-x86_64-3.13/math.so": "counts",
		prefix + "/bin/python3.13t": "plain", prefix + "/lib/libpython3.13.so.1.0": "plain", prefix + "/lib/python3.13t/lib-dynload/math.so": "plain",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o555)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("python3.13t", prefix+"/bin/python3.13"); err != nil {
		t.Fatal(err)
	}
	args := placeCounting(prefix+"/bin/python3.13", prefix)
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = build
	if told, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, told)
	}
	for _, name := range []string{"bin/python3.13", "bin/python3.13t", "lib/libpython3.13.so.1.0", "lib/python3.13t/lib-dynload/math.so"} {
		if data, err := os.ReadFile(filepath.Join(prefix, name)); string(data) != "counts" || err != nil {
			t.Errorf("%s is %q, %v", name, data, err)
		}
	}
	if link, err := os.Readlink(prefix + "/bin/python3.13"); link != "python3.13t" {
		t.Errorf("the link is %q, %v", link, err)
	}
}

// The host's shell collects what GCC counted, and all of it: what cannot be copied is an error.
func TestCollectCounts(t *testing.T) {
	t.Parallel()
	dir, to := t.TempDir(), filepath.Join(t.TempDir(), "counts")
	names := []string{"Objects/list.gcda", "Python/a name.gcda", "top.gcda"}
	for _, name := range append(names, "Objects/list.o") {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(name), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	args := collectCounts(Spec{})
	args[len(args)-1] = to
	collect := func() ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = dir
		return cmd.CombinedOutput()
	}
	if told, err := collect(); err != nil {
		t.Fatalf("%v\n%s", err, told)
	}
	for _, name := range names {
		if data, err := os.ReadFile(filepath.Join(to, name)); string(data) != name || err != nil {
			t.Errorf("%s is %q, %v", name, data, err)
		}
	}
	if _, err := os.Stat(filepath.Join(to, "Objects/list.o")); err == nil {
		t.Error("an object is among the counts")
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "Objects/lost.gcda")); err != nil {
		t.Fatal(err)
	}
	if told, err := collect(); err == nil {
		t.Errorf("what cannot be read is left out: %s", told)
	}
}

// stepsOf are the lines of the steps in one sandbox.
func stepsOf(t *testing.T, r *fake.Runner, n int) string {
	t.Helper()
	var b strings.Builder
	b.WriteByte('\n')
	for _, step := range r.Sandboxes()[n].Steps() {
		b.WriteString(strings.Join(step.Args, " ") + "\n")
	}
	return b.String()
}

// A profile of something else is refused before the compilation begins, or at its end where only
// that shows it.
func TestMisfit(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]struct {
		change  func(s *scene, objects *[]string)
		started int
	}{
		"CPython is 3.13.5":          {func(s *scene, _ *[]string) { s.spec.Version = "3.13.15" }, 0},
		"the compiler is gcc-12":     {func(s *scene, _ *[]string) { s.spec.Compilers = []string{"gcc-12=12.2.0-15"} }, 0},
		"configure is":               {func(s *scene, _ *[]string) { s.spec.Configure = append(s.spec.Configure, "--with-pydebug") }, 0},
		"the build has no":           {func(_ *scene, objects *[]string) { *objects = (*objects)[:1] }, 1},
		"the build has Python/new.o": {func(_ *scene, objects *[]string) { *objects = append(*objects, "Python/new.o") }, 1},
		"it is no profile":           {func(s *scene, _ *[]string) { s.spec.Profile = s.spec.Source }, 0},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			objects := []string{"Objects/list.o", "Python/pylifecycle.o"}
			s := optimised(t, &objects)
			trained, err := s.Train(s.events.Context(t.Context()), s.spec, Workload{})
			if err != nil {
				t.Fatal(err)
			}
			s.spec.Profile = trained.SHA256
			c.change(s, &objects)
			_, err = s.build(t)
			expectMisfit(t, err, want)
			if told := s.CheckProfile(s.spec); (told != nil) != (c.started == 0) {
				t.Errorf("without a compiler: %v", told)
			}
			if started := len(s.runner.Sandboxes()) - 1; started != c.started {
				t.Errorf("%d sandboxes were started", started)
			}
		})
	}
}

// Counts that the compiler refuses are a profile that does not fit, and any other failure of make is one of the build.
func TestOtherShapes(t *testing.T) {
	t.Parallel()
	for line, misfit := range map[string]bool{
		"error: coverage mismatch for function 'x' while reading counter 'arcs' [-Werror=coverage-mismatch]":                                        true,
		"list.c:3:5: error: the control flow of function ‘x’ does not match its profile data (counter ‘arcs’) [-Werror=coverage-mismatch]":          true,
		"error: profile data may be out of date: of 10 functions, 1 has mismatched data that will be ignored [-Werror,-Wprofile-instr-out-of-date]": true,
		"list.c:3:5: error: ‘x’ undeclared (first use in this function)":                                                                            false,
	} {
		objects := []string{"Objects/list.o"}
		train := trainer(&objects)
		s := newScene(t, func(ctx context.Context, sb *fake.Sandbox, step sandbox.Step) error {
			if slices.Contains(step.Args, linkFreezerPlainly) {
				fmt.Fprintln(step.Stderr, line)
				return &sandbox.ExitError{Args: step.Args, Code: 2}
			}
			return train(ctx, sb, step)
		})
		s.spec.Configure, s.spec.Compilers = []string{"--enable-optimizations"}, []string{"gcc-12=12.2.0-14"}
		trained, err := s.Train(s.events.Context(t.Context()), s.spec, Workload{})
		if err != nil {
			t.Fatal(err)
		}
		s.spec.Profile = trained.SHA256
		_, err = s.build(t)
		if step, ok := errors.AsType[*buildlog.StepError](err); !ok || !strings.Contains(strings.Join(step.Last, "\n"), line) {
			t.Errorf("%q: %v", line, err)
		}
		if !misfit {
			if faults.Of(err) != faults.Build {
				t.Errorf("%q: %v", line, err)
			}
			continue
		}
		expectMisfit(t, err, line)
		if faults.Of(err) != faults.Input || !strings.Contains(strings.Join(faults.Hints(err), "\n"), "ampoule pgo-profile --write") {
			t.Errorf("%q is of kind %s, hints %q", line, faults.Of(err), faults.Hints(err))
		}
	}
}

func expectMisfit(t *testing.T, err error, want string) {
	t.Helper()
	if _, ok := errors.AsType[*pgo.MisfitError](err); !ok || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

// A profile that is cut off is refused, too.
func TestDamagedProfile(t *testing.T) {
	t.Parallel()
	objects := []string{"Objects/list.o"}
	s := optimised(t, &objects)
	trained, err := s.Train(s.events.Context(t.Context()), s.spec, Workload{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.Store.Open(trained.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	half := make([]byte, trained.Size/2)
	if _, err := f.Read(half); err != nil {
		t.Fatal(err)
	}
	if s.spec.Profile, _, err = s.Store.Put(t.Context(), bytes.NewReader(half)); err != nil {
		t.Fatal(err)
	}
	_, err = s.build(t)
	if _, ok := errors.AsType[*pgo.MisfitError](err); !ok {
		t.Errorf("error %v", err)
	}
}

// The program by which CPython tests embedding is linked for training, and not by a profile.
func TestNoTestProgram(t *testing.T) {
	t.Parallel()
	objects := []string{"Objects/list.o"}
	s := optimised(t, &objects)
	trained, err := s.Train(s.events.Context(t.Context()), s.spec, Workload{})
	if err != nil {
		t.Fatal(err)
	}
	s.spec.Profile = trained.SHA256
	if _, err := s.build(t); err != nil {
		t.Fatal(err)
	}
	const made = "\n/bin/sh -ec " + leaveOut + "\n"
	for n, left := range []bool{false, true} {
		if lines := stepsOf(t, s.runner, n); strings.Contains(lines, made) != left {
			t.Errorf("these steps are run:%s", lines)
		}
	}
}

// The host's shell leaves that program out where BOLT counts, unless the task of the CPython that is trained runs it.
func TestTestProgramOfTask(t *testing.T) {
	t.Parallel()
	for tests, made := range map[string]bool{"PGO_TESTS = ['test_array', 'test_embed']": false, "PGO_TESTS = ['test_array']": true} {
		dir := t.TempDir()
		list := filepath.Join(dir, "Lib/test/libregrtest/pgo.py")
		err := errors.Join(os.MkdirAll(filepath.Dir(list), 0o755), os.Mkdir(filepath.Join(dir, "Programs"), 0o755), os.WriteFile(list, []byte(tests), 0o644))
		if err != nil {
			t.Fatal(err)
		}
		leave := exec.CommandContext(t.Context(), "/bin/sh", "-ec", leaveOutUnlessRun)
		leave.Dir = dir
		if told, err := leave.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, told)
		}
		if _, err := os.Stat(filepath.Join(dir, "Programs/_testembed")); (err == nil) != made {
			t.Errorf("with %q: %v", tests, err)
		}
	}
}

// The host's make, which runs itself as CPython's does, is told how to link: what counts is compiled
// without link-time optimisation, and by a profile one program alone is linked without it.
func TestLinksPlainly(t *testing.T) {
	t.Parallel()
	const makefile = `PY_LDFLAGS_NOLTO=-fno-lto
PY_CORE_LDFLAGS=-flto $(LDFLAGS_NODIST)
PY_CORE_CFLAGS=$(CFLAGS_NODIST)
all: ; @$(MAKE) build_all
profile-gen-stamp: ; @$(MAKE) build_all CFLAGS_NODIST="$(CFLAGS_NODIST) -fprofile-generate" LDFLAGS_NODIST="$(LDFLAGS_NODIST) -fprofile-generate"
build_all: Programs/_freeze_module python
Programs/_freeze_module python: list.o ; @echo $@ $(PY_CORE_LDFLAGS)
list.o: ; @echo $@ -flto $(PY_CORE_CFLAGS)
_bootstrap_python: list.o ; @echo $@ $(PY_LDFLAGS_NOLTO)
tested: ; @$(MAKE) Programs/_testembed.o Programs/_freeze_module _bootstrap_python python CFLAGS_NODIST="$(CFLAGS_NODIST) -fprofile-instr-use"
Programs/_testembed.o: ; @echo $@ $(PY_CORE_CFLAGS)
`
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Makefile"), []byte(makefile), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"training": {
			append([]string{"profile-gen-stamp"}, withoutLTO...),
			"list.o -flto -fno-lto -fprofile-generate\nPrograms/_freeze_module -flto -fno-lto -fprofile-generate\npython -flto -fno-lto -fprofile-generate\n",
		},
		"by a profile": {byProfile(Spec{}), "list.o -flto\nPrograms/_freeze_module -fno-lto\npython -flto\n"},
		"by one of clang's": {
			append([]string{"tested"}, byProfile(Spec{Compiler: "clang"})...),
			"Programs/_testembed.o -Werror=profile-instr-out-of-date -fprofile-instr-use -Wno-error=profile-instr-out-of-date\n" +
				"list.o -flto -Werror=profile-instr-out-of-date -fprofile-instr-use\n" +
				"Programs/_freeze_module -fno-lto -O0\n_bootstrap_python -fno-lto -O0\npython -flto\n",
		},
	} {
		cmd := exec.CommandContext(t.Context(), "make", append([]string{"--no-print-directory", "-C", dir}, c.args...)...)
		if told, err := cmd.CombinedOutput(); err != nil || string(told) != c.want {
			t.Errorf("%s: %v\n%s", name, err, told)
		}
	}
}
