package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"ampoule/packaging"
)

// check is one check of the gate. Its file registers it.
type check struct {
	// name is stable: recipes' exceptions and verdicts have it. reason is one line.
	name, reason string
	// needs is what must be known for it beside the files themselves.
	needs need
	run   func(context.Context, *exam) (outcome, error)
}

// need is a set of things that are not always known where nothing was built here.
type need uint8

const (
	// anInterpreter is the one that the files are for.
	anInterpreter need = 1 << iota
	// aMachine is the root file system that they run in.
	aMachine
	// aBuild is what a gate has: reports of what was run, and what was built where.
	aBuild
	// aPlace is that the files are where an installer put them.
	aPlace
	// anEnvironment is the prefix that they are installed in, on the machine itself.
	anEnvironment
)

// outcome is what a check found; examined counts what it looked at.
type outcome struct {
	examined int
	findings []Finding
	// told counts the findings of each severity, untold those that were too many to tell.
	told, untold map[Severity]int
	// unjudged says why nothing could be judged; else empty.
	unjudged string
}

// maxFindings is how many findings of a severity one check tells: a hostile RECORD alone
// gives half a million.
const maxFindings = 10_000

// add notes a finding. Names from files may be part of its cause.
func (o *outcome) add(f Finding) {
	if o.told == nil {
		o.told, o.untold = map[Severity]int{}, map[Severity]int{}
	}
	if o.told[f.Severity] >= maxFindings {
		o.untold[f.Severity]++
		return
	}
	o.told[f.Severity]++
	f.Cause = escaped(f.Cause)
	o.findings = append(o.findings, f)
}

// all are the findings, with one for each severity of which there are too many to tell.
func (o *outcome) all() []Finding {
	for _, severity := range slices.Sorted(maps.Keys(o.untold)) {
		o.findings = append(o.findings, Finding{
			Severity: severity, Field: "findings", Value: fmt.Sprintf("%d more", o.untold[severity]),
			Cause:  fmt.Sprintf("The check tells %d findings of a kind at most.", maxFindings),
			Remedy: "Mend those that are told, then look again.",
		})
	}
	o.untold = nil
	return o.findings
}

// checks are all checks, sorted by name.
var checks []check

// register adds a check; each check's file calls it from init, so that the file
// is all that there is to a check.
func register(c check) {
	checks = append(checks, c)
	slices.SortFunc(checks, func(a, b check) int { return cmp.Compare(a.name, b.name) })
}

// CheckInfo names a check.
type CheckInfo struct {
	Name, Reason string
	// OfPlaces says that the gate does not make it: it is of what is found installed.
	OfPlaces bool
}

// Checks lists the checks by name. An [Exception] may name those that the gate makes.
func Checks() []CheckInfo {
	infos := make([]CheckInfo, len(checks))
	for i, c := range checks {
		infos[i] = CheckInfo{c.name, c.reason, c.needs&anEnvironment != 0}
	}
	return infos
}

// ErrSubject is wrapped by errors about a [Subject] that cannot be judged because
// it is incomplete or contradicts itself.
var ErrSubject = errors.New("subject cannot be judged")

// exam is a subject with what all checks need of it.
type exam struct {
	Subject
	home installation
	// objects are the tree's ELF files by path.
	objects map[string]*object
	runs    []run
	// facts are those of the interpreter.
	facts *facts
	// dists gives the installed distributions, which are read once.
	dists func() []dist
	// ends are the interpreter's suffixes, once they were asked for; see suffixes.
	ends []string
	// required, sonames and sources are what mentioned, libraries and loadingSources return,
	// once they were asked for.
	required map[string][]string
	sonames  map[string][]*object
	sources  map[string][]source
	// optionals are what optional returns of modules, by path.
	optionals map[string]string
	// targets are what machines returns, once it was asked.
	targets []machine
	// uses are how the sources of distributions use their files, once they were asked for,
	// and others the distributions that are for another interpreter or system.
	uses   map[string]sourceSet
	others map[string]bool
	// named are the tags of the wheel file's name, by which installers choose it; none where
	// no wheel file is judged.
	named []packaging.Tag
	// found says that the files were made elsewhere and are judged where they are: what
	// only a tree that travels must not have is no fault then.
	found bool
	// alone says that the tree has one wheel of several that may be installed together.
	alone bool
	// glibc is the version of the machine's, if files are judged where they are.
	glibc string
	// prefix and machine are the environment that files are installed in, and where that is.
	prefix  string
	machine Root
	// mounts and installed are as in [Place]; beside are the files of Beside.
	mounts    bool
	installed map[string]string
	beside    map[string]bool
}

// travels is the severity of what keeps a tree from running elsewhere: a warning about
// files that are judged where they are.
func (x *exam) travels() Severity {
	if x.found {
		return Warn
	}
	return Refuse
}

// words chooses a text: one for whoever writes the recipe of a tree that is to travel, or one
// for whoever has the files where they were found, and no recipe.
func words(isFound bool, ofRecipe, ofPlace string) string {
	if isFound {
		return ofPlace
	}
	return ofRecipe
}

// run is the tree as one target would load it.
type run struct {
	Target
	*Resolver
	loadings []loading
	// found and alone are as in exam.
	found, alone bool
}

// Judge runs every check over the subject, in every target. An error means that
// there is no verdict: the subject is unusable ([ErrSubject],
// [ErrNoInterpreter]), its content cannot be read, or ctx is done.
func Judge(ctx context.Context, s Subject) (Verdict, error) {
	x, err := newExam(ctx, s)
	if err != nil {
		return Verdict{}, fmt.Errorf("judging tree: %w", err)
	}
	v := Verdict{
		Schema: VerdictSchema, Tree: s.Tree.Hash(), Time: s.Now.UTC().Format(time.RFC3339),
		Targets: []VerdictTarget{}, Findings: []Finding{}, Exceptions: []ExceptionResult{}, Providers: s.Providers,
	}
	for _, t := range x.Targets {
		v.Targets = append(v.Targets, VerdictTarget{t.Name, t.Root.Hash(), t.Glibc, t.CPU, t.Host})
	}
	slices.SortFunc(v.Targets, func(a, b VerdictTarget) int { return cmp.Compare(a.Name, b.Name) })
	for _, c := range checks {
		if c.needs&anEnvironment != 0 {
			continue
		}
		result, findings, err := x.judge(ctx, c)
		if err != nil {
			return Verdict{}, fmt.Errorf("judging tree: check %s: %w", c.name, err)
		}
		v.Checks = append(v.Checks, result)
		v.Findings = append(v.Findings, findings...)
	}
	x.except(&v)
	v.count()
	return v, nil
}

// judge makes one check of a tree that is to be published; its findings are not counted.
func (x *exam) judge(ctx context.Context, c check) (CheckResult, []Finding, error) {
	o, err := c.run(ctx, x)
	findings := o.all()
	for i := range findings {
		f := &findings[i]
		f.Check = c.name
		if f.Severity == Undecided {
			// A subject has everything: what is open even so cannot be published.
			f.Severity = Refuse
		}
	}
	return CheckResult{Name: c.name, Reason: c.reason, Examined: o.examined}, merge(findings), err
}

func newExam(ctx context.Context, s Subject) (*exam, error) {
	if err := checkSubject(s); err != nil {
		return nil, err
	}
	home, err := findInstallation(s.Tree, s.Interpreter)
	if err != nil {
		return nil, err
	}
	objects, err := readTree(s.Tree)
	if err != nil {
		return nil, err
	}
	x := &exam{Subject: s, home: home, objects: objects, dists: distsOf(s.Tree, home.site), facts: newFacts(s.Tree, home, objects)}
	for _, t := range s.Targets {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		r, err := newResolver(ResolverInput{Tree: s.Tree, Prefix: s.Prefix, Root: t.Root, Host: t.Host, Providers: s.Providers}, home, objects)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSubject, err)
		}
		x.runs = append(x.runs, run{Target: t, Resolver: r, loadings: r.loadings()})
	}
	return x, nil
}

func checkSubject(s Subject) error {
	if s.Tree == nil || s.Now.IsZero() {
		return fmt.Errorf("%w: it needs a tree and the time", ErrSubject)
	}
	if len(s.Targets) == 0 {
		return fmt.Errorf("%w: it has no runtime target", ErrSubject)
	}
	seen := map[string]bool{}
	for _, t := range s.Targets {
		if t.Name == "" || seen[t.Name] || t.Root == nil {
			return fmt.Errorf("%w: target %q is given twice, or without name or root file system", ErrSubject, t.Name)
		}
		seen[t.Name] = true
		if _, ok := parseGlibc("GLIBC_" + t.Glibc); t.Glibc != "" && !ok {
			return fmt.Errorf("%w: target %s: glibc %q is no version", ErrSubject, t.Name, t.Glibc)
		}
	}
	for _, f := range s.Forbidden {
		if f.Text == "" {
			return fmt.Errorf("%w: an empty text (%s) cannot be forbidden", ErrSubject, f.Reason)
		}
	}
	return errors.Join(checkExceptions(s.Exceptions), checkProviders(s.Providers))
}

// foreign reports whether an accepted foreign wheel brought a file.
func (x *exam) foreign(owner string) bool { return slices.Contains(x.Foreign, owner) }

// extensions are the extension modules, sorted by path; the interpreter's own
// libpython, which exports PyInit_* of the built-in modules, is none.
func (x *exam) extensions() []*object { return extensions(x.objects, x.home) }

func extensions(objects map[string]*object, home installation) []*object {
	var list []*object
	for _, o := range objects {
		if o.loads() && o.isExtension() && !home.ownsLibpython(o.entry) {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b *object) int { return cmp.Compare(a.entry.Path, b.entry.Path) })
	return list
}

// parsed lists the ELF files that could be read and that ld.so would load, sorted by path.
func (x *exam) parsed() []*object {
	var list []*object
	for _, o := range x.objects {
		if o.loads() {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b *object) int { return cmp.Compare(a.entry.Path, b.entry.Path) })
	return list
}
