package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"ampoule/builder/fetch"
	"ampoule/builder/seal"
	"ampoule/builder/unpack"
	"ampoule/builder/wheels"
	"ampoule/packaging"
	"ampoule/recipes"
	"ampoule/tree"
)

// checkExcludes tells of patterns of packages.NAME.exclude that match no file of a published wheel,
// of the artifact or of a dependency group. That is known as soon as the lock is; sealing tells of
// what is built. The wheels are fetched: a build installs them as they are.
func (b *Builder) checkExcludes(ctx context.Context, r *recipes.Recipe, l *recipes.Lock, platform string) error {
	published := excluding(r, l)
	var items []fetch.Item
	for _, d := range published {
		items = append(items, wheels.Items(d)...)
	}
	if err := b.d.Fetch.Fetch(ctx, items...); err != nil {
		return err
	}
	in := installsFor(l.Python.Version, platform)
	var wrong recipes.Faults
	for _, d := range published {
		files, err := b.filesOf(d, in)
		var refused *unpack.RefusedError
		if errors.As(err, &refused) {
			// Installing it says what is wrong with it.
			continue
		}
		if err == nil {
			_, _, err = seal.Exclude([]*tree.Tree{files}, []seal.Wheel{{Name: d.Name, File: d.File}}, r.Packages)
		}
		faults, placed := errors.AsType[recipes.Faults](excludedAt(r, err))
		if err != nil && !placed {
			return err
		}
		wrong = append(wrong, faults...)
	}
	return wrong.Err()
}

// excluding are the published wheels of a lock of which the recipe leaves files out, sorted.
func excluding(r *recipes.Recipe, l *recipes.Lock) []recipes.Dist {
	found := map[string]recipes.Dist{}
	take := func(ids []string, dist func(string) (recipes.Dist, bool)) {
		for _, id := range ids {
			if d, ok := dist(id); ok && d.Build == nil && len(r.Packages[d.Name].Exclude) > 0 {
				found[id] = d
			}
		}
	}
	take(l.Requirements, l.Dist)
	for _, group := range slices.Sorted(maps.Keys(l.Groups)) {
		take(l.Groups[group].Requirements, l.With(group).Dist)
	}
	var list []recipes.Dist
	for _, id := range slices.Sorted(maps.Keys(found)) {
		list = append(list, found[id])
	}
	return list
}

// installsFor is what wheels are unpacked for, as far as a lock tells: the names of what they
// install are right, be the interpreter's flags what they may.
func installsFor(version, platform string) unpack.Interpreter {
	parts := strings.SplitN(version, ".", 3)
	in := unpack.Interpreter{Prefix: Prefix, Version: strings.Join(parts[:min(2, len(parts))], ".")}
	in.Executable = "python" + in.Version
	in.Site, in.Headers = "lib/"+in.Executable+"/site-packages", "include/"+in.Executable
	_, arch, _ := strings.Cut(platform, "/")
	in.Tags = packaging.CPython{Machine: map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch]}
	if len(parts) > 1 {
		// Of another one no wheel would be for it.
		in.Tags.Minor, _ = strconv.Atoi(parts[1])
	}
	return in
}

// filesOf are the files that a wheel installs; nothing of their content is read.
func (b *Builder) filesOf(d recipes.Dist, in unpack.Interpreter) (_ *tree.Tree, err error) {
	f, err := b.d.Store.Open(d.SHA256)
	if err != nil {
		return nil, fmt.Errorf("reading wheel %s: %w", d.File, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var info fs.FileInfo
	if info, err = f.Stat(); err != nil {
		return nil, fmt.Errorf("reading wheel %s: %w", d.File, err)
	}
	wheel, err := unpack.Open(f, info.Size(), d.File, in)
	if err != nil {
		return nil, err
	}
	return wheel.Tree(nil)
}

// excludedAt says where in the recipe the pattern stands that an error is about.
func excludedAt(r *recipes.Recipe, err error) error {
	var unmatched *seal.UnmatchedError
	if !errors.As(err, &unmatched) {
		return err
	}
	return recipes.Faults{r.Fault(
		unmatched.Error(), unmatched.Hint(), "packages", unmatched.Dist, "exclude", strconv.Itoa(unmatched.Index),
	)}
}
