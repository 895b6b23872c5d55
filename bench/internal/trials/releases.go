package trials

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"ampoule/bench/internal/index"
	"ampoule/bench/internal/recorded"
	"ampoule/packaging"
	"ampoule/recipes"
)

const (
	// lastReleases is how many releases an override, and each of its rules, is compared with,
	// and lastAdding how many a rule that adds build requirements: those age.
	lastReleases = 5
	lastAdding   = 30
	// releasesPython is the CPython that they would be built for.
	releasesPython = "3.13.5"
	releasesMinor  = 13
	machine64      = "x86_64"
)

// suites are the Debian suites that overrides tell apart.
var suites = []string{"bullseye", "bookworm", "trixie"}

// Releases compares the overrides that ship, all if none is named, with the last releases
// of their distributions: whether there is a version of each build requirement that both
// admit, a release that each limit admits, and a published wheel of what is not built. It
// builds nothing.
func (t *Trials) Releases(ctx context.Context, names []string) error {
	shipped := recipes.ShippedOverrides()
	names, err := chosen(slices.Sorted(maps.Keys(shipped)), spelledNormal(names))
	if err != nil {
		return err
	}
	book, err := recorded.Open[recorded.Fit](filepath.Join(t.Results, recorded.ReleasesFile))
	if err != nil {
		return err
	}
	at, err := index.Find(ctx, t.Python)
	if err != nil {
		return err
	}
	knownIndex := &knownIndex{index: at, known: map[string][]release{}}
	return each(t, book, names, func(name string) (recorded.Fit, error) {
		f, err := newFitting(ctx, knownIndex, shipped[name])
		if err != nil {
			return recorded.Fit{}, err
		}
		return recorded.Fit{Name: name, When: t.today().When, Releases: f.releases, Conflicts: f.conflicts}, nil
	})
}

// release is a version of a distribution of which something is there that is not yanked.
type release struct {
	text    string
	version packaging.Version
	// sdist is nil where it has none that CPython of [releasesPython] may take. A zip file,
	// as there were before PEP 625, counts as none.
	sdist *index.File
	// wheels are what it has published for this machine.
	wheels []packaging.WheelName
}

// knownIndex is what the index has of projects, each asked for once.
type knownIndex struct {
	index *index.Index
	known map[string][]release
}

// project lists the releases of a project, oldest first.
func (s *knownIndex) project(ctx context.Context, name string) ([]release, error) {
	if known, ok := s.known[name]; ok {
		return known, nil
	}
	files, err := s.index.Files(ctx, name)
	if err != nil {
		return nil, err
	}
	s.known[name] = gathered(name, files)
	return s.known[name], nil
}

// gathered sorts files into releases.
func gathered(name string, files []index.File) []release {
	python, cpython := packaging.Requirement{}, packaging.CPython{Minor: releasesMinor, Machine: machine64}
	byVersion := map[string]*release{}
	for _, f := range files {
		text, isSdist := packaging.SdistVersion(f.Name, name)
		wheel, err := packaging.ParseWheelName(f.Name)
		if err == nil {
			text = wheel.Version
		}
		version, unread := packaging.ParseVersion(text)
		python.Specifiers, err = packaging.ParseSpecifiers(f.RequiresPython)
		if unread != nil || f.Yanked || err != nil || !python.Admits(releasesPython) {
			continue
		}
		r := byVersion[version.String()]
		if r == nil {
			r = &release{text: text, version: version}
			byVersion[version.String()] = r
		}
		if isSdist && strings.HasSuffix(f.Name, ".tar.gz") {
			r.sdist = &f
		}
		if slices.ContainsFunc(wheel.Tags(), cpython.Supports) {
			r.wheels = append(r.wheels, wheel)
		}
	}
	return slices.SortedFunc(func(yield func(release) bool) {
		for _, r := range byVersion {
			if !yield(*r) {
				return
			}
		}
	}, func(a, b release) int { return a.version.Compare(b.version) })
}

// published reports whether it has a wheel of a kind that builds take.
func (r release) published(kind string) bool {
	return slices.ContainsFunc(r.wheels, func(w packaging.WheelName) bool {
		return kind == recipes.BuildTool || w.Platform == "any" && w.ABI == "none"
	})
}

// fitting compares one override with releases.
type fitting struct {
	*knownIndex
	override  *recipes.Override
	recipe    *recipes.Recipe
	releases  []recorded.Release
	conflicts []string
}

func newFitting(ctx context.Context, s *knownIndex, o *recipes.Override) (*fitting, error) {
	recipe, err := recipes.ParseRecipe(recipeFile, []byte(packageRecipe(pkg{name: o.Name})))
	if err != nil {
		return nil, err
	}
	f := &fitting{knownIndex: s, override: o, recipe: recipe}
	all, err := s.project(ctx, o.Name)
	if err != nil {
		return nil, err
	}
	chosen, err := f.choose(all)
	if err != nil {
		return nil, err
	}
	for _, r := range chosen {
		told, err := f.compare(ctx, r)
		if err != nil {
			return nil, err
		}
		f.releases = append(f.releases, told)
	}
	return f, nil
}

// conflict notes one, of a release or of none, on some suites or on all.
func (f *fitting) conflict(version, what string, suites ...string) {
	text := version + what
	if len(suites) > 0 {
		text += " (" + strings.Join(suites, ", ") + ")"
	}
	f.conflicts = append(f.conflicts, strings.TrimSpace(text))
}

// kind is the kind of published wheel that builds take; empty where they build it.
func (f *fitting) kind() string {
	return f.recipe.BuildWheel(f.override.Name, recipes.Place{Suite: suites[0], Python: releasesPython})
}

// choose gives the last releases of all, and the last that each rule is for, oldest first.
func (f *fitting) choose(all []release) ([]release, error) {
	all = slices.DeleteFunc(slices.Clone(all), func(r release) bool {
		return r.version.IsPrerelease() || f.kind() == "" && r.sdist == nil && !r.published(recipes.PureWheel)
	})
	if len(all) == 0 {
		f.conflict("", "the index has no release of it that builds could take")
	}
	chosen := map[string]release{}
	for _, rule := range append([]recipes.OverrideRule{{}}, f.override.Rules...) {
		within, err := packaging.ParseSpecifiers(cmp.Or(rule.Versions, rule.Limit))
		if err != nil {
			return nil, err
		}
		fitting := slices.DeleteFunc(slices.Clone(all), func(r release) bool { return !within.Contains(r.version) })
		if len(fitting) == 0 && rule.Limit != "" {
			f.conflict("", "no release is within the limit "+rule.Limit, rule.Suites...)
		}
		last := lastReleases
		if len(rule.Requires) > 0 {
			last = lastAdding
		}
		for _, r := range fitting[max(0, len(fitting)-last):] {
			chosen[r.text] = r
		}
	}
	return slices.SortedFunc(maps.Values(chosen), func(a, b release) int { return a.version.Compare(b.version) }), nil
}

// compare compares one release.
func (f *fitting) compare(ctx context.Context, r release) (recorded.Release, error) {
	told := recorded.Release{Version: r.text}
	if kind := f.kind(); kind != "" {
		if !r.published(kind) {
			f.conflict(r.text, ": it has no published wheel for builds to take")
		}
		return told, nil
	}
	if r.sdist != nil {
		requires, err := f.index.BuildRequires(ctx, *r.sdist)
		if err != nil {
			return told, err
		}
		told.Requires = requires
	}
	found := map[string][]string{}
	for _, suite := range suites {
		place := recipes.Place{Suite: suite, Python: releasesPython}
		if f.held(r, place) {
			told.Held = append(told.Held, suite)
			continue
		}
		clashes, err := f.clashes(ctx, r, told.Requires, place)
		if err != nil {
			return told, err
		}
		for _, clash := range clashes {
			found[clash] = append(found[clash], suite)
		}
	}
	for _, clash := range slices.Sorted(maps.Keys(found)) {
		f.conflict(r.text, ": "+clash, found[clash]...)
	}
	return told, nil
}

// held reports whether a limit of the override leaves a release out.
func (f *fitting) held(r release, place recipes.Place) bool {
	return slices.ContainsFunc(f.recipe.Limits(place), func(l recipes.Limit) bool {
		bound, err := packaging.ParseRequirement(l.Spec)
		return err == nil && l.Name == f.override.Name && !bound.Admits(r.text)
	})
}

// wish is what is wanted of one build requirement.
type wish struct {
	// declared is what the sdist wants, and ours what overrides do.
	declared, ours []packaging.Requirement
	// told says each of them, and who wants it.
	told []string
}

// admits reports whether a version is within all requirements. A pre-release is only where
// one of them names a pre-release (PEP 440, "Handling of pre-releases").
func admits(requirements []packaging.Requirement, v packaging.Version) bool {
	named := !v.IsPrerelease()
	for _, q := range requirements {
		if !q.Specifiers.Contains(v) {
			return false
		}
		named = named || slices.ContainsFunc(q.Specifiers, namesPrerelease)
	}
	return named
}

func namesPrerelease(s packaging.Specifier) bool {
	v, err := packaging.ParseVersion(s.Version)
	return err == nil && v.IsPrerelease()
}

// clashes lists the build requirements of which no version is what both the release and
// overrides want. Where the release alone wants what is not there, no override is at fault.
func (f *fitting) clashes(ctx context.Context, r release, declared []string, place recipes.Place) ([]string, error) {
	wishes, err := f.wishes(r, declared, place)
	if err != nil {
		return nil, err
	}
	var clashes []string
	for _, name := range slices.Sorted(maps.Keys(wishes)) {
		w := wishes[name]
		if len(w.ours) == 0 {
			continue
		}
		versions, err := f.project(ctx, name)
		if err != nil {
			return nil, err
		}
		there := func(wanted []packaging.Requirement) bool {
			return slices.ContainsFunc(versions, func(v release) bool { return f.takes(name, v, place) && admits(wanted, v.version) })
		}
		if !there(slices.Concat(w.declared, w.ours)) && (len(w.declared) == 0 || there(w.declared)) {
			clashes = append(clashes, strings.Join(w.told, ", "))
		}
	}
	return clashes, nil
}

// takes reports whether builds can take a version of a build requirement: its sdist, or a
// wheel that they take as it is published.
func (f *fitting) takes(name string, v release, place recipes.Place) bool {
	kind := cmp.Or(f.recipe.BuildWheel(name, place), recipes.PureWheel)
	return v.sdist != nil || v.published(kind)
}

// wishes gathers by name what is wanted of the build requirements of a release.
func (f *fitting) wishes(r release, declared []string, place recipes.Place) (map[string]*wish, error) {
	env := packaging.LinuxEnvironment(releasesPython, machine64)
	wishes := map[string]*wish{}
	add := func(text, whose string, ours bool) error {
		q, err := packaging.ParseRequirement(text)
		if err != nil {
			return fmt.Errorf("reading %s of %s %s: %w", whose, f.override.Name, r.text, err)
		}
		if !q.Applies(env, nil) {
			return nil
		}
		w := wishes[q.Name]
		if w == nil {
			w = &wish{}
			wishes[q.Name] = w
		}
		w.told = append(w.told, whose+" "+q.String())
		if ours {
			w.ours = append(w.ours, q)
		} else {
			w.declared = append(w.declared, q)
		}
		return nil
	}
	for _, text := range declared {
		if err := add(text, "its sdist wants", false); err != nil {
			return nil, err
		}
	}
	settings, _ := f.recipe.Building(f.override.Name, r.text, place)
	for _, text := range settings.Requires {
		if err := add(text, "the override adds", true); err != nil {
			return nil, err
		}
	}
	for _, l := range f.recipe.Limits(place) {
		if wishes[l.Name] == nil {
			continue
		}
		if err := add(l.Spec, "the override of "+l.Name+" sets", true); err != nil {
			return nil, err
		}
	}
	return wishes, nil
}
