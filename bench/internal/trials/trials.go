// Package trials does what people do with Ampoule, by its program alone, and
// records what that took.
package trials

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/machine"
	"ampoule/bench/internal/recorded"
	"ampoule/builder/progress"
	"ampoule/recipes"
)

// Trials measures with these programs.
type Trials struct {
	// Ampoule is the program that is measured, Store its store's directory; empty
	// is the user's own.
	Ampoule drive.Program
	Store   string
	// Pip installs published wheels. Docker builds the rival of [Trials.Bench] on a
	// base that Bootstrap (mmdebstrap) makes, and AptConfig tells how apt reaches its mirrors.
	Pip, Docker, Bootstrap, AptConfig drive.Program
	// Python is an interpreter that has the module pip: its index is the one that
	// [Trials.Releases] asks.
	Python drive.Program
	// Registry is Debian's docker-registry, which serves [Trials.Cached] and [Trials.Clients].
	Registry drive.Program
	// Vegeta loads the service in [Trials.Load].
	Vegeta drive.Program
	// Programs are those that [Trials.Clients] tries.
	Programs Clients
	// Shell is a POSIX shell, and Host has what the machines of [Trials.Verdicts] are made
	// with. Those are below the directory Machines; Pythons has the interpreters that they
	// get, each under its version, and Cache is what installers keep for them.
	Shell                    drive.Program
	Host                     machine.Host
	Machines, Pythons, Cache string
	// UV installs into the machines instead of pip; empty is pip.
	UV string
	// Results is the directory of the recorded results.
	Results string
	// Jobs is how many processors a build may use; 0 is all.
	Jobs int
	// Lanes is how many benchmarks [Trials.Peers] runs at once, each on a processor of its own, the first
	// ones of the machine; up to 1 is one after the other, on whichever the kernel chooses.
	Lanes int
	// Together has all interpreters of [Trials.Peers] run a benchmark at once, on one processor, and compares processor time.
	Together bool
	// Again measures what is recorded already.
	Again bool
	// Shared says that the machine has other work meanwhile.
	Shared bool
	// Timeout bounds one package.
	Timeout time.Duration
	Now     func() time.Time
	// Say tells whoever waits what happens.
	Say func(format string, args ...any)
}

// recipeFile and lockFile are the names in a recipe's directory.
const (
	recipeFile = "ampoule.yaml"
	lockFile   = "ampoule.lock"
)

// in is the program for one store.
func (t *Trials) in(store string) drive.Program {
	p := t.Ampoule.With("--progress", "json")
	if store != "" {
		p = p.With("--store", store)
	}
	return p
}

// lock locks the recipe of a directory.
func (t *Trials) lock(ctx context.Context, store, dir string, args ...string) (*drive.Run, error) {
	return t.in(store).Run(ctx, append([]string{"lock", "-f", filepath.Join(dir, recipeFile)}, args...)...)
}

// built is what `ampoule build --output json` tells.
type built struct {
	Ref    string `json:"ref"`
	Digest string `json:"digest"`
	Reused bool   `json:"reused"`
	Groups []struct {
		Digest string `json:"digest"`
	} `json:"groups"`
}

// group is the digest of the one dependency group that was built.
func (b built) group() (string, error) {
	if len(b.Groups) != 1 {
		return "", fmt.Errorf("ampoule build published %d dependency groups, not one", len(b.Groups))
	}
	return b.Groups[0].Digest, nil
}

// build builds the recipe of a directory.
func (t *Trials) build(ctx context.Context, store, dir string, more ...string) (built, *drive.Run, error) {
	args := append([]string{"build", "--output", "json", "-f", filepath.Join(dir, recipeFile)}, more...)
	if t.Jobs > 0 {
		args = append(args, "--jobs", strconv.Itoa(t.Jobs))
	}
	run, err := t.in(store).Run(ctx, args...)
	if err != nil {
		return built{}, run, err
	}
	var b built
	if err := json.Unmarshal([]byte(run.Out), &b); err != nil {
		return built{}, run, fmt.Errorf("reading what ampoule build printed: %w", err)
	}
	return b, run, nil
}

// fromCatalogue copies a recipe of the catalogue to a new directory below work.
func (t *Trials) fromCatalogue(ctx context.Context, work, name string) (string, error) {
	dir := filepath.Join(work, name)
	_, err := t.Ampoule.Run(ctx, "init", "--from", name, dir)
	return dir, err
}

// today starts an outcome.
func (t *Trials) today() recorded.Outcome {
	return recorded.Outcome{When: t.Now().UTC().Format(time.DateOnly), Cores: runtime.NumCPU(), Shared: t.Shared}
}

// failed puts an error into an outcome. What is not the measured program's failure
// stays an error.
func (t *Trials) failed(o *recorded.Outcome, err error, stage string) error {
	var failure *drive.FailureError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errTimeout):
		o.Passed, o.Stage, o.Error = false, stage, errTimeout.Error()
	case errors.As(err, &failure) && failure.Code != codeInterrupted:
		o.Passed, o.Stage, o.Error = false, stage, t.scrub(failure.Message)
		if failure.Stage != "" {
			o.Stage = failure.Stage
		}
	default:
		return err
	}
	return nil
}

// codeInterrupted is the exit code of a program that a signal interrupted.
const codeInterrupted = 130

// errTimeout is the cause of a run that was ended because it took too long.
var errTimeout = errors.New("it took too long")

// seconds rounds to tenths.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*10) / 10 }

// interpreterTime is what compiling interpreters took in these runs.
func interpreterTime(runs ...*drive.Run) time.Duration {
	var total time.Duration
	for _, run := range runs {
		if run != nil {
			total += run.Took("interpreter")
		}
	}
	return total
}

// sealed reports whether a build got as far as a whole tree.
func sealed(run *drive.Run) bool {
	return slices.ContainsFunc(run.Events, func(e drive.Event) bool {
		return e.Kind == progress.Done && e.Stage == progress.StageSeal && e.Task == "tree"
	})
}

// each measures the names one after another and records each result as it ends.
// Without Again, what is recorded already is passed over.
func each[R recorded.Result](t *Trials, book *recorded.Book[R], names []string, measure func(name string) (R, error)) error {
	for i, name := range names {
		if _, done := book.Get(name); done && !t.Again {
			t.Say("%s: recorded already", name)
			continue
		}
		t.Say("%s: measuring, %d of %d", name, i+1, len(names))
		result, err := measure(name)
		if err != nil {
			return fmt.Errorf("measuring %s: %w", name, err)
		}
		if err := book.Put(result); err != nil {
			return err
		}
	}
	return nil
}

// UnknownError says that a name is none that can be measured.
type UnknownError struct {
	Name  string
	Known []string
}

func (e *UnknownError) Error() string { return fmt.Sprintf("%q is none of %q", e.Name, e.Known) }

// chosen gives the names to measure: all if none is asked for, else those, in the
// order of all.
func chosen(all, asked []string) ([]string, error) {
	for _, name := range asked {
		if !slices.Contains(all, name) {
			return nil, &UnknownError{Name: name, Known: all}
		}
	}
	if len(asked) == 0 {
		return all, nil
	}
	return slices.DeleteFunc(slices.Clone(all), func(name string) bool { return !slices.Contains(asked, name) }), nil
}

// readLock reads the lock of a directory.
func readLock(dir string) (*recipes.Lock, error) {
	lock, err := recipes.ReadLock(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, fmt.Errorf("reading what was locked: %w", err)
	}
	return lock, nil
}

// compiled counts the sdists of a lock.
func compiled(lock *recipes.Lock) int {
	n := 0
	for _, d := range lock.Dists {
		if !d.IsWheel() {
			n++
		}
	}
	return n
}

// inTemp does work in a new directory that is removed behind it.
func inTemp(work func(dir string) error) (err error) {
	dir, err := os.MkdirTemp("", "ampoule-measure-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return work(dir)
}
