package cpython

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ampoule/builder/buildlog"
	"ampoule/builder/cpython/pgo"
	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/tree"
)

// boltStamp is what make looks at to know that BOLT is done.
const boltStamp = "profile-bolt-stamp"

// boltDir is where BOLT's data is collected.
const boltDir = sandbox.WorkDir + "/fdata"

// usesBolt reports whether BOLT arranges what is linked.
func (s Spec) usesBolt() bool { return s.python().Bolt() }

// python is what a recipe says of how the interpreter is compiled, as far as BOLT depends on it.
func (s Spec) python() recipes.Python {
	return recipes.Python{Compiler: s.Compiler, Configure: s.Configure}
}

// boltProgram is the path of one of BOLT's programs. The one that Debian has in /usr/bin does not find the library
// that it links with.
func boltProgram(spec Spec, name string) string {
	return "/usr/lib/llvm-" + spec.python().BoltVersion() + "/bin/" + name
}

// BOLT's rules are those of profile-bolt-stamp in CPython's Makefile, taken apart: what counts is run by us, and
// what fails ends it. They have the Makefile's own flags. The variable binary is one of its BOLT_BINARIES.
const (
	boltGoal = "ampoule-bolt"
	// listRule prints the binaries' names.
	listRule = `@for binary in $(BOLT_BINARIES); do echo "$$binary"; done`
	// instrumentRule puts a binary that counts in the place of one.
	instrumentRule = `cp -p $(binary) $(binary).prebolt && ` +
		`$(bolt) $(binary) -instrument -instrumentation-file-append-pid -instrumentation-file=$(abspath $(binary).bolt) -o $(binary).bolt_inst $(BOLT_INSTRUMENT_FLAGS) && ` +
		`mv $(binary).bolt_inst $(binary)`
	// mergeRule puts the one that was linked back, and makes one file of what its processes counted, if there is some.
	mergeRule = `mv $(binary).prebolt $(binary) && mkdir -p $(fdata) && set -- $(binary).bolt.*.fdata && ` +
		`if test -e "$$1"; then $(merge) "$$@" > $(fdata)/$(binary).fdata; fi`
	// arrangeRule arranges a binary. It keeps its time, so that make links nothing again, and its other names: libpython
	// has two, of which CPython's Makefile arranges one and installs the other. One flag is left out: it takes the place
	// of PT_GNU_STACK, and the stacks of all threads are executable then. Two are added, unless the recipe's own flags
	// say how blocks are aligned: BOLT drops the places that the compiler gave to small loops, and one that lies in two lines of a
	// processor's cache is slower (docs/decisions/0126).
	// Keys of recipes that it is used for have it: see [Rules].
	arrangeRule = `$(bolt) $(binary) -o $(binary).bolt -data=$(binary).fdata $(filter-out -use-gnu-stack,$(BOLT_APPLY_FLAGS)) ` +
		`$(if $(filter -align-blocks% --align-blocks% -block-alignment% --block-alignment%,$(BOLT_APPLY_FLAGS)),,-align-blocks -block-alignment=64) && ` +
		`touch -r $(binary) $(binary).bolt && cp --preserve=timestamps $(binary).bolt $(binary)`
)

// boltRule are the arguments of make for a rule of ours.
func boltRule(spec Spec, rule, binary string) []string {
	return []string{
		"--eval=" + boltGoal + ": ; " + rule, boltGoal, "binary=" + binary, "fdata=" + boltDir,
		"bolt=" + boltProgram(spec, llvmBolt), "merge=" + boltProgram(spec, mergeFdata),
	}
}

const (
	llvmBolt   = "llvm-bolt"
	mergeFdata = "merge-fdata"
)

// llvmVersion is how LLVM's programs say their version.
var llvmVersion = regexp.MustCompile(`LLVM version (\d+(?:\.\d+)+)`)

// mostBoltVersion bounds what llvm-bolt says of itself, in bytes: it lists all processors that it knows.
const mostBoltVersion = 64 << 10

// boltVersion asks llvm-bolt for its version.
func (c *compilation) boltVersion(ctx context.Context) (string, error) {
	program := boltProgram(c.spec, llvmBolt)
	told, err := sandbox.Output(ctx, c.sb, sandbox.Step{
		Args: []string{program, "--version"}, Env: sandbox.Env(), Dir: source, Stderr: c.log,
	}, mostBoltVersion)
	if err != nil {
		return "", err
	}
	found := llvmVersion.FindSubmatch(told)
	if found == nil {
		return "", fmt.Errorf("asking %s for its version: it says %.200q", program, told)
	}
	return string(found[1]), nil
}

// boltBinaries lists the files that the Makefile has BOLT arrange.
func (c *compilation) boltBinaries(ctx context.Context) ([]string, error) {
	args := append([]string{"make", "--silent"}, boltRule(c.spec, listRule, "")...)
	listed, err := sandbox.Output(ctx, c.sb, sandbox.Step{Args: append(args, c.makeArgs...), Env: sandbox.Env(), Dir: source, Stderr: c.log}, mostObjects)
	if err != nil {
		return nil, err
	}
	names := strings.Fields(string(listed))
	for _, name := range names {
		if !pgo.IsBinary(name) {
			return nil, fmt.Errorf("listing BOLT_BINARIES of CPython's Makefile: %q is no file's name", name)
		}
	}
	if len(names) == 0 {
		return nil, faults.New(faults.Build, "BOLT is built in since CPython 3.12", "CPython's Makefile has no BOLT_BINARIES")
	}
	return names, nil
}

// mostReport bounds what is kept of what llvm-bolt says, in bytes. It has a few KB.
const mostReport = 1 << 20

// report keeps the beginning of what is written to it.
type report struct{ data []byte }

func (r *report) Write(p []byte) (int, error) {
	r.data = append(r.data, p[:min(len(p), mostReport-len(r.data))]...)
	return len(p), nil
}

// runBolt runs a rule of ours for a binary, and returns what it told.
func (c *compilation) runBolt(ctx context.Context, rule, binary string) (told string, err error) {
	var out, warnings report
	err = c.step(ctx, sandbox.InParallel(c.stage.Jobs, func(n int) sandbox.Step {
		args := slices.Concat([]string{"make", "-j" + strconv.Itoa(n)}, boltRule(c.spec, rule, binary), c.makeArgs)
		step := c.stepOf(io.MultiWriter(&out, c.log), args)
		step.Stderr = io.MultiWriter(&warnings, c.log)
		return step
	}))
	return string(out.data) + "\n" + string(warnings.data), err
}

// trainBolt compiles the interpreter by the counts of a profile, has it run a workload under BOLT's counters, and
// adds what these say to the profile. The data can be read until the closer is closed.
func (s *Stage) trainBolt(ctx context.Context, spec Spec, work Workload, p *pgo.Profile, log *buildlog.Log) (_ io.Closer, err error) {
	c, err := s.begin(ctx, spec, log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.sb.Close()) }()
	if err := c.configure(ctx); err != nil {
		return nil, err
	}
	if err := c.run(ctx, log, "/bin/sh", "-ec", leaveOutUnlessRun); err != nil {
		return nil, err
	}
	if err := c.optimise(ctx, p); err != nil {
		return nil, err
	}
	names, err := c.boltBinaries(ctx)
	if err != nil {
		return nil, err
	}
	data, closer, err := c.countBranches(ctx, names, work)
	if err != nil {
		return nil, err
	}
	// That it can be arranged by the data, and how that fits, is known before anybody names the profile.
	matches, err := c.arrange(ctx, names, data)
	if err == nil {
		err = p.SetBolt(p.About.Bolt.Version, matches, data)
	}
	if err != nil {
		return nil, errors.Join(err, closer.Close())
	}
	return closer, nil
}

// countBranches has binaries count while they run a workload.
func (c *compilation) countBranches(ctx context.Context, names []string, work Workload) (*tree.Tree, io.Closer, error) {
	for _, name := range names {
		if _, err := c.runBolt(ctx, instrumentRule, name); err != nil {
			return nil, nil, err
		}
	}
	if _, _, err := c.practise(ctx, work); err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		if _, err := c.runBolt(ctx, mergeRule, name); err != nil {
			return nil, nil, err
		}
	}
	return layers.Export(ctx, c.stage.Store, c.sb, boltDir)
}

// arrange has BOLT arrange the binaries for which there is data, and says how it found that to fit.
func (c *compilation) arrange(ctx context.Context, names []string, data *tree.Tree) (map[string]pgo.Match, error) {
	if err := sandbox.ImportTree(ctx, c.sb, source, data); err != nil {
		return nil, err
	}
	matches := map[string]pgo.Match{}
	for _, name := range names {
		if _, counted := data.Lookup(name + pgo.BoltExt); !counted {
			matches[name] = pgo.Match{}
			continue
		}
		told, err := c.runBolt(ctx, arrangeRule, name)
		if err != nil {
			return nil, err
		}
		if matches[name], err = pgo.ReadMatch(told); err != nil {
			return nil, err
		}
	}
	return matches, nil
}

// applyBolt arranges what is linked by the data of a profile, and lets make believe that BOLT is done. Data that
// fits otherwise than in training is a [*pgo.MisfitError].
func (c *compilation) applyBolt(ctx context.Context, p *pgo.Profile) error {
	names, err := c.boltBinaries(ctx)
	if err != nil {
		return err
	}
	about := p.About.Bolt
	if err := about.FitsBinaries(names); err != nil {
		return err
	}
	data, err := p.BoltData(ctx)
	if err != nil {
		return err
	}
	matches, err := c.arrange(ctx, names, data)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := about.FitsMatch(name, matches[name]); err != nil {
			return err
		}
	}
	return c.run(ctx, c.log, "touch", boltStamp)
}
