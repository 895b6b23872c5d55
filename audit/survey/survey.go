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
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"ampoule/audit"
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
}

// Report is what was found. Its JSON form is deterministic but for what it is about.
type Report struct {
	Schema string `json:"schema"`
	Target string `json:"target"`
	// Passed is true when nothing is refused and everything could be read.
	Passed bool `json:"passed"`
	// Units are the wheels and directories that were judged, sorted by path.
	Units []Unit `json:"units"`
	// Unread is what could not be read.
	Unread []Unread `json:"unread"`
}

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
	Remedy string `json:"remedy,omitempty"`
}

// Unread is a file or directory that could not be read.
type Unread struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

// NotFoundError says that there is no such file.
type NotFoundError struct{ Path string }

func (e *NotFoundError) Error() string { return e.Path + ": no such file or directory" }

// NothingError says that there is nothing at a place that could be judged.
type NothingError struct{ Path string }

func (e *NothingError) Error() string {
	return e.Path + ": no wheel and no installed distribution is in it"
}

// Hint says what can be audited.
func (e *NothingError) Hint() string {
	return "name a wheel, a directory of wheels, a cache of pip or uv, a virtual environment, a prefix or an image"
}

// NoInterpreterError says that a path does not lead to an interpreter.
type NoInterpreterError struct{ Path string }

func (e *NoInterpreterError) Error() string { return e.Path + ": no interpreter is there" }

// Hint says what is meant.
func (e *NoInterpreterError) Hint() string {
	return "name a file pythonX.Y, the prefix whose bin has it, or a virtual environment"
}

// Look finds what is at a target and judges it. Findings are no error.
func Look(ctx context.Context, t Target) (*Report, error) {
	v := &survey{Target: t, memory: semaphore.NewWeighted(atOnce)}
	if v.AgainstFiles == nil {
		v.AgainstFiles = v.Files
	}
	v.inspectors = map[Files]*audit.Inspector{nil: audit.NewInspector(nil)}
	report, err := v.run(ctx)
	if err != nil {
		return nil, fmt.Errorf("auditing %s: %w", cmp.Or(t.Name, t.Path), err)
	}
	return report, nil
}

// Refused counts the units of which something is refused.
func (r *Report) Refused() int {
	n := 0
	for i := range r.Units {
		if r.Units[i].refused() > 0 {
			n++
		}
	}
	return n
}

type survey struct {
	Target
	// against is the interpreter that everything is judged against, if one was named.
	against interpreter
	// inspectors are those of each machine; nil is an unknown one.
	inspectors map[Files]*audit.Inspector
	// memory bounds how many bytes of wheel files are judged at a time.
	memory *semaphore.Weighted
}

// atOnce is how many bytes of wheel files are judged at a time; larger ones are judged
// alone.
const atOnce = 32 << 20

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
	s := &search{files: v.Files}
	start, ok := audit.Follow(v.Files, v.Path)
	switch {
	case !ok:
		return nil, &NotFoundError{v.Path}
	case start.Kind == tree.File:
		// A wheel may have any name, where a cache or a person gave it one.
		named := strings.HasSuffix(start.Path, ".whl")
		switch {
		case named || isArchive(start):
			s.found = append(s.found, found{kind: KindWheel, path: start.Path, cached: !named})
		case isELF(start):
			s.found = append(s.found, found{kind: KindFile, path: start.Path})
		}
	default:
		if err := s.dir(ctx, start.Path, 0); err != nil {
			return nil, err
		}
	}
	if len(s.found) == 0 && len(s.unread) == 0 {
		return nil, &NothingError{v.Path}
	}
	units := make([]Unit, len(s.found))
	failed := make([]error, len(s.found))
	group, judging := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range s.found {
		group.Go(func() error {
			units[i], failed[i] = v.judge(judging, f)
			return context.Cause(judging)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	r := &Report{Schema: Schema, Target: cmp.Or(v.Name, v.Path), Unread: s.unread, Units: []Unit{}, Passed: true}
	for i, u := range units {
		if failed[i] != nil {
			r.Unread = append(r.Unread, Unread{show(s.found[i].path), reason(failed[i])})
			continue
		}
		r.Units = append(r.Units, u)
		r.Passed = r.Passed && u.refused() == 0
	}
	if r.Unread == nil {
		r.Unread = []Unread{}
	}
	r.Passed = r.Passed && len(r.Unread) == 0
	slices.SortFunc(r.Units, func(a, b Unit) int { return cmp.Compare(a.Path, b.Path) })
	return r, nil
}

// judge judges one unit.
func (v *survey) judge(ctx context.Context, f found) (u Unit, err error) {
	u = Unit{Kind: f.kind, Path: show(f.path)}
	place := audit.Place{Alone: f.kind != KindSite, Site: f.path, CPU: v.CPU}
	if f.kind == KindFile {
		place.Site = siteAbove(f.path)
	}
	at := v.against
	if at.exe == "" && f.kind != KindWheel {
		at = interpreterOf(v.Files, place.Site)
	}
	// moved says that the files are judged as if they were in the interpreter's own directory.
	moved := f.kind == KindWheel || at.files != nil && at.files != v.Files
	if moved {
		place.Site = "site-packages"
		if at.exe != "" {
			place.Site = home(at.exe)
		}
	}
	var content *tree.Tree
	switch f.kind {
	case KindWheel:
		e, _ := v.Files.Lookup(f.path)
		weight := min(e.Size, atOnce)
		if err := v.memory.Acquire(ctx, weight); err != nil {
			return u, err
		}
		defer v.memory.Release(weight)
		var w *audit.WheelFile
		var done func() error
		if w, done, err = v.open(f); err == nil {
			defer func() { err = errors.Join(err, done()) }()
			if path.Base(f.path) != w.Name {
				u.Wheel = w.Name
			}
			u.Findings = w.Findings
			content, err = w.Installed(place.Site)
		}
	case KindSite:
		content, err = v.installed(f.path, place.Site)
	case KindFile:
		e, _ := v.Files.Lookup(f.path)
		e.Path = path.Join(place.Site, strings.TrimPrefix(f.path, siteAbove(f.path)))
		if e, err = hashed(e); err == nil {
			content, err = tree.New([]tree.Entry{e})
		}
	}
	if err != nil {
		return u, err
	}
	if place.Tree, place.Interpreter, err = withInterpreter(content, at, f.kind == KindSite); err != nil {
		return u, err
	}
	machine := at.files
	if machine == nil && f.kind != KindWheel {
		machine = v.Files
	}
	in, err := v.inspectors[machine].Inspect(ctx, place)
	if err != nil {
		return u, err
	}
	for i := range in.Findings {
		in.Findings[i].File = v.told(in.Findings[i].File, place, f, moved)
	}
	u.Objects, u.Checks, u.Unjudged, u.Interpreter = in.Objects, in.Checks, in.Unjudged, in.Interpreter
	u.Findings = append(u.Findings, in.Findings...)
	for i := range u.Unjudged {
		if at.why != "" && u.Unjudged[i].Why == audit.WhyNoInterpreter {
			u.Unjudged[i].Why = at.why
		}
	}
	u.complete()
	if u.refused() > 0 {
		u.Remedy = remedy(u)
	}
	return u, nil
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
			record.Refused++
		}
	}
	u.Checks = append(u.Checks, record)
	slices.SortFunc(u.Checks, func(a, b audit.CheckResult) int { return cmp.Compare(a.Name, b.Name) })
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

// refused counts the findings that refuse.
func (u *Unit) refused() int {
	n := 0
	for _, f := range u.Findings {
		if f.Severity == audit.Refuse {
			n++
		}
	}
	return n
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
// RECORDs list outside, where it is the same one.
func (v *survey) installed(dir, site string) (*tree.Tree, error) {
	entries, err := below(v.Files, dir)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		entries[i].Path = path.Join(site, strings.TrimPrefix(entries[i].Path, dir))
	}
	t, err := tree.New(entries)
	if err != nil || dir != site {
		return t, err
	}
	var outside []tree.Entry
	for _, p := range audit.RecordedOutside(t, site) {
		e, ok := v.Files.Lookup(p)
		if !ok || e.Kind != tree.File {
			continue
		}
		if e, err = hashed(e); err != nil {
			return nil, err
		}
		outside = append(outside, e)
	}
	return t.With(outside...)
}

// home is where an interpreter has its distributions.
func home(exe string) string {
	lib := path.Join(path.Dir(path.Dir(exe)), "lib")
	return path.Join(lib, path.Base(exe), "site-packages")
}

// withInterpreter adds an interpreter's files to those that it is to import; its own
// modules are judged with what is installed.
func withInterpreter(t *tree.Tree, at interpreter, modules bool) (*tree.Tree, string, error) {
	if at.exe == "" {
		return t, "", nil
	}
	patterns, err := audit.InterpreterFiles(at.exe, modules)
	if err != nil {
		return nil, "", err
	}
	var entries []tree.Entry
	for _, pattern := range patterns {
		matched, err := match(at.files, pattern)
		if err != nil {
			return nil, "", err
		}
		entries = append(entries, matched...)
	}
	for i := range entries {
		entries[i].Owner = audit.OwnerInterpreter
	}
	t, err = t.With(entries...)
	return t, at.exe, err
}

// builtByPip matches the wheels that pip built and keeps.
var builtByPip = regexp.MustCompile(`/wheels/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{2}/`)

// remedy says what to do about a unit that is refused.
func remedy(u Unit) string {
	name := path.Base(cmp.Or(u.Wheel, u.Path))
	dist, _, _ := strings.Cut(name, "-")
	switch {
	case u.Kind == KindFile:
		return "Build what brought it again, or install it again from a wheel that this audit passes."
	case u.Kind == KindSite:
		var again []string
		for _, f := range u.Findings {
			pin := strings.Replace(f.Distribution, " ", "==", 1)
			if f.Severity == audit.Refuse && pin != "" && !slices.Contains(again, pin) {
				again = append(again, pin)
			}
		}
		if len(again) == 0 {
			return "Install what is refused again, from wheels that this audit passes."
		}
		return "Install it again, but not from pip's cache, which may have the same file: pip install --force-reinstall --no-deps --no-cache-dir " + strings.Join(again, " ")
	case builtByPip.MatchString(u.Path):
		return "Take it out of pip's cache, which hands it to every interpreter of its version: pip cache remove " + dist + "; then install it again where it was installed from there."
	case u.Wheel != "":
		return "Take it out of pip's cache: pip cache purge; then install it again where it was installed from there."
	}
	return "Do not install it."
}

// reason is what an error says without the path, which is told beside it.
func reason(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err.Error()
	}
	return err.Error()
}
