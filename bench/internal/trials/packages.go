package trials

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ampoule/bench/internal/recorded"
	"ampoule/packaging"
	"ampoule/recipes"
)

// PackageNames lists the distributions that [Trials.Packages] tries, cheap ones first.
func PackageNames() []string {
	names := make([]string, len(packages))
	for i, p := range packages {
		names[i] = p.name
	}
	return names
}

// OverrideNames lists the other distributions for which an override ships, in the order
// of their names; programs that builds take as they are published are not among them.
func OverrideNames() []string {
	tried := spelledNormal(PackageNames())
	var names []string
	for name, o := range recipes.ShippedOverrides() {
		tool := slices.ContainsFunc(o.Rules, func(r recipes.OverrideRule) bool { return r.Binary != "" })
		if !tool && !slices.Contains(tried, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func spelledNormal(names []string) []string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = packaging.NormalName(name)
	}
	return all
}

// Packages locks and builds what people install most, all if none is named, each as the
// only requirement of a recipe that says nothing else of it.
func (t *Trials) Packages(ctx context.Context, names []string) error {
	return t.distributions(ctx, recorded.PackagesFile, PackageNames(), names)
}

// Overrides does the same with the other distributions for which an override ships.
// The gate loads the modules of each.
func (t *Trials) Overrides(ctx context.Context, names []string) error {
	return t.distributions(ctx, recorded.OverridesFile, OverrideNames(), names)
}

func (t *Trials) distributions(ctx context.Context, file string, all, names []string) error {
	names, err := chosen(all, spelled(names))
	if err != nil {
		return err
	}
	book, err := recorded.Open[recorded.Package](filepath.Join(t.Results, file))
	if err != nil {
		return err
	}
	return each(t, book, names, func(name string) (recorded.Package, error) {
		var result tried
		err := inTemp(func(work string) error {
			var err error
			result, err = t.pkg(ctx, work, name)
			return err
		})
		if old, ok := book.Get(name); ok && err == nil && result.reused && old.Passed && old.Version == result.Version {
			t.Say("%s: the store had the artifact: the times of %s stay; an empty --store measures them anew", name, old.When)
			return old, nil
		}
		return result.Package, err
	})
}

// spelled gives names as the table spells them, where it has them in another spelling.
func spelled(names []string) []string {
	all := slices.Clone(names)
	for i, name := range all {
		for _, p := range packages {
			if packaging.NormalName(name) == packaging.NormalName(p.name) {
				all[i] = p.name
			}
		}
	}
	return all
}

// embedders are distributions of programs that embed Python, which take a libpython, with
// the program.
var embedders = map[string]string{"uwsgi": "bin/uwsgi"}

// packageRecipe is a recipe that requires a distribution and says nothing else of it.
func packageRecipe(p pkg) string {
	requirement := p.name
	if asked, ok := extras[p.name]; ok {
		requirement = asked
	}
	configure, gate := "[]", ""
	if program, ok := embedders[p.name]; ok {
		configure = "[--enable-shared, --enable-static-libpython-for-interpreter]"
		gate = fmt.Sprintf("gate: {except: [{check: libpython-needed, files: [%s], why: it embeds Python, until: 2099-12-31}]}\n", program)
	}
	text := fmt.Sprintf(`apiVersion: ampoule/v1
name: package-%s
python:
  version: 3.13.5
  configure: %s
  optional: [_tkinter]
base: {debian: bookworm}
requirements: ["%s"]
runtime:
  container: {base: {debian: bookworm}}
  vm: {glibc: "2.36"}
`, packaging.NormalName(p.name), configure, requirement) + gate
	if len(p.imports) > 0 {
		text += "test: {imports: [" + strings.Join(p.imports, ", ") + "]}\n"
	}
	return text
}

// tried is a package, and whether the registry had its artifact already.
type tried struct {
	recorded.Package
	reused bool
}

// pkg tries one distribution.
func (t *Trials) pkg(ctx context.Context, work, name string) (tried, error) {
	r := tried{Package: recorded.Package{Name: name, Outcome: t.today()}}
	p := pkg{name: name}
	if i := slices.IndexFunc(packages, func(p pkg) bool { return p.name == name }); i >= 0 {
		p = packages[i]
	}
	if err := os.WriteFile(filepath.Join(work, recipeFile), []byte(packageRecipe(p)), 0o644); err != nil {
		return r, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, t.Timeout, errTimeout)
	defer cancel()
	run, err := t.lock(ctx, t.Store, work)
	r.LockSeconds = seconds(run.Wall)
	r.InterpreterSeconds = seconds(interpreterTime(run))
	r.Compiled = compiledIn(run)
	if err != nil {
		return r, t.failed(&r.Outcome, err, "lock")
	}
	r.Locked = true
	if err := told(&r.Package, work); err != nil {
		return r, err
	}
	b, run, err := t.build(ctx, t.Store, work)
	r.reused = b.Reused
	r.BuildSeconds = seconds(run.Wall)
	r.InterpreterSeconds += seconds(interpreterTime(run))
	r.Compiled = joined(r.Compiled, compiledIn(run))
	r.Passed = err == nil
	r.Built, r.Gated = r.Passed || sealed(run), r.Passed
	return r, t.failed(&r.Outcome, err, "build")
}

// told takes from the lock what it tells of the distribution.
func told(r *recorded.Package, dir string) error {
	lock, err := readLock(dir)
	if err != nil {
		return err
	}
	for _, d := range required(lock) {
		if d.Name == packaging.NormalName(r.Name) {
			r.Version = d.Version
		}
	}
	for _, d := range lock.Dists {
		if d.Build == nil {
			continue
		}
		for _, o := range d.Build.Overrides {
			r.Overrides = append(r.Overrides, o.Name+": "+o.Why)
		}
	}
	slices.Sort(r.Overrides)
	r.Overrides = slices.Compact(r.Overrides)
	return nil
}
