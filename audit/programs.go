package audit

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/tree"
)

// maxStarted bounds the programs of an environment that are looked at.
const maxStarted = 10_000

// programs looks at what the programs of an environment start with: those that RECORDs list,
// and in an environment all. Those that name one interpreter are told together.
func (env *environment) programs(out *outcome) {
	groups := map[string][]string{}
	silent, all := 0, env.inBin()
	for _, e := range all {
		python, fault := pythonOf(e), false
		if python == "" {
			continue
		}
		fault = endsWithReturn(e)
		if fault {
			python += "\r"
		}
		out.examined++
		groups[python] = append(groups[python], path.Base(e.Path))
	}
	var faults []Finding
	for python, names := range groups {
		if f, ok := env.startsNot(python, names); ok {
			faults = append(faults, f)
			silent += len(names)
		}
	}
	for _, f := range faults {
		// A prefix of which other programs start was made to be moved, or has one left over.
		if !env.isVenv && !env.isConda && silent < len(all) {
			f.Severity = Warn
		}
		out.add(f)
	}
	slices.SortFunc(out.findings, compareFindings)
}

// inBin lists the programs of the environment.
func (env *environment) inBin() []tree.Entry {
	var list []tree.Entry
	seen := map[string]bool{}
	add := func(e tree.Entry) {
		if e.Kind == tree.File && !seen[e.Path] && len(list) < maxStarted {
			seen[e.Path] = true
			list = append(list, e)
		}
	}
	if env.isVenv || env.isConda {
		for _, p := range glob(env.machine, "", "/"+path.Join(env.bin, "*")) {
			if e, ok := env.machine.Lookup(strings.TrimPrefix(p, "/")); ok {
				add(e)
			}
		}
	}
	for _, e := range env.Tree.Entries() {
		if path.Dir(e.Path) == env.bin {
			add(e)
		}
	}
	return list
}

// endsWithReturn reports whether the line that names the interpreter ends as Windows ends lines:
// the kernel takes the return for a part of the name.
func endsWithReturn(e tree.Entry) bool {
	r, err := e.Content.Open()
	if err != nil {
		return false
	}
	defer r.Close()
	start := make([]byte, 512)
	n, _ := r.Read(start)
	line, _, ok := strings.Cut(string(start[:n]), "\n")
	return ok && strings.HasPrefix(line, "#!/") && strings.HasSuffix(line, "\r") && !strings.ContainsAny(strings.TrimPrefix(line, "#! "), " \t")
}

// startsNot judges programs that name one interpreter.
func (env *environment) startsNot(python string, names []string) (Finding, bool) {
	slices.Sort(names)
	f := Finding{
		Severity: Refuse, File: path.Join(env.bin, names[0]), Field: "#!", Value: printable(python),
		Remedy: "Install the distribution that brought it again where it is to run: installers write the line. An environment that was moved is better made again where it is to be.",
	}
	name, silent := strings.TrimSuffix(python, "\r"), ": it does not start."
	if len(names) > 1 {
		silent = ": they do not start."
	}
	at, ok := env.runs[0].resolve(name)
	switch s := env.named(at); {
	case !path.IsAbs(name):
		f.Severity = Warn
		f.Cause = naming(names) + " the interpreter by a relative path, which leads to it from one directory only."
	case name != python:
		f.Cause = naming(names) + " an interpreter in a line that ends with a carriage return, which the kernel takes for a part of its name" + silent
	case !ok:
		f.Cause = naming(names) + " an interpreter that is not there" + silent + env.works()
	case at.Mode&0o111 == 0 || s != nil && s.fault != "":
		f.Cause = naming(names) + " an interpreter that does not start" + silent + env.works()
	case env.isOwn(at, name):
		return f, false
	default:
		f.Severity = Warn
		f.Cause = naming(names) + " another interpreter than that of the environment: /" + at.Path + "."
	}
	return f, true
}

// named is the name of the environment's interpreter that leads to a file.
func (env *environment) named(at place) *starter {
	for i, s := range env.starters {
		if at.Path != "" && s.leads == "/"+at.Path {
			return &env.starters[i]
		}
	}
	return nil
}

// isOwn reports whether a path that programs name is that of the environment's interpreter. A
// path into another environment is not, although both may have one interpreter.
func (env *environment) isOwn(at place, name string) bool {
	own, ok := env.at(env.bin)
	if dir, found := env.runs[0].resolve(path.Dir(name)); ok && found && dir.Path == own.Path {
		return true
	}
	if env.isVenv {
		return false
	}
	m := executableName.FindStringSubmatch(path.Base(at.Path))
	return m == nil || m[1] == env.home.version && path.Dir(at.Path) == path.Dir(env.home.exe)
}

// works says what does work in an environment whose programs do not start.
func (env *environment) works() string {
	for _, s := range env.starters {
		if s.fault == "" {
			return " /" + path.Join(env.bin, s.name) + " itself starts and imports what is installed: with -m it runs modules."
		}
	}
	return ""
}

// naming begins a sentence about programs.
func naming(names []string) string {
	const most = 5
	switch n := len(names); {
	case n == 1:
		return "The program " + names[0] + " names"
	case n <= most:
		return fmt.Sprintf("%d programs (%s) name", n, strings.Join(names, ", "))
	default:
		return fmt.Sprintf("%d programs (%s and %d more) name", n, strings.Join(names[:most], ", "), n-most)
	}
}

// activated is the line of bin/activate that says where the environment is (package venv,
// virtualenv); one that computes it begins otherwise.
var activated = regexp.MustCompile(`(?m)^\s*(?:export )?VIRTUAL_ENV=["']?(/[^"'$\n]+)["']?\s*$`)

// activation looks at where bin/activate puts its user.
func (env *environment) activation(out *outcome) {
	e, ok := env.at(path.Join(env.bin, "activate"))
	if !env.isVenv || !ok {
		return
	}
	out.examined++
	m := activated.FindStringSubmatch(configText(e.Entry))
	if m == nil {
		return
	}
	there, ok := env.runs[0].resolve(m[1])
	here, found := env.at(env.prefix)
	if ok && found && there.Path == here.Path {
		return
	}
	out.add(Finding{
		Severity: Warn, File: path.Join(env.bin, "activate"), Field: "VIRTUAL_ENV", Value: printable(m[1]),
		Cause:  "Activating the environment puts another directory in front of PATH: `python` is then not this environment's.",
		Remedy: remakeEnvironment,
	})
}
