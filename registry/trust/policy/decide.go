package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/trust/evidence"
	"ampoule/registry/trust/keys"
	"ampoule/registry/trust/roots"
)

// skew is how far in the future the time of a signature may be: clocks differ.
const skew = 15 * time.Minute

// Subject is what is decided about.
type Subject struct {
	// Name is the repository without host and prefix, Digest the index's.
	Name   string `json:"name"`
	Digest string `json:"digest"`
	// Tree is the hash of the tree that the artifact's label names; empty where it has none.
	Tree string `json:"tree,omitempty"`
	// Group is the name of the dependency group that Digest is of, Over the digest of the
	// artifact that it is laid over; empty for an artifact.
	Group string `json:"group,omitempty"`
	Over  string `json:"over,omitempty"`
}

// String names the subject for people.
func (s Subject) String() string {
	text := s.Name + "@" + s.Digest
	if s.Group != "" {
		text += " (dependency group " + s.Group + ")"
	}
	return text
}

// Line is one thing that was asked, and the answer.
type Line struct {
	// Rule is the key of the policy; empty for what was found and counts for nothing.
	Rule  string `json:"rule,omitempty"`
	Holds bool   `json:"holds"`
	// Text says what was found, or what is missing.
	Text string `json:"text"`
}

// Decision is whether something may run, and why.
type Decision struct {
	Subject Subject `json:"subject"`
	// Policy is the policy's file, Root and Version name the trust root.
	Policy  string `json:"policy"`
	Root    string `json:"root"`
	Version int    `json:"version"`
	Allowed bool   `json:"allowed"`
	// Lines are the answers to the policy's rules; Notes are evidence that counts for nothing.
	Lines []Line `json:"lines"`
	Notes []Line `json:"notes"`
}

// Err is the decision as an error; nil where it may run.
func (d Decision) Err() error {
	if d.Allowed {
		return nil
	}
	return &RefusedError{d}
}

// RefusedError says that the policy refuses an artifact.
type RefusedError struct{ Decision Decision }

func (e *RefusedError) Error() string {
	var why []string
	for _, l := range e.Decision.Lines {
		if !l.Holds {
			why = append(why, l.Rule+": "+l.Text)
		}
	}
	return fmt.Sprintf("policy %s refuses %s: %s", e.Decision.Policy, e.Decision.Subject, strings.Join(why, "; "))
}

// Kind says whose fault it is.
func (*RefusedError) Kind() faults.Kind { return faults.Refused }

// Hint says what explains it.
func (e *RefusedError) Hint() string {
	group := ""
	if e.Decision.Subject.Group != "" {
		group = " --group " + e.Decision.Subject.Group
	}
	return fmt.Sprintf("`ampoule verify REF --policy %s%s` explains each rule; what is not signed by a key of trust root %s counts for nothing", e.Decision.Policy, group, e.Decision.Root)
}

// judgement is one decision that is being made.
type judgement struct {
	root    *roots.Root
	subject Subject
	now     time.Time
	items   []evidence.Item
	out     Decision
}

// Decide decides about an artifact, or a dependency group of one, by the evidence that was
// found beside it. The rule for a group is its artifact's.
func (p *Policy) Decide(root *roots.Root, subject Subject, found []registry.Evidence, now time.Time) Decision {
	return p.decide(root, subject, found, now, (*judgement).all)
}

// DecideSigned is as [Policy.Decide], and asks for the signatures alone: for what was allowed
// before, and whose other evidence may have become too old.
func (p *Policy) DecideSigned(root *roots.Root, subject Subject, found []registry.Evidence, now time.Time) Decision {
	return p.decide(root, subject, found, now, (*judgement).signed)
}

func (p *Policy) decide(root *roots.Root, subject Subject, found []registry.Evidence, now time.Time, ask func(*judgement, Rule)) Decision {
	j := &judgement{root: root, subject: subject, now: now.UTC()}
	j.out = Decision{Subject: subject, Policy: p.Path, Root: root.Name, Version: root.Number(), Lines: []Line{}, Notes: []Line{}}
	if err := root.CheckTime(j.now); err != nil {
		j.say("trust", false, "%v", err)
		return j.out
	}
	rule, ok := p.rule(subject.Name)
	if !ok {
		j.say("rules", false, "no rule matches %s: they match %s", subject.Name, strings.Join(p.names(), ", "))
		return j.out
	}
	j.read(found)
	ask(j, rule)
	j.out.Allowed = !slices.ContainsFunc(j.out.Lines, func(l Line) bool { return !l.Holds })
	return j.out
}

// all asks for everything that a rule wants.
func (j *judgement) all(rule Rule) {
	j.signed(rule)
	j.provenance(rule.Provenance)
	j.verdict(rule.Verdict)
	// What was tested, with which groups, is said of the artifact.
	if j.subject.Group == "" {
		j.tests(rule.Tests)
	}
	j.sbom(rule.SBOM)
}

// signed asks for the signatures that a rule wants.
func (j *judgement) signed(rule Rule) {
	for _, role := range rule.Signatures {
		j.signatures(role)
	}
}

func (j *judgement) say(rule string, holds bool, format string, args ...any) {
	j.out.Lines = append(j.out.Lines, Line{rule, holds, fmt.Sprintf(format, args...)})
}

func (j *judgement) note(where, format string, args ...any) {
	j.out.Notes = append(j.out.Notes, Line{Text: where + ": " + fmt.Sprintf(format, args...)})
}

// read parses what was found. What cannot be read, or is about something else, is noted.
func (j *judgement) read(found []registry.Evidence) {
	for _, raw := range found {
		if raw.Err != nil {
			j.note(raw.Where, "%v", raw.Err)
			continue
		}
		item, err := evidence.Parse(raw)
		switch {
		case err != nil:
			j.out.Notes = append(j.out.Notes, Line{Text: err.Error()})
		case !item.Subject(j.subject.Digest):
			j.note(raw.Where, "it is about another artifact")
		default:
			j.items = append(j.items, item)
		}
	}
}

// trusted is evidence of a type that keys of a role have signed.
type trusted struct {
	evidence.Item
	// by are the names of the keys.
	by []string
}

// of lists evidence of a type that counts for a role. Other evidence of the type is noted.
func (j *judgement) of(predicateType, role string) []trusted {
	known := j.root.KeysOf(role, j.now)
	var all []trusted
	for _, item := range j.items {
		if item.PredicateType != predicateType {
			continue
		}
		by := signers(known, item)
		switch {
		case len(by) == 0:
			j.note(item.Where, "%s", j.root.Explain(role, j.now, item.Signed))
		default:
			all = append(all, trusted{item, by})
		}
	}
	return all
}

func signers(known map[string]keys.Public, item evidence.Item) []string {
	var by []string
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if item.Signed(known[name]) {
			by = append(by, name)
		}
	}
	return by
}

// enough says whether enough keys of a role have signed, and which.
func (j *judgement) enough(rule, role string, all []trusted) (string, bool) {
	seen := map[string]bool{}
	for _, t := range all {
		for _, name := range t.by {
			seen[name] = true
		}
	}
	names := strings.Join(slices.Sorted(maps.Keys(seen)), ", ")
	want := j.root.Threshold(role)
	switch {
	case want == 0:
		j.say(rule, false, "trust root %s has no keys of the role %s", j.root.Name, role)
	case len(seen) == 0:
		j.say(rule, false, "nothing that a key of the role %s has signed is there", role)
	case len(seen) < want:
		j.say(rule, false, "%d keys of the role %s must have signed, and %s has", want, role, names)
	default:
		return names, true
	}
	return names, false
}

// signatures asks for signatures of a role. A statement with another predicate is none.
func (j *judgement) signatures(role string) {
	rule := "signatures." + role
	all := slices.DeleteFunc(j.of(evidence.SignatureType, role), func(t trusted) bool {
		future := j.isFuture(t.Time)
		if future {
			j.note(t.Where, "%s", j.clocks(t.Time))
		}
		return future
	})
	if names, ok := j.enough(rule, role, all); ok {
		j.say(rule, true, "signed by %s", names)
	}
}

func (j *judgement) isFuture(t time.Time) bool { return t.After(j.now.Add(skew)) }

// clocks says of a time in the future what that means.
func (j *judgement) clocks(t time.Time) string {
	return fmt.Sprintf("it says that it was made %s after now (%s): the clock of this machine or of its maker is wrong",
		t.Sub(j.now).Round(time.Minute), j.now.Format(time.RFC3339))
}

// statements asks for statements of a type by keys of a role, and says when the newest one was
// made. Each is told whether it says what is wanted.
func (j *judgement) statements(rule, predicateType, role, maxAge string, look func(trusted) error) bool {
	all := j.of(predicateType, role)
	names, ok := j.enough(rule, role, all)
	if !ok {
		return false
	}
	var newest time.Time
	for _, t := range all {
		if j.isFuture(t.Time) {
			j.say(rule, false, "%s: %s", t.Where, j.clocks(t.Time))
			return false
		}
		if err := look(t); err != nil {
			j.say(rule, false, "%s, signed by %s: %v", t.Where, strings.Join(t.by, ", "), err)
			return false
		}
		if t.Time.After(newest) {
			newest = t.Time
		}
	}
	if !j.fresh(rule, newest, maxAge) {
		return false
	}
	j.say(rule, true, "signed by %s%s", names, j.when(newest))
	return true
}

// fresh asks whether something is not too old.
func (j *judgement) fresh(rule string, made time.Time, maxAge string) bool {
	bound := age(maxAge)
	switch {
	case bound == 0:
		return true
	case made.IsZero():
		j.say(rule+".max-age", false, "it does not say when it was made")
	case j.now.Sub(made) > bound:
		j.say(rule+".max-age", false, "it was made %s, %s ago, and may be %s old", made.Format(time.RFC3339), hours(j.now.Sub(made)), maxAge)
	default:
		return true
	}
	return false
}

func (j *judgement) when(made time.Time) string {
	if made.IsZero() {
		return ""
	}
	return fmt.Sprintf(", made %s, %s ago", made.Format(time.RFC3339), hours(j.now.Sub(made)))
}

// hours is a duration as people say it.
func hours(d time.Duration) string {
	d = max(d, 0)
	if d < 48*time.Hour {
		return d.Round(time.Minute).String()
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

// provenance asks how the artifact was built.
func (j *judgement) provenance(want *Provenance) {
	if want == nil {
		return
	}
	var one *artifact.Provenance
	look := func(t trusted) error {
		p, err := readProvenance(t)
		if err != nil {
			return err
		}
		if one != nil && !sameBuild(*one, p) {
			return errors.New("it contradicts another statement: they name different builds")
		}
		one = &p
		if err := j.subject.check(p); err != nil {
			return err
		}
		return want.check(p)
	}
	if !j.statements("provenance", evidence.ProvenanceType, roots.RoleBuild, want.MaxAge, look) {
		return
	}
	j.say("provenance", true, "built by %s with key %s%s; network: %s", one.RunDetails.Builder.ID, one.BuildDefinition.InternalParameters.Key,
		sourceText(one.BuildDefinition.ExternalParameters.Source), one.BuildDefinition.InternalParameters.Network.Checked)
}

func sourceText(s *artifact.ProvenanceSource) string {
	if s == nil {
		return ""
	}
	state := "clean"
	if s.Dirty {
		state = "dirty"
	}
	return fmt.Sprintf(", of commit %s (%s) of %s %s", orUnknown(s.Commit), state, orUnknown(s.Repository), s.Ref)
}

func orUnknown(text string) string {
	if text == "" {
		return "unknown"
	}
	return text
}

func readProvenance(t trusted) (artifact.Provenance, error) {
	var p artifact.Provenance
	if err := t.Statement.Read(&p); err != nil {
		return p, err
	}
	if p.BuildDefinition.BuildType != artifact.BuildType {
		return p, fmt.Errorf("its build type is %.80q, not %s", p.BuildDefinition.BuildType, artifact.BuildType)
	}
	return p, nil
}

// sameBuild reports whether two statements are about the same build: all but the run itself.
func sameBuild(a, b artifact.Provenance) bool {
	x, errX := json.Marshal(a.BuildDefinition)
	y, errY := json.Marshal(b.BuildDefinition)
	return errX == nil && errY == nil && string(x) == string(y)
}

// check asks whether a provenance is of what is decided about: of a dependency group over its
// artifact, or of an artifact.
func (s Subject) check(p artifact.Provenance) error {
	said := p.BuildDefinition.ExternalParameters
	switch {
	case said.Group != s.Group && said.Group == "":
		return errors.New("it is the provenance of an artifact")
	case said.Group != s.Group:
		return fmt.Errorf("it is the provenance of the group %.80q", said.Group)
	case s.Group != "" && (said.Artifact == nil || "sha256:"+said.Artifact.Digest["sha256"] != s.Over):
		return fmt.Errorf("it does not say that it is laid over %s", s.Over)
	}
	return nil
}

// check asks whether a provenance is as the policy wants it.
func (want *Provenance) check(p artifact.Provenance) error {
	if len(want.Builders) > 0 && !slices.Contains(want.Builders, p.RunDetails.Builder.ID) {
		return fmt.Errorf("builder %q is none of %s", p.RunDetails.Builder.ID, strings.Join(want.Builders, ", "))
	}
	if want.Network != "" && !p.BuildDefinition.InternalParameters.Network.Denied {
		return errors.New("it does not say that the network was denied")
	}
	return want.Source.check(p.BuildDefinition.ExternalParameters.Source)
}

// check asks whether first-party code is of what the policy wants.
func (want *Source) check(s *artifact.ProvenanceSource) error {
	switch {
	case want == nil:
		return nil
	case s == nil:
		return errors.New("it names no source: the recipe has no code of its own")
	case len(want.Repositories) > 0 && !anyMatches(want.Repositories, s.Repository):
		return fmt.Errorf("source repository %q is none of %s", s.Repository, strings.Join(want.Repositories, ", "))
	case len(want.Refs) > 0 && !anyMatches(want.Refs, s.Ref):
		return fmt.Errorf("source ref %q is none of %s", s.Ref, strings.Join(want.Refs, ", "))
	case want.Tree != "" && s.Commit == "":
		return errors.New("its source is of no commit")
	case want.Tree != "" && s.Dirty:
		return fmt.Errorf("its source is dirty: files are not as commit %s has them", s.Commit)
	}
	return nil
}

// verdict asks what the gate has looked at.
func (j *judgement) verdict(want *Verdict) {
	if want == nil {
		return
	}
	var checks, targets []string
	look := func(t trusted) error {
		var v audit.Verdict
		if err := t.Statement.Read(&v); err != nil {
			return err
		}
		checks, targets = nil, nil
		for _, c := range v.Checks {
			checks = append(checks, c.Name)
		}
		for _, t := range v.Targets {
			targets = append(targets, t.Name)
		}
		switch {
		case v.Schema != audit.VerdictSchema:
			return fmt.Errorf("the verdict's schema is %.80q, not %s", v.Schema, audit.VerdictSchema)
		case !v.Passed:
			return errors.New("the gate refused the artifact")
		case v.Group != j.subject.Group && v.Group == "":
			return errors.New("it is a verdict on an artifact alone")
		case v.Group != j.subject.Group:
			return fmt.Errorf("it is a verdict on the group %.80q", v.Group)
		case j.subject.Group == "" && (v.Tree == "" || v.Tree != j.subject.Tree):
			return fmt.Errorf("it is a verdict on the tree %s, and the artifact's is %s", orUnknown(v.Tree), orUnknown(j.subject.Tree))
		}
		if missing := lacking(want.Checks, checks); len(missing) > 0 {
			return fmt.Errorf("the gate did not check %s", strings.Join(missing, ", "))
		}
		if missing := lacking(want.Targets, targets); len(missing) > 0 {
			return fmt.Errorf("the gate did not judge it in %s", strings.Join(missing, ", "))
		}
		return nil
	}
	if j.statements("verdict", evidence.VerdictType, roots.RoleBuild, want.MaxAge, look) {
		j.say("verdict", true, "passed %d checks in %s", len(checks), strings.Join(targets, ", "))
	}
}

func lacking(want, have []string) []string {
	return slices.DeleteFunc(slices.Clone(want), func(w string) bool { return slices.Contains(have, w) })
}

// tests asks what was tested. Results that are too old count for nothing; one that failed
// refuses, whatever others say.
func (j *judgement) tests(want *Tests) {
	if want == nil {
		return
	}
	passed, groups := map[string]bool{}, map[string]bool{}
	look := func(t trusted) error {
		var r evidence.TestResult
		if err := t.Statement.Read(&r); err != nil {
			return err
		}
		if r.Result != evidence.Passed || len(r.FailedTests) > 0 {
			return fmt.Errorf("tests did not pass: %.20q", r.Result)
		}
		if bound := age(want.MaxAge); bound > 0 && j.now.Sub(t.Time) > bound {
			return nil
		}
		for _, test := range r.PassedTests {
			passed[test] = true
		}
		for _, c := range r.Configuration {
			if name, ok := strings.CutPrefix(c.URI, evidence.GroupURI); ok {
				groups[name] = true
			}
		}
		return nil
	}
	if !j.statements("tests", evidence.TestType, roots.RoleTest, want.MaxAge, look) {
		return
	}
	if missing := lacking(want.Passed, slices.Collect(maps.Keys(passed))); len(missing) > 0 {
		j.say("tests.passed", false, "these were not run, or not lately: %s", strings.Join(missing, "; "))
		return
	}
	if missing := lacking(want.Groups, slices.Collect(maps.Keys(groups))); len(missing) > 0 {
		j.say("tests.groups", false, "nothing was tested with %s", strings.Join(missing, ", "))
		return
	}
	j.say("tests", true, "%d commands passed: %s", len(passed), strings.Join(slices.Sorted(maps.Keys(passed)), "; "))
}

// sbom asks for a list of contents.
func (j *judgement) sbom(want *SBOM) {
	if want == nil {
		return
	}
	components := 0
	look := func(t trusted) error {
		var b struct {
			BOMFormat  string            `json:"bomFormat"`
			Components []json.RawMessage `json:"components"`
		}
		if err := t.Statement.Read(&b); err != nil {
			return err
		}
		if b.BOMFormat != "CycloneDX" || len(b.Components) == 0 {
			return errors.New("it is no CycloneDX list of contents")
		}
		components = len(b.Components)
		return nil
	}
	if j.statements("sbom", evidence.SBOMType, roots.RoleBuild, want.MaxAge, look) {
		j.say("sbom", true, "lists %d components", components)
	}
}
