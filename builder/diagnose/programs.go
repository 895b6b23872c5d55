package diagnose

import (
	"path"
	"strings"
)

// programRules are the sentences of shells, make, Python and sdists about programs
// that they cannot run.
var programRules = []rule{
	one(": not found", `\w: (?:line )?\d+: ([\w.+-]+): not found(?:\\n|\W|$)`, wantedProgram),
	one("command not found", `(?:^|[\s:'"])([\w.+-]+): command not found`, wantedProgram),
	one("make", `make(?:\[\d+\])?: ([\w.+-]+): (?:Command not found|No such file or directory)`, wantedProgram),
	one("env: ", `env: ['‘"]?([\w.+-]+)['’"]?: No such file or directory`, wantedProgram),
	one("No such file or directory", `(?:unable to execute|command) '([^']+)'(?: failed)?: No such file or directory`, wantedProgram),
	on("[Errno 2]", `(?:^|[^"])\[Errno 2\] No such file or directory: b?'([^']+)'`, missingFile),
	one(" executable not found", `\b([\w.+-]+) executable not found`, wantedProgram),
	one("config", `\b([a-z0-9]+[_-]config)\b (?:was )?(?:not found|could not be found|is required)`, wantedProgram),
	one("ortran", `(?i)no fortran compiler(?: found)?`, namedProgram("gfortran")),
	one("ake", `(?i)cmake (?:must be installed|is not installed|executable not found|not found|is required)|Problem with the CMake installation`, namedProgram("cmake")),
	one("not installed?", "[Ii]s `([\\w.+-]+)` not installed\\?", wantedProgram),
	one("Could not find `protoc`", "Could not find `protoc`", namedProgram("protoc")),
	always("CUDA_HOME", `CUDA_HOME environment variable is not set`, noCUDA),
}

var noCUDA = Cause{
	What:   "CUDA is missing",
	Advice: "Debian's main component does not have it: take the published wheel (binary.accept), or a base image that holds it",
}

// tools are programs that come with Python distributions and that a build should have
// from there, in the version that it wants.
var tools = map[string]string{
	"cython": "cython", "cython3": "cython", "meson": "meson", "ninja": "ninja", "pythran": "pythran", "maturin": "maturin",
	"f2py": "numpy", "numpy-config": "numpy", "pybind11-config": "pybind11", "cppyy-generator": "cppyy", "sip-build": "sip",
}

// missingProgram are the words for it.
func missingProgram(name string) string { return "the program " + name + " is missing" }

// wantedProgram says that a program is missing, which may be named by its path.
func wantedProgram(s *scan, m []string) finding { return s.program(path.Base(m[1])) }

// namedProgram says of each line that the same program is missing.
func namedProgram(name string) func(*scan, []string) finding {
	return func(s *scan, _ []string) finding { return s.program(name) }
}

func (s *scan) program(name string) finding {
	c := Cause{What: missingProgram(name)}
	if distribution := tools[name]; distribution != "" {
		c.Requires = []string{distribution}
	} else {
		c.Build = s.of("x", name)
	}
	if name == "git" {
		c.Advice = "an sdist is no git checkout: if git is only asked for the version, say that in env instead"
	}
	return finding{Cause: c}
}

// missingFile says that Python found no file of a name: that of a program, or that of
// a file which the sdist should hold.
func missingFile(s *scan, m []string) []finding {
	name := path.Base(m[1])
	switch {
	case tools[name] != "" || s.of("x", name) != nil:
		return []finding{s.program(name)}
	case strings.Contains(m[1], "/"):
		return nil
	case path.Ext(name) == "":
		return []finding{s.program(name)}
	}
	return []finding{{Cause: Cause{
		What:   "the file " + name + " is missing",
		Advice: "if the sdist should hold it, a patch can add it; a later version may have it",
	}}}
}
