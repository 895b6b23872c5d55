// Package preflight reports whether a tree will run on a machine: what only the machine has,
// such as glibc and the processor, and what on it would mislead an interpreter.
package preflight

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"text/tabwriter"

	"ampoule/audit"
	"ampoule/audit/survey"
	"ampoule/faults"
	"ampoule/tree"
)

// Schema is the version of the report's JSON form.
const Schema = "ampoule.preflight/v1"

// State says what an item means for the tree.
type State string

// The states of items.
const (
	// Good says that the machine has what the tree needs.
	Good State = "good"
	// Warning says that the tree runs, and something may surprise.
	Warning State = "warning"
	// Unfit says that the tree, or a module of it, does not run here.
	Unfit State = "unfit"
)

// Machine is where the tree is to run.
type Machine struct {
	// Files is its root file system.
	Files survey.Files
	// Env is its environment, as os.Environ gives it.
	Env []string
	// CPU is the x86-64 level of its processor; empty when it is not known.
	CPU string
	// Known is what is known of the tree's files.
	Known survey.Known
}

// Item is one thing that was looked at.
type Item struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	// Found is what the machine has.
	Found string `json:"found"`
	// Cause says what is wrong, Remedy what to do; both are empty when nothing is.
	Cause  string `json:"cause,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// Report is what was found.
type Report struct {
	Schema string `json:"schema"`
	// Tree is the path of the tree.
	Tree string `json:"tree"`
	// Fit is true when nothing is unfit.
	Fit   bool   `json:"fit"`
	Items []Item `json:"items"`
}

// Check looks at a tree in the machine's file system, whose absolute path is given: an
// installed release, any interpreter's prefix or an environment of one. Where there is
// nothing that could run, it is a [*survey.NothingError] or a [*survey.NoInterpreterError].
func Check(ctx context.Context, m Machine, root string) (*Report, error) {
	natives, err := CheckNatives(ctx, m, root)
	if err != nil {
		return nil, err
	}
	return Complete(m, root, natives), nil
}

// CheckNatives looks at what the tree's native code asks of the machine: that part of [Check] which reads
// the tree. It is the same as long as the tree is, and [Machine.Fingerprint].
func CheckNatives(ctx context.Context, m Machine, root string) ([]Item, error) {
	found, err := survey.Look(ctx, survey.Target{Files: m.Files, Path: root, CPU: m.CPU, Known: m.Known})
	if err != nil {
		return nil, fmt.Errorf("looking at %s: %w", root, err)
	}
	if len(found.Unread) == 0 && !slices.ContainsFunc(found.Units, func(u survey.Unit) bool { return u.Interpreter != nil }) {
		return nil, fmt.Errorf("looking at %s: %w", root, &survey.NoInterpreterError{Path: root})
	}
	p := newPreflight(m, root)
	p.found = found
	if len(found.Unread) > 0 {
		u := found.Unread[0]
		p.add(Item{
			Name: "files", State: Unfit, Found: audit.Printable(u.Path),
			Cause:  fmt.Sprintf("It could not be read (%s)%s: nobody knows what it needs.", audit.Printable(u.Why), more(len(found.Unread)-1, "file")),
			Remedy: "Run this as the user that the tree is for, or as root.",
		})
	}
	p.glibc()
	p.native("libraries", "closure", "The machine lacks a library that the tree needs.", "Install the library, or name it in runtime.vm.host only where every machine has it.")
	p.processor()
	p.undecided()
	return p.report.Items, nil
}

// Complete makes the report of what [CheckNatives] gave, and of the rest of the machine.
func Complete(m Machine, root string, natives []Item) *Report {
	p := newPreflight(m, root)
	for _, i := range natives {
		p.add(i)
	}
	p.certificates()
	p.data("time zones", "usr/share/zoneinfo", "share/zoneinfo", "zoneinfo.ZoneInfo finds no zone.", "Install tzdata.")
	p.data("terminals", "usr/share/terminfo lib/terminfo etc/terminfo usr/lib/terminfo", "share/terminfo", "curses and readline know no terminal.", "Install ncurses-base.")
	p.environment()
	return p.report
}

func newPreflight(m Machine, root string) *preflight {
	at, _ := audit.Follow(m.Files, root)
	return &preflight{Machine: m, tree: at.Path, report: &Report{Schema: Schema, Tree: root, Fit: true}}
}

type preflight struct {
	Machine
	// tree is the tree's path without a leading slash.
	tree   string
	found  *survey.Report
	report *Report
}

func (p *preflight) add(i Item) {
	p.report.Items = append(p.report.Items, i)
	p.report.Fit = p.report.Fit && i.State != Unfit
}

// refused lists a check's findings that are wanted: refused ones, and those about the
// tree's own interpreter, which an audit only warns about.
func (p *preflight) refused(check string, wanted func(audit.Finding) bool) []audit.Finding {
	var list []audit.Finding
	for _, u := range p.found.Units {
		for _, f := range u.Findings {
			if f.Check == check && f.Severity != audit.Undecided && (f.Severity == audit.Refuse || strings.HasPrefix(f.File, "/"+p.tree+"/")) && wanted(f) {
				list = append(list, f)
			}
		}
	}
	return list
}

// glibc compares the versions that the tree's files require with the machine's.
func (p *preflight) glibc() {
	version := audit.Glibc(p.Files)
	i := Item{Name: "glibc", State: Good, Found: cmp.Or(version, "none")}
	needs := p.refused("versions", func(f audit.Finding) bool {
		return f.Severity == audit.Refuse || !strings.Contains(f.Cause, "defines no versions")
	})
	if len(needs) > 0 {
		i.State = Unfit
		i.Cause = fmt.Sprintf("%s needs %s, which this machine does not have%s.", needs[0].File, needs[0].Value, more(len(needs)-1, "file"))
		i.Remedy = "Run it on a newer system, or build it on an older base: base and runtime targets stand in the recipe."
	}
	if version == "" {
		i.State, i.Cause, i.Remedy = Unfit, "There is no glibc where the dynamic loader looks.", "Use a system with glibc: musl's is another one."
	}
	p.add(i)
}

func more(n int, what string) string {
	switch n {
	case 0:
		return ""
	case 1:
		return ", and so does 1 " + what + " more"
	}
	return fmt.Sprintf(", and so do %d %ss more", n, what)
}

// native tells what a check refuses.
func (p *preflight) native(name, check, cause, remedy string) {
	i := Item{Name: name, State: Good, Found: "all there"}
	if missing := p.refused(check, func(audit.Finding) bool { return true }); len(missing) > 0 {
		i.State, i.Found = Unfit, missing[0].Value
		i.Cause, i.Remedy = fmt.Sprintf("%s %s asks for it%s.", cause, missing[0].File, more(len(missing)-1, "file")), remedy
	}
	p.add(i)
}

func (p *preflight) processor() {
	i := Item{Name: "processor", State: Good, Found: cmp.Or(p.CPU, "not known")}
	if beyond := p.refused("isa", func(f audit.Finding) bool { return f.Field == "x86 ISA needed" || f.Field == "e_machine" }); len(beyond) > 0 {
		i.State = Unfit
		i.Cause = beyond[0].File + " needs " + beyond[0].Value + "."
		i.Remedy = "Run it on a newer processor, or build with a lower runtime.vm.cpu."
	}
	p.add(i)
}

// undecided warns about what depends on something that is not known here.
func (p *preflight) undecided() {
	var first Item
	others := 0
	for _, u := range p.found.Units {
		for _, f := range u.Findings {
			switch {
			case f.Severity != audit.Undecided:
			case first.Name != "":
				others++
			default:
				first = Item{Name: "undecided", State: Warning, Found: cmp.Or(f.File, u.Path), Cause: f.Cause, Remedy: "It depends on " + strings.TrimSuffix(f.Needs, ".") + "."}
			}
		}
	}
	if first.Name != "" {
		first.Found += more(others, "question")
		p.add(first)
	}
}

// bundles are where systems keep certificates.
var bundles = []string{
	"etc/ssl/certs/ca-certificates.crt", "etc/pki/tls/certs/ca-bundle.crt", "etc/ssl/ca-bundle.pem", "etc/ssl/cert.pem", "usr/lib/ssl/cert.pem",
}

// carriedBundle is where an Ampoule tree has a copy.
const carriedBundle = "share/ca-certificates/ca-bundle.crt"

func (p *preflight) certificates() {
	i := Item{Name: "certificates", State: Good}
	for _, name := range []string{"SSL_CERT_FILE", "SSL_CERT_DIR"} {
		value := p.variable(name)
		if value == "" {
			continue
		}
		i.Found = name + "=" + audit.Printable(value)
		if !p.exists(value) {
			i.State = Warning
			i.Cause = name + " names what is not there: no TLS connection will be trusted."
			i.Remedy = "Correct the variable, or unset it."
		}
		p.add(i)
		return
	}
	for _, bundle := range bundles {
		if p.exists("/" + bundle) {
			i.Found = "/" + bundle
			p.add(i)
			return
		}
	}
	if p.exists(path.Join("/", p.tree, carriedBundle)) {
		i.State, i.Found = Warning, "the tree's copy"
		i.Cause = "The machine has none: the tree's copy is as old as its lock, and has no certificates of your own."
		i.Remedy = "Install ca-certificates."
	} else {
		i.State, i.Found = Warning, "none"
		i.Cause, i.Remedy = "No TLS connection will be trusted.", "Install ca-certificates."
	}
	p.add(i)
}

// data looks for a directory of the machine, or the tree's copy.
func (p *preflight) data(name, places, carried, cause, remedy string) {
	i := Item{Name: name, State: Good}
	for place := range strings.FieldsSeq(places) {
		if names, err := p.Files.List(place); err == nil && len(names) > 0 {
			i.Found = "/" + place
			p.add(i)
			return
		}
	}
	if p.exists(path.Join("/", p.tree, carried)) {
		i.Found = "the tree's copy"
	} else {
		i.State, i.Found, i.Cause, i.Remedy = Warning, "none", cause, remedy
	}
	p.add(i)
}

// misleading are the variables that change what an interpreter loads, and how.
var misleading = []struct{ name, cause string }{
	{"LD_LIBRARY_PATH", "The loader looks there before it looks into the tree: a library of the same name is taken from there."},
	{"LD_PRELOAD", "The loader maps it into every process before the tree's own libraries."},
	{"PYTHONHOME", "The interpreter takes its standard library from there: with another version's it does not start."},
	{"PYTHONPATH", "Modules are imported from there before those of the tree."},
	{"PYTHONPLATLIBDIR", "The interpreter looks for its standard library in a directory of that name."},
	{"PYTHONUSERBASE", "Modules are imported from there, too."},
	{"PYTHONEXECUTABLE", "The interpreter takes that for its own path."},
	{"OPENSSL_CONF", "OpenSSL reads that file, which may ask for modules that the tree's OpenSSL does not have."},
	{"OPENSSL_MODULES", "OpenSSL loads its providers from there."},
}

// environment tells the variables that mislead.
func (p *preflight) environment() {
	clean := true
	for _, v := range misleading {
		value := p.variable(v.name)
		if value == "" {
			continue
		}
		clean = false
		i := Item{Name: v.name, State: Warning, Found: audit.Printable(value), Cause: v.cause, Remedy: "Unset it for what runs from the tree (env -u " + v.name + ", or in the service's unit)."}
		if at, ok := audit.Follow(p.Files, value); v.name == "PYTHONHOME" && (!ok || at.Path != p.tree) {
			i.State = Unfit
		}
		p.add(i)
	}
	if clean {
		p.add(Item{Name: "environment", State: Good, Found: "nothing that misleads"})
	}
	for _, place := range []string{"usr/lib/ssl/openssl.cnf", "etc/ssl/openssl.cnf", "etc/pki/tls/openssl.cnf"} {
		if e, ok := audit.Follow(p.Files, "/"+place); ok && e.Kind == tree.File && loadsModules(e) {
			p.add(Item{
				Name: "openssl.cnf", State: Warning, Found: "/" + e.Path,
				Cause:  "It asks OpenSSL to load an engine or provider, which the tree's OpenSSL may not have: ssl may fail to start.",
				Remedy: "Set OPENSSL_CONF=/dev/null for what runs from the tree, if it does.",
			})
			return
		}
	}
}

// maxConfig bounds openssl.cnf, in bytes.
const maxConfig = 1 << 20

// loadsModules reports whether OpenSSL's configuration names files that it is to load
// (config(5ssl): dynamic_path of engines, module of providers).
func loadsModules(e tree.Entry) bool {
	r, err := e.Content.Open()
	if err != nil {
		return false
	}
	defer r.Close()
	lines := bufio.NewScanner(io.LimitReader(r, maxConfig))
	for lines.Scan() {
		key, _, ok := strings.Cut(lines.Text(), "=")
		if ok && slices.Contains([]string{"dynamic_path", "module"}, strings.TrimSpace(key)) {
			return true
		}
	}
	return false
}

func (p *preflight) variable(name string) string {
	for _, entry := range p.Env {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

func (p *preflight) exists(abs string) bool {
	_, ok := audit.Follow(p.Files, abs)
	return ok
}

// Err says that the machine cannot run the tree, when something is unfit. Its hint repeats
// what is wrong first.
func (r *Report) Err() error {
	if r.Fit {
		return nil
	}
	var names []string
	hint := ""
	for _, i := range r.Items {
		if i.State == Unfit {
			names = append(names, i.Name)
			hint = cmp.Or(hint, i.Cause+" "+i.Remedy)
		}
	}
	return faults.New(faults.Machine, hint, "this machine cannot run %s: %s", r.Tree, strings.Join(names, ", "))
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	b := bufio.NewWriter(w)
	tw := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, i := range r.Items {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", i.State, i.Name, i.Found)
	}
	errs := []error{tw.Flush()}
	for _, i := range r.Items {
		if i.State != Good {
			fmt.Fprintf(b, "\n%s %s: %s\n  %s\n  %s\n", i.State, i.Name, i.Found, i.Cause, i.Remedy)
		}
	}
	decision := "fit"
	if !r.Fit {
		decision = "unfit"
	}
	fmt.Fprintf(b, "\n%s: %s\n", decision, r.Tree)
	if err := errors.Join(append(errs, b.Flush())...); err != nil {
		return fmt.Errorf("writing report: %w", err)
	}
	return nil
}
