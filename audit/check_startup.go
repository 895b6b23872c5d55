package audit

import (
	"context"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"ampoule/tree"
)

const startupCheck = "startup"

func init() {
	register(check{
		name:   startupCheck,
		reason: "nothing but the interpreter decides how a process starts, unless the recipe accepts it",
		run:    checkStartup,
	})
}

// checkStartup refuses what takes part in the start of the interpreter and did not come with
// it. Startup code may be accepted by an exception; what stands before the standard
// library may not. Where files are judged as they are found, startup code is told as a
// warning: honest programs use it.
func checkStartup(_ context.Context, x *exam) (outcome, error) {
	out := outcome{}
	list, err := x.startups()
	if err != nil {
		return out, err
	}
	for _, s := range list {
		out.examined++
		if s.Known || x.found && x.interpreters(s.File) {
			continue
		}
		out.add(x.startupFinding(s))
	}
	return out, nil
}

func (x *exam) startupFinding(s Startup) Finding {
	f := Finding{Severity: Refuse, File: s.File, Field: string(s.Kind), Value: printable(s.Code)}
	switch s.Kind {
	case StartupPath:
		f.Cause = "Every process of the interpreter does what the file says before the program begins."
		f.Remedy = "Leave the file out (packages.NAME.patches), or accept it by name, with a reason and an end: gate.except, check startup."
	case StartupCustomize:
		f.Cause = "Every process of the interpreter imports the module before the program begins."
		f.Remedy = "Leave the module out (packages.NAME.patches), or accept it by name, with a reason and an end: gate.except, check startup."
	case StartupShadow:
		f.Cause = "The file stands before the standard library or decides where it is: nothing that runs can be trusted beside it."
		f.Remedy = "Leave the file out of the wheel: packages.NAME.patches."
		f.absolute = true
	}
	if x.found {
		f.Remedy = "Make sure that you want it: read the file, and find out which distribution brought it."
		if s.Kind.startupCode() {
			f.Severity = Warn
		}
	}
	return f
}

// startups lists what takes part in the start, as [Startups] does, or what would if the wheel
// that is judged alone were installed. Of an environment that was found, the files in
// site-packages count: what lies beside its executable is how environments are made.
func (x *exam) startups() ([]Startup, error) {
	home := x.home
	if !x.found {
		return startups(x.Tree, home)
	}
	list, err := startups(x.Tree.Select(func(e tree.Entry) bool { return strings.HasPrefix(e.Path, home.site+"/") }), home)
	if err != nil || !x.alone {
		return list, err
	}
	for _, e := range x.Tree.Entries() {
		name, _ := strings.CutPrefix(e.Path, home.site+"/")
		if s, ok := dataStartup(e, name); ok {
			list = append(list, s)
		}
	}
	return list, nil
}

// wheelData matches the path of a wheel's data file in site-packages, where a wheel that was
// not installed has it (PEP 427).
var wheelData = regexp.MustCompile(`^[^/]+\.data/data/(.+)$`)

// dataStartup tells how a wheel's data file would take part in the start.
func dataStartup(e tree.Entry, name string) (Startup, bool) {
	m := wheelData.FindStringSubmatch(name)
	if m == nil {
		return Startup{}, false
	}
	home := installation{exe: "bin/python3"}
	if lib := strings.Split(m[1], "/"); len(lib) > 2 && isLib(lib[0]+"/") && strings.HasPrefix(lib[1], "python3") {
		home.lib = path.Join(lib[0], lib[1])
		home.site = path.Join(home.lib, "site-packages")
	}
	kind, ok := home.startupKind(tree.Entry{Path: m[1], Kind: e.Kind, Owner: OwnerWheel})
	return Startup{File: e.Path, Owner: e.Owner, Kind: kind}, ok
}

// StartupAccepted reports whether each of some files may take part in the start of the
// interpreter: it is known, or an exception of the check startup covers it. Then a gate tries
// the tree with them and without.
func StartupAccepted(list []Startup, exceptions []Exception, now time.Time) bool {
	return !slices.ContainsFunc(list, func(s Startup) bool { return !s.accepted(exceptions, now) })
}

func (s Startup) accepted(exceptions []Exception, now time.Time) bool {
	return s.Kind.startupCode() && (s.Known || s.excepted(exceptions, now))
}

// excepted reports whether a recipe's exception names the file.
func (s Startup) excepted(exceptions []Exception, now time.Time) bool {
	return slices.ContainsFunc(exceptions, func(e Exception) bool {
		return e.Check == startupCheck && !e.expired(now) && matches(e.Files, s.File)
	})
}
