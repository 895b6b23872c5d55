package audit

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/tree"
)

func init() {
	register(check{
		name:   "interpreter",
		reason: "the interpreter hands extension modules no libpython, no directory of its own build, and a C++ compiler for C++",
		needs:  anInterpreter | aPlace,
		run:    checkInterpreter,
	})
}

// linkVars are the variables of sysconfig that build systems add to the link of an
// extension module.
var linkVars = []string{"LIBPYTHON", "LDSHARED", "LDCXXSHARED", "BLDSHARED", "LIBS", "SHLIBS", "LDFLAGS", "CCSHARED", "LINKFORSHARED"}

// checkInterpreter reads what the interpreter tells those who build for it: CPython's own
// build with a shared library once linked every module to it (bpo-21536), and that is how
// wheels are poisoned that nobody wrote wrong.
func checkInterpreter(_ context.Context, x *exam) (out outcome, _ error) {
	// It poisons what it will build, not what is there.
	defer func() {
		for i := range out.findings {
			out.findings[i].Severity = x.travels()
		}
	}()
	config, err := x.facts.config()
	if err != nil {
		out.add(Finding{
			Severity: Refuse, File: x.home.lib, Field: "_sysconfigdata", Value: printable(err.Error()),
			Cause: "What the interpreter tells those who build for it cannot be read.", Remedy: "Build the interpreter again.",
		})
		return out, nil
	}
	for _, name := range linkVars {
		out.examined++
		if words := strings.Fields(config.vars[name]); slices.ContainsFunc(words, linksLibpython) {
			out.add(Finding{
				Severity: Refuse, File: config.file, Field: name, Value: printable(config.vars[name]),
				Cause:  "Build systems add it to the link of every extension module, which then needs libpython.",
				Remedy: "Leave libpython out of it: a module has no need of one, however the interpreter is linked (bpo-21536).",
			})
		}
	}
	for _, name := range []string{"CXX", "LDCXXSHARED"} {
		words := strings.Fields(config.vars[name])
		if len(words) == 0 {
			continue
		}
		out.examined++
		if !compilesCxx(words) {
			out.add(Finding{
				Severity: Refuse, File: config.file, Field: name, Value: printable(config.vars[name]),
				Cause:  "It does not compile C++: modules in C++ would be linked without their standard library.",
				Remedy: "Give configure a C++ compiler as CXX.",
			})
		}
	}
	x.checkSearched(&out, config.file, maps.All(config.vars))
	x.checkMakefile(&out)
	x.checkDetails(&out)
	x.checkPkgConfig(&out)
	return out, nil
}

// linksLibpython reports whether an argument of a linker names libpython.
func linksLibpython(word string) bool {
	for _, dir := range []string{"-L", "-I", "-Wl,-rpath"} {
		if strings.HasPrefix(word, dir) {
			return false
		}
	}
	return strings.HasPrefix(word, "-lpython") || strings.Contains(path.Base(word), "libpython")
}

// compilesCxx tells a C++ driver by its name, before its first option: g++, c++, clang++,
// with a target before and a version after it, or with a launcher such as ccache.
func compilesCxx(words []string) bool {
	for _, word := range words {
		if strings.HasPrefix(word, "-") {
			break
		}
		switch base := path.Base(word); {
		case strings.Contains(base, "++"), base == "icpx", base == "icpc", base == "mpicxx":
			return true
		}
	}
	return false
}

// checkDetails reads build-details.json (PEP 739): link_extensions tells build systems
// to link modules to libpython, and its paths where the interpreter's parts are.
func (x *exam) checkDetails(out *outcome) {
	e, ok := x.Tree.Lookup(x.home.lib + "/build-details.json")
	if !ok {
		return
	}
	out.examined++
	var details struct {
		Libpython struct {
			LinkExtensions bool `json:"link_extensions"`
		} `json:"libpython"`
	}
	var whole map[string]any
	data, err := readText(e)
	if err == nil {
		err = errors.Join(json.Unmarshal(data, &details), json.Unmarshal(data, &whole))
	}
	x.checkDirectories(out, e.Path, absolute(whole))
	f := Finding{Severity: Refuse, File: e.Path, Field: "libpython.link_extensions", Value: "true",
		Cause:  "Build systems link every extension module to libpython when it is set.",
		Remedy: "Build the interpreter without it.",
	}
	switch {
	case err != nil:
		f.Field, f.Value = "JSON", printable(err.Error())
		f.Cause, f.Remedy = "What the interpreter tells those who build for it cannot be read.", "Build the interpreter again."
	case !details.Libpython.LinkExtensions:
		return
	}
	out.add(f)
}

// checkPkgConfig reads what pkg-config tells of python-X.Y, by which Meson links extension
// modules; python-X.Y-embed is for programs that embed Python.
func (x *exam) checkPkgConfig(out *outcome) {
	for _, dir := range triplets {
		for _, name := range slices.Compact([]string{"python-" + x.home.version, "python-" + x.home.version + x.home.flags}) {
			e, ok := x.Tree.Lookup(path.Join(path.Dir(x.home.lib), dir, "pkgconfig", name+".pc"))
			if !ok || e.Kind != tree.File {
				continue
			}
			out.examined++
			// One that cannot be read tells nobody anything.
			data, _ := readText(e)
			x.checkSearched(out, e.Path, maps.All(pkgConfigFields(string(data))))
			for line := range strings.Lines(string(data)) {
				libs, ok := strings.CutPrefix(strings.TrimSpace(line), "Libs:")
				if ok && slices.ContainsFunc(strings.Fields(libs), linksLibpython) {
					out.add(Finding{
						Severity: Refuse, File: e.Path, Field: "Libs", Value: printable(strings.TrimSpace(libs)),
						Cause:  "Build systems that ask pkg-config for Python link every extension module so.",
						Remedy: "Leave libpython to python-" + x.home.version + "-embed.pc, for programs that embed Python.",
					})
				}
			}
		}
	}
}

// configs are the names that the directory of the interpreter's Makefile may have
// (LIBPL of CPython's Makefile.pre.in).
func (h installation) configs() []string {
	var names []string
	for _, triplet := range triplets {
		names = append(names, strings.TrimSuffix("config-"+h.version+h.flags+"-"+triplet, "-"))
	}
	return names
}

// assignment is a variable's line in a Makefile.
var assignment = regexp.MustCompile(`(?m)^([A-Za-z_]\w*)[ \t]*[:+?]?=(.*)$`)

// checkMakefile reads the Makefile that the interpreter was built by, which it installs.
func (x *exam) checkMakefile(out *outcome) {
	for _, config := range x.home.configs() {
		e, ok := x.Tree.Lookup(path.Join(x.home.lib, config, "Makefile"))
		if !ok || e.Kind != tree.File {
			continue
		}
		// One that cannot be read tells nobody anything.
		data, _ := readText(e)
		x.checkSearched(out, e.Path, func(yield func(name, value string) bool) {
			for _, m := range assignment.FindAllStringSubmatch(string(data), -1) {
				if !yield(m[1], m[2]) {
					return
				}
			}
		})
	}
}

// Bounds that no real file comes near: of a pkg-config file, and of a line of it and what
// that stands for, in bytes; and of the directories that are told of one file.
const (
	maxPkgConfig     = 64 << 10
	maxPkgConfigLine = 4 << 10
	maxDirectories   = 100
)

var pkgConfigVariable = regexp.MustCompile(`\$\{[\w.]+\}`)

// pkgConfigFields reads the fields of a pkg-config file (pc(5)), with what its variables
// stand for.
func pkgConfigFields(text string) map[string]string {
	vars, fields := map[string]string{}, map[string]string{}
	if len(text) > maxPkgConfig {
		return fields
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		at := strings.IndexAny(line, ":=")
		if at < 0 || line[0] == '#' || len(line) > maxPkgConfigLine {
			continue
		}
		value := pkgConfigVariable.ReplaceAllStringFunc(strings.TrimSpace(line[at+1:]), func(v string) string { return vars[v[2:len(v)-1]] })
		if len(value) > maxPkgConfigLine {
			continue
		}
		if name := strings.TrimSpace(line[:at]); line[at] == '=' {
			vars[name] = value
		} else {
			fields[name] = value
		}
	}
	return fields
}

// absolute lists the absolute paths in build details by the names that lead to them: no
// name has more than two parts.
func absolute(details map[string]any) map[string][]string {
	paths := map[string][]string{}
	note := func(name string, v any) {
		if text, ok := v.(string); ok && path.IsAbs(text) {
			paths[name] = append(paths[name], text)
		}
	}
	for name, v := range details {
		note(name, v)
		if inner, ok := v.(map[string]any); ok {
			for part, v := range inner {
				note(name+"."+part, v)
			}
		}
	}
	return paths
}

// searchFlag matches a directory that a compiler or linker is told to search.
var searchFlag = regexp.MustCompile(`(?:^|[\s'"])(?:-I|-L|-isystem|-Wl,-rpath(?:-link)?[,=])\s*(/[^\s'",]+)`)

// checkSearched judges the directories that variables tell compilers and linkers to search.
func (x *exam) checkSearched(out *outcome, file string, vars iter.Seq2[string, string]) {
	dirs := map[string][]string{}
	for name, value := range vars {
		if name == "CONFIG_ARGS" {
			continue // how configure was called: nobody compiles with it
		}
		for _, m := range searchFlag.FindAllStringSubmatch(value, -1) {
			dirs[name] = append(dirs[name], strings.Split(m[1], ":")...)
		}
	}
	x.checkDirectories(out, file, dirs)
}

// checkDirectories judges directories that a file hands on, by the names of its variables.
func (x *exam) checkDirectories(out *outcome, file string, dirs map[string][]string) {
	out.examined++
	names := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(dirs)) {
		for _, dir := range dirs[name] {
			if known := names[dir]; (len(known) == 0 || known[len(known)-1] != name) && x.buildOnly(dir) {
				names[dir] = append(known, name)
			}
		}
	}
	found := slices.Sorted(maps.Keys(names))
	for _, dir := range found[:min(len(found), maxDirectories)] {
		out.add(Finding{
			Severity: Refuse, File: file, Field: printable(strings.Join(names[dir], ", ")), Value: printable(dir),
			Cause:  "Who builds for the interpreter searches a directory of the interpreter's own build: it is not there, or has other files.",
			Remedy: "Build the interpreter with what it needs in its own prefix, or where systems have it.",
		})
	}
}

// Directories that are no part of a system: in open ones everybody may write, in the others
// builds and their users are, on machines that are not this one.
var (
	openDirs  = []string{"/tmp", "/var/tmp"}
	buildDirs = []string{"/home", "/root", "/build", "/builds", "/ampoule-build"}
)

// buildOnly reports whether a directory is one that only the interpreter's build had.
func (x *exam) buildOnly(dir string) bool {
	dir = path.Clean(dir)
	below := func(top string) bool { return dir == top || strings.HasPrefix(dir, top+"/") }
	switch {
	case below(path.Join("/", x.Prefix, path.Dir(path.Dir(x.home.exe)))):
		return false // its own prefix
	case slices.ContainsFunc(openDirs, below):
		return true
	case !slices.ContainsFunc(buildDirs, below):
		return false
	case !x.found:
		return true
	}
	_, ok := x.runs[0].resolve(dir)
	return !ok
}
