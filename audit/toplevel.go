package audit

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ampoule/packaging"
	"ampoule/tree"
)

// TopLevel is a module or package of a distribution that programs import by its first name,
// or a portion of a namespace package (PEP 420). The check load wants it imported.
type TopLevel struct {
	// Dist is the distribution's normalised name.
	Dist string
	// Name is the dotted name, File the path of the module's source, or of its __init__.
	Name, File string
	// Behind is as [Module] has it.
	Behind []string
}

// maxTopLevels bounds how many of one distribution are imported.
const maxTopLevels = 32

// besideCode are first names of what distributions install by mistake, or for whoever develops
// them: no program imports it.
var besideCode = map[string]bool{
	"benchmark": true, "benchmarks": true, "conftest": true, "doc": true, "docs": true, "example": true, "examples": true,
	"sample": true, "samples": true, "scripts": true, "setup": true, "test": true, "tests": true,
}

// TopLevels lists what the check load wants imported of each distribution beside its extension
// modules, by distribution and name: modules written in Python and packages at the root of
// site-packages, and in a directory there without __init__ the packages in it. Names that
// begin with an underscore and those of tests are left out. In every target it wants a
// [LoadReport] of the import of each, with Own. interpreter is as in [Subject].
func TopLevels(t *tree.Tree, interpreter string) ([]TopLevel, error) {
	home, err := findInstallation(t, interpreter)
	if err != nil {
		return nil, err
	}
	return topLevels(t, home.site), nil
}

func topLevels(t *tree.Tree, site string) []TopLevel {
	all := dists(t, site)
	behind := map[string][]string{}
	for _, d := range all {
		for _, name := range requires(t, d) {
			behind[name] = append(behind[name], topLevel(t, site, d)...)
		}
	}
	var list []TopLevel
	for _, d := range all {
		own := ownTopLevels(t, site, d)
		for i := range own {
			own[i].Behind = behind[d.name]
		}
		list = append(list, own[:min(len(own), maxTopLevels)]...)
	}
	slices.SortStableFunc(list, func(a, b TopLevel) int { return cmp.Or(cmp.Compare(a.Dist, b.Dist), cmp.Compare(a.Name, b.Name)) })
	return list
}

// ownTopLevels lists one distribution's, sorted by name. A package hides the portions in it.
func ownTopLevels(t *tree.Tree, site string, d dist) []TopLevel {
	found, portions := map[string]string{}, map[string]string{}
	for _, row := range d.rows {
		p, ok := recorded(site, row.Path)
		rel, below := strings.CutPrefix(p, site+"/")
		if e, there := t.Lookup(p); !ok || !below || !there || e.Owner != OwnerWheel+d.name {
			continue
		}
		parts := strings.Split(rel, "/")
		stem, suffix, _ := strings.Cut(parts[len(parts)-1], ".")
		switch {
		case len(parts) == 1 && suffix == "py":
			found[stem] = p
		case stem != "__init__" || suffix != "py" && !strings.HasSuffix(suffix, "so"):
		case len(parts) == 2:
			found[parts[0]] = p
		case len(parts) == 3:
			portions[parts[0]+"."+parts[1]] = p
		}
	}
	for name, p := range portions {
		top, _, _ := strings.Cut(name, ".")
		if _, isPackage := t.Lookup(site + "/" + top + "/__init__.py"); !isPackage {
			found[name] = p
		}
	}
	var list []TopLevel
	for name, p := range found {
		if isOwnName(name) {
			list = append(list, TopLevel{Dist: d.name, Name: name, File: p})
		}
	}
	slices.SortFunc(list, func(a, b TopLevel) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// isOwnName reports whether a dotted name is one that programs import.
func isOwnName(name string) bool {
	for part := range strings.SplitSeq(name, ".") {
		if !identifier.MatchString(part) || strings.HasPrefix(part, "_") || besideCode[part] {
			return false
		}
	}
	return true
}

// ownFault judges the import of a top-level module. That it fails is a warning: whether a
// program needs it, the recipe's tests show. What passes behind the distribution that requires
// it is meant to be imported by that.
func (x *exam) ownFault(loads loadIndex, m TopLevel) (Finding, bool) {
	f := Finding{
		Severity: Warn, File: m.File, Field: KindImport, Value: printable(m.Name), Targets: []string{loads.target.Name},
		Cause:  "There is no report that the module was imported.",
		Remedy: "Run the gate again; this is a fault of whatever imported the modules.",
	}
	r, ok := loads.own[loadKey{KindImport, m.Name, "", false}]
	if !ok {
		return f, true
	}
	if r.OK && r.Runtimes > 1 {
		f.Field, f.Value = "/proc/self/maps", strconv.Itoa(r.Runtimes)
		f.Cause = fmt.Sprintf("Importing %s leaves %d Python runtimes in one process.", printable(m.Name), r.Runtimes)
		f.Remedy = "Find out what loads another libpython, and leave that out."
		return f, true
	}
	if r.OK || !r.Ended && loads.own[loadKey{KindImport, m.Name, "", true}].OK {
		return f, false
	}
	f.Cause = "The import of " + m.Dist + "'s own " + printable(m.Name) + " fails: " + printable(endsOf(r.Error))
	f.Remedy = x.ownRemedy(m, r)
	return f, true
}

// endsOf are the first line of a message, which has the exception's name, and its last.
func endsOf(message string) string {
	first, rest, more := strings.Cut(strings.TrimSpace(message), "\n")
	if !more {
		return first
	}
	last := rest[strings.LastIndexByte(rest, '\n')+1:]
	return first + " … " + strings.TrimSpace(last)
}

// ownRemedy says what helps: it names the library or the module that is missing.
func (x *exam) ownRemedy(m TopLevel, r LoadReport) string {
	const unused = "Nothing, if no program imports it. Else "
	if name := missingLibraryOf(r.Error); name != "" {
		if p, _, ok := SystemPackageOf(stemOf("lib" + strings.TrimPrefix(name, "lib"))); ok && p.Debian != "" {
			return "The library " + printable(name) + " is missing. " + unused + "write runtime: {libraries: [" + printable(p.Debian) + "]}, which is its package in Debian 12."
		}
		return "The library " + printable(name) + " is missing. " + unused + "add the Debian package that has it to runtime.libraries."
	}
	if name := missingModuleOf(r.Error); name != "" {
		if extra, dist := x.extraOf(m, name); dist != "" {
			return "The module " + printable(name) + " is of an optional dependency, " + printable(dist) + ". " + unused + "require " + printable(m.Dist+"["+extra+"]") + "."
		}
		return "The module " + printable(name) + " is missing. " + unused + "add the distribution that has it to the requirements."
	}
	if r.Ended {
		return "The import ends its process, or never does. " + unused + "find out what it waits for or why it ends."
	}
	return unused + "find out why: ampoule shell and ampoule run open the tree."
}

// missingLibraries match what the loader, ctypes, cffi and packages say of a library that they
// look for by name.
var missingLibraries = []*regexp.Regexp{
	regexp.MustCompile(`([\w.+-]+\.so[\w.]*): cannot open shared object file`),
	regexp.MustCompile(`\b(lib[\w+-]+(?:\.so[\w.]*)?)(?: library)? not found\b`),
	regexp.MustCompile(`no library called "([\w.+-]+)"`),
	regexp.MustCompile(`cannot load library '([\w.+-]+)'`),
	regexp.MustCompile(`(?i)(?:failed|unable|could not|cannot) to? ?find (?:the )?(lib[\w+-]+)`),
	regexp.MustCompile(`(?i)unable to find (?:the )?([\w+-]+) (?:shared )?library`),
}

// missingLibraryOf finds the library that a failure says is missing; empty if it names none.
func missingLibraryOf(message string) string {
	for _, expression := range missingLibraries {
		if m := expression.FindStringSubmatch(message); m != nil {
			return m[1]
		}
	}
	return ""
}

var missingModule = regexp.MustCompile(`No module named '?([A-Za-z_][\w.]*)`)

// missingModuleOf finds the module that a failure says is missing; empty if it names none.
func missingModuleOf(message string) string {
	if m := missingModule.FindStringSubmatch(message); m != nil {
		return m[1]
	}
	return ""
}

// extraOf finds the requirement of a module's distribution, under an extra, that has a missing
// module, as far as names tell: distributions have the name of their module, or one with
// python or py before or behind it.
func (x *exam) extraOf(m TopLevel, missing string) (extra, dist string) {
	top, _, _ := strings.Cut(missing, ".")
	wanted := bareName(top)
	for _, d := range dists(x.Tree, x.home.site) {
		if d.name != m.Dist {
			continue
		}
		for _, line := range requirementLines(x.Tree, d) {
			r, err := packaging.ParseRequirement(line)
			if err != nil || r.Marker == nil || !r.Marker.AsksForExtra() || bareName(r.Name) != wanted {
				continue
			}
			if named := extraNamed.FindStringSubmatch(r.Marker.String()); named != nil {
				return named[1], r.Name
			}
		}
	}
	return "", ""
}

// extraNamed matches the extra of a marker.
var extraNamed = regexp.MustCompile(`extra\s*==\s*['"]([\w.-]+)['"]`)

// bareName is a name in normal form without the word that says that it is Python's.
func bareName(name string) string {
	name = packaging.NormalName(name)
	for _, word := range []string{"python-", "py-", "-python", "-py"} {
		name = strings.TrimPrefix(strings.TrimSuffix(name, word), word)
	}
	return name
}

// requirementLines are the requirements in a distribution's METADATA; none where it cannot be read.
func requirementLines(t *tree.Tree, d dist) []string {
	e, ok := t.Lookup(path.Join(d.info, "METADATA"))
	if !ok || e.Kind != tree.File || e.Size > maxMetadata {
		return nil
	}
	data, err := e.ReadAll()
	if err != nil {
		return nil
	}
	h, err := packaging.ParseMetadata(data)
	if err != nil {
		return nil
	}
	return h.Values("Requires-Dist")
}
