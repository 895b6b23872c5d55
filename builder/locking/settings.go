package locking

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"ampoule/builder/fetch"
	"ampoule/builder/progress"
	"ampoule/recipes"
)

// settings says how an sdist is built beside what it declares: what the recipe and
// the overrides say. Debian packages are only named; lockPackages locks them.
func (p *distLocker) settings(ctx context.Context, sdist recipes.Dist) (_ recipes.BuildSet, packages []string, err error) {
	s, applied := p.building(sdist)
	set := recipes.BuildSet{Env: s.Env, ConfigSettings: s.ConfigSettings, Overrides: applied}
	if set.Added, err = canonical(sdist, s.Requires, recipes.ParseRequirement); err != nil {
		return set, nil, err
	}
	if set.Patches, err = p.patches(ctx, s.Patches); err != nil {
		return set, nil, err
	}
	packages = s.Build
	if len(set.Patches) > 0 {
		packages = append(packages, "patch")
	}
	return set, packages, nil
}

// lockPackages locks an sdist's own Debian packages.
func (p *distLocker) lockPackages(ctx context.Context, sdist recipes.Dist, set *recipes.BuildSet, packages []string) (err error) {
	if usesCargo(*set) {
		packages = append(slices.Clone(packages), rust...)
	}
	if len(set.CargoLocks) > 0 && !slices.Contains(packages, "patch") {
		packages = append(packages, "patch")
	}
	set.Packages, err = p.debian.extras(ctx, sdist.Name, packages, *set)
	return err
}

// usesCargo reports whether a build was found to use cargo.
func usesCargo(set recipes.BuildSet) bool { return len(set.Crates)+len(set.CargoLocks) > 0 }

// rust are the packages with the newest Rust that each suite has: Debian renews these
// for its browsers, in stable releases too.
var rust = []string{"cargo-web", "rustc-web"}

// patches puts patches into the store.
func (p *distLocker) patches(ctx context.Context, files []string) ([]recipes.Patch, error) {
	var locked []recipes.Patch
	for _, file := range files {
		data, ok := p.reqs.Patches[file]
		if !ok {
			var err error
			if data, err = recipes.ShippedPatch(file); err != nil {
				return nil, err
			}
		}
		sum, _, err := p.l.Store.Put(ctx, bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		locked = append(locked, recipes.Patch{File: file, SHA256: sum})
	}
	return locked, nil
}

// declared returns an sdist's build system, its requirements in canonical form. With
// patches the sandbox tells, since they may change it, and no backend is told.
func (p *distLocker) declared(ctx context.Context, sdist recipes.Dist) (buildSystem, error) {
	f, err := p.l.Store.Open(sdist.SHA256)
	if err != nil {
		return buildSystem{}, err
	}
	defer f.Close()
	files, err := topFiles(ctx, f, sdist.File, "pyproject.toml", "PKG-INFO")
	if err != nil {
		return buildSystem{}, err
	}
	tellExternal(ctx, sdist, string(files["PKG-INFO"]))
	var b buildSystem
	if len(sdist.Build.Patches) > 0 {
		b.requires, err = p.patched(ctx, sdist)
	} else {
		b, err = readBuildSystem(files["pyproject.toml"], sdist.File)
	}
	if err == nil {
		b.requires, err = canonical(sdist, b.requires, recipes.ParseRequirement)
	}
	return b, err
}

// tellExternal tells what an sdist's metadata says that it needs beside Python's
// distributions (core metadata, Requires-External): nobody can resolve it.
func tellExternal(ctx context.Context, sdist recipes.Dist, metadata string) {
	fields, err := readFields(metadata)
	if err != nil {
		return // a PKG-INFO that is too large says nothing that matters here
	}
	if external := fields["Requires-External"]; len(external) > 0 {
		progress.Send(ctx, progress.Event{
			Kind: progress.Told, Stage: progress.StageLock,
			Message: fmt.Sprintf("%s says that it needs, beside Python's distributions: %s; packages.%s.build has a place for Debian's packages", sdist.ID(), strings.Join(external, ", "), sdist.Name),
		})
	}
}

// patched returns what an sdist declares once its patches are applied.
func (p *distLocker) patched(ctx context.Context, sdist recipes.Dist) ([]string, error) {
	job, err := p.house.Job(ctx, p.find, sdist, nil)
	if err != nil {
		return nil, err
	}
	static, err := p.stage.Static(ctx, job)
	switch {
	case err != nil:
		return nil, err
	case static.FailedPatch != nil:
		return nil, p.patchFault(sdist, *static.FailedPatch)
	case static.BuildSystem == nil:
		return legacyRequires, nil
	case static.BuildSystem.Requires == nil:
		return nil, errNoRequires(sdist.File)
	}
	return static.BuildSystem.Requires, nil
}

// patchFault tells of a patch that does not apply, where the recipe names it.
func (p *distLocker) patchFault(sdist recipes.Dist, i int) error {
	if i < 0 || i >= len(sdist.Build.Patches) {
		return fmt.Errorf("patching %s: the sandbox names patch %d of %d", sdist.ID(), i, len(sdist.Build.Patches))
	}
	file := sdist.Build.Patches[i].File
	what, hint := fmt.Sprintf("%s does not apply to %s", file, sdist.ID()), "make it anew for this version, or remove it if the version has the change"
	path := []string{"packages", sdist.Name, "patches"}
	if at := slices.Index(p.recipe.Packages[sdist.Name].Patches, file); at >= 0 {
		path = append(path, fmt.Sprint(at))
	} else {
		path, hint = path[:1], "it comes with Ampoule; packages: {"+sdist.Name+": {overrides: none}} leaves it out"
	}
	return recipes.Faults{p.recipe.Fault(what, hint, path...)}
}

// checkYanked refuses releases that were withdrawn (PEP 592), at the requirement that
// pins them: uv takes one where nothing else would do.
func (p *distLocker) checkYanked(ctx context.Context, releases []release) error {
	found := make([]recipes.Faults, len(p.reqs.Requirements))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, req := range p.reqs.Requirements {
		at := slices.IndexFunc(releases, func(r release) bool { return r.name == req.Name })
		if at < 0 || !strings.Contains(req.Spec, "==") {
			continue
		}
		group.Go(func() error {
			r := releases[at]
			yanked, err := p.yanked(ctx, r)
			if yanked {
				found[i] = recipes.Faults{{
					File: req.File, Line: req.Line, Column: req.Column,
					What: fmt.Sprintf("%s %s was yanked: its authors withdrew it", r.name, r.version), Hint: "choose another version of " + r.name,
				}}
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return slices.Concat(found...).Err()
}

// yanked reports whether the file that is taken of a release was withdrawn.
func (p *distLocker) yanked(ctx context.Context, r release) (bool, error) {
	files, err := p.l.Fetch.Project(ctx, fetch.PyPI, r.name)
	if err != nil {
		return false, err
	}
	d, err := p.choose(r, false)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(files, func(f fetch.IndexFile) bool { return f.SHA256 == d.SHA256 })
	return i >= 0 && files[i].Yanked, nil
}
