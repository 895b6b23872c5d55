package trials

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/recorded"
	"ampoule/builder/progress"
	"ampoule/recipes"
)

// limitSdists is what compiling sdists may take of pip's time, which compiles one after the other.
const limitSdists = 0.6

// wheelRecords are the kinds of records of wheels, and of what is made of them.
var wheelRecords = append([]string{"wheel", "install", "carried"}, gateRecords...)

// compileByPip has pip compile the requirements of a file, and prints how many nanoseconds that took.
// What it downloads is in its cache before: the sdists, and what building takes.
const compileByPip = `/opt/python/current/bin/python3 -m venv /tmp/venv
pip() { verb=$1; shift; /tmp/venv/bin/pip "$verb" --quiet --no-deps --no-binary "$only" --requirement /sdists/requirements.txt "$@"; }
only=$(sed 's/==.*//' /sdists/requirements.txt | paste -sd,)
pip download --dest /tmp/downloaded >&2
begun=$(date +%s%N)
pip wheel --wheel-dir /tmp/wheels >&2
echo $(($(date +%s%N) - begun))
`

// Sdists has Ampoule and pip compile the sdists of the web recipe, in this order, with one
// interpreter and one toolchain, and compares the times. An error is that it could not be measured.
func (t *Trials) Sdists(ctx context.Context) (recorded.Figure, error) {
	book, err := recorded.Open[recorded.Figure](filepath.Join(t.Results, recorded.BenchFile))
	if err != nil {
		return recorded.Figure{}, err
	}
	var f recorded.Figure
	if err := inTemp(func(work string) error { f, err = t.sdists(ctx, work); return err }); err != nil {
		return f, err
	}
	return f, book.Put(f)
}

func (t *Trials) sdists(ctx context.Context, work string) (recorded.Figure, error) {
	dir, err := t.fromCatalogue(ctx, work, webRecipe)
	if err != nil {
		return recorded.Figure{}, err
	}
	t.Say("building %s, where the store has not", webRecipe)
	if _, err := t.lock(ctx, t.Store, dir); err != nil {
		return recorded.Figure{}, err
	}
	made, _, err := t.build(ctx, t.Store, dir)
	if err != nil {
		return recorded.Figure{}, err
	}
	lock, err := readLock(dir)
	if err != nil {
		return recorded.Figure{}, err
	}
	ours, longest, err := t.compileSdists(ctx, dir)
	if err != nil {
		return recorded.Figure{}, err
	}
	theirs, err := t.pipSdists(ctx, work, dir, made.Ref, lock)
	if err != nil {
		return recorded.Figure{}, fmt.Errorf("compiling by pip: %w", err)
	}
	return recorded.Figure{
		Name: "sdists", Value: round(ours.Seconds() / theirs.Seconds()), Limit: limitSdists,
		Of: fmt.Sprintf("%d sdists of %s compiled by ampoule build: %.0f s (the longest: %s), by pip wheel, which had downloaded everything before: %.0f s",
			compiled(lock), webRecipe, ours.Seconds(), longest, theirs.Seconds()),
		When: t.Now().UTC().Format(time.DateOnly), Cores: runtime.NumCPU(),
	}, nil
}

// compileSdists builds a recipe in a copy of the store that has no wheels, and tells the time in
// which wheels were made, and which three took longest.
func (t *Trials) compileSdists(ctx context.Context, dir string) (took time.Duration, longest string, err error) {
	copied, end, err := t.storeWithout(ctx, wheelRecords)
	if err != nil {
		return 0, "", err
	}
	defer func() { err = errors.Join(err, end()) }()
	t.Say("ampoule build, without wheels")
	_, run, err := t.build(ctx, copied, dir)
	if err != nil {
		return 0, "", err
	}
	stage := progress.StageWheel.String()
	if run.Reused(stage) > 0 {
		return 0, "", errors.New("wheels were reused that were to be compiled")
	}
	tasks := run.Tasks(stage)
	slices.SortFunc(tasks, func(x, y string) int { return cmp.Compare(run.Took(stage, y), run.Took(stage, x)) })
	var told []string
	for _, task := range tasks[:min(3, len(tasks))] {
		told = append(told, fmt.Sprintf("%s %.0f s", task, run.Took(stage, task).Seconds()))
	}
	return run.Took(stage), strings.Join(told, ", "), nil
}

// pipSdists has pip compile the sdists of a lock, in a container with the artifact's interpreter.
func (t *Trials) pipSdists(ctx context.Context, work, dir, ref string, lock *recipes.Lock) (took time.Duration, err error) {
	recipe, err := recipes.ReadRecipe(filepath.Join(dir, recipeFile))
	if err != nil {
		return 0, err
	}
	tree, sdists := filepath.Join(work, "python"), filepath.Join(work, "sdists")
	if _, err := t.in(t.Store).Run(ctx, "install", ref, "--root", tree); err != nil {
		return 0, err
	}
	if err := os.Mkdir(sdists, 0o755); err != nil { //nolint:gosec // the container reads it
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(sdists, "requirements.txt"), []byte(pinned(lock)), 0o644); err != nil { //nolint:gosec // the container reads it
		return 0, err
	}
	r, err := t.newRival(ctx, work, recipe, lock, "")
	if r != nil {
		defer func() { err = errors.Join(err, r.remove(ctx)) }()
	}
	if err != nil {
		return 0, err
	}
	if _, err := r.build(ctx, true); err != nil {
		return 0, err
	}
	t.Say("pip wheel")
	run, err := t.Docker.Run(ctx, "run", "--rm", "--network", "host", "--volume", tree+":/opt/python:ro", "--volume", sdists+":/sdists:ro", r.image, "sh", "-euc", compileByPip)
	if err != nil {
		return 0, err
	}
	return nanoseconds(run)
}

// pinned names the sdists of a lock as requirements.
func pinned(lock *recipes.Lock) string {
	var text strings.Builder
	for _, d := range lock.Dists {
		if !d.IsWheel() {
			fmt.Fprintf(&text, "%s==%s\n", d.Name, d.Version)
		}
	}
	return text.String()
}

// nanoseconds reads what [compileByPip] printed.
func nanoseconds(run *drive.Run) (time.Duration, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(run.Out), 10, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("the container told no time: %q", run.Out)
	}
	return time.Duration(n), nil
}
