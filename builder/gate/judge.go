package gate

import (
	"context"
	"time"

	"ampoule/audit"
	"ampoule/builder/sandbox"
	"ampoule/recipes"
	"ampoule/tree"
)

// Case is what the gate judges: a sealed tree, what it was made of, and what it must meet.
// All of it are values: the gate asks nobody but sandboxes.
type Case struct {
	Terms
	Tree *tree.Tree
	// Prefix is the absolute directory that the tree was built in, Interpreter the
	// executable's path in the tree.
	Prefix, Interpreter string
	// Record says what the tree was made of: these distributions, and no others, must be
	// in it.
	Record *audit.ArtifactRecord
	// Accepted are the foreign binary wheels in the tree.
	Accepted []Accepted
	// CompiledWith is as [audit.Subject] has it.
	CompiledWith map[string][]audit.Locked
	// NativeCalls are compiler calls of its builds for the build machine's own processor.
	NativeCalls []audit.CompilerCall
	// Now decides which exceptions have expired.
	Now time.Time
}

// Terms are what a recipe says of its gate.
type Terms struct {
	Exceptions []audit.Exception
	Providers  []audit.Provider
	// Tests are the imports, then the commands, in the recipe's order.
	Tests []audit.Test
}

// TermsOf returns a recipe's terms.
func TermsOf(r *recipes.Recipe) Terms {
	t := Terms{Exceptions: make([]audit.Exception, len(r.Gate.Except))}
	for i, e := range r.Gate.Except {
		t.Exceptions[i] = audit.Exception{Check: e.Check, Files: e.Files, Why: e.Why, Until: e.Until}
	}
	for _, p := range r.Gate.Providers {
		t.Providers = append(t.Providers, audit.Provider(p))
	}
	for _, module := range r.Test.Imports {
		t.Tests = append(t.Tests, audit.Test{Kind: audit.KindImport, Args: []string{module}})
	}
	for _, command := range r.Test.Commands {
		t.Tests = append(t.Tests, audit.Test{Kind: audit.KindCommand, Args: command})
	}
	return t
}

// Accepted is a foreign binary wheel that a recipe accepts.
type Accepted struct {
	// Dist is its distribution's name.
	Dist  string
	Wheel audit.BinaryWheel
}

// placeOfVM is another directory than that of images: the tree must run from any.
const placeOfVM = "srv/ampoule/current"

// PlaceOf returns the directory that a target has the tree in, without the leading slash:
// where it was built, but for virtual machines.
func PlaceOf(target, prefix string) string {
	if target == "vm" {
		return placeOfVM
	}
	return prefix
}

// Judge tries a tree in all targets, and judges what can be read of it and what that
// showed. A tree that is refused is no error: its verdict says so.
func (s *Stage) Judge(ctx context.Context, c Case, targets []Target) (audit.Verdict, error) {
	subject := c.subject(targets)
	results, err := s.Try(ctx, Subject{
		Tree: c.Tree, Interpreter: c.Interpreter, Tests: c.Tests, Exceptions: c.Exceptions, Now: c.Now,
	}, targets)
	if err != nil {
		return audit.Verdict{}, err
	}
	for _, result := range results {
		subject.Loads = append(subject.Loads, result.Loads...)
		subject.Reports = append(subject.Reports, result.Tests...)
	}
	verdict, err := audit.Judge(ctx, subject)
	for _, a := range c.Accepted {
		verdict.Binary = append(verdict.Binary, a.Wheel)
	}
	return verdict, err
}

// subject is what can be read of a case.
func (c Case) subject(targets []Target) audit.Subject {
	subject := audit.Subject{
		Tree: c.Tree, Prefix: c.Prefix, Interpreter: c.Interpreter, Exceptions: c.Exceptions, Providers: c.Providers, Forbidden: forbidden(),
		Tests: c.Tests, Now: c.Now, Built: c.Record, Locked: locked(c.Record), CompiledWith: c.CompiledWith, NativeCalls: c.NativeCalls,
	}
	for _, a := range c.Accepted {
		subject.Foreign = append(subject.Foreign, audit.OwnerWheel+a.Dist)
	}
	for _, t := range targets {
		subject.Targets = append(subject.Targets, audit.Target{Name: t.Name, Root: t.Root, Host: t.Host, Glibc: t.Glibc, CPU: t.CPU})
	}
	return subject
}

// locked are the distributions that the tree must have.
func locked(record *audit.ArtifactRecord) []audit.Locked {
	list := make([]audit.Locked, len(record.Wheels))
	for i, w := range record.Wheels {
		list[i] = audit.Locked{Name: w.Name, Version: w.Version}
	}
	return list
}

// forbidden is what no file may hold: where it was built. The machine's host name and its
// users' names never enter a sandbox, which has its own, the same for all.
func forbidden() []audit.Forbidden {
	return []audit.Forbidden{{Text: sandbox.WorkDir, Reason: "build directory"}}
}
