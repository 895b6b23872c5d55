package workspace

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"ampoule/packaging"
	"ampoule/recipes"
)

// described takes apart what `git describe --long` prints: tag, number of commits since, and
// the commit behind a "g".
var described = regexp.MustCompile(`^(.+)-([0-9]+)-g([0-9a-f]+)$`)

// version is what a source's tags give, by the default rule of setuptools-scm: the tag's own
// version at the tag, else the next one as a development release that names the commit. A
// dirty tree says that it is: setuptools-scm would write the day.
func (r *reader) version(ctx context.Context, source Source) (string, error) {
	dir := filepath.Join(r.top, filepath.FromSlash(r.dir), filepath.FromSlash(source.Dir))
	if !r.tracked {
		return "", r.noTags(source, "this is no git repository")
	}
	shallow, err := r.git.run(ctx, dir, "rev-parse", "--is-shallow-repository")
	if err != nil {
		return "", fmt.Errorf("reading the application: %w", err)
	}
	told, err := r.git.run(ctx, dir, "describe", "--tags", "--long", "--match", "*[0-9]*", "--abbrev=12")
	var failed *gitError
	if err != nil && !errors.As(err, &failed) {
		return "", fmt.Errorf("reading the application: %w", err)
	}
	m := described.FindStringSubmatch(strings.TrimSpace(told))
	isShallow := strings.TrimSpace(shallow) == "true"
	switch {
	case isShallow && (m == nil || m[2] != "0"):
		return "", r.noTags(source, "this is a shallow clone, which has not all commits and tags")
	case m == nil:
		return "", r.noTags(source, "no tag that is a version can be reached from this commit")
	}
	version, ok := r.next(m[1], m[2], m[3])
	if !ok {
		return "", recipes.Faults{fault(source.At, fmt.Sprintf("the version comes from tags, and no version follows from the tag %s", m[1]), "tag a version, such as v1.2.0, or write it into pyproject.toml")}
	}
	return version, nil
}

// noTags says why tags give no version.
func (r *reader) noTags(source Source, why string) error {
	return recipes.Faults{fault(source.At, "the version comes from tags, and "+why,
		"`git fetch --unshallow --tags` brings them (in a pipeline: check out the whole history, `fetch-depth: 0`); or write the version into pyproject.toml")}
}

var lastNumber = regexp.MustCompile(`^(.*?)([0-9]+)$`)

// next makes a version of a tag, the number of commits since, and the commit.
func (r *reader) next(tag, distance, commit string) (string, bool) {
	v, ok := versionOf(tag)
	if !ok {
		return "", false
	}
	if distance == "0" && !r.state.Dirty {
		return v.String(), true
	}
	public, _, _ := strings.Cut(v.String(), "+")
	m := lastNumber.FindStringSubmatch(public)
	if m == nil {
		return "", false
	}
	n, err := strconv.Atoi(m[2])
	if err != nil {
		return "", false
	}
	text := fmt.Sprintf("%s%d.dev%s+g%s", m[1], n+1, distance, commit)
	if r.state.Dirty {
		text += ".dirty"
	}
	return text, packaging.IsVersion(text)
}

// versionOf reads the version in a tag: v1.2.0, or behind the name of what is released,
// web-1.2.0.
func versionOf(tag string) (packaging.Version, bool) {
	for {
		if v, err := packaging.ParseVersion(tag); err == nil {
			return v, true
		}
		i := strings.IndexAny(tag, "-/_")
		if i < 0 {
			return packaging.Version{}, false
		}
		tag = tag[i+1:]
	}
}
