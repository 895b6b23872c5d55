package locking

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"ampoule/builder/fetch"
	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/recipes"
)

// How uv says that a project is nowhere, and that it has no version that is wanted. Its
// lines are broken, so spaces are any.
var (
	unknownName    = regexp.MustCompile(`([A-Za-z0-9._-]+) was not found in the package registry`)
	unknownVersion = regexp.MustCompile(`there (?:is|are) no versions? of ([A-Za-z0-9._-]+?)==([^\s,]+)`)
	lineBreak      = regexp.MustCompile(`\s+`)
)

// missing says of a resolution that failed because something is not there what that is: a
// name that no source has, one that its own source does not have, or a version.
func (p *distLocker) missing(ctx context.Context, err error) error {
	var r *ResolutionError
	if !errors.As(err, &r) {
		return err
	}
	told := lineBreak.ReplaceAllString(r.Told, " ")
	if m := unknownName.FindStringSubmatch(told); m != nil {
		return p.missingName(packaging.NormalName(m[1]), err)
	}
	if m := unknownVersion.FindStringSubmatch(told); m != nil {
		return p.missingVersion(ctx, packaging.NormalName(m[1]), strings.TrimRight(m[2], "."), err)
	}
	return err
}

func (p *distLocker) missingName(name string, cause error) error {
	owner, err := p.l.Fetch.Sources().Owner(name)
	switch {
	case err != nil:
		return err
	case owner != fetch.PyPI:
		return p.atRequirement(name, cause, "the source "+owner+", which alone may have "+name+", has no such project",
			"check the spelling, and that the credentials of "+owner+" may read it; the names of a source are sources."+owner+".names in config.toml")
	}
	what, hint := nowhere(name, p.opts.Previous, p.reqs)
	return p.atRequirement(name, cause, what, hint)
}

// nowhere says that no index has a name, and what can be done about it.
func nowhere(name string, previous *recipes.Lock, reqs *recipes.RequirementSet) (what, hint string) {
	hint = "it is misspelt, or private: then configure its source in config.toml, [sources.company] mirrors = [\"https://HOST/simple\"], names = [\"" + name + "\"]"
	if near := recipes.Nearest(name, knownNames(name, previous, reqs)); near != "" {
		hint = "did you mean " + near + "? Else " + hint
	}
	return "no index has " + name, hint
}

// knownNames are names of distributions that are known without asking anybody.
func knownNames(but string, previous *recipes.Lock, reqs *recipes.RequirementSet) []string {
	names := slices.Collect(maps.Keys(recipes.ShippedOverrides()))
	for _, d := range previous.Dists {
		names = append(names, d.Name)
	}
	for _, r := range reqs.Requirements {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == but })
}

// newest is how many versions are named where another one is missing.
const newest = 5

func (p *distLocker) missingVersion(ctx context.Context, name, version string, cause error) error {
	owner, err := p.l.Fetch.Sources().Owner(name)
	if err != nil {
		return err
	}
	files, err := p.l.Fetch.Project(ctx, owner, name)
	if err != nil {
		return err
	}
	hint := "choose another version"
	if have := versions(name, files); len(have) > 0 {
		hint += ": the newest are " + strings.Join(have[:min(newest, len(have))], ", ")
	}
	return p.atRequirement(name, cause, fmt.Sprintf("the source %s has %s and no version %s of it", owner, name, version), hint)
}

// versions are those of a project's files that were not withdrawn, the newest first.
func versions(name string, files []fetch.IndexFile) []string {
	var found []packaging.Version
	texts := map[string]bool{}
	for _, f := range files {
		text, ok := packaging.SdistVersion(f.File, name)
		if wheel, err := packaging.ParseWheelName(f.File); err == nil {
			text, ok = wheel.Version, true
		}
		v, err := packaging.ParseVersion(text)
		if !ok || err != nil || f.Yanked || texts[v.String()] {
			continue
		}
		texts[v.String()] = true
		found = append(found, v)
	}
	slices.SortFunc(found, func(a, b packaging.Version) int { return b.Compare(a) })
	told := make([]string, len(found))
	for i, v := range found {
		told[i] = v.String()
	}
	return told
}

// atRequirement puts a fault where the recipe's requirements name a distribution, and before
// the resolver's explanation where they do not.
func (p *distLocker) atRequirement(name string, cause error, what, hint string) error {
	for _, req := range p.reqs.Requirements {
		if req.Name == name {
			return recipes.Faults{{File: req.File, Line: req.Line, Column: req.Column, What: what, Hint: hint}}
		}
	}
	return faults.New(faults.Input, hint, "%s: %v", what, cause)
}
