// Package audit reads interpreters, shared objects and wheels, and judges whether
// a tree may be published: the gate, its checks and its verdict.
//
// It needs no Docker and no network and never runs anything that it reads; what
// running something showed reaches it as data ([LoadReport], [TestReport]). Every
// byte that it parses may be hostile: files are found by magic, never by name,
// read with limits, and what cannot be parsed is refused.
//
// There are three ways in:
//
//   - [Judge] is the gate: a [Subject] is a tree that was built, is to travel, and has runtime
//     targets; the [Verdict] reports whether it may be published.
//   - [Inspector.Inspect] judges what is found where it stands, a [Place]: what is known of it
//     decides which checks are made, and an [Inspection] tells the others with the reason. An
//     [Inspector] may be used concurrently, and reads a machine's own files once.
//   - [OpenWheel] reads a wheel file and compares it with its RECORD; what it has can be
//     inspected as if it were installed. [CheckWheel] does the first of that alone, and
//     [NativeMembers] lists the ELF files.
//
// Package audit/survey finds what there is to inspect below a directory or in an image, and
// writes reports. [Measure] reads an interpreter's link contract without judging.
//
// What is wrong with a file is a [Finding]; an error means that there is no result. The
// evidence, cause and remedy of a [Finding] are texts that are safe to show. Its Check is
// one of [Checks], whose names are stable, as the JSON forms are under their schema's name.
// Nothing here logs, and nothing is written but temporary files.
//
// Each check is one file, check_NAME.go, that registers itself; nothing else
// knows the list.
package audit

import (
	"regexp"
	"time"

	"ampoule/tree"
)

// OwnerInterpreter is the tree.Entry.Owner of what the interpreter brought, and
// OwnerWheel the prefix of the owners that are wheels: "wheel:flask".
const (
	OwnerInterpreter = "interpreter"
	OwnerWheel       = "wheel:"
)

// Target is a machine or image that the tree must run on.
type Target struct {
	// Name is the target's name in the recipe: "container", "vm".
	Name string
	// Root is the target's root file system without the artifact's tree.
	Root *tree.Tree
	// Host lists the sonames of libraries that the machine provides although Root
	// has none of them, such as libcuda.so.1.
	Host []string
	// Glibc is the oldest glibc that the tree must run with, such as 2.36; empty
	// when Root alone decides.
	Glibc string
	// CPU is the lowest x86-64 level, such as x86-64-v2; empty when nothing is claimed.
	CPU string
}

// Subject is what is judged, and all that the judgement depends on.
type Subject struct {
	// Tree is the sealed tree.
	Tree *tree.Tree
	// Prefix is the absolute directory where the targets have the tree. The tree
	// runs from any directory, so it must not matter; ld.so needs one.
	Prefix string
	// Interpreter is the path of the executable in Tree, such as bin/python3.13;
	// empty means the only bin/pythonX.Y that there is.
	Interpreter string
	// Targets are all the runtime targets; the tree must fit each.
	Targets []Target
	// Exceptions are the recipe's.
	Exceptions []Exception
	// Providers are the recipe's.
	Providers []Provider
	// Forbidden is what no file may hold.
	Forbidden []Forbidden
	// Foreign lists the owners that are accepted foreign binary wheels: they were
	// built elsewhere, so that rpath and paths only warn about them.
	Foreign []string
	// Locked are the distributions that the tree must have, by the lock; nil when nobody
	// knows.
	Locked []Locked
	// CompiledWith are the distributions that a locked one was compiled with, by its
	// normalised name, where the tree has these in another version.
	CompiledWith map[string][]Locked
	// Built is what the tree was made of; nil when nobody knows.
	Built *ArtifactRecord
	// NativeCalls are compiler calls that made a part of a distribution for the processor of
	// the build machine, whichever that was: of those whose build printed any, the first.
	NativeCalls []CompilerCall
	// Loads is what loading the modules of [Loadable] and of [TopLevels] showed, on every target. A tree with
	// startup code that is accepted has them twice, without that code and with it.
	Loads []LoadReport
	// Tests are the recipe's tests; Reports says how each ended, on every target, twice
	// likewise.
	Tests   []Test
	Reports []TestReport
	// Now decides which exceptions have expired. It must be set.
	Now time.Time
}

// Exception lets findings of a check pass for some files. It is told in the verdict.
type Exception struct {
	Check string `json:"check"`
	// Files are patterns, as path.Match has them, of paths in the tree.
	Files []string `json:"files"`
	Why   string   `json:"why"`
	// Until is the last day on which it holds, as YYYY-MM-DD, in UTC; empty when
	// it has no end.
	Until string `json:"until,omitempty"`
}

// Provider says that libraries of the tree are in the process already when some files
// are loaded: another module has loaded them. It is told in the verdict.
type Provider struct {
	// Libraries and Files are patterns, as path.Match has them, of paths in the tree.
	Libraries []string `json:"libraries"`
	Files     []string `json:"files"`
	Why       string   `json:"why"`
}

// CompilerCall is a command that a distribution's build ran.
type CompilerCall struct {
	// Dist is the distribution's normalised name.
	Dist string
	Call string
}

// Locked is a distribution of a lock.
type Locked struct{ Name, Version string }

// Forbidden is a byte string that no file of the tree may hold, nor a path or a
// link's target in it.
type Forbidden struct {
	Text string
	// Reason says what it is: "build directory", "host name".
	Reason string
	// pattern stands for Text where that is not known.
	pattern *regexp.Regexp
}

// The kinds of loading.
const (
	// KindImport is import in a process of its own, under the interpreter.
	KindImport = "import"
	// KindDlopen is loading the file with dlopen(3) and RTLD_NOW there.
	KindDlopen = "dlopen"
)

// LoadReport is what loading one module in one target showed.
type LoadReport struct {
	Target string
	// Kind is [KindImport] or [KindDlopen].
	Kind string
	// Module is the dotted name; empty for a dlopen.
	Module string
	// File is the extension module's path in the tree; empty for the import of a
	// distribution's top-level package.
	File string
	// Behind are the modules that were imported before it, those of [Module.Behind] that the
	// failure without them names.
	Behind []string
	OK     bool
	// Ended says that the module ended its process.
	Ended bool
	// Error is the last line that the interpreter said; empty when OK.
	Error string
	// Maps are the mapped files that belong neither to the tree nor to the target's root.
	Maps []string
	// Runtimes counts the mapped files that define a Python runtime.
	Runtimes int
	// Startup says that the tree's startup code ran before (see [Startups]).
	Startup bool
	// Own says that Module is one of [TopLevels], which were imported in one process.
	Own bool
}

// Test is one of the recipe's tests.
type Test struct {
	// Kind is [KindImport] or [KindCommand].
	Kind string
	// Args is the command with its arguments, or the one module to import.
	Args []string
}

// KindCommand is a test that runs a command.
const KindCommand = "command"

// TestReport is how a test ended in one target.
type TestReport struct {
	Target string
	Kind   string
	Args   []string
	// Code is the exit code; 128+n after signal n.
	Code int
	// Output is the end of what it wrote.
	Output string
	// Startup says that the tree's startup code ran before (see [Startups]).
	Startup bool
}
