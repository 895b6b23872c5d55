package audit

import (
	"context"
	"encoding/json"
	"path"
	"slices"
	"strings"

	"ampoule/tree"
)

func init() {
	register(check{
		name:   "interpreter",
		reason: "the interpreter hands extension modules no libpython, and a C++ compiler for C++",
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
	config, err := readSysconfig(x.Tree, x.home)
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
		if out.examined++; !compilesCxx(words) {
			out.add(Finding{
				Severity: Refuse, File: config.file, Field: name, Value: printable(config.vars[name]),
				Cause:  "It does not compile C++: modules in C++ would be linked without their standard library.",
				Remedy: "Give configure a C++ compiler as CXX.",
			})
		}
	}
	x.checkDetails(&out)
	x.checkPkgConfig(&out)
	return out, nil
}

// linksLibpython tells whether an argument of a linker names libpython.
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
// to link modules to libpython.
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
	data, err := readText(e)
	if err == nil {
		err = json.Unmarshal(data, &details)
	}
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
