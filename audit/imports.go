package audit

import (
	"regexp"
	"strings"

	"ampoule/tree"
)

// sourceSet is what the sources of one distribution tell of how its files are used. Nothing is
// run, and no name is followed.
type sourceSet struct {
	// imported are the modules that statements import, by dotted name: those that
	// stand alone, and not in a function, a condition or a try.
	imported map[string]bool
	// loaders are the texts of those that load files by their paths.
	loaders []string
}

// usesOf reads the sources that lie with a file: of its distribution, or, where nobody knows
// that, below the same top-level name. They are read once.
func (x *exam) usesOf(e tree.Entry) sourceSet {
	key := x.familyOf(e)
	if set, ok := x.uses[key]; ok {
		return set
	}
	set := sourceSet{imported: map[string]bool{}}
	for source, text := range x.sourcesOf(func(e tree.Entry) bool { return x.familyOf(e) == key }) {
		m, ok := x.moduleAt(source)
		if !ok {
			continue
		}
		pkg := m.name
		if m.stem != "__init__" {
			pkg = parent(pkg)
		}
		set.add(text, pkg)
	}
	if x.uses == nil {
		x.uses = map[string]sourceSet{}
	}
	x.uses[key] = set
	return set
}

// familyOf is the distribution of a file, or its top-level name.
func (x *exam) familyOf(e tree.Entry) string {
	if strings.HasPrefix(e.Owner, OwnerWheel) {
		return e.Owner
	}
	top, _, _ := strings.Cut(strings.TrimPrefix(e.Path, x.home.site+"/"), "/")
	top, _, _ = strings.Cut(top, ".")
	return "/" + top
}

func parent(module string) string {
	return module[:max(0, strings.LastIndexByte(module, '.'))]
}

var (
	quoted      = regexp.MustCompile(`(?s)""".*?"""|'''.*?'''`)
	plainImport = regexp.MustCompile(`(?m)^import[ \t]+([^\n;#]+)`)
	fromImport  = regexp.MustCompile(`(?m)^from[ \t]+(\.*)[ \t]*([\w.]*)[ \t]+import[ \t]*(\([^)]*\)|[^\n;#]+)`)
	comment     = regexp.MustCompile(`(?m)#.*$`)
	// byPath matches what loads a file that is named by its path.
	byPath = regexp.MustCompile(`\b(CDLL|PyDLL|LoadLibrary|load_library|dlopen|ExtensionFileLoader|load_dynamic|create_dynamic|spec_from_file_location)\b`)
)

// add notes what a source in a package imports.
func (s *sourceSet) add(source, pkg string) {
	if byPath.MatchString(source) {
		s.loaders = append(s.loaders, source)
	}
	source = quoted.ReplaceAllString(source, "")
	for _, m := range plainImport.FindAllStringSubmatch(source, -1) {
		for part := range strings.SplitSeq(m[1], ",") {
			s.importing(firstWord(part))
		}
	}
	for _, m := range fromImport.FindAllStringSubmatch(source, -1) {
		from := m[2]
		if dots := len(m[1]); dots > 0 {
			base := pkg
			for ; dots > 1; dots-- {
				base = parent(base)
			}
			from = strings.Trim(base+"."+from, ".")
		}
		s.importing(from)
		names := comment.ReplaceAllString(strings.Trim(m[3], "()"), "")
		for part := range strings.SplitSeq(names, ",") {
			s.importing(from + "." + firstWord(part))
		}
	}
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(s), " ")
	return word
}

func (s *sourceSet) importing(module string) {
	for ; module != ""; module = parent(module) {
		s.imported[module] = true
	}
}

// loads reports whether a source that loads files by path names one, or any.
func (s *sourceSet) loads(stem string) bool {
	for _, text := range s.loaders {
		if strings.Contains(text, stem) || strings.Contains(text, "*.so") {
			return true
		}
	}
	return false
}
