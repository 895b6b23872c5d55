package seal

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"ampoule/audit"
	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/recipes"
	"ampoule/tree"
)

// UnmatchedError says that a pattern of packages.NAME.exclude matches no file of the wheel.
type UnmatchedError struct {
	// Dist is the distribution, Wheel its wheel's file name, Index the pattern's place in
	// the list.
	Dist, Wheel, Pattern string
	Index                int
	// Has are the files and directories that the wheel has at the top.
	Has []string
	// OnlyInfo says that it matches files of .dist-info.
	OnlyInfo bool
}

func (e *UnmatchedError) Error() string {
	if e.OnlyInfo {
		return fmt.Sprintf("%q matches nothing of %s but its .dist-info, which says what the distribution is and stays", e.Pattern, e.Wheel)
	}
	return fmt.Sprintf("%q matches no file of %s", e.Pattern, e.Wheel)
}

// Kind says whose fault it is.
func (*UnmatchedError) Kind() faults.Kind { return faults.Input }

// Hint says what there is to match.
func (e *UnmatchedError) Hint() string {
	return "the wheel has " + strings.Join(recipes.First(e.Has), ", ")
}

// Exclude leaves files out of what wheels install, as the recipe says it of their distributions.
// A pattern that matches nothing is an [*UnmatchedError].
func Exclude(installed []*tree.Tree, wheels []Wheel, packages map[string]recipes.Packages) (_ []*tree.Tree, left []audit.LeftOut, err error) {
	rest := slices.Clone(installed)
	for i, w := range wheels {
		patterns := packages[w.Name].Exclude
		if len(patterns) == 0 {
			continue
		}
		shape := shapeOf(installed[i])
		for n, pattern := range patterns {
			if err := shape.check(pattern); err != nil {
				err.Dist, err.Wheel, err.Index = w.Name, w.File, n
				return nil, nil, err
			}
			left = append(left, audit.LeftOut{Place: pattern, Dists: []string{w.Name}})
		}
		rest[i], err = shape.without(func(shown string) bool {
			return slices.ContainsFunc(patterns, func(pattern string) bool { return recipes.MatchExclude(pattern, shown) })
		})
		if err != nil {
			return nil, nil, fmt.Errorf("leaving files of %s out: %w", w.File, err)
		}
	}
	return rest, left, nil
}

// shape is what one wheel installs, and where its distributions are.
type shape struct {
	tree *tree.Tree
	// info is the wheel's .dist-info directory; empty of a tree without one.
	info string
}

// shapeOf finds the .dist-info directory of what a wheel installs. What a distribution
// vendors may have one, too, but not in site-packages itself.
func shapeOf(t *tree.Tree) shape {
	for _, e := range t.Entries() {
		info, name := path.Split(e.Path)
		info = path.Clean(info)
		if _, _, ok := packaging.ParseInfoDir(path.Base(info)); ok && name == "RECORD" && path.Base(path.Dir(info)) == "site-packages" {
			return shape{t, info}
		}
	}
	return shape{tree: t}
}

// site is the site-packages directory; "." of a tree without a distribution.
func (s shape) site() string { return path.Dir(s.info) }

// shown is a path as people write it: below site-packages, or else in the tree.
func (s shape) shown(p string) string { return strings.TrimPrefix(p, s.site()+"/") }

// inInfo reports whether a path is in the .dist-info directory.
func (s shape) inInfo(p string) bool { return s.info != "" && strings.HasPrefix(p, s.info+"/") }

// check returns an error of a pattern that matches no file.
func (s shape) check(pattern string) *UnmatchedError {
	unmatched := &UnmatchedError{Pattern: pattern}
	for _, e := range s.tree.Entries() {
		matches := recipes.MatchExclude(pattern, s.shown(e.Path))
		switch {
		case e.Kind == tree.Dir || sourceOf(e.Path) != e.Path:
		case !s.inInfo(e.Path) && matches:
			return nil
		case s.inInfo(e.Path):
			unmatched.OnlyInfo = unmatched.OnlyInfo || matches
		default:
			unmatched.Has = append(unmatched.Has, s.top(e.Path))
		}
	}
	slices.Sort(unmatched.Has)
	unmatched.Has = slices.Compact(unmatched.Has)
	return unmatched
}

// top is the first directory of a path as it is shown, with a slash, or the file there. Of
// what is outside site-packages it is the path itself.
func (s shape) top(p string) string {
	shown := s.shown(p)
	if dir, _, below := strings.Cut(shown, "/"); below && shown != p {
		return dir + "/"
	}
	return shown
}

// without gives what the wheel installs without some files, by their paths as they are shown:
// they have no bytecode and no row in RECORD either. What is in .dist-info stays.
func (s shape) without(gone func(shown string) bool) (*tree.Tree, error) {
	left := func(p string) bool { return !s.inInfo(p) && gone(s.shown(sourceOf(p))) }
	var rest []tree.Entry
	for _, e := range s.tree.Entries() {
		switch {
		case e.Kind == tree.Dir || left(e.Path): // New makes the directories that are not empty
			continue
		case s.info != "" && e.Path == s.info+"/RECORD":
			data, err := e.ReadAll()
			if err != nil {
				return nil, err
			}
			if data, err = packaging.WithoutRows(data, func(row string) bool { return left(path.Join(s.site(), row)) }); err != nil {
				return nil, fmt.Errorf("reading %s: %w", e.Path, err)
			}
			e = e.Replace(data)
		}
		rest = append(rest, e)
	}
	return tree.New(rest)
}
