package gate

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"ampoule/audit"
	"ampoule/builder/sandbox"
	"ampoule/tree"
)

//go:embed load.py
var loadScript []byte

const (
	// maxReport bounds what loading one distribution's modules may answer, in bytes.
	maxReport = 64 << 20
	// maxAnswer bounds one line of that, in bytes.
	maxAnswer = 1 << 20
	// grace is how long the process that loads modules may go on after its last answer.
	grace = 10 * time.Second
	// maxRounds bounds how often a view is widened before the whole tree is tried.
	maxRounds = 8
	// maxDeaths bounds how often one distribution may end the process that loads its modules.
	maxDeaths = 16
	// gateDir holds the gate's own files in a target.
	gateDir = "/ampoule-gate"
)

// answer is one line of load.py.
type answer struct {
	Kind, Module, File, Error string
	// Behind are the modules that were imported before it.
	Behind []string
	OK     bool
	// Ended says that the module ended its process, Trace where else it failed.
	Ended  bool
	Trace  string
	Mapped []string
	// Missed are the modules and distributions that were looked for and are nowhere.
	Missed []string
}

// doneKind ends the answers of one module.
const doneKind = "done"

// load loads the modules of one distribution, and imports its top-level modules and what the
// recipe's tests want of it. Each is imported where only what the
// distribution requires can be seen, and what it looks for besides, as long as the tree has
// any: that is remembered. What cannot be imported like that is tried in the whole tree.
func (r *session) load(ctx context.Context, owner string, modules []audit.Module) error {
	seen := r.firstSeen(owner)
	var rest []audit.Module
	named := slices.DeleteFunc(slices.Clone(modules), func(m audit.Module) bool { return m.Name == "" && !isOwn(m) })
	for range maxRounds {
		if len(named) == 0 {
			break
		}
		memory, err := r.open(owner, seen)
		if err != nil {
			return err
		}
		outcomes, err := r.inView(ctx, memory, named)
		if err != nil {
			return err
		}
		var again []audit.Module
		more := owners{}
		for _, m := range named {
			shown := outcomes[idOf(m)]
			switch wanted := r.beyond(shown, seen); {
			case len(wanted) > 0:
				maps.Copy(more, wanted)
				again = append(again, m)
			case passed(shown):
				r.tell(m, shown)
			default:
				rest = append(rest, m)
			}
		}
		named, seen = again, seen.with(more, r.sub)
	}
	for _, m := range modules {
		if m.Name == "" && !isOwn(m) || slices.ContainsFunc(named, func(n audit.Module) bool { return idOf(n) == idOf(m) }) {
			rest = append(rest, m)
		}
	}
	return r.inTree(ctx, rest)
}

// firstSeen are an owner with all that it requires, and with startup code, where it runs.
func (r *round) firstSeen(owner string) owners {
	seen := owners{}.with(owners{owner: true}, r.sub)
	if r.startup {
		for _, s := range r.sub.startups {
			seen = seen.with(owners{s.Owner: true}, r.sub)
		}
	}
	return seen
}

// isOwn reports whether a module stands for a distribution's own top-level modules, its
// Packages, which one process imports.
func isOwn(m audit.Module) bool { return m.Name == "" && m.File == "" }

// ownOf is the module that stands for some top-level ones of one distribution.
func ownOf(list []audit.TopLevel) audit.Module {
	m := audit.Module{Packages: make([]string, len(list))}
	for i, top := range list {
		m.Packages[i], m.Behind = top.Name, top.Behind
	}
	return m
}

// passed reports whether all that a module's load showed is well.
func passed(shown []outcome) bool {
	return !slices.ContainsFunc(shown, func(o outcome) bool { return !o.Report.OK })
}

// beyond are the owners, outside a view, of what loads looked for in vain or had mapped.
func (r *round) beyond(shown []outcome, seen owners) owners {
	more := owners{}
	add := func(of owners) {
		for owner := range of {
			if !seen.sees(owner) {
				more[owner] = true
			}
		}
	}
	for _, o := range shown {
		for _, name := range o.Missed {
			add(r.sub.parts.providers(name))
		}
		for _, file := range o.Mapped {
			e, _ := r.sub.Tree.Lookup(file)
			add(owners{e.Owner: true})
		}
	}
	return more
}

// inView imports modules where some owners are seen, or recalls what that showed.
func (r *session) inView(ctx context.Context, memory *memory, modules []audit.Module) (map[string][]outcome, error) {
	outcomes := map[string][]outcome{}
	var wanted []audit.Module
	for _, m := range modules {
		if shown, ok := memory.recall(m); ok {
			// A failure is recalled for what it looked for: with that, it is tried anew.
			if passed(shown) || len(r.beyond(shown, memory.seen)) > 0 {
				outcomes[idOf(m)] = shown
				continue
			}
		}
		wanted = append(wanted, m)
	}
	if len(wanted) == 0 {
		return outcomes, nil
	}
	err := r.ask(ctx, memory.seen, wanted, func(m audit.Module, answers []answer) {
		shown := r.outcomes(m, answers)
		outcomes[idOf(m)] = shown
		memory.note(m, shown)
	})
	if err != nil {
		return nil, err
	}
	return outcomes, memory.save()
}

// inTree tries to load modules in the whole tree, in every way. Nothing of that is
// remembered.
func (r *session) inTree(ctx context.Context, modules []audit.Module) error {
	if len(modules) == 0 {
		return nil
	}
	return r.ask(ctx, nil, modules, func(m audit.Module, answers []answer) {
		r.tell(m, r.outcomes(m, answers))
	})
}

// idOf names a module among those that are loaded: one of the recipe's tests has no file, and
// a distribution's own top-level modules have no name.
func idOf(m audit.Module) string {
	switch {
	case isOwn(m):
		return "own"
	case m.File == "":
		return "import " + m.Name
	}
	return m.File
}

// tell adds what a load showed to the trial's reports.
func (r *round) tell(m audit.Module, shown []outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range shown {
		if m.File != "" || isOwn(m) {
			r.result.Loads = append(r.result.Loads, o.Report)
			continue
		}
		r.result.Tests = append(r.result.Tests, r.testOf(m, o))
	}
}

// testOf reports the import that a recipe's test wants.
func (r *round) testOf(m audit.Module, o outcome) audit.TestReport {
	report := audit.TestReport{Target: r.Name, Kind: audit.KindImport, Args: []string{m.Name}, Startup: r.startup}
	switch {
	case o.Report.Ended:
		report.Code, report.Output = earlyCode, o.Report.Error
	case !o.Report.OK:
		report.Code, report.Output = 1, cmp.Or(o.Trace, o.Report.Error)
	}
	return report
}

// ask has modules loaded in their order. A module whose process ends
// the one that starts it, or that takes too long, has failed; those behind it are loaded in the
// next sandbox. A view of the owners that are seen stands for site-packages; where that is nil, the tree's
// own directory does, and every way of loading is tried.
func (r *session) ask(ctx context.Context, seen owners, modules []audit.Module, each func(audit.Module, []answer)) error {
	for deaths := 0; len(modules) > 0; deaths++ {
		if deaths == maxDeaths {
			for _, m := range modules {
				each(m, failed(m, nil, "the distribution has ended the process that loads its modules too often"))
			}
			return nil
		}
		heard, why, err := r.askOnce(ctx, seen, modules)
		if err != nil {
			return err
		}
		for i, answers := range heard.whole {
			each(modules[i], answers)
		}
		modules = modules[len(heard.whole):]
		if len(modules) > 0 {
			each(modules[0], failed(modules[0], heard.begun, why))
			modules = modules[1:]
		}
	}
	return nil
}

// failed are the answers for a module that gave none, or that gave some and began another. Of a
// distribution's own modules, those behind the one that failed were not tried.
func failed(m audit.Module, begun []answer, why string) []answer {
	if !isOwn(m) {
		return []answer{silent(m, why)}
	}
	var all []answer
	for _, name := range m.Packages {
		said := slices.DeleteFunc(slices.Clone(begun), func(a answer) bool { return a.Module != name })
		if len(said) > 0 {
			all = append(all, said...)
			continue
		}
		all = append(all, answer{Kind: audit.KindImport, Module: name, Error: why, Ended: true})
		why, begun = "not tried: the import of "+name+" before it did not end well", nil
	}
	return all
}

// silent is the answer for one module that gave none.
func silent(m audit.Module, why string) answer {
	a := answer{Kind: audit.KindImport, Module: m.Name, File: m.File, Error: why, Ended: true}
	if m.Name == "" {
		a.Kind = audit.KindDlopen
	}
	return a
}

// heard are answers: for each module that has all, and those of the next one.
type heard struct {
	whole [][]answer
	begun []answer
}

// askOnce has modules loaded in one sandbox. It returns the answers for as many as gave
// them, and why the next one did not.
func (r *session) askOnce(ctx context.Context, seen owners, modules []audit.Module) (_ heard, why string, err error) {
	if err := r.take(ctx, seen); err != nil {
		return heard{}, "", err
	}
	well := false
	defer func() {
		if !well {
			r.drop()
		}
	}()
	args, err := r.prepare(ctx, seen, modules)
	if err != nil {
		return heard{}, "", err
	}
	tooLong := fmt.Errorf("not done after %s", r.late())
	bounded, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ear := listen(modules, r.late(), func() { cancel(tooLong) })
	err = r.sb.Exec(bounded, sandbox.Step{Args: args, Env: append(environ(), "LD_BIND_NOW=1"), Stdout: ear, Stderr: r.stage.Log, AtOnce: true})
	got, wrong := ear.stop()
	var exit *sandbox.ExitError
	switch {
	case len(got.whole) == len(modules):
		well = err == nil && wrong == nil
		return got, "", nil
	case ctx.Err() != nil:
		return heard{}, "", context.Cause(ctx)
	case wrong != nil:
		return got, wrong.Error(), nil
	case errors.Is(err, tooLong):
		return got, tooLong.Error(), nil
	case errors.As(err, &exit):
		return got, fmt.Sprintf("the process that loads modules ended with code %d", exit.Code), nil
	case err == nil:
		return got, "the process that loads modules has ended before", nil
	}
	return heard{}, "", fmt.Errorf("loading modules: %w", err)
}

// errUnasked says that an answer is none that was asked for.
var errUnasked = errors.New("the process that loads modules answered what nobody asked")

// ear hears load.py's answers and compares them with what was asked.
type ear struct {
	modules []audit.Module
	late    time.Duration
	timer   *time.Timer

	mu sync.Mutex
	// rest is the beginning of a line, size the length of all that was heard.
	rest []byte
	size int
	// now are the answers for the module that is loaded.
	now   []answer
	heard [][]answer
	err   error
}

// listen hears answers until stop is called. Where none comes for a time, it calls late.
func listen(modules []audit.Module, after time.Duration, late func()) *ear {
	return &ear{modules: modules, late: after, timer: time.AfterFunc(after, late)}
}

// stop ends listening and returns the answers, and what was wrong with one, an error wrapping
// [errUnasked].
func (e *ear) stop() (heard, error) {
	e.timer.Stop()
	e.mu.Lock()
	defer e.mu.Unlock()
	return heard{e.heard, e.now}, e.err
}

// Write implements [io.Writer].
func (e *ear) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.size += len(p)
	if e.size > maxReport && e.err == nil {
		e.err = fmt.Errorf("%w: more than %d bytes", errUnasked, maxReport)
	}
	for n := len(p); e.err == nil; {
		line, rest, whole := bytes.Cut(p, []byte("\n"))
		if len(e.rest)+len(line) > maxAnswer {
			e.err = fmt.Errorf("%w: a line of more than %d bytes", errUnasked, maxAnswer)
			break
		}
		e.rest = append(e.rest, line...)
		if !whole {
			return n, nil
		}
		e.err = e.hear(e.rest)
		e.rest, p = e.rest[:0], rest
	}
	return 0, e.err
}

// hear takes one line. Each answer that was asked for gives the next one its time, and no other
// byte does: whoever writes slowly is late.
func (e *ear) hear(line []byte) error {
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return errUnasked
	}
	if len(e.heard) == len(e.modules) {
		return errUnasked
	}
	m := e.modules[len(e.heard)]
	switch {
	case a.Kind == doneKind && a.File == m.File && e.complete(m):
		e.heard, e.now = append(e.heard, e.now), nil
	case a.answers(m) && !slices.ContainsFunc(e.now, a.repeats):
		e.now = append(e.now, a)
	default:
		return errUnasked
	}
	wait := e.late
	if len(e.heard) == len(e.modules) {
		wait = min(wait, grace)
	}
	e.timer.Reset(wait)
	return nil
}

// complete reports whether a module has the answers that it must have: one, or one for each of
// a distribution's own modules.
func (e *ear) complete(m audit.Module) bool {
	if !isOwn(m) {
		return len(e.now) > 0
	}
	for _, name := range m.Packages {
		if !slices.ContainsFunc(e.now, func(a answer) bool { return a.Module == name && len(a.Behind) == 0 }) {
			return false
		}
	}
	return true
}

// answers reports whether an answer is one about a module.
func (a answer) answers(m audit.Module) bool {
	if isOwn(m) {
		return a.File == "" && a.Kind == audit.KindImport && slices.Contains(m.Packages, a.Module)
	}
	return a.File == m.File && (a.Kind == audit.KindDlopen || a.Kind == audit.KindImport && a.Module == m.Name) ||
		a.File == "" && a.Kind == audit.KindImport && slices.Contains(m.Packages, a.Module)
}

// repeats reports whether two answers are about the same attempt.
func (a answer) repeats(b answer) bool {
	return a.Kind == b.Kind && a.Module == b.Module && a.File == b.File && (len(a.Behind) > 0) == (len(b.Behind) > 0)
}

// outcome is what a load showed.
type outcome struct {
	Report audit.LoadReport
	// Libraries are the hashes of the carried libraries that were mapped, by path.
	Libraries map[string]string
	Missed    []string
	// Trace is where an import failed.
	Trace string
	// Mapped are the files of distributions that were mapped.
	Mapped []string
}

// outcomes is what all answers about a module show.
func (r *round) outcomes(m audit.Module, answers []answer) []outcome {
	shown := make([]outcome, len(answers))
	for i, a := range answers {
		shown[i] = r.outcome(m, a)
	}
	return shown
}

// outcome judges nothing: it says which mapped files are neither the tree's nor
// the target's, and counts the Python runtimes among them. A module whose import passes
// without its file being mapped was not loaded.
func (r *round) outcome(m audit.Module, a answer) outcome {
	o := outcome{Libraries: map[string]string{}, Missed: a.Missed, Trace: a.Trace}
	report := audit.LoadReport{Target: r.Name, Kind: a.Kind, Module: a.Module, File: a.File, Behind: a.Behind, OK: a.OK, Ended: a.Ended, Error: a.Error, Startup: r.startup, Own: isOwn(m)}
	for _, mapped := range a.Mapped {
		e, ok := r.inside(mapped)
		switch {
		case ok && r.sub.runtimes[e.Path], !ok && audit.IsLibpython(path.Base(mapped)):
			report.Runtimes++
		}
		switch {
		case ok && strings.HasPrefix(e.Owner, audit.OwnerWheel):
			o.Mapped = append(o.Mapped, e.Path)
		case ok && e.Owner != audit.OwnerInterpreter:
			o.Libraries[e.Path] = e.SHA256
		case !ok && !r.inRoot(mapped):
			report.Maps = append(report.Maps, mapped)
		}
	}
	if report.OK && report.Kind == audit.KindImport && report.File != "" && !r.maps(a, m.File) {
		report.OK, report.Error = false, "the import passes, but another file than the module's was loaded, or none"
	}
	o.Report = report
	return o
}

// inside finds a mapped file in the tree.
func (r *round) inside(mapped string) (tree.Entry, bool) {
	rel, found := strings.CutPrefix(mapped, path.Join("/", r.Place)+"/")
	if !found {
		return tree.Entry{}, false
	}
	return r.sub.Tree.Resolve(rel)
}

// inRoot reports whether a mapped file is the target's.
func (r *round) inRoot(mapped string) bool {
	_, ok := r.Root.Resolve(strings.TrimPrefix(mapped, "/"))
	return ok
}

// maps reports whether a module's own file was mapped.
func (r *round) maps(a answer, file string) bool {
	return slices.ContainsFunc(a.Mapped, func(mapped string) bool {
		e, ok := r.inside(mapped)
		return ok && e.Path == file
	})
}
