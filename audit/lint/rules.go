package lint

import "slices"

// Rule is one thing that a wheel is looked at for.
type Rule struct {
	// Name is stable: what is to be left out is named by it.
	Name string
	// Reason says in a line what the rule wants.
	Reason string
	Level  Level
	// Peer is the name that another tool has for it; empty without one.
	Peer string
}

// Rules lists the rules, sorted by name.
func Rules() []Rule { return slices.Clone(rules) }

// HasRule reports whether there is a rule of a name.
func HasRule(name string) bool { _, ok := levels[name]; return ok }

var rules = []Rule{
	{"abi3-older", "a wheel of the stable ABI is tagged for the oldest Python that its modules work with", Advice, ""},
	{"abi3-possible", "modules that use nothing but the stable ABI are built for it, once for all Pythons", Advice, ""},
	{"abi3-violation", "modules of the stable ABI use nothing but what the tagged Python has of it", Fault, "abi3audit"},
	{"bytecode", "a wheel has no compiled Python files: installers make them", Fault, "W001"},
	{"common-name", "no name at the top of the library is one that other distributions bring, too", Fault, "W005"},
	{"duplicates", "no two files of a wheel have the same content", Advice, "W002"},
	{"empty", "a wheel has files", Fault, "W008"},
	{"empty-library", "a wheel puts something into site-packages", Advice, "W007"},
	{"musl-symbols", "code for musl uses nothing that only glibc has", Fault, ""},
	{"no-modules", "directories at the top of the library have Python modules", Fault, "W010"},
	{"platform-claim", "a platform tag promises no older system than the wheel's code runs on", Fault, "auditwheel"},
	{"platform-libraries", "a wheel brings the libraries that its platform tag does not promise", Advice, "auditwheel"},
	{"platform-older", "a wheel is tagged for the oldest system that its code runs on", Advice, "auditwheel"},
	{"purelib-native", "native code is not in the part of the library for all machines", Fault, "auditwheel"},
	{"several-toplevels", "a wheel has one name at the top of the library", Advice, "W009"},
	{"toplevel-file", "files at the top of the library are modules", Fault, "W003"},
	{"toplevel-init", "__init__.py is not at the top of the library", Fault, "W006"},
	{"toplevel-missing", "every name that top_level.txt lists is in the library", Advice, "W201"},
	{"toplevel-undeclared", "every name at the top of the library is in top_level.txt", Advice, "W202"},
	{"unimportable", "modules are where an import statement can name them", Advice, "W004"},
}

// levels are those of the rules, by name.
var levels = func() map[string]Level {
	m := make(map[string]Level, len(rules))
	for _, r := range rules {
		m[r.Name] = r.Level
	}
	return m
}()
