package recipes

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// LinkMode says where an interpreter's libpython is.
type LinkMode string

// The link modes, as configure flags choose them.
const (
	// Static is an executable that holds libpython, and no shared libpython.
	Static LinkMode = "static"
	// Shared is an executable that loads a shared libpython: --enable-shared.
	Shared LinkMode = "shared"
	// Embed is an executable that holds libpython, and a shared libpython for
	// programs that embed Python: --enable-shared and
	// --enable-static-libpython-for-interpreter.
	Embed LinkMode = "embed"
)

// staticForInterpreter is CPython 3.15's flag (python/cpython#133313), which
// Ampoule supplies for the versions before.
const staticForInterpreter = "--enable-static-libpython-for-interpreter"

// LinkMode is the link mode that the configure flags choose.
func (p Python) LinkMode() LinkMode {
	flags := map[string]bool{}
	for _, text := range p.Configure {
		if f, ok := parseFlag(text); ok {
			flags[f.name] = f.on()
		}
	}
	switch {
	case flags["--enable-shared"] && flags[staticForInterpreter]:
		return Embed
	case flags["--enable-shared"]:
		return Shared
	default:
		return Static
	}
}

// configureFlag is a flag for a feature (enable) or a package (with).
type configureFlag struct {
	// name is the flag in positive polarity: --enable-shared, --with-lto.
	name string
	// value is "no" for negative polarity and "yes" for none.
	value string
}

func (f configureFlag) on() bool { return f.value != "no" }

var flagPattern = regexp.MustCompile(`^--(enable|disable|with|without)-([A-Za-z0-9_+.-]+)(=(.*))?$`)

// parseFlag reads a flag as autoconf does: --disable-x is --enable-x=no,
// --without-x is --with-x=no and neither takes a value.
func parseFlag(text string) (configureFlag, bool) {
	m := flagPattern.FindStringSubmatch(text)
	if m == nil {
		return configureFlag{}, false
	}
	negative := m[1] == "disable" || m[1] == "without"
	f := configureFlag{value: "yes"}
	switch m[1] {
	case "enable", "disable":
		f.name = "--enable-" + m[2]
	default:
		f.name = "--with-" + m[2]
	}
	switch {
	case negative && m[3] != "":
		return configureFlag{}, false
	case negative:
		f.value = "no"
	case m[3] != "":
		f.value = m[4]
	}
	return f, true
}

// directoryOptions are autoconf's options that say where files are or go, with
// those for cross-compiling and for renaming programs.
var directoryOptions = []string{
	"--prefix", "--exec-prefix", "--bindir", "--sbindir", "--libexecdir", "--sysconfdir", "--sharedstatedir", "--localstatedir",
	"--runstatedir", "--libdir", "--includedir", "--oldincludedir", "--datarootdir", "--datadir", "--infodir", "--localedir",
	"--mandir", "--docdir", "--htmldir", "--dvidir", "--pdfdir", "--psdir", "--srcdir", "--cache-file", "--config-cache", "-C",
	"--host", "--build", "--target", "--program-prefix", "--program-suffix", "--program-transform-name",
}

// pathFlags are CPython's own flags that say where files are or go.
var pathFlags = []string{
	"--with-platlibdir", "--with-wheel-pkg-dir", "--with-build-python", "--with-openssl-rpath", "--with-framework-name",
	"--enable-framework", "--with-suffix", "--with-openssl", "--with-tzpath",
}

var assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

// Repeatable reports whether two builds give the same interpreter: one that is optimised by what
// it counted while it was built is another one each time, and so is one that BOLT arranges by it.
func (p Python) Repeatable() bool {
	return p.Profile != "" || !p.Optimised() && !p.Bolt()
}

// NoPIE is the executable at a fixed address, as GCC names it: one that is not
// position-independent.
const NoPIE = "no-pie"

// IsProfile reports whether a text names a training profile, as a recipe does.
func IsProfile(text string) bool { return rules["profile"].allows(text) }

// Optimised reports whether the interpreter is compiled by a training profile.
func (p Python) Optimised() bool { return p.has("--enable-optimizations") }

// LinkTime reports whether the interpreter is optimised when it is linked.
func (p Python) LinkTime() bool { return p.has("--with-lto") }

// Bolt reports whether the executable is arranged anew by LLVM's BOLT when it is linked.
func (p Python) Bolt() bool { return p.has("--enable-bolt") }

// boltVersion is the newest of BOLT that bookworm and trixie have.
const boltVersion = "19"

// BoltVersion is the version of BOLT that goes with the compiler: clang's own, where a recipe says which.
func (p Python) BoltVersion() string {
	if version, ok := strings.CutPrefix(p.Compiler, "clang-"); ok {
		return version
	}
	return boltVersion
}

// Plain is the same interpreter, neither optimised by a profile nor at link time. What is
// compiled for the one loads into the other.
func (p Python) Plain() Python {
	p.Profile = ""
	p.Configure = slices.DeleteFunc(slices.Clone(p.Configure), func(text string) bool {
		f, _ := parseFlag(text)
		return slices.Contains([]string{"--enable-optimizations", "--enable-bolt", "--with-lto"}, f.name)
	})
	return p
}

// has reports whether a feature is switched on.
func (p Python) has(flag string) bool {
	return slices.ContainsFunc(p.Configure, func(text string) bool {
		f, _ := parseFlag(text)
		return f.name == flag && f.on()
	})
}

// checkConfigure tells of flags that Ampoule sets itself, that contradict each
// other, and that the version does not know if it is a known one.
func (r *Recipe) checkConfigure() Faults {
	var faults Faults
	add := func(i int, what, hint string) {
		faults = append(faults, r.Fault(what, hint, "python", "configure", strconv.Itoa(i)))
	}
	first := map[string]int{}
	for i, text := range r.Python.Configure {
		if what, hint := foreignWord(text); what != "" {
			add(i, what, hint)
			continue
		}
		f, _ := parseFlag(text)
		if j, again := first[f.name]; again {
			what := fmt.Sprintf("%s contradicts %s", text, r.Python.Configure[j])
			if g, _ := parseFlag(r.Python.Configure[j]); f == g {
				what = text + " says again what another flag says"
			}
			add(i, what, fmt.Sprintf("%s stands in line %d; keep one", r.Python.Configure[j], r.At("python", "configure", strconv.Itoa(j)).Line))
			continue
		}
		first[f.name] = i
	}
	if i, ok := first[staticForInterpreter]; ok && r.Python.LinkMode() == Static {
		if f, _ := parseFlag(r.Python.Configure[i]); f.on() {
			add(i, staticForInterpreter+" without --enable-shared", "remove it for a static executable alone, or add --enable-shared for a libpython beside it")
		}
	}
	if r.Python.Profile != "" && !r.Python.Optimised() {
		faults = append(faults, r.Fault("a profile without --enable-optimizations decides nothing",
			"add --enable-optimizations to configure, or remove the profile", "python", "profile"))
	}
	if r.Python.Executable == NoPIE && r.Python.LinkMode() == Shared {
		faults = append(faults, r.Fault("python.executable is about an executable that holds libpython, and this one loads it",
			"remove it, or add "+staticForInterpreter+" to configure", "python", "executable"))
	}
	faults = append(faults, r.checkCompilation()...)
	if release, ok := KnownPython(r.Python.Version); ok {
		faults = append(faults, CheckFlags(r, release.Flags)...)
	}
	return faults
}

// checkCompilation tells of a compiler, a level or flags that contradict what else the recipe says.
func (r *Recipe) checkCompilation() Faults {
	var faults Faults
	p := r.Python
	if vm := r.Runtime.VM; p.CPU != "" && vm != nil && p.CPU > vm.CPU {
		faults = append(faults, r.Fault(fmt.Sprintf("python.cpu is %s, and runtime.vm.cpu promises no more than %s", p.CPU, vm.CPU),
			"raise runtime.vm.cpu if every machine has that, or lower python.cpu", "python", "cpu"))
	}
	if p.CPU != "" && r.Base.Debian == "bullseye" {
		faults = append(faults, r.Fault("the compiler of bullseye knows no levels of x86-64", "remove python.cpu, or take a newer base", "python", "cpu"))
	}
	for name, flags := range p.Env {
		for _, word := range strings.Fields(flags) {
			if what, hint := foreignFlag(word); what != "" {
				faults = append(faults, r.Fault(fmt.Sprintf("python.env.%s: %s %s", name, word, what), hint, "python", "env", name))
			}
		}
		if strings.HasPrefix(name, "BOLT_") && !p.Bolt() {
			faults = append(faults, r.Fault("python.env."+name+" without --enable-bolt decides nothing", "add --enable-bolt to configure, or remove it", "python", "env", name))
		}
	}
	slices.SortFunc(faults, func(a, b Fault) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.What, b.What)) })
	return faults
}

// foreignFlag tells why a flag of the compiler's is not for python.env, if it is not.
func foreignFlag(word string) (what, hint string) {
	name, value, _ := strings.Cut(word, "=")
	switch {
	case value == "native":
		return "compiles for the processor of the machine that builds", "name a level: python.cpu"
	case name == "-march":
		return "is for python.cpu to say", "write python.cpu: x86-64-v2, -v3 or -v4"
	case strings.HasPrefix(name, "-fprofile-use"), strings.HasPrefix(name, "-fprofile-generate"), strings.HasPrefix(name, "-fprofile-instr-"), name == "-fauto-profile":
		return "is for the training profile to say", "pin one: python.profile"
	case strings.HasPrefix(name, "-flto"), name == "-fno-lto":
		return "is for a configure flag to say", "write --with-lto, --with-lto=full or --with-lto=thin into python.configure"
	}
	return "", ""
}

// foreignWord tells why a word of configure's is not for recipes, if it is not.
func foreignWord(text string) (what, hint string) {
	if text == "" {
		return "", "" // told by the rule of its text
	}
	name, _, _ := strings.Cut(text, "=")
	f, isFlag := parseFlag(text)
	switch {
	case isPathOption(name) || slices.Contains(pathFlags, f.name):
		return name + " says where files are or go, which is Ampoule's to decide", "remove it; the tree runs from any directory"
	case assignment.MatchString(text):
		return fmt.Sprintf("%q sets a variable for configure", text), hintAssignment(text)
	case strings.HasPrefix(text, "--without-") || strings.HasPrefix(text, "--disable-"):
		if !isFlag {
			return fmt.Sprintf("%q is no configure flag", text), "--without-… and --disable-… take no value"
		}
	case !isFlag:
		return fmt.Sprintf("%q is no flag for a feature of CPython", text), "flags begin with --enable-, --disable-, --with- or --without-"
	}
	return "", ""
}

// hintAssignment says where what a variable decides is written.
func hintAssignment(text string) string {
	switch name, _, _ := strings.Cut(text, "="); {
	case name == "CC", name == "CXX":
		return "configure holds flags only; python.compiler names the compiler"
	case name == "PROFILE_TASK":
		return "configure holds flags only; train.commands says what is run"
	case slices.Contains(configureVariables, name):
		return "configure holds flags only; write it into python.env"
	}
	return "configure holds flags only; remove it"
}

// isPathOption knows the directory options in every spelling that autoconf takes:
// with one dash, and cut short (--pref).
func isPathOption(name string) bool {
	if name == "-C" {
		return true
	}
	name = "--" + strings.TrimLeft(name, "-")
	if len(name) < len("--xxx") {
		return false
	}
	return slices.ContainsFunc(directoryOptions, func(option string) bool { return strings.HasPrefix(option, name) })
}

// CheckFlags tells which of the recipe's configure flags are not among those that
// its CPython knows, in the form of [PythonRelease.Flags]: for a version that is
// no [KnownPython], the lock has recorded them.
func CheckFlags(r *Recipe, known []string) Faults {
	var faults Faults
	for i, text := range r.Python.Configure {
		f, ok := parseFlag(text)
		if !ok || slices.Contains(known, f.name) || f.name == staticForInterpreter || slices.Contains(pathFlags, f.name) {
			continue
		}
		what := fmt.Sprintf("CPython %s has no configure flag %s", r.Python.Version, text)
		faults = append(faults, r.Fault(what, hintFlag(f, known), "python", "configure", strconv.Itoa(i)))
	}
	return faults
}

// hintFlag finds the known flag that was meant: often the right name after the
// wrong one of --enable- and --with-.
func hintFlag(f configureFlag, known []string) string {
	name := strings.TrimPrefix(strings.TrimPrefix(f.name, "--enable-"), "--with-")
	for _, other := range []string{"--enable-" + name, "--with-" + name} {
		if slices.Contains(known, other) {
			return fmt.Sprintf("did you mean %q?", polar(other, f))
		}
	}
	var names []string
	for _, k := range known {
		names = append(names, polar(k, f))
	}
	return suggestion(polar(f.name, f), names, "")
}

// polar spells a flag in the polarity of f.
func polar(name string, f configureFlag) string {
	if f.on() {
		return name
	}
	return strings.NewReplacer("--enable-", "--disable-", "--with-", "--without-").Replace(name)
}
