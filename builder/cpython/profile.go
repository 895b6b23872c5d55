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
)

// Trained is a training profile that was made.
type Trained struct {
	// SHA256 is the profile's, in hex; Size is in bytes.
	SHA256 string
	Size   int64
	About  pgo.About
}

// task is what CPython's own makefile trains with (PROFILE_TASK).
var task = []string{"-m", "test", "--pgo", "--timeout=1200"}

// Directories and names inside the sandbox.
const (
	countsDir = sandbox.WorkDir + "/counts"
	// profileStamp is what make looks at to know that training is done.
	profileStamp = "profile-run-stamp"
)

// mostObjects bounds what is read of the list of object files, in bytes.
const mostObjects = 4 << 20

// Train compiles an interpreter that counts, has it run CPython's own training task, and puts
// the profile into the store. It gives another profile each time. A step that fails gives a
// [*buildlog.StepError].
func (s *Stage) Train(ctx context.Context, spec Spec) (_ Trained, err error) {
	event := progress.Start(ctx, progress.StageInterpreter, "training profile of CPython "+spec.Version)
	defer func() { event.End(err) }()
	log, err := buildlog.Open(s.Logs, "pgo-profile")
	if err != nil {
		return Trained{}, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	event.SetLog(log.Path())
	trained, err := s.train(event.Within(ctx), spec, log)
	if err != nil {
		return Trained{}, log.Fail("training CPython "+spec.Version, err)
	}
	return trained, nil
}

func (s *Stage) train(ctx context.Context, spec Spec, log *buildlog.Log) (_ Trained, err error) {
	c, err := s.begin(ctx, spec, log)
	if err != nil {
		return Trained{}, err
	}
	defer func() { err = errors.Join(err, c.sb.Close()) }()
	if err := c.configure(ctx); err != nil {
		return Trained{}, err
	}
	about, err := c.about(ctx)
	if err != nil {
		return Trained{}, err
	}
	if err := c.runMake(ctx, "profile-gen-stamp"); err != nil {
		return Trained{}, err
	}
	objects, err := c.objects(ctx)
	if err != nil {
		return Trained{}, err
	}
	about.Task = task
	env := sandbox.Env("LD_LIBRARY_PATH=" + source)
	training := sandbox.Step{Args: append([]string{"./python"}, task...), Env: env, Dir: source, Stdout: log, Stderr: log}
	if err := c.step(ctx, training); err != nil {
		return Trained{}, err
	}
	if err := c.run(ctx, log, collectCounts()...); err != nil {
		return Trained{}, err
	}
	counts, closer, err := layers.Export(ctx, s.Store, c.sb, countsDir)
	if err != nil {
		return Trained{}, err
	}
	defer closer.Close()
	profile, err := pgo.New(about, objects, counts)
	if err != nil {
		return Trained{}, err
	}
	return s.saveProfile(ctx, profile)
}

// collectCounts copies what was counted to a directory of its own.
func collectCounts() []string {
	return []string{"/bin/sh", "-ec", `mkdir -p "$1"
find . -name '*.gcda' -print0 | LC_ALL=C sort -z | tar --null --files-from=- --create | tar --extract --directory="$1"`, "sh", countsDir}
}

func (s *Stage) saveProfile(ctx context.Context, p *pgo.Profile) (Trained, error) {
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		return Trained{}, err
	}
	sum, size, err := s.Store.Put(ctx, &b)
	return Trained{SHA256: sum, Size: size, About: p.About}, err
}

// about says what a profile of this compilation is made of.
func (c *compilation) about(ctx context.Context) (pgo.About, error) {
	about := aboutOf(c.spec)
	version, err := sandbox.Output(ctx, c.sb, sandbox.Step{
		Args: []string{"gcc", "-dumpfullversion"}, Env: sandbox.Env(), Dir: source, Stderr: c.log,
	}, 100)
	about.GCC = strings.TrimSpace(string(version))
	return about, err
}

// aboutOf is what is known of a profile without a compiler.
func aboutOf(spec Spec) pgo.About {
	configure, makeArgs := configureArgs(spec)
	return pgo.About{Version: spec.Version, Source: spec.Source, Compilers: spec.Compilers, Configure: configure, Make: makeArgs}
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

// profile reads the profile of a spec and compares the two, before anything is compiled; nil
// without one. A profile that does not fit is a [*pgo.MisfitError].
func (s *Stage) profile(spec Spec) (*pgo.Profile, io.Closer, error) {
	if spec.Profile == "" {
		return nil, io.NopCloser(nil), nil
	}
	f, err := s.Store.Open(spec.Profile)
	if err != nil {
		return nil, nil, fmt.Errorf("opening training profile: %w", err)
	}
	p, err := readProfile(f, spec)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return p, f, nil
}

func readProfile(f *os.File, spec Spec) (*pgo.Profile, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	p, err := pgo.Read(f, info.Size())
	if err != nil {
		return nil, err
	}
	build := aboutOf(spec)
	build.GCC = p.About.GCC
	return p, p.About.Fits(build)
}
