package audit

import (
	"context"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/audit/elf"
	"ampoule/tree"
)

const environmentCheck = "environment"

func init() {
	register(check{
		name:   environmentCheck,
		reason: "the interpreter of what is installed starts and imports from there, and programs start",
		needs:  anEnvironment,
		run:    checkEnvironment,
	})
}

// environment is a prefix that distributions are installed in, with what starts there.
type environment struct {
	*exam
	// bin is its directory of programs.
	bin string
	// version is that of the directory of distributions, X.Y.
	version string
	// isVenv says that it has a pyvenv.cfg (PEP 405), isConda that it is one of conda's.
	isVenv, isConda bool
	// starters are the names of its interpreter that are there, in the order python, python3, pythonX.Y.
	starters []starter
}

// starter is a name of an environment's interpreter.
type starter struct {
	name string
	// leads is what the name leads to, as an absolute path.
	leads string
	// version is X.Y, by the name of what it leads to; empty where that does not tell.
	version string
	// fault says why nothing starts by the name; empty where it does.
	fault string
}

// checkEnvironment looks for what keeps everything in an environment from working, whatever is
// installed: no interpreter starts, or the one that starts imports nothing from there; then for
// programs that do not start. What does work is told beside it.
func checkEnvironment(_ context.Context, x *exam) (outcome, error) {
	out := outcome{}
	env := x.environmentAt()
	if len(env.starters) == 0 && !env.isVenv && !env.isConda {
		return out, nil // what "pip install --prefix" fills has no interpreter
	}
	if !env.hasLoader() {
		out.unjudged = "no dynamic loader is there: it is a part of a system, in which nothing starts as it is"
		return out, nil
	}
	out.examined++
	if f, dead := env.dead(); dead {
		out.add(f)
		return out, nil
	}
	for _, s := range env.starters {
		out.examined++
		if s.fault != "" {
			out.add(Finding{
				Severity: Warn, File: path.Join(env.bin, s.name), Field: "interpreter", Value: printable(s.leads),
				Cause: "Nothing starts by this name: " + s.fault + ". Another name of the interpreter does start.", Remedy: remakeEnvironment,
			})
		}
	}
	if f, ok := env.importsOthers(); ok {
		out.add(f)
	}
	env.editables(&out)
	env.programs(&out)
	env.activation(&out)
	return out, nil
}

// OfEnvironment reports whether the finding is about the environment, or one of its programs, and
// not about what a distribution brought.
func (f Finding) OfEnvironment() bool { return f.Check == environmentCheck }

// remakeEnvironment is what helps where an environment as a whole is at fault.
const remakeEnvironment = "Make the environment again where it is to be, and install into it what is installed here: environments can be neither moved nor given another interpreter."

func (x *exam) environmentAt() environment {
	env := environment{exam: x, bin: path.Join(x.prefix, "bin")}
	lib := path.Base(path.Dir(x.home.site))
	env.version = strings.TrimRight(strings.TrimPrefix(lib, "python"), "t")
	_, env.isVenv = x.at(path.Join(x.prefix, "pyvenv.cfg"))
	if !env.isVenv {
		_, env.isVenv = x.at(path.Join(env.bin, "pyvenv.cfg"))
	}
	_, env.isConda = x.at(path.Join(x.prefix, "conda-meta"))
	for _, name := range slices.Compact([]string{"python", "python3", lib}) {
		if s, ok := env.starter(name); ok {
			env.starters = append(env.starters, s)
		}
	}
	return env
}

// at finds what a path of the machine leads to.
func (x *exam) at(p string) (place, bool) { return x.runs[0].resolve("/" + p) }

// starter looks at a name of the interpreter.
func (env *environment) starter(name string) (starter, bool) {
	s := starter{name: name}
	p := path.Join(env.bin, name)
	link, ok := env.runs[0].lookup(p)
	if dir, found := env.at(env.bin); !ok && found {
		link, ok = env.runs[0].lookup(path.Join(dir.Path, name))
	}
	if !ok {
		return s, false
	}
	at, ok := env.at(p)
	if !ok {
		s.leads = env.deadEnd(link.Path)
		s.fault = "it leads to " + printable(s.leads) + ", which is not there"
		return s, true
	}
	s.leads = "/" + at.Path
	s.version = env.versionOf(at)
	s.fault = env.startFaultOf(s, at)
	return s, true
}

// deadEnd is where links end that lead to nothing, as an absolute path.
func (env *environment) deadEnd(p string) string {
	for range maxLinks {
		at, ok := env.runs[0].lookup(p)
		if !ok || at.Kind != tree.Symlink {
			break
		}
		next := at.Link
		if !path.IsAbs(next) {
			next = path.Join("/", path.Dir(p), next)
		}
		p = strings.TrimPrefix(path.Clean(next), "/")
	}
	return "/" + p
}

// versionOf tells the version of an interpreter, X.Y, by its name, or by that of an equal file
// beside it: environments with copies have both.
func (env *environment) versionOf(at place) string {
	if m := executableName.FindStringSubmatch(path.Base(at.Path)); m != nil {
		return m[1]
	}
	for _, p := range glob(env.machine, "", path.Join("/", path.Dir(at.Path), "python*")) {
		m := executableName.FindStringSubmatch(path.Base(p))
		if m == nil {
			continue
		}
		if e, ok := Follow(env.machine, p); ok && e.Kind == tree.File && e.Size == at.Size {
			return m[1]
		}
	}
	return ""
}

// startFaultOf says why a file that is there does not start.
func (env *environment) startFaultOf(s starter, at place) string {
	switch {
	case at.Kind != tree.File:
		return "it leads to no file"
	case at.Mode&0o111 == 0:
		return "/" + at.Path + " may not be executed"
	}
	start := firstBytes(at.Entry)
	switch {
	case strings.HasPrefix(start, "#!"):
		return "" // a script that starts one, as pyenv's shims are
	case !IsELF([]byte(start)):
		return "/" + at.Path + " is no program"
	case env.home.known() && (s.version == "" || s.version == env.home.version):
		return env.deadInterpreter()
	}
	return ""
}

// configText is the text of a small file of the machine; empty where it cannot be read.
func configText(e tree.Entry) string {
	if e.Kind != tree.File || e.Size > maxConfig {
		return ""
	}
	r, err := e.Content.Open()
	if err != nil {
		return ""
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxConfig))
	if err != nil {
		return ""
	}
	return string(data)
}

// firstBytes are a file's, as far as they tell what it is; empty where it cannot be read.
func firstBytes(e tree.Entry) string {
	r, err := e.Content.Open()
	if err != nil {
		return ""
	}
	defer r.Close()
	start := make([]byte, len(elf.Magic))
	n, _ := r.Read(start)
	return string(start[:n])
}

// hasLoader reports whether the machine can start any program that is linked dynamically.
func (env *environment) hasLoader() bool {
	return slices.ContainsFunc(loaders, func(p string) bool { _, ok := env.at(p); return ok })
}

// loaders are the dynamic loaders of the C libraries that Python is built for (PT_INTERP).
var loaders = []string{
	"lib64/ld-linux-x86-64.so.2", "lib/ld-linux-aarch64.so.1", "lib/ld-musl-x86_64.so.1", "lib/ld-musl-aarch64.so.1",
}

// deadInterpreter says why the interpreter that was found does not start; empty where nothing
// speaks against it.
func (x *exam) deadInterpreter() string {
	exe := x.objects[x.home.exe]
	if exe == nil {
		return ""
	}
	if exe.fault != nil || !exe.loads() {
		return "/" + x.home.exe + " is no program that could be loaded"
	}
	if exe.Interp != "" {
		if _, ok := x.runs[0].resolve(exe.Interp); !ok {
			return "/" + x.home.exe + " asks for the dynamic loader " + printable(exe.Interp) + ", which is not there"
		}
	}
	if name, by := x.lostLibrary(); name != "" {
		return "/" + by + " needs " + printable(name) + ", which is nowhere where the loader looks"
	}
	if !x.hasStandardLibrary() {
		return "its standard library is gone: there is no lib/python" + x.home.version + "/os.py where it looks"
	}
	return ""
}

// lostLibrary finds a library that the interpreter needs to start and that is missing. What
// musl's loader searches is not known.
func (x *exam) lostLibrary() (name, by string) {
	python := x.runs[0].python
	if python == nil || x.python().Musl {
		return "", ""
	}
	for _, l := range python.list {
		for _, d := range l.deps {
			if d.lib == nil && d.field == "DT_NEEDED" {
				return d.name, l.Path
			}
		}
	}
	return "", ""
}

// hasStandardLibrary looks for what CPython's Modules/getpath.py looks for: the landmark os.py,
// or the archive, in the directories above the executable, above where pyvenv.cfg says that it
// is from, and in the prefix that was compiled in.
func (x *exam) hasStandardLibrary() bool {
	for _, start := range []string{path.Dir(x.home.exe), path.Join(x.prefix, "bin"), x.venvHome()} {
		for dir := start; start != ""; dir = path.Dir(dir) {
			if x.hasLandmark(dir) {
				return true
			}
			if dir == "." || dir == "/" {
				break
			}
		}
	}
	return x.compiledIn()
}

// hasLandmark reports whether a prefix has the interpreter's standard library.
func (x *exam) hasLandmark(prefix string) bool {
	names := []string{"python" + x.home.version}
	if strings.Contains(x.home.flags, "t") {
		names = append(names, names[0]+"t")
	}
	for _, lib := range []string{"lib", "lib64"} {
		for _, name := range names {
			for _, file := range []string{name + "/os.py", name + "/os.pyc", strings.ReplaceAll(name, ".", "") + ".zip"} {
				if _, ok := x.at(path.Join(prefix, lib, file)); ok {
					return true
				}
			}
		}
	}
	return false
}

// homeLine is the line of a pyvenv.cfg that says where its interpreter is from.
var homeLine = regexp.MustCompile(`(?mi)^\s*home\s*=\s*(/.*?)\s*$`)

// venvHome is that directory; empty where nothing says it.
func (x *exam) venvHome() string {
	e, ok := x.at(path.Join(x.prefix, "pyvenv.cfg"))
	if !ok {
		return ""
	}
	if m := homeLine.FindStringSubmatch(configText(e.Entry)); m != nil {
		return strings.TrimPrefix(path.Clean(m[1]), "/")
	}
	return ""
}

// compiledPath matches a string of a program that may be the prefix that it was built for.
var compiledPath = regexp.MustCompile(`\x00(/[A-Za-z0-9_./+@-]{1,200})\x00`)

// compiledIn reports whether the standard library is in a prefix that the executable, or its
// libpython, names.
func (x *exam) compiledIn() bool {
	for _, l := range x.runs[0].python.holders() {
		data, err := readRuntime(l.Entry)
		if err != nil {
			return true // nothing is known
		}
		for _, m := range compiledPath.FindAllSubmatch(data, -1) {
			if x.hasLandmark(strings.TrimPrefix(path.Clean(string(m[1])), "/")) {
				return true
			}
		}
	}
	return false
}

// holders are the files of a process that may have the interpreter's paths in them.
func (p *process) holders() []*loaded {
	if p == nil {
		return nil
	}
	list := []*loaded{p.main}
	for _, l := range p.list {
		if l != p.main && l.object != nil && l.holdsRuntime() {
			list = append(list, l)
		}
	}
	return list
}

// dead tells that no name of the interpreter starts.
func (env *environment) dead() (Finding, bool) {
	f := Finding{Severity: Refuse, File: path.Join(env.prefix, "pyvenv.cfg"), Field: "interpreter", Remedy: remakeEnvironment}
	if !env.isVenv {
		f.File = env.bin
		f.Remedy = "Install the interpreter again where it was, with what it needs."
	}
	if len(env.starters) == 0 {
		f.Value = "/" + path.Join(env.bin, "python")
		f.Cause = "The environment has no interpreter: nothing that is installed in it can be started or imported."
		return f, true
	}
	for _, s := range env.starters {
		if s.fault == "" {
			return f, false
		}
	}
	first := env.starters[0]
	f.File, f.Value = path.Join(env.bin, first.name), printable(first.leads)
	f.Cause = "The interpreter does not start: " + first.fault + ". Nothing that is installed here can be started or imported."
	return f, true
}

// importsOthers tells that an interpreter starts, and imports nothing of what is installed here.
func (env *environment) importsOthers() (Finding, bool) {
	f := Finding{Severity: Refuse, Field: "sys.path", Remedy: remakeEnvironment}
	var alive *starter
	for i, s := range env.starters {
		isOf := s.version == env.version || s.version == ""
		if s.fault == "" && (alive == nil || isOf && alive.version != env.version) {
			alive = &env.starters[i]
		}
	}
	f.File, f.Value = path.Join(env.bin, alive.name), printable(alive.leads)
	switch {
	case alive.version != "" && alive.version != env.version && strings.Contains(env.version, "."):
		if !env.isVenv && !env.isConda {
			return f, false // another Python has the prefix now
		}
		f.Cause = "The interpreter is Python " + alive.version + ", which imports nothing from /" + env.home.site + "."
		if env.inUse(alive.version) {
			f.Severity = Warn
			f.Cause += " It has a directory of its own: this one is left over."
			f.Remedy = "Remove the directory of the former interpreter, if nothing else uses it."
		}
		return f, true
	case env.isVenv || env.isConda || alive.version == "" || env.isDebians() || env.hasLandmark(env.prefix):
		return f, false
	case !env.home.known():
		return f, false
	}
	f.Cause = "There is no pyvenv.cfg, so that this is no virtual environment: the interpreter imports what is installed where it comes from, and nothing from /" + env.home.site + "."
	if slices.Contains(systemPrefixes, env.prefix) {
		f.Severity, f.Remedy = Warn, "Remove what is left over, or name the directory in PYTHONPATH."
	}
	return f, true
}

// systemPrefixes are those in which a system keeps what may be left over of other interpreters.
var systemPrefixes = []string{"", ".", "usr", "usr/local"}

// isDebians reports whether Debian's interpreter, which is in /usr, imports from the directory.
func (env *environment) isDebians() bool {
	return path.Base(env.home.site) == "dist-packages" && slices.Contains(systemPrefixes, env.prefix)
}

// inUse reports whether distributions are installed in the environment for another version.
func (env *environment) inUse(version string) bool {
	for _, info := range []string{"*.dist-info", "*.egg-info", "*.pth"} {
		pattern := path.Join("/", env.prefix, "lib", "python"+version, "site-packages", info)
		if len(glob(env.machine, "", pattern)) > 0 {
			return true
		}
	}
	return false
}
