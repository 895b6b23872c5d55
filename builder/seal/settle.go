package seal

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/audit"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/tree"
)

// Clash is a place for which two wheels have different files.
type Clash struct {
	// Path is in the tree.
	Path string
	// First and Second are the distributions.
	First, Second string
	// Why says why neither is left out, although the name alone would allow it; else empty.
	Why string

	// place is the part of site-packages that the path is in, if that is known.
	place string
	// parties are the indices of the wheels of First and Second.
	parties [2]int
}

// ClashError says that wheels have different files for places where only one can be.
type ClashError struct {
	Clashes []Clash
	// Packages are the recipe's, beside which the hint's are written.
	Packages map[string]recipes.Packages
	// exclude are patterns that settle it, by the distribution that would lose the files.
	exclude map[string][]string
}

func (e *ClashError) Error() string {
	c := e.Clashes[0]
	text := fmt.Sprintf("%s and %s both install %s, each a different one", c.First, c.Second, c.Path)
	if c.Why != "" {
		text += ", and " + c.Why
	}
	if more := len(e.Clashes) - 1; more > 0 {
		text += fmt.Sprintf("; and %d more such files, %s among them", more, e.Clashes[1].Path)
	}
	return text
}

// Kind says whose fault it is.
func (*ClashError) Kind() faults.Kind { return faults.Build }

// Hint says which files to leave out, as the recipe has it. Nobody but who wrote the recipe
// knows which of them are needed.
func (e *ClashError) Hint() string {
	var b strings.Builder
	b.WriteString("leave one of the distributions out, or its files; pip and uv keep those of what they install last. ")
	if len(e.Packages) == 0 {
		b.WriteString("In the recipe:\npackages:")
	} else {
		b.WriteString("In the recipe, below packages:")
	}
	for _, name := range sortedNames(e.exclude) {
		entry, has := e.Packages[name]
		if has {
			fmt.Fprintf(&b, "\n  # in the entry of %s that is there", name)
		}
		patterns := append(slices.Clone(entry.Exclude), e.exclude[name]...)
		for i, pattern := range patterns {
			patterns[i] = fmt.Sprintf("%q", pattern)
		}
		fmt.Fprintf(&b, "\n  %s:\n    exclude: [%s]", name, strings.Join(patterns, ", "))
	}
	return b.String()
}

// Settled are what single wheels install, with one file at most for each place, or the same
// one. [Settle] alone makes it.
type Settled struct {
	// Installed are the wheels' trees, in their order.
	Installed []*tree.Tree
	// LeftOut are the places that several wheels had different files for.
	LeftOut []audit.LeftOut

	wheels []Wheel
}

// Settle decides about places for which wheels have different files. One that by its name is
// no part of what a distribution is for, such as tests or LICENSE at the top of
// site-packages, and that nothing outside of it imports, is left out of each wheel that has
// it: the result does not depend on an order. Any other is a [*ClashError].
//
// Artifacts reports which wheels are the artifact's below a dependency group: where a group's
// wheel is a party, these keep what they have. It is nil without a group.
func Settle(installed []*tree.Tree, wheels []Wheel, packages map[string]recipes.Packages, artifacts func(Wheel) bool) (*Settled, error) {
	s := settling{installed: installed, wheels: wheels, shapes: make([]shape, len(installed)), artifacts: artifacts}
	settled := &Settled{Installed: slices.Clone(installed), wheels: wheels}
	for i, t := range installed {
		s.shapes[i] = shapeOf(t)
	}
	places := map[string][]Clash{}
	var left []Clash
	for _, c := range s.clashes() {
		if c.place == "" {
			left = append(left, c)
		} else {
			places[c.place] = append(places[c.place], c)
		}
	}
	for _, place := range sortedNames(places) {
		losers, kept := s.losers(place, places[place])
		why, err := s.needed(place, losers)
		if err != nil {
			return nil, err
		}
		if why != "" {
			for _, c := range places[place] {
				c.Why = why
				left = append(left, c)
			}
			continue
		}
		if err := s.leave(settled, place, losers); err != nil {
			return nil, err
		}
		settled.LeftOut = append(settled.LeftOut, audit.LeftOut{
			Place: place, Dists: s.names(losers), Kept: s.names(kept), Clashes: s.paths(places[place]),
		})
	}
	if len(left) > 0 {
		return nil, s.refuse(left, packages)
	}
	return settled, nil
}

// Lay puts what the wheels install together. A file belongs to the distribution whose wheel
// brought it, whatever a RECORD says, and to the first one of several: two may bring the same
// file, as older namespace packages do.
func (s *Settled) Lay() (*tree.Tree, error) {
	var all []tree.Entry
	have := map[string]bool{}
	for i, t := range s.Installed {
		for _, e := range t.Entries() {
			if have[e.Path] {
				continue
			}
			have[e.Path] = true
			if e.Kind != tree.Dir {
				e.Owner = audit.OwnerWheel + s.wheels[i].Name
			}
			all = append(all, e)
		}
	}
	return tree.New(all)
}

// settling is the work on what several wheels install.
type settling struct {
	installed []*tree.Tree
	wheels    []Wheel
	shapes    []shape
	artifacts func(Wheel) bool
}

// clashes finds the places of which a wheel has another file than the first one that has it.
func (s *settling) clashes() []Clash {
	first := map[string]int{}
	var found []Clash
	for i, t := range s.installed {
		for _, e := range t.Entries() {
			if sourceOf(e.Path) != e.Path {
				continue // bytecode goes with its source
			}
			at, twice := first[e.Path]
			if !twice {
				first[e.Path] = i
				continue
			}
			if old, _ := s.installed[at].Lookup(e.Path); old.Kind != e.Kind || old.Mode != e.Mode || old.SHA256 != e.SHA256 || old.Link != e.Link {
				found = append(found, Clash{
					Path: e.Path, First: s.wheels[at].Name, Second: s.wheels[i].Name, place: s.placeOf(e.Path), parties: [2]int{at, i},
				})
			}
		}
	}
	return found
}

// besides matches names at the top of site-packages, without what follows a dot, of what
// projects have beside what they install: it gets there by a mistake of their packaging.
var besides = regexp.MustCompile(`^(?i)(tests?|testing|docs?|examples?|samples?|demos?|scripts?|tools|benchmarks?|conftest|setup|` +
	`(licen[cs]es?|copying|notice|readme|changes|changelog|history|news|authors|contributors|contributing)([-_].*)?)$`)

// placeOf is the file or directory at the top of site-packages that a path is, or is in, if
// its name says that it is none of what a distribution is for.
func (s *settling) placeOf(p string) string {
	for _, shape := range s.shapes {
		if below, ok := strings.CutPrefix(p, shape.site()+"/"); ok && shape.info != "" {
			top, _, _ := strings.Cut(below, "/")
			stem, _, _ := strings.Cut(top, ".")
			if besides.MatchString(stem) {
				return top
			}
			return ""
		}
	}
	return ""
}

// has reports whether a wheel has something at a place of site-packages.
func (s *settling) has(i int, place string) bool {
	_, ok := s.installed[i].Lookup(path.Join(s.shapes[i].site(), place))
	return ok && s.shapes[i].info != ""
}

// losers are the wheels that lose what they have at a place, and kept those that do not.
func (s *settling) losers(place string, clashes []Clash) (losers, kept []int) {
	isArtifacts := func(i int) bool { return s.artifacts != nil && s.artifacts(s.wheels[i]) }
	// What the artifact has lost without the group, it has lost with it.
	all := s.artifacts == nil || slices.ContainsFunc(clashes, func(c Clash) bool { return isArtifacts(c.parties[0]) && isArtifacts(c.parties[1]) })
	for i := range s.wheels {
		switch {
		case !s.has(i, place):
		case all || !isArtifacts(i):
			losers = append(losers, i)
		default:
			kept = append(kept, i)
		}
	}
	return losers, kept
}

// needed says why what is at a place must not be left out; nothing if it may be.
func (s *settling) needed(place string, losers []int) (string, error) {
	module, isModule := s.moduleAt(place)
	if !isModule {
		return "", nil
	}
	for _, i := range losers {
		if !s.hasOther(i, place) {
			return fmt.Sprintf("%s is all that %s has", place, s.wheels[i].Name), nil
		}
	}
	imports := importsOf(module)
	for i, shape := range s.shapes {
		for _, e := range s.installed[i].Entries() {
			if !mayImport(shape, e) || shape.shown(e.Path) == place || strings.HasPrefix(shape.shown(e.Path), place+"/") {
				continue
			}
			data, err := e.ReadAll()
			if err != nil {
				return "", err
			}
			if imports(path.Base(e.Path), string(data)) {
				return fmt.Sprintf("%s of %s imports %s", shape.shown(e.Path), s.wheels[i].Name, module), nil
			}
		}
	}
	return "", nil
}

// moduleFile and packageName match what import takes for a module, and for a package.
var (
	moduleFile  = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)(\.py|\.pyc|(\.[A-Za-z0-9_-]+)*\.so)$`)
	packageName = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)$`)
)

// moduleAt is the module that import finds at a place of site-packages.
func (s *settling) moduleAt(place string) (string, bool) {
	names := moduleFile
	if s.isDir(place) {
		names = packageName
	}
	parts := names.FindStringSubmatch(place)
	if parts == nil {
		return "", false
	}
	return parts[1], true
}

// isDir reports whether a wheel has a directory at a place of site-packages.
func (s *settling) isDir(place string) bool {
	for i, shape := range s.shapes {
		if e, ok := s.installed[i].Lookup(path.Join(shape.site(), place)); ok && e.Kind == tree.Dir && shape.info != "" {
			return true
		}
	}
	return false
}

// hasOther reports whether import finds something of a wheel's besides what is at a place.
func (s *settling) hasOther(i int, place string) bool {
	shape := s.shapes[i]
	return slices.ContainsFunc(s.installed[i].Entries(), func(e tree.Entry) bool {
		below, inSite := strings.CutPrefix(e.Path, shape.site()+"/")
		top, _, _ := strings.Cut(below, "/")
		stem, _, _ := strings.Cut(top, ".")
		ext := path.Ext(below)
		return inSite && e.Kind == tree.File && top != place && !besides.MatchString(stem) && (ext == ".py" || ext == ".so")
	})
}

// mayImport reports whether a file may name a module: Python code, a program, or what tells
// of programs.
func mayImport(s shape, e tree.Entry) bool {
	if e.Kind != tree.File || e.Size > maxImporter {
		return false
	}
	return path.Ext(e.Path) == ".py" || path.Ext(e.Path) == ".pth" || path.Dir(e.Path) == "bin" || e.Path == s.info+"/entry_points.txt"
}

// maxImporter bounds the files that are read to see what they import, in bytes: far above
// what people write.
const maxImporter = 16 << 20

// importsOf returns what reports whether a file of Python, by its name and text, imports a
// module: by a statement, or by a name that is written in a call. A statement in a text
// counts: it is better to ask than to take away.
func importsOf(module string) func(name, text string) bool {
	from := regexp.MustCompile(`(?m)^[^#'"\n]*?\bfrom[ \t]+` + module + `(\.[\w.]*)?[ \t]+import\b`)
	statement := regexp.MustCompile(`(?m)^(?:[ \t]*|[^#'"\n]*[:;][ \t]*)import[ \t]+([^#;\n]*)`)
	call := regexp.MustCompile(`\b(?:import_module|__import__)\(\s*['"]` + module + `['".]`)
	point := regexp.MustCompile(`(?m)=[ \t]*` + module + `[ \t]*(:|\.|$)`)
	return func(name, text string) bool {
		if name == "entry_points.txt" {
			return point.MatchString(text)
		}
		if from.MatchString(text) || call.MatchString(text) {
			return true
		}
		for _, found := range statement.FindAllStringSubmatch(text, -1) {
			for one := range strings.SplitSeq(found[1], ",") {
				named, _, _ := strings.Cut(strings.TrimSpace(one), " ")
				if top, _, _ := strings.Cut(named, "."); top == module {
					return true
				}
			}
		}
		return false
	}
}

// leave takes what is at a place out of what wheels install.
func (s *settling) leave(settled *Settled, place string, losers []int) error {
	for _, i := range losers {
		// Another place may have been taken out before.
		rest, err := shapeOf(settled.Installed[i]).without(func(shown string) bool { return shown == place || strings.HasPrefix(shown, place+"/") })
		if err != nil {
			return fmt.Errorf("leaving %s of %s out: %w", place, s.wheels[i].File, err)
		}
		settled.Installed[i] = rest
	}
	return nil
}

// names are the distributions of wheels, sorted.
func (s *settling) names(wheels []int) []string {
	var names []string
	for _, i := range wheels {
		names = append(names, s.wheels[i].Name)
	}
	slices.Sort(names)
	return names
}

// paths are those of clashes below site-packages, sorted.
func (s *settling) paths(clashes []Clash) []string {
	var paths []string
	for _, c := range clashes {
		paths = append(paths, s.shapes[c.parties[0]].shown(c.Path))
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// refuse makes an error of clashes, and proposes what the second party of each could do without.
func (s *settling) refuse(clashes []Clash, packages map[string]recipes.Packages) error {
	slices.SortStableFunc(clashes, func(a, b Clash) int { return strings.Compare(a.Path, b.Path) })
	e := &ClashError{Clashes: clashes, Packages: packages, exclude: map[string][]string{}}
	for _, c := range clashes {
		pattern := s.shapes[c.parties[1]].shown(c.Path)
		if c.place != "" {
			pattern = c.place
		}
		if c.place != "" && s.isDir(c.place) {
			pattern += "/**"
		}
		if !slices.Contains(e.exclude[c.Second], pattern) {
			e.exclude[c.Second] = append(e.exclude[c.Second], pattern)
		}
	}
	return e
}
