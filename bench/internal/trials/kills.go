package trials

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/recorded"
	"ampoule/builder/progress"
	"ampoule/store"
)

// killedRecipe is what is built and killed.
const killedRecipe = "quickstart"

// The kinds of kills: while everything is built from inputs that are there, and while the
// interpreter and the toolchain are there, too.
const (
	killEmpty  = "interpreter"
	killStored = "stored"
)

// keptRecords are the kinds of records that a store has before a build of each kind.
var keptRecords = map[string][]string{
	killEmpty:  {"toolchain-layer"},
	killStored: {"toolchain-layer", "interpreter"},
}

// KillNames lists so many kills, of which the first are while the interpreter compiles.
func KillNames(interpreter, stored int) []string {
	var names []string
	for i := range interpreter {
		names = append(names, fmt.Sprintf("%s-%03d", killEmpty, i+1))
	}
	for i := range stored {
		names = append(names, fmt.Sprintf("%s-%03d", killStored, i+1))
	}
	return names
}

// Kills kills builds of the quickstart recipe, each at a random moment, and builds again.
// The following build must give the undisturbed digest and leave nothing that an
// undisturbed one does not leave. A kill's name decides its moment.
func (t *Trials) Kills(ctx context.Context, names []string) error {
	book, err := recorded.Open[recorded.Kill](filepath.Join(t.Results, recorded.KillsFile))
	if err != nil {
		return err
	}
	return inTemp(func(work string) error {
		k := &killer{t: t, work: work, calm: map[string]calm{}}
		if k.dir, err = t.fromCatalogue(ctx, work, killedRecipe); err != nil {
			return err
		}
		t.Say("%s: locking and building it, where the store has not", killedRecipe)
		if _, err := t.lock(ctx, t.Store, k.dir, "--upgrade"); err != nil {
			return err
		}
		b, _, err := t.build(ctx, t.Store, k.dir)
		if err != nil {
			return err
		}
		k.digest = b.Digest
		return each(t, book, names, func(name string) (recorded.Kill, error) { return k.kill(ctx, name) })
	})
}

// killer kills builds of one recipe.
type killer struct {
	t         *Trials
	work, dir string
	// digest is the undisturbed one.
	digest string
	// calm is what builds of each kind take and leave when nobody kills them.
	calm map[string]calm
}

// calm is an undisturbed build.
type calm struct {
	took time.Duration
	left []string
}

// begin makes a store as it is before a build of a kind.
//
//nolint:contextcheck // the use of a store is its own, which nobody waits for
func (k *killer) begin(kind string) (dir string, end func(context.Context) error, err error) {
	from, err := store.Open(k.t.Store)
	if err != nil {
		return "", nil, err
	}
	release, err := from.Use(context.Background())
	if err != nil {
		return "", nil, err
	}
	defer release()
	// Beside the store, content can be linked.
	if dir, err = os.MkdirTemp(filepath.Dir(from.Root()), "kills-"); err != nil {
		return "", nil, err
	}
	_, err = from.Clone(dir, func(string) bool { return true }, func(of string, _ []byte) bool { return slices.Contains(keptRecords[kind], of) })
	end = func(ctx context.Context) error {
		return errors.Join(k.t.forgetStore(ctx, dir), os.RemoveAll(dir))
	}
	return dir, end, err
}

// undisturbed builds once without a kill.
func (k *killer) undisturbed(ctx context.Context, kind string) (_ calm, err error) {
	if c, ok := k.calm[kind]; ok {
		return c, nil
	}
	k.t.Say("%s: an undisturbed build", kind)
	dir, end, err := k.begin(kind)
	if err != nil {
		return calm{}, err
	}
	defer func() { err = errors.Join(err, end(ctx)) }()
	b, run, err := k.t.build(ctx, dir, k.dir)
	if err != nil {
		return calm{}, err
	}
	if b.Digest != k.digest {
		return calm{}, fmt.Errorf("an undisturbed build gave %s, the one before %s", b.Digest, k.digest)
	}
	c := calm{took: k.span(kind, run)}
	c.left, err = k.left(ctx, dir)
	k.calm[kind] = c
	return c, err
}

// sinceInterpreter is how long a run went on after it had its interpreter.
func sinceInterpreter(run *drive.Run) time.Duration {
	for _, e := range run.Events {
		if e.Stage == progress.StageInterpreter && e.Kind == progress.Done {
			return run.Events[len(run.Events)-1].Time.Sub(e.Time)
		}
	}
	return 0
}

// killTries is how often a build may end before its moment comes.
const killTries = 10

func (k *killer) kill(ctx context.Context, name string) (recorded.Kill, error) {
	kind, _, _ := strings.Cut(name, "-")
	c, err := k.undisturbed(ctx, kind)
	if err != nil {
		return recorded.Kill{}, err
	}
	of := c.took
	for try := range killTries {
		r := recorded.Kill{Name: name, Outcome: k.t.today(), WholeSeconds: seconds(of)}
		ended, err := k.try(ctx, &r, c, moment(fmt.Sprintf("%s/%d", name, try), of))
		if err != nil || ended == 0 {
			return r, err
		}
		// The machine is less busy than it was: that build was done by then.
		of = ended
	}
	return recorded.Kill{}, fmt.Errorf("%s: %d builds ended before they could be killed", name, killTries)
}

// try kills one build after some time, and builds again. Of a build that ended before, it
// returns how long that took, as [calm] has it.
func (k *killer) try(ctx context.Context, r *recorded.Kill, c calm, after time.Duration) (ended time.Duration, err error) {
	kind, _, _ := strings.Cut(r.Name, "-")
	dir, end, err := k.begin(kind)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, end(ctx)) }()
	r.AfterSeconds = seconds(after)
	victim := *k.t
	victim.Ampoule.KillAfter = after
	_, run, err := victim.build(ctx, dir, k.dir)
	var failure *drive.FailureError
	switch {
	case err == nil:
		return k.span(kind, run), nil
	case !errors.As(err, &failure) || failure.Code != -1:
		return 0, err
	}
	r.During = during(run)
	b, _, err := k.t.build(ctx, dir, k.dir)
	if err != nil {
		return 0, k.t.failed(&r.Outcome, err, "build")
	}
	r.Digest = b.Digest
	left, err := k.left(ctx, dir)
	if err != nil {
		return 0, err
	}
	r.Left = slices.DeleteFunc(left, func(what string) bool { return slices.Contains(c.left, what) })
	r.Passed = r.Digest == k.digest && len(r.Left) == 0
	if !r.Passed {
		r.Error = fmt.Sprintf("digest %s, left %d things", r.Digest, len(r.Left))
	}
	return 0, nil
}

// span is the part of a build in which it may be killed: the whole of it, or what stands
// before its interpreter and the compilation of that.
func (*killer) span(kind string, run *drive.Run) time.Duration {
	if kind == killEmpty {
		return run.Wall - sinceInterpreter(run)
	}
	return run.Wall
}

// moment draws when a build is killed. The same name gives the same part of the time.
func moment(name string, of time.Duration) time.Duration {
	sum := sha256.Sum256([]byte(name))
	return time.Duration(float64(binary.LittleEndian.Uint32(sum[:])) / (1 << 32) * float64(of))
}

// during names the task that began last and had not ended.
func during(run *drive.Run) string {
	open := map[string]bool{}
	last := "the start"
	for _, e := range run.Events {
		task := strings.TrimSpace(e.Stage.String() + " " + e.Task)
		open[task] = e.Kind == progress.Started
		if open[task] {
			last = task
		}
	}
	return last
}

// left lists what builds leave in Docker and in a store: containers, and files that are no
// content, record or log, nor a whole blob of the registry.
func (k *killer) left(ctx context.Context, dir string) ([]string, error) {
	st, err := store.Open(dir)
	if err != nil {
		return nil, err
	}
	id, found, err := st.KnownID()
	if err != nil || !found {
		return nil, fmt.Errorf("the store has no name: %w", err)
	}
	list, err := k.t.Docker.Run(ctx, "ps", "--all", "--filter", "label="+storeLabel+"="+id, "--format", "{{.Names}}")
	if err != nil {
		return nil, err
	}
	var left []string
	for _, name := range strings.Fields(list.Out) {
		left = append(left, "container "+name)
	}
	for _, area := range []string{"tmp", "owners", "users", "locks", "registry"} {
		root := filepath.Join(dir, area)
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			if filepath.Base(filepath.Dir(path)) == "sha256" {
				// Whole blobs may be others each time: verdicts have a time.
				if whole, err := isWhole(ctx, path, entry.Name()); whole || err != nil {
					return err
				}
			}
			left = append(left, rel)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return left, nil
}

// isWhole reports whether a file is what its name says.
func isWhole(ctx context.Context, path, sum string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	got, err := store.Sum(ctx, f)
	return got == sum, err
}

// storeLabel is the label that an engine's containers have of their store.
const storeLabel = "ampoule.store"
