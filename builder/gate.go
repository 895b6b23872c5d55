package builder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ampoule/audit"
	"ampoule/audit/survey"
	"ampoule/builder/buildlog"
	"ampoule/builder/gate"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/seal"
	"ampoule/builder/wheels"
	"ampoule/faults"
	"ampoule/recipes"
)

// lockedDists are the distributions that the tree must have.
func lockedDists(record *audit.ArtifactRecord) []audit.Locked {
	list := make([]audit.Locked, len(record.Wheels))
	for i, w := range record.Wheels {
		list[i] = audit.Locked{Name: w.Name, Version: w.Version}
	}
	return list
}

// RefusedError says that the gate refused a tree.
type RefusedError struct{ Verdict audit.Verdict }

func (e *RefusedError) Error() string {
	refused := 0
	for _, f := range e.Verdict.Findings {
		if f.Severity != audit.Warn && f.Excepted == "" {
			refused++
		}
	}
	if refused == 1 {
		return "the gate refused the tree: 1 finding"
	}
	return fmt.Sprintf("the gate refused the tree: %d findings", refused)
}

// Kind says whose fault it is.
func (*RefusedError) Kind() faults.Kind { return faults.Refused }

// Hint says what an exception takes.
func (e *RefusedError) Hint() string {
	return "each finding says what to do; an exception is written into the recipe under gate.except, with its reason and its end"
}

// gate judges the tree: what can be read of it, and what loading and testing it in
// each runtime target shows.
func (r *build) gate(ctx context.Context, sealed *seal.Sealed) (_ *audit.Verdict, err error) {
	task := progress.Start(ctx, "gate", r.recipe.Name)
	defer func() { task.End(err) }()
	log, err := buildlog.Open(r.logs, "gate")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	task.SetLog(log.Path())
	subject := audit.Subject{
		Tree: sealed.Tree, Prefix: "/" + Prefix, Interpreter: r.interpreterPath(),
		Exceptions: r.exceptions(), Providers: r.providers(), Forbidden: forbidden(), Foreign: r.foreign(), Tests: r.tests(), Now: r.b.now(),
		Built: sealed.Record, Locked: lockedDists(sealed.Record), NativeCalls: r.calls,
	}
	open := layers.Open(r.b.Store)
	defer func() { err = errors.Join(err, open.Close()) }()
	if err := r.try(ctx, open, &subject, log); err != nil {
		return nil, err
	}
	verdict, err := audit.Judge(ctx, subject)
	if err != nil {
		return nil, err
	}
	verdict.Binary = r.binaryWheels()
	if err := r.keep(verdict); err != nil {
		return nil, err
	}
	if !verdict.Passed {
		return &verdict, &RefusedError{verdict}
	}
	return &verdict, nil
}

// places says where each target has the tree: in two different directories, since
// it must run from any.
var places = map[string]string{"container": Prefix, "vm": "srv/ampoule/current"}

// try tries the tree in each runtime target, and adds what that showed to the subject.
// What the targets read stays readable as long as open is.
func (r *build) try(ctx context.Context, open *layers.Opened, subject *audit.Subject, log *buildlog.Log) error {
	var targets []gate.Target
	for _, name := range slices.Sorted(maps.Keys(r.lock.Targets)) {
		t := gate.Target{Name: name, Place: places[name]}
		described := audit.Target{Name: name}
		if vm := r.recipe.Runtime.VM; name == "vm" && vm != nil {
			t.Host, described.Host, described.Glibc, described.CPU = vm.Host, vm.Host, vm.Glibc, vm.CPU
		}
		var err error
		if t.Base, err = r.images.Base(ctx, r.lock.Targets[name]); err != nil {
			return err
		}
		if t.Root, err = open.RootFS(ctx, t.Base); err != nil {
			return err
		}
		described.Root = t.Root
		targets, subject.Targets = append(targets, t), append(subject.Targets, described)
	}
	stage := &gate.Stage{Store: r.b.Store, Runner: r.sandboxes.Runner, Images: r.sandboxes.Images, Jobs: r.b.jobs(), Log: log}
	results, err := stage.Try(ctx, gate.Subject{
		Tree: subject.Tree, Interpreter: subject.Interpreter, Tests: subject.Tests, Exceptions: subject.Exceptions, Now: subject.Now,
	}, targets)
	for _, result := range results {
		subject.Loads = append(subject.Loads, result.Loads...)
		subject.Reports = append(subject.Reports, result.Tests...)
	}
	return err
}

// interpreterPath is the interpreter's path in the tree.
func (r *build) interpreterPath() string {
	return strings.TrimPrefix(r.python(), "/"+Prefix+"/")
}

// binaryWheels are the foreign binary wheels in the tree, as the recipe accepts them.
func (r *build) binaryWheels() []audit.BinaryWheel {
	var foreign []audit.BinaryWheel
	for _, d := range r.binaryDists() {
		a, _ := r.recipe.Accepted(d.Name)
		foreign = append(foreign, audit.BinaryWheel{File: d.File, SHA256: d.SHA256, Why: a.Why, Until: a.Until})
	}
	return foreign
}

func (r *build) binaryDists() []recipes.Dist {
	var dists []recipes.Dist
	for _, id := range r.lock.Requirements {
		d, _ := r.lock.Dist(id)
		if _, ok := r.recipe.Accepted(d.Name); ok && d.IsWheel() && !wheels.IsPure(d.File) {
			dists = append(dists, d)
		}
	}
	return dists
}

// foreign are the owners of what came in binary wheels from elsewhere.
func (r *build) foreign() []string {
	var owners []string
	for _, d := range r.binaryDists() {
		owners = append(owners, audit.OwnerWheel+d.Name)
	}
	return owners
}

// keep writes the verdict beside the logs, whatever it says.
func (r *build) keep(verdict audit.Verdict) error {
	data, err := json.MarshalIndent(verdict, "", "  ")
	if err != nil {
		return fmt.Errorf("keeping the verdict: %w", err)
	}
	report := survey.OfVerdict(r.recipe.Name, verdict)
	for name, write := range map[string]func(io.Writer) error{
		"verdict.json":      func(w io.Writer) error { _, err := w.Write(append(data, '\n')); return err },
		"verdict.sarif":     func(w io.Writer) error { return report.WriteSARIF(w, Version()) },
		"verdict.junit.xml": report.WriteJUnit,
	} {
		var b bytes.Buffer
		err := write(&b)
		if err == nil {
			err = os.WriteFile(filepath.Join(r.logs, name), b.Bytes(), 0o600)
		}
		if err != nil {
			return fmt.Errorf("keeping the verdict: %w", err)
		}
	}
	return nil
}

func (r *build) exceptions() []audit.Exception {
	exceptions := make([]audit.Exception, len(r.recipe.Gate.Except))
	for i, e := range r.recipe.Gate.Except {
		exceptions[i] = audit.Exception{Check: e.Check, Files: e.Files, Why: e.Why, Until: e.Until}
	}
	return exceptions
}

func (r *build) providers() []audit.Provider {
	var providers []audit.Provider
	for _, p := range r.recipe.Gate.Providers {
		providers = append(providers, audit.Provider(p))
	}
	return providers
}

// forbidden is what no file may hold: where it was built. The machine's host name and its
// users' names never enter a sandbox, which has its own, the same for all.
func forbidden() []audit.Forbidden {
	return []audit.Forbidden{{Text: sandbox.WorkDir, Reason: "build directory"}}
}

func (r *build) tests() []audit.Test {
	var tests []audit.Test
	for _, module := range r.recipe.Test.Imports {
		tests = append(tests, audit.Test{Kind: audit.KindImport, Args: []string{module}})
	}
	for _, command := range r.recipe.Test.Commands {
		tests = append(tests, audit.Test{Kind: audit.KindCommand, Args: command})
	}
	return tests
}
