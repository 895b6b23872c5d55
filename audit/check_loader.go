package audit

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/audit/elf"
)

func init() {
	register(check{
		name:   "loader",
		reason: "the dynamic loader takes every module and library, and has room for its thread-local memory",
		run:    checkLoader,
	})
}

// checkLoader judges what the loader looks at in a file before it looks for what the file
// needs, by the machine's glibc where that decides. A file that nothing would load is none of
// its business: objects of a compiler and files of debug information among the data.
func checkLoader(_ context.Context, x *exam) (outcome, error) {
	out := outcome{}
	musl := x.home.known() && x.python().Musl
	for _, name := range x.paths() {
		o := x.objects[name]
		if o.fault != nil || !slices.Contains(processors, o.Machine) || x.idle(o) {
			continue
		}
		module := x.isModule(o)
		if !module && (o.Type != elf.Shared || !o.Dynamic || o.IsExecutable() || x.home.ownsLibpython(o.entry)) {
			continue
		}
		out.examined++
		for _, r := range o.refusals() {
			if !musl || r.any {
				out.add(x.refused(o, r, module))
			}
		}
	}
	if !musl {
		for _, r := range x.runs {
			for _, l := range r.loadings {
				if err := x.staticFault(&out, r, l); err != nil {
					return out, err
				}
			}
		}
	}
	return out, nil
}

// paths are those of the ELF files, sorted.
func (x *exam) paths() []string {
	names := make([]string, 0, len(x.objects))
	for name := range x.objects {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// taggedModule matches the names that only extension modules have (PEP 3149, PEP 384).
var taggedModule = regexp.MustCompile(`\.(cpython-\d+[a-z]*(-[\w-]+)?|abi3t?|graalpy\w*(-[\w-]+)*|pypy\w*(-[\w-]+)*)\.so$`)

// isModule reports whether import would have a file loaded: by what it exports, or by its name.
// What has a library's name, libfoo.so, is none.
func (x *exam) isModule(o *object) bool {
	base := path.Base(o.entry.Path)
	switch {
	case o.loads() && o.isExtension(), taggedModule.MatchString(base):
		return true
	case !strings.HasSuffix(base, ".so") || strings.HasPrefix(base, "lib"):
		return false
	}
	return x.home.known() && moduleName(x.home, o.entry.Path) != ""
}

// refused makes a finding of why the loader does not take a file. By a library that nothing
// here needs nothing is kept from working.
func (x *exam) refused(o *object, r refusal, module bool) Finding {
	f := Finding{
		Severity: Refuse, File: o.entry.Path, Field: r.field, Value: printable(r.value),
		Cause:  "The dynamic loader refuses the file: " + r.says + ".",
		Remedy: cmp.Or(r.remedy, "Build it again, or take it again from where it came: no linker writes that."),
	}
	if versions := r.versions(); versions != "" {
		f.Cause = "The dynamic loader " + versions + " refuses the file: " + r.says + "."
		unknown, refuses := false, false
		for _, m := range x.machines() {
			unknown = unknown || m.glibc == ""
			refuses = refuses || r.applies(m)
		}
		switch {
		case refuses:
		case unknown:
			f.Severity = Undecided
			f.Needs = "the glibc of the machine: name an interpreter of it, or audit it there"
		default:
			f.Severity = Warn
		}
	}
	if !module && (x.found || r.opened) {
		f.Severity = Warn
	}
	return f
}

// machines are those that the files are to be loaded on. A target that promises an older
// glibc than it has counts twice.
func (x *exam) machines() []machine {
	if x.found {
		return []machine{{glibc: x.glibc}}
	}
	if x.targets == nil {
		for _, t := range x.Targets {
			x.targets = append(x.targets, machine{glibc: Glibc(t.Root)})
			if t.Glibc != "" {
				x.targets = append(x.targets, machine{glibc: t.Glibc})
			}
		}
	}
	return x.targets
}

// The room that glibc has for the thread-local memory of what is loaded into a running
// process, in bytes: TLS_STATIC_SURPLUS before 2.32, and since then what the tunables
// glibc.rtld.nns and optional_static_tls make by default (elf/dl-tls.c); more remains where
// the memory of what was loaded at the start does not fill its last 64.
const (
	staticRoom  = 1664
	staticAlign = 64
	// much of the room is more than a module should take: a process has many.
	muchOfRoom = staticRoom / 2
)

// staticFault judges the thread-local memory that must stand at a fixed distance from the
// thread pointer, which all that is not loaded at the start shares the room for.
func (x *exam) staticFault(out *outcome, r run, l loading) error {
	if l.root.IsExecutable() || x.idle(l.root.object) {
		return nil
	}
	atStart := map[*object]bool{}
	align := uint64(staticAlign)
	if r.python != nil {
		for _, lib := range r.python.list {
			if lib.object != nil {
				atStart[lib.object] = true
				align = max(align, lib.threadLocal().Align)
			}
		}
	}
	total, largest := uint64(0), (*loaded)(nil)
	for _, lib := range l.list {
		if lib.host || lib.fault != nil || atStart[lib.object] || lib.Flags&elf.FlagStaticTLS == 0 {
			continue
		}
		tls := lib.threadLocal()
		if total+tls.MemSize <= muchOfRoom && tls.Align <= align {
			total += tls.MemSize // whether it needs the room does not matter
			continue
		}
		refs, err := lib.references()
		if err != nil {
			return err
		}
		if !refs.OwnTLS {
			continue
		}
		total += tls.MemSize
		if tls.Align > align {
			out.add(x.noRoom(r, l, lib, fmt.Sprintf("alignment %d", tls.Align), Refuse))
			return nil
		}
		if largest == nil || tls.MemSize > largest.threadLocal().MemSize {
			largest = lib
		}
	}
	switch {
	case largest == nil || total <= muchOfRoom:
	case total > staticRoom+align-1:
		out.add(x.noRoom(r, l, largest, fmt.Sprintf("%d bytes", total), Refuse))
	default:
		out.add(x.noRoom(r, l, largest, fmt.Sprintf("%d bytes", total), Warn))
	}
	return nil
}

// threadLocal is PT_TLS; nothing without one.
func (o *object) threadLocal() elf.Segment {
	for _, s := range o.Segments {
		if s.Type == elf.TLSSeg {
			return s
		}
	}
	return elf.Segment{}
}

func (x *exam) noRoom(r run, l loading, lib *loaded, value string, severity Severity) Finding {
	f := Finding{
		Severity: severity, File: lib.Path, Field: "PT_TLS", Value: value, Targets: []string{r.Name},
		Cause:  fmt.Sprintf("Its thread-local memory must be in the static block, where %d bytes are left for all that is loaded into a running process: cannot allocate memory in static TLS block.", staticRoom),
		Remedy: "Compile it without -ftls-model=initial-exec (-fPIC alone does that); until then GLIBC_TUNABLES=glibc.rtld.optional_static_tls=N (glibc 2.32 and later) makes room, or LD_PRELOAD of the file.",
	}
	if severity == Warn {
		f.Cause = fmt.Sprintf("Its thread-local memory takes much of the %d bytes of the static block that are left for all that is loaded into a running process: behind others it may fail with cannot allocate memory in static TLS block.", staticRoom)
	}
	if !lib.inTree {
		f.File, f.Value = l.root.Path, value+" of "+printable(lib.label())
	}
	if x.found && !l.root.isExtension() {
		f.Severity = Warn
	}
	return f
}
