package trials

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/recorded"
	"ampoule/recipes"
)

// addition is a requirement that is added to the web recipe.
type addition struct {
	kind        string
	requirement string
	// imported is the module whose import is added to the recipe's tests.
	imported string
	// packages are the Debian packages that the recipe names for building it.
	packages []string
	// limit is what the turn may take beside the compilation.
	limit time.Duration
}

// webRecipe is the recipe of the loop and of the benchmark.
const webRecipe = "web"

// additions are the turns of the loop.
var additions = []addition{
	{kind: "pure", requirement: "humanize", imported: "humanize", limit: 10 * time.Second},
	{kind: "native", requirement: "msgpack", imported: "msgpack._cmsgpack", limit: 15 * time.Second},
	{kind: "native with a -dev package", requirement: "mysqlclient", imported: "MySQLdb._mysql",
		packages: []string{"default-libmysqlclient-dev"}, limit: 15 * time.Second},
}

// Loop adds one requirement of each kind to the web recipe, which is built before,
// until its tests have passed and its digest is published.
func (t *Trials) Loop(ctx context.Context) error {
	book, err := recorded.Open[recorded.Step](filepath.Join(t.Results, recorded.LoopFile))
	if err != nil {
		return err
	}
	return inTemp(func(work string) error {
		base, err := t.fromCatalogue(ctx, work, webRecipe)
		if err != nil {
			return err
		}
		t.Say("building %s", webRecipe)
		if err := t.ready(ctx, base); err != nil {
			return err
		}
		for i, a := range additions {
			t.Say("adding %s (%s)", a.requirement, a.kind)
			step, err := t.turn(ctx, base, filepath.Join(work, fmt.Sprint("turn", i)), a)
			if err != nil {
				return fmt.Errorf("adding %s: %w", a.requirement, err)
			}
			t.Say("%s: %.1f s of which %.1f s compile; the rest %.1f s, limit %.0f s: %s", a.kind,
				step.LockSeconds+step.BuildSeconds, step.CompileSeconds, step.Overhead(), step.LimitSeconds, verdict(step.Holds()))
			if err := book.Put(step); err != nil {
				return err
			}
		}
		return nil
	})
}

func verdict(holds bool) string {
	if holds {
		return "holds"
	}
	return "does not hold"
}

// ready locks and builds a recipe, so that the store has all that it needs.
func (t *Trials) ready(ctx context.Context, dir string) error {
	// What was published before might have been built by another version, with other keys.
	if err := setApart(dir, t.Now()); err != nil {
		return err
	}
	r := recorded.Recipe{Name: filepath.Base(dir)}
	_, err := t.buildShipped(ctx, dir, &r)
	return err
}

// turn adds a requirement to a copy of a recipe that was built, and builds that.
// The copy has a test of its own, so that it is sealed, gated and published even if
// the same turn was taken before.
func (t *Trials) turn(ctx context.Context, base, dir string, a addition) (recorded.Step, error) {
	now := t.Now().UTC()
	step := recorded.Step{Kind: a.kind, Requirement: a.requirement, When: now.Format(time.DateOnly), Cores: runtime.NumCPU(), LimitSeconds: a.limit.Seconds()}
	if err := os.CopyFS(dir, os.DirFS(base)); err != nil {
		return step, err
	}
	if err := amend(dir, a); err != nil {
		return step, err
	}
	if err := setApart(dir, now); err != nil {
		return step, err
	}
	before, err := readLock(base)
	if err != nil {
		return step, err
	}
	locked, err := t.lock(ctx, t.Store, dir)
	if err != nil {
		return step, err
	}
	_, made, err := t.build(ctx, t.Store, dir)
	if err != nil {
		return step, err
	}
	after, err := readLock(dir)
	if err != nil {
		return step, err
	}
	step.LockSeconds, step.BuildSeconds = seconds(locked.Wall), seconds(made.Wall)
	step.CompileSeconds = seconds(compileTime(before, after, locked, made))
	return step, nil
}

// setApart gives a recipe a test of its own, so that nothing is published for it yet.
func setApart(dir string, now time.Time) error {
	only := fmt.Sprintf("\n  commands:\n    - [python3, -c, \"'%d'\"]\n", now.UnixNano())
	return edit(filepath.Join(dir, recipeFile), "\n  commands:\n", only)
}

// compileTime is the time in which code ran of sdists that only the later lock has:
// they were compiled, and asked before for what that takes (PEP 517).
func compileTime(before, after *recipes.Lock, runs ...*drive.Run) time.Duration {
	var added, asked []string
	for _, d := range after.Dists {
		if _, old := before.Dist(d.ID()); !old {
			added = append(added, d.ID())
			asked = append(asked, "requires of "+d.ID(), "metadata of "+d.ID())
		}
	}
	var total time.Duration
	for _, run := range runs {
		// Without a name all tasks would count.
		if len(added) > 0 {
			total += run.Took("wheel", added...) + run.Took("lock", asked...)
		}
	}
	return total
}

// amend writes a requirement into a recipe of the catalogue as a person would: in
// its requirements, in its tests, and its Debian packages.
func amend(dir string, a addition) error {
	requirements := filepath.Join(dir, "requirements.txt")
	if err := edit(requirements, "", a.requirement+"\n"); err != nil {
		return err
	}
	recipe := filepath.Join(dir, recipeFile)
	if err := edit(recipe, "\n  imports:\n", "\n  imports:\n    - "+a.imported+"\n"); err != nil {
		return err
	}
	if len(a.packages) == 0 {
		return nil
	}
	return edit(recipe, "", fmt.Sprintf("packages:\n  %s: {build: [%s]}\n", a.requirement, strings.Join(a.packages, ", ")))
}

// edit replaces the one place of a text in a file, or adds to its end when old is empty.
func edit(path, old, text string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	content := string(data)
	switch {
	case old == "":
		content += text
	case strings.Count(content, old) != 1:
		return fmt.Errorf("editing %s: %q stands in it %d times, not once", path, old, strings.Count(content, old))
	default:
		content = strings.Replace(content, old, text, 1)
	}
	return os.WriteFile(path, []byte(content), 0o644)
}
