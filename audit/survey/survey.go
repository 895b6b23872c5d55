// Package survey looks for wheels and installed distributions wherever a person points:
// at a wheel, a directory of them, a cache of pip's or uv's, a virtual environment, an
// interpreter's prefix, an image, and has package audit judge what it finds.
//
// It runs nothing, writes nothing but temporary files, and follows no link out of the
// file system that it is given.
package survey

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"ampoule/audit"
	"ampoule/audit/lint"
	"ampoule/faults"
	"ampoule/tree"
)

// Schema is the version of the report's JSON form.
const Schema = "ampoule.audit/v1"

// Target says what to look at.
type Target struct {
	// Files is the file system that it is in.
	Files Files
	// Path is the absolute path of a file or directory there.
	Path string
	// Name is how the report calls it; empty is Path.
	Name string
	// Against is the interpreter that files are judged against: the absolute path of its
	// executable, its prefix or an environment, in AgainstFiles, or in Files where that is
	// nil. Empty is the one that each is installed for.
	Against      string
	AgainstFiles Files
	// CPU is the x86-64 level of the processor that files are to run on; empty when it is
	// not known.
	CPU string
	// Lint reports whether wheels are linted.
	Lint Lint
	// Known is what is known of the files.
	Known Known
}

// Known is what is known of files before they are looked at. The zero value is nothing. Paths are those in
// [Target.Files].
type Known struct {
	// Hash gives the sha256 of a file, which is not read for it then; empty where that is not known. It must
	// be right.
	Hash func(p string) string
	// Skip reports whether a directory or file is passed over as if it was not there.
	Skip func(p string) bool
}

func (k Known) hash(p string) string {
	if k.Hash == nil {
		return ""
	}
	return k.Hash(p)
}

func (k Known) skips(p string) bool { return k.Skip != nil && k.Skip(p) }

// Report is what was found. Its JSON form is deterministic but for what it is about.
type Report struct {
	Schema string `json:"schema"`
	Target string `json:"target"`
	// Passed is true when nothing is refused or undecided and everything could be read;
	// Outcome says what it is otherwise.
	Passed  bool    `json:"passed"`
	Outcome Outcome `json:"outcome"`
	// Units are the wheels and directories that were judged, sorted by path.
	Units []Unit `json:"units"`
	// Unread is what could not be read.
	Unread []Unread `json:"unread"`
	// Unlooked is what was found and not looked at.
	Unlooked []Unlooked `json:"unlooked"`
	// Base is the absolute path of the directory that paths of the SARIF form are relative to,
	// if they are below it; empty for none.
	Base string `json:"-"`

	// lint is what was asked for of it.
	lint Lint
}

// Outcome is what comes of a whole report.
type Outcome string

// The outcomes. Where several are true, the first of these counts.
const (
	// Refused says that something cannot work.
	Refused Outcome = "refused"
	// Incomplete says that something could not be read.
	Incomplete Outcome = "unread"
	// Faulty says that linting found faults, and was asked to refuse them.
	Faulty Outcome = "faulty"
	// Undecided says that something depends on what was not given.
	Undecided Outcome = "undecided"
	// Passed says that everything was judged that could be, and nothing is wrong.
	Passed Outcome = "passed"
)

// Unit is one wheel, or one directory of distributions, with what is wrong in it.
type Unit struct {
	Kind Kind `json:"kind"`
	// Path is where it is. Wheel is the wheel's name, if the path does not end with it.
	Path  string `json:"path"`
	Wheel string `json:"wheel,omitempty"`
	// Objects counts the ELF files in it.
	Objects int `json:"objects"`
	// Interpreter is what it was judged against; nil without one.
	Interpreter *audit.Interpreter  `json:"interpreter"`
	Checks      []audit.CheckResult `json:"checks"`
	// Unjudged are the checks that could not be made.
	Unjudged []audit.Unjudged `json:"unjudged"`
	// Findings name files by their paths in the wheel, or absolutely.
	Findings []audit.Finding `json:"findings"`
	// Remedy says how to get rid of what is refused where it is; empty when nothing is.
	// Command is what to run for it, where that is known: a line for each command.
	Remedy  string `json:"remedy,omitempty"`
	Command string `json:"command,omitempty"`
	// Lint is what linting says of a wheel; nil where that was not asked for.
	Lint *lint.Report `json:"lint,omitempty"`

	// compiled are the distributions, NAME VERSION, whose wheels were compiled here or there,
	// and not published.
	compiled []string
	// python is the executable of the environment that is judged, as people call it; byUv says
	// that uv installs into it.
	python string
	byUv   bool
}

// Unread is a file or directory that could not be read.
type Unread struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

// NotFoundError says that there is no such file.
type NotFoundError struct{ Path string }

func (e *NotFoundError) Error() string { return e.Path + ": no such file or directory" }

// Kind says whose fault it is.
func (*NotFoundError) Kind() faults.Kind { return faults.NotFound }

// UnreadableError says that what is at a path cannot be looked at.
type UnreadableError struct{ Path, Why string }

func (e *UnreadableError) Error() string { return e.Path + ": " + e.Why }

// Kind says whose fault it is.
func (*UnreadableError) Kind() faults.Kind { return faults.Input }

// NothingError says that there is nothing at a place that could be judged.
type NothingError struct{ Path string }

func (e *NothingError) Error() string {
	return e.Path + ": no wheel and no installed distribution is in it"
}

// Kind says whose fault it is.
func (*NothingError) Kind() faults.Kind { return faults.Input }

// Hint says what can be audited.
func (e *NothingError) Hint() string {
	return "name a wheel, a directory of wheels, a cache of pip or uv, a virtual environment, a prefix or an image"
}

// NoInterpreterError says that a path does not lead to an interpreter.
type NoInterpreterError struct{ Path string }

func (e *NoInterpreterError) Error() string { return e.Path + ": no interpreter is there" }

// Kind says whose fault it is.
func (*NoInterpreterError) Kind() faults.Kind { return faults.Input }

// Hint says what is meant.
func (e *NoInterpreterError) Hint() string {
	return "name a file pythonX.Y, the prefix whose bin has it, or a virtual environment"
}

// Look finds what is at a target and judges it. Findings are no error.
func Look(ctx context.Context, t Target) (*Report, error) { return look(ctx, t, defaultBounds) }

func look(ctx context.Context, t Target, b bounds) (*Report, error) {
	v := newSurvey(t, b)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	v.watch(ctx)
	report, err := v.attended(ctx, stuck)
	if err != nil {
		return nil, fmt.Errorf("auditing %s: %w", cmp.Or(t.Name, t.Path), err)
	}
	return report, nil
}

func newSurvey(t Target, b bounds) *survey {
	return &survey{
		Target: t, effort: &effort{bounds: b}, memory: semaphore.NewWeighted(atOnce),
		inspectors: map[Files]*audit.Inspector{nil: audit.NewInspector(nil)},
	}
}

// watch ends all reading of the target's files once ctx is done.
func (v *survey) watch(ctx context.Context) {
	files, against := v.Files, v.AgainstFiles
	v.Files = &watched{files, ctx, v.effort, v.Known}
	v.AgainstFiles = v.Files
	if against != nil && against != files {
		v.AgainstFiles = &watched{against, ctx, v.effort, Known{}}
	}
}

// Count counts the units of which something is found of a severity.
func (r *Report) Count(severity audit.Severity) int {
	n := 0
	for i := range r.Units {
		if r.Units[i].has(severity) {
			n++
		}
	}
	return n
}

// decide says what comes of the report.
func (r *Report) decide() {
	switch {
	case r.Count(audit.Refuse) > 0:
		r.Outcome = Refused
	case len(r.Unread) > 0:
		r.Outcome = Incomplete
	case r.LintRefused() > 0:
		r.Outcome = Faulty
	case r.Count(audit.Undecided) > 0:
		r.Outcome = Undecided
	default:
		r.Outcome = Passed
	}
	r.Passed = r.Outcome == Passed
}

type survey struct {
	Target
	*effort
	// against is the interpreter that everything is judged against, if one was named.
	against interpreter
	// inspectors are those of each machine; nil is an unknown one.
	inspectors map[Files]*audit.Inspector
	// sites are the directories of distributions that were found.
	sites []found
	// kind is that of the archive that the files are in; empty for a file system.
	kind Kind
	// memory bounds how many bytes of wheel files, and of what is installed, are judged at a
	// time.
	memory *semaphore.Weighted
	// listing is held by who lists what is installed in a directory.
	listing sync.Mutex
	// interpreters are those that were met.
	interpreters interpreters
}

// atOnce is how many bytes of wheel files, and of what is installed, are judged at a time;
// what has more is judged alone. An installed file weighs entryWeight beside its size.
const (
	atOnce      = 32 << 20
	entryWeight = 1 << 10
)

func (v *survey) run(ctx context.Context) (*Report, error) {
	if v.Against != "" {
		var err error
		if v.against, err = interpreterAt(v.AgainstFiles, v.Against); err != nil {
			return nil, err
		}
	}
	for _, files := range []Files{v.Files, v.AgainstFiles} {
		if v.inspectors[files] == nil {
			v.inspectors[files] = audit.NewInspector(files)
		}
	}
	s := newSearch(v.Files, v.effort)
	if err := v.find(ctx, s); err != nil {
		return nil, err
	}
	archives := s.takeArchives()
	for _, f := range s.found {
		if f.kind == KindSite {
			v.sites = append(v.sites, f)
		}
	}
	if len(s.found) == 0 && len(archives) == 0 && len(s.unread.list) == 0 {
		return nil, &NothingError{v.Path}
	}
	r := &Report{Schema: Schema, Target: cmp.Or(v.Name, v.Path), Unlooked: s.unlooked(), Units: []Unit{}, lint: v.Lint}
	r.Unread = append([]Unread{}, s.unread.all(r.Target)...)
	if err := v.judgeAll(ctx, r, s.found); err != nil {
		return nil, err
	}
	if err := v.archives(ctx, r, archives); err != nil {
		return nil, err
	}
	r.decide()
	slices.SortFunc(r.Units, func(a, b Unit) int { return cmp.Compare(a.Path, b.Path) })
	return r, nil
}

// find looks for what there is to judge: the target itself, or what is below it.
func (v *survey) find(ctx context.Context, s *search) error {
	start, err := v.start()
	if err != nil {
		return err
	}
	if start.Kind == tree.File {
		// A wheel may have any name, where a cache or a person gave it one.
		named := strings.HasSuffix(start.Path, ".whl")
		switch {
		case named || downloads.MatchString(start.Path) && isArchive(start):
			s.found = append(s.found, found{kind: KindWheel, path: start.Path, cached: !named})
		case isELF(start), audit.NamedAsModule(path.Base(start.Path)):
			s.found = append(s.found, found{kind: KindFile, path: start.Path})
		default:
			if err := s.archive(start); err != nil {
				return &UnreadableError{v.Path, reason(err)}
			}
		}
		return nil
	}
	if err := s.dir(ctx, start.Path, false); err != nil {
		return err
	}
	s.placeLoose()
	if v.kind != "" && len(s.found) == 0 {
		s.found = append(s.found, found{kind: KindSite, path: start.Path})
	}
	return nil
}

// judgeAll judges what was found, several at a time, and adds it to a report in the order in
// which it was found.
func (v *survey) judgeAll(ctx context.Context, r *Report, list []found) error {
	units := make([]Unit, len(list))
	unread := make([][]Unread, len(list))
	failed := make([]error, len(list))
	group, judging := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range list {
		group.Go(func() error {
			units[i], unread[i], failed[i] = v.judge(judging, f)
			return context.Cause(judging)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, u := range units {
		if failed[i] != nil {
			r.Unread = append(r.Unread, Unread{show(list[i].path), reason(failed[i])})
			continue
		}
		r.Unread = append(r.Unread, unread[i]...)
		r.Units = append(r.Units, u)
	}
	return nil
}

// start finds the file or directory that the target names.
func (v *survey) start() (tree.Entry, error) {
	e, ok := audit.Follow(v.Files, v.Path)
	switch {
	case !ok:
		return e, missing(v.Files, v.Path)
	case isKernels(v.Files, e.Path):
		return e, &UnreadableError{v.Path, "the kernel makes up what is in it: no file is there to be judged"}
	case e.Kind != tree.File:
		return e, nil
	}
	r, err := e.Content.Open()
	if err != nil {
		return e, &UnreadableError{v.Path, reason(err)}
	}
	return e, r.Close()
}

// judge judges one unit, and says which of its files could not be read.
func (v *survey) judge(ctx context.Context, f found) (u Unit, unread []Unread, err error) {
	u = Unit{Kind: v.kindOf(f), Path: f.told()}
	place, at, moved := v.placeOf(f)
	content, unread, done, err := v.content(ctx, f, place.Site, &u)
	if err != nil {
		return u, nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	if place.Tree, place.Interpreter, err = v.withInterpreter(content, at, f.kind == KindSite); err != nil {
		return u, nil, err
	}
	place.Wheel = path.Base(f.path)
	if f.cached {
		place.Wheel = ""
	}
	machine := at.files
	if machine == nil && f.kind != KindWheel && v.kind == "" {
		machine = v.Files
	}
	in, err := v.inspect(ctx, machine, place)
	if err != nil {
		return u, nil, err
	}
	again, ok, err := v.beside(ctx, f, at, &place, in)
	defer func() { err = errors.Join(err, again()) }()
	if err == nil && ok {
		in, err = v.inspectors[machine].Inspect(ctx, place)
	}
	if err != nil {
		return u, nil, err
	}
	told := func(file string) string { return v.told(file, place, f, moved) }
	u.conclude(f, at, in, told)
	if n, ok := u.unopened(content, func(file string) string {
		file = told(file)
		if f.kind == KindWheel {
			file = path.Join(path.Base(f.path), file)
		}
		return file
	}); ok {
		u.Unjudged = append(u.Unjudged, n)
	}
	v.zipimported(&u)
	u.complete()
	if u.fromCache() {
		u.forOthers()
	}
	if u.has(audit.Refuse) {
		if f.kind == KindSite {
			u.python, u.byUv = pythonOf(v.Files, f.path, at), isUvs(content, place.Site)
		}
		u.Remedy, u.Command = inOne(&u, u.remedies(u.Findings))
	}
	return u, unread, nil
}

// placeOf says where the files of what was found are, and which interpreter imports them. Moved
// says that they are judged as if they were in the interpreter's own directory.
func (v *survey) placeOf(f found) (place audit.Place, at interpreter, moved bool) {
	place = audit.Place{Alone: f.kind != KindSite, Site: f.path, CPU: v.CPU}
	if f.kind == KindFile {
		place.Site = siteAbove(f.path)
	}
	at = v.against
	if at.exe == "" && f.kind != KindWheel && v.kind == "" {
		at = interpreterOf(v.Files, cmp.Or(f.of, place.Site))
		place.Prefix = f.prefix()
		_, isMachine := machineOf(v.Files)
		place.Mounts = !isMachine
	}
	moved = f.kind == KindWheel || at.files != nil && at.files != v.Files
	if moved {
		place.Site = "site-packages"
		if at.exe != "" {
			place.Site = home(at.exe)
		}
	}
	return place, at, moved
}

// conclude puts what an inspection found into a unit, with the files' names as they are told.
func (u *Unit) conclude(f found, at interpreter, in audit.Inspection, told func(string) string) {
	for i := range in.Findings {
		in.Findings[i].File = told(in.Findings[i].File)
	}
	u.Objects, u.Checks, u.Unjudged, u.Interpreter, u.compiled = in.Objects, in.Checks, in.Unjudged, in.Interpreter, in.Compiled
	u.Findings = append(u.Findings, in.Findings...)
	for i := range u.Unjudged {
		if at.why != "" && u.Unjudged[i].Why == audit.WhyNoInterpreter {
			u.Unjudged[i].Why = at.why
		}
	}
	if decided := f.kind != KindSite && u.has(audit.Refuse); in.Dependent > 0 && !decided {
		u.await(in.Dependent)
	}
}

// inspect has a place judged, for so long and no longer.
func (v *survey) inspect(ctx context.Context, machine Files, place audit.Place) (audit.Inspection, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, unitTime, errUnitTime)
	defer cancel()
	return v.inspectors[machine].Inspect(ctx, place)
}

// content lists a unit's files as if they were in a directory of distributions, and what of
// them could not be read; of a wheel it notes its name and what comparing it with its RECORD
// found. The files can be read until done is called.
func (v *survey) content(ctx context.Context, f found, site string, u *Unit) (t *tree.Tree, unread []Unread, done func() error, err error) {
	nothing := func() error { return nil }
	e, _ := v.Files.Lookup(f.path)
	switch f.kind {
	case KindSite:
		return v.site(ctx, f.path, site)
	case KindFile:
		e.Path = path.Join(site, strings.TrimPrefix(f.path, siteAbove(f.path)))
		if e, err = hashed(e); err == nil {
			t, err = tree.New([]tree.Entry{e})
		}
		return t, nil, nothing, err
	default: // the others are archives
	}
	weight := min(e.Size, atOnce)
	if err := v.memory.Acquire(ctx, weight); err != nil {
		return nil, nil, nil, err
	}
	w, closeWheel, err := v.open(f)
	if err != nil {
		v.memory.Release(weight)
		return nil, nil, nil, err
	}
	done = func() error {
		defer v.memory.Release(weight)
		return closeWheel()
	}
	if path.Base(f.path) != w.Name {
		u.Wheel = w.Name
	}
	u.Findings = w.Findings
	if u.Lint, err = v.lint(w); err != nil {
		return nil, nil, nil, errors.Join(err, done())
	}
	if t, err = w.Installed(site); err != nil {
		return nil, nil, nil, errors.Join(err, done())
	}
	return t, nil, done, nil
}

// site lists what is installed in a directory. What is listed takes memory before it is
// known how much: one directory at a time is listed, with all processors, and waits for its
// turn to be judged.
func (v *survey) site(ctx context.Context, dir, site string) (t *tree.Tree, unread []Unread, done func() error, err error) {
	v.listing.Lock()
	defer v.listing.Unlock()
	if t, unread, err = v.installed(ctx, dir, site); err != nil {
		return nil, nil, nil, err
	}
	weight := int64(0)
	for _, e := range t.Entries() {
		weight += entryWeight + e.Size
	}
	weight = min(weight, atOnce)
	if err := v.memory.Acquire(ctx, weight); err != nil {
		return nil, nil, nil, err
	}
	return t, unread, held{v.memory, weight}.Close, nil
}

// held is what something that is judged weighs.
type held struct {
	memory *semaphore.Weighted
	weight int64
}

// Close implements [io.Closer].
func (h held) Close() error {
	h.memory.Release(h.weight)
	return nil
}

// complete makes lists of those that have nothing in them, so that JSON has them, and
// counts what comparing the wheel with its RECORD gave.
func (u *Unit) complete() {
	if u.Findings == nil {
		u.Findings = []audit.Finding{}
	}
	if u.Unjudged == nil {
		u.Unjudged = []audit.Unjudged{}
	}
	if u.Kind != KindWheel {
		return
	}
	record := audit.CheckResult{Name: "record", Reason: "every member of the wheel is in its RECORD and hashes to it, and the other way round", Examined: 1}
	for _, f := range u.Findings {
		if f.Check == record.Name {
			record.Count(f)
		}
	}
	u.Checks = append(u.Checks, record)
	slices.SortFunc(u.Checks, func(a, b audit.CheckResult) int { return cmp.Compare(a.Name, b.Name) })
}

// await asks for what the checks need that could not be made of so many native files: until
// it is given, nobody knows whether these work.
func (u *Unit) await(files int) {
	var checks []string
	open := audit.Finding{
		Severity: audit.Undecided, Field: "native files",
		Remedy: "Audit it against the interpreter that is to import it, or where it is installed.",
	}
	for _, n := range u.Unjudged {
		if n.Needs == "" {
			continue
		}
		checks = append(checks, n.Check)
		if open.Check == "" || n.Check == "symbols" {
			open.Check, open.Needs = n.Check, n.Needs
			open.Cause = "Native code fits some interpreters and machines only. Whether this does is open: " + audit.Printable(n.Why) + "."
		}
	}
	if len(checks) == 0 {
		return
	}
	slices.Sort(checks)
	open.Value = fmt.Sprintf("%d, not judged by %s", files, strings.Join(checks, ", "))
	u.Findings = append(u.Findings, open)
}

// siteAbove is the directory of distributions that a file is in, or its own directory.
func siteAbove(file string) string {
	for dir := path.Dir(file); dir != "."; dir = path.Dir(dir) {
		if base := path.Base(dir); base == "site-packages" || base == "dist-packages" {
			return dir
		}
	}
	return path.Dir(file)
}

// has reports whether something is found of a severity.
func (u *Unit) has(severity audit.Severity) bool {
	return slices.ContainsFunc(u.Findings, func(f audit.Finding) bool { return f.Severity == severity })
}

// told is the path of a file of a place as a person knows it.
func (v *survey) told(file string, p audit.Place, f found, moved bool) string {
	rest, ok := strings.CutPrefix(file, p.Site+"/")
	switch {
	case file == "":
		return ""
	case f.kind == KindWheel && ok:
		return rest
	case f.kind == KindFile:
		return show(f.path)
	case ok && moved:
		return show(path.Join(f.path, rest))
	}
	return show(file)
}

// open opens a wheel file; done closes it.
func (v *survey) open(f found) (w *audit.WheelFile, done func() error, err error) {
	e, ok := v.Files.Lookup(f.path)
	if !ok {
		return nil, nil, fs.ErrNotExist
	}
	a, err := openArchive(e, f.cached)
	if err != nil {
		return nil, nil, err
	}
	name := path.Base(f.path)
	if f.cached {
		name = ""
	}
	if w, err = audit.OpenWheel(a.section(), a.size, name); err != nil {
		return nil, nil, errors.Join(err, a.Close())
	}
	return w, func() error { return errors.Join(w.Close(), a.Close()) }, nil
}

// installed lists what is installed in a directory as if it were in another one, and what
// RECORDs list outside, but below the same prefix, where it is the same one.
func (v *survey) installed(ctx context.Context, dir, site string) (*tree.Tree, []Unread, error) {
	l := newListing(v.Files, v.effort)
	if err := l.below(ctx, dir, dir); err != nil {
		return nil, nil, err
	}
	if err := l.hash(ctx); err != nil {
		return nil, nil, err
	}
	for i := range l.entries {
		if dir != site { // else they have their paths
			l.entries[i].Path = path.Join(site, strings.TrimPrefix(l.entries[i].Path, dir))
		}
	}
	t, err := tree.Adopt(l.entries)
	prefix := siteOf.FindStringSubmatch(site)
	if err != nil || dir != site || prefix == nil {
		return t, l.unread.all(show(dir)), err
	}
	var outside []tree.Entry
	for _, p := range audit.RecordedOutside(t, site) {
		if !strings.HasPrefix(p, strings.TrimPrefix(prefix[1]+"/", "/")) || isKernels(v.Files, p) {
			continue
		}
		e, _, err := lookup(v.Files, p)
		if err == nil && e.Kind == tree.File {
			e, err = hashed(e)
		}
		switch {
		case err == nil && e.Kind == tree.File:
			outside = append(outside, e)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			l.unread.add(p, reason(err))
		}
	}
	t, err = t.With(outside...)
	return t, l.unread.all(show(dir)), err
}

// home is where an interpreter has its distributions.
func home(exe string) string {
	lib := path.Join(path.Dir(path.Dir(exe)), "lib")
	// Only a free-threaded one has a library of its own name.
	return path.Join(lib, strings.TrimRight(path.Base(exe), "dm"), "site-packages")
}

// withInterpreter adds an interpreter's files to those that it is to import; its own
// modules are judged with what is installed.
func (v *survey) withInterpreter(t *tree.Tree, at interpreter, modules bool) (*tree.Tree, string, error) {
	if at.exe == "" {
		return t, "", nil
	}
	entries, err := v.interpreters.files(at, modules)
	if err != nil {
		return nil, "", err
	}
	t, err = t.With(entries...)
	return t, at.exe, err
}

// forOthers makes warnings of what only says that a wheel in a cache is for another
// interpreter than the one that it is judged against: no installer would hand it that.
func (u *Unit) forOthers() {
	isOther := slices.ContainsFunc(u.Findings, func(f audit.Finding) bool { return f.Check == "tags" && f.Field == "Tag" && f.Severity == audit.Refuse })
	if !isOther {
		return
	}
	for i, f := range u.Findings {
		switch f.Check {
		case "libpython-needed", "second-runtime", "record", "parse", "loader", "hardening":
		default:
			u.Findings[i].Severity, u.Findings[i].Needs = audit.Warn, ""
		}
	}
	for i := range u.Checks {
		c := &u.Checks[i]
		c.Refused, c.Warned, c.Undecided = 0, 0, 0
		for _, f := range u.Findings {
			if f.Check == c.Name {
				c.Count(f)
			}
		}
	}
}

// reason is what an error says without the path, which is told beside it.
func reason(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err.Error()
	}
	return err.Error()
}
