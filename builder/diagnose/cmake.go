package diagnose

import "strings"

// cmakeRules are the sentences of CMake.
var cmakeRules = []rule{
	one("Could NOT find ", `^(-- )?Could NOT find (\w+)(: Found unsuitable version "([^"]*)", but required is[^"]*"([^"]*)")?`, cmakeModule),
	one("By not providing", `By not providing "Find([\w+-]+)\.cmake"`, cmakePackage),
	one("package configuration file provided by", `package configuration file provided by "([\w+-]+)"`, cmakePackage),
	one("None of the required", `None of the required '([\w.+-]+)[^']*' found`, pkgConfig),
	one("_COMPILER could be found", `No CMAKE_(\w+)_COMPILER could be found`, cmakeCompiler),
	one("using the following names", `Could not find (\w+) using the following names: ([\w.+-]+)`, func(s *scan, m []string) finding {
		if packages := s.of("x", m[2]); packages != nil || strings.HasSuffix(m[1], "EXECUTABLE") {
			return s.program(m[2])
		}
		return library(s, m[1:])
	}),
	one("or higher is required", `CMake ([\d.]+) or higher is required.*running version ([\d.]+)`, func(_ *scan, m []string) finding {
		return finding{Cause: Cause{What: "CMake " + strings.TrimSuffix(m[2], ".") + " is too old", Requires: []string{"cmake>=" + m[1]}}}
	}),
	always("Compatibility with CMake", `Compatibility with CMake < \S+ has been removed`, Cause{
		What: "CMake is too new for the project", Requires: []string{"cmake<4"},
		Advice: "or say CMAKE_POLICY_VERSION_MINIMUM: 3.5 in env",
	}),
}

// cmakeMessage remembers whether the message that starts with a line is an error: the
// sentences stand on the lines below.
func (s *scan) cmakeMessage(line string) {
	if strings.HasPrefix(line, "CMake ") {
		s.warning = strings.HasPrefix(line, "CMake Warning")
	}
}

// cmakeModule says that one of CMake's own modules did not find what it looks for. As
// a mere status, behind "--", it is often said of what is optional.
func cmakeModule(s *scan, m []string) finding {
	f := cmakePackage(s, m[1:])
	if m[3] != "" {
		f.Cause = Cause{
			What:   m[2] + " is too old: the build wants " + m[5] + ", the suite has " + m[4],
			Advice: "take an older version of the distribution, or a base with a newer suite",
		}
	}
	f.optional = f.optional || m[1] != ""
	return f
}

// cmakePackage says that CMake does not find a package.
func cmakePackage(s *scan, m []string) finding {
	if f, ok := pythonPart(m[1]); ok {
		f.optional = s.warning
		return f
	}
	f := finding{Cause: Cause{What: m[1] + " is missing (asked of CMake)", Build: s.holdingCMake(m[1])}, optional: s.warning}
	if m[1] == "PkgConfig" {
		f = s.program("pkg-config")
		f.optional = s.warning
	}
	return f
}

// cmakeCompiler says that CMake finds no compiler of a language.
func cmakeCompiler(s *scan, m []string) finding {
	switch m[1] {
	case "C":
		return s.program("gcc")
	case "CXX":
		return s.program("g++")
	case "Fortran":
		return s.program("gfortran")
	case "CUDA":
		return finding{Cause: noCUDA}
	}
	return s.program(strings.ToLower(m[1]))
}
