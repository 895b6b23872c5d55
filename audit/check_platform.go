package audit

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"ampoule/audit/elf"
	"ampoule/audit/policy"
	"ampoule/packaging"
)

func init() {
	register(check{
		name:   "platform",
		reason: "every wheel runs where its platform tags promise that it does",
		run:    checkPlatform,
	})
}

// checkPlatform compares what native code wants of a machine with what the tags of its wheel
// promise of that (PEP 600, PEP 656): by these installers choose it. What it wants and this
// machine lacks is told by versions and closure; here is what others would lack.
func checkPlatform(ctx context.Context, x *exam) (outcome, error) {
	out := outcome{}
	for _, d := range x.dists() {
		if ctx.Err() != nil {
			return out, context.Cause(ctx)
		}
		tags, f := x.tagsOf(d)
		if f != nil || x.forOthers(OwnerWheel+d.name) {
			continue
		}
		p, ok := promiseOf(tags)
		if !ok {
			continue
		}
		files := x.nativeFiles(d, p.machine)
		out.examined += len(files)
		if len(files) == 0 {
			x.foreignCode(&out, d)
			continue
		}
		p.brought = x.brought(d)
		switch p.libc {
		case packaging.Glibc:
			x.beyondGlibc(&out, p, files)
			x.beyondLibraries(&out, d, p)
		case packaging.Musl:
			x.beyondMusl(&out, p, files)
		}
	}
	return out, nil
}

// promise is what all tags of a wheel promise together.
type promise struct {
	// libc is empty where a tag promises nothing, or they promise different ones.
	libc packaging.Libc
	// version is the lowest one, as numbers; tag has it.
	version []int
	tag     string
	machine elf.Machine
	// brought are the libraries that the wheel has itself.
	brought map[string]bool
}

// machineNames are the machines that are judged, as platform tags have them.
var machineNames = map[elf.Machine]string{elf.X8664: "x86_64", elf.AArch64: "aarch64"}

func machineNamed(name string) elf.Machine {
	for machine, n := range machineNames {
		if n == name {
			return machine
		}
	}
	return 0
}

// promiseOf is what tags promise; false where they do not name one machine of Linux's.
func promiseOf(tags []packaging.Tag) (promise, bool) {
	var p promise
	for i, t := range tags {
		at, ok := packaging.ParsePlatform(t.Platform)
		machine := machineNamed(at.Machine)
		if !ok || machine == 0 || i > 0 && machine != p.machine {
			return p, false
		}
		version := []int{at.Major, at.Minor}
		switch {
		case i == 0:
			p = promise{libc: at.Libc, version: version, tag: t.Platform, machine: machine}
		case at.Libc != p.libc:
			p.libc = ""
		case slices.Compare(version, p.version) < 0:
			p.version, p.tag = version, t.Platform
		}
	}
	return p, len(tags) > 0
}

// nativeFiles are a distribution's ELF files for a machine, by their paths.
func (x *exam) nativeFiles(d dist, machine elf.Machine) []*object {
	var list []*object
	for _, row := range d.rows {
		p, ok := recorded(x.home.site, row.Path)
		if o := x.objects[p]; ok && o != nil && o.loads() && o.Machine == machine {
			list = append(list, o)
		}
	}
	return list
}

// foreignCode refuses a wheel whose native code is all for other machines than its tags say.
func (x *exam) foreignCode(out *outcome, d dist) {
	if x.home.known() {
		return // isa compares it with the interpreter
	}
	for _, row := range d.rows {
		file, ok := recorded(x.home.site, row.Path)
		o := x.objects[file]
		if !ok || o == nil || o.fault == nil && !o.loads() || !x.used(o.entry) && !x.isProgram(o.entry) {
			continue
		}
		out.add(Finding{
			Severity: x.nowhere(), File: file, Field: "e_machine", Value: o.Machine.String(),
			Cause:  "The file is for another machine than the wheel's tags: wherever an installer takes it, it does not load.",
			Remedy: "Take the wheel for that machine, or build it there.",
		})
		return
	}
}

// beyondGlibc tells of the newest versions of symbols that files want beyond a promise: those
// of glibc's libraries, and of the compiler's.
func (x *exam) beyondGlibc(out *outcome, p promise, files []*object) {
	newest, wanting := map[string]excess{}, map[*object]bool{}
	module := false
	for _, o := range files {
		for _, n := range o.Needs {
			if p.brought[n.File] {
				continue
			}
			for _, v := range n.Versions {
				family, above := p.exceeds(n.File, v.Name)
				if v.Weak || above == nil {
					continue
				}
				wanting[o] = true
				module = module || !o.IsExecutable()
				if slices.Compare(above, newest[family].version) > 0 {
					newest[family] = excess{above, n.File + " " + v.Name, o.entry.Path}
				}
			}
		}
	}
	if len(newest) == 0 {
		return
	}
	var names []string
	f := Finding{
		Severity: Warn, Field: "DT_VERNEED",
		Cause: fmt.Sprintf("The wheel's tag %s promises that it runs with glibc %s and a compiler's libraries as old; %s.",
			printable(p.tag), dotted(p.version), countText(len(wanting), "file wants a newer one", "files want newer ones")),
		Remedy: "Nothing here, if it loads. Have it built in the image of that tag, or tagged for what it needs: auditwheel repair.",
	}
	for _, family := range families {
		if e, ok := newest[family]; ok {
			names = append(names, e.name)
			f.File = cmp.Or(f.File, e.file)
		}
	}
	f.Value = printable(strings.Join(names, ", "))
	if x.found && x.glibc == "" && module {
		f.Severity, f.Needs = Undecided, "the machine that it is for: --against an interpreter on it"
	}
	out.add(f)
}

// families are the families of symbol versions that promises speak of.
var families = []string{"GLIBC", "GLIBCXX", "CXXABI", "GCC"}

// excess is how far files exceed a promise in one family.
type excess struct {
	version    []int
	name, file string
}

func countText(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

func dotted(version []int) string {
	parts := make([]string, len(version))
	for i, n := range version {
		parts[i] = strconv.Itoa(n)
	}
	return strings.Join(parts, ".")
}

// exceeds reads a symbol version, and returns its numbers if they are beyond what is promised.
func (p promise) exceeds(library, version string) (family string, above []int) {
	family, text, _ := strings.Cut(version, "_")
	have := policy.Numbers(text)
	var limit []int
	switch {
	case len(have) == 0:
		return family, nil
	case family == "GLIBC" && IsGlibc(library):
		limit = p.version
	case library == "libstdc++.so.6" || library == "libgcc_s.so.1":
		limit = policy.Of(packaging.Glibc).Newest(machineNames[p.machine], family, p.version[0], p.version[1])
	}
	if limit == nil || slices.Compare(have, limit) <= 0 {
		return family, nil
	}
	return family, have
}

// brought are the names of the ELF files that a distribution brings, and their sonames.
func (x *exam) brought(d dist) map[string]bool {
	names := map[string]bool{}
	for _, row := range d.rows {
		p, ok := recorded(x.home.site, row.Path)
		if o := x.objects[p]; ok && o != nil {
			names[path.Base(p)] = true
			if o.File != nil && o.Soname != "" {
				names[o.Soname] = true
			}
		}
	}
	return names
}

// isEverywhere reports whether systems have a library that platform tags for glibc promise.
func isEverywhere(soname string) bool {
	glibc := policy.Of(packaging.Glibc)
	return glibc.Library(soname) < glibc.Never()
}

// beyondLibraries warns of the libraries that a wheel finds on this machine and that its tags do
// not promise of others, or that another distribution has to bring. What is missing here,
// closure tells.
func (x *exam) beyondLibraries(out *outcome, d dist, p promise) {
	var names []string
	f := Finding{
		Severity: Warn,
		Cause:    "The wheel's tag " + printable(p.tag) + " promises that it needs few libraries of the system; it does not bring these, which are none of those.",
		Remedy:   "Nothing here, if it loads. Have them brought along: auditwheel repair; or install what has them.",
	}
	r := x.runs[0]
	for _, l := range r.loadings {
		for _, lib := range l.list {
			if !lib.inTree || lib.entry.Owner != OwnerWheel+d.name {
				continue
			}
			for _, need := range lib.deps {
				switch {
				case slices.Contains(names, need.name), IsGlibc(need.name), IsLibpython(need.name), isEverywhere(need.name), p.brought[need.name]:
				case strings.HasPrefix(need.name, "libc.musl-") && need.lib == nil && x.glibc == "":
					out.add(Finding{
						Severity: x.nowhere(), File: lib.Path, Field: need.field, Value: printable(need.name),
						Cause:  "The file is linked to musl, while the wheel's tag " + printable(p.tag) + " is for glibc: where an installer takes it, it does not load.",
						Remedy: "Take the wheel for this system, or build it here.",
					})
				case need.lib == nil && x.glibc != "", need.lib != nil && (need.lib.inTree || need.lib.host):
				default:
					names = append(names, need.name)
					f.File, f.Field = cmp.Or(f.File, lib.Path), cmp.Or(f.Field, need.field)
				}
			}
		}
	}
	if len(names) > 0 {
		f.Value = printable(strings.Join(names[:min(len(names), maxNamed)], " "))
		out.add(f)
	}
}

// nowhere is the severity of what works nowhere that a tag promises it: the gate has checks
// that try it where it is to run.
func (x *exam) nowhere() Severity {
	if x.found {
		return Refuse
	}
	return Warn
}

// beyondMusl judges code for glibc in a wheel for musl. Musl takes libc.so.6 for itself, and
// knows no versions of symbols: what uses nothing that it lacks does load.
func (x *exam) beyondMusl(out *outcome, p promise, files []*object) {
	for _, o := range files {
		wanted := slices.IndexFunc(o.Needed, IsGlibc)
		if wanted < 0 || p.brought[o.Needed[wanted]] {
			continue
		}
		f := Finding{
			Severity: Warn, File: o.entry.Path, Field: "DT_NEEDED", Value: printable(o.Needed[wanted]),
			Cause:  "The file is linked to glibc, while the wheel's tag " + printable(p.tag) + " is for musl.",
			Remedy: "Take another release, or build it on such a system.",
		}
		switch lacks, known := x.muslLacks(o); {
		case !known:
			f.Severity, f.Needs = Undecided, "what its musl has: --against an interpreter that is linked to musl"
		case len(lacks) > 0:
			f.Severity = x.nowhere()
			f.Cause += " It needs what this musl does not have: " + printable(strings.Join(lacks[:min(len(lacks), maxNamed)], ", ")) + "."
		default:
			f.Cause += " Musl has all that it needs."
		}
		out.add(f)
		return
	}
}

// muslLacks lists what a file that is linked to glibc needs and a machine with musl does not
// have: the loader's own name, or symbols with versions of glibc. It is not known where the
// machine is not.
func (x *exam) muslLacks(o *object) (lacks []string, known bool) {
	exe := x.objects[x.home.exe]
	if exe == nil || exe.Interp == "" {
		return nil, false
	}
	r := x.runs[0]
	at, ok := r.resolve(exe.Interp)
	if !ok {
		return nil, false
	}
	libc, err := r.object(at)
	if err != nil || libc.fault != nil {
		return nil, false
	}
	for _, name := range o.Needed {
		if strings.HasPrefix(name, "ld-linux") {
			if _, ok := r.resolve("/lib/" + name); !ok {
				lacks = append(lacks, name)
			}
		}
	}
	for _, w := range o.wants {
		if strings.HasPrefix(w.version.Value(), "GLIBC_") && !libc.gives.has(hashName(w.Value())) {
			lacks = append(lacks, w.Value())
		}
	}
	return lacks, true
}
