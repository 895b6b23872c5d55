package audit

import (
	"fmt"
	"slices"
	"strings"

	"ampoule/audit/elf"
)

// refusal is why glibc's loader does not load a file that it has found, or does not survive
// it (elf/dl-load.c, elf/get-dynamic-info.h; each was tried).
type refusal struct {
	// field and value are the evidence.
	field, value string
	// says is the loader's own message, or what happens.
	says string
	// since and before bound the versions of glibc that it is so with; empty for no bound.
	since, before string
	// remedy is empty where only building the file again helps.
	remedy string
	// any says that other C libraries refuse it, too; opened that only dlopen does, and a
	// program that needs it starts.
	any, opened bool
}

// applies reports whether the loader of a machine refuses the file, for certain.
func (r refusal) applies(m machine) bool {
	if r.since == "" && r.before == "" {
		return true
	}
	if m.glibc == "" {
		return false
	}
	return (r.since == "" || m.atLeast(r.since)) && (r.before == "" || !m.atLeast(r.before))
}

// versions says with which versions of glibc it is so.
func (r refusal) versions() string {
	switch {
	case r.since != "" && r.before != "":
		return "of glibc " + r.since + " up to " + r.before
	case r.since != "":
		return "of glibc " + r.since + " and later"
	case r.before != "":
		return "before glibc " + r.before
	}
	return ""
}

// refusals lists what keeps an object of one of the machines that Python runs on, which could
// be read, from being loaded into a running process.
func (o *object) refusals() []refusal {
	if o.fault != nil || o.Class != elf.Class64 {
		return nil
	}
	return slices.Concat(o.headerRefusals(), o.layoutRefusals(), o.dynamicRefusals())
}

// What the file header may have: the plain ABI and that of GNU, of which glibc knows four
// versions.
const (
	abiPlain    = 0
	abiGNU      = 3
	gnuVersions = 4
	elfVersion  = 1
)

// headerRefusals judges what open_verify compares.
func (o *object) headerRefusals() []refusal {
	var list []refusal
	switch {
	case o.OSABI != abiPlain && o.OSABI != abiGNU:
		list = append(list, refusal{field: "EI_OSABI", value: fmt.Sprint(o.OSABI), says: "ELF file OS ABI invalid"})
	case o.ABIVersion != 0 && (o.OSABI != abiGNU || o.ABIVersion >= gnuVersions):
		list = append(list, refusal{field: "EI_ABIVERSION", value: fmt.Sprint(o.ABIVersion), says: "ELF file ABI version invalid"})
	}
	if o.Padded {
		list = append(list, refusal{field: "e_ident", value: "padding that is not zero", says: "nonzero padding in e_ident"})
	}
	if o.Version != elfVersion {
		list = append(list, refusal{field: "e_version", value: fmt.Sprint(o.Version), says: "ELF file version does not match current one"})
	}
	switch o.Type {
	case elf.Shared:
	case elf.Executable:
		list = append(list, refusal{field: "e_type", value: "ET_EXEC", says: "cannot dynamically load executable", remedy: "It is a program: build a shared library (-shared).", any: true})
	default:
		list = append(list, refusal{field: "e_type", value: typeName(o.Type), says: "only ET_DYN and ET_EXEC can be loaded", remedy: "It is no library: link it with -shared.", any: true})
	}
	return list
}

func typeName(t elf.Type) string {
	switch t {
	case elf.Relocatable:
		return "ET_REL"
	case elf.Core:
		return "ET_CORE"
	default:
		return fmt.Sprintf("%d", t)
	}
}

// The machines' bounds: what a page has at least; how much of memory is a process's; how much
// that a file only asks for is more than any machine gives it.
const (
	pageBytes    = 4 << 10
	addressSpace = 1 << 47
	absurdMemory = 1 << 40
)

// layoutRefusals judges the program headers.
func (o *object) layoutRefusals() []refusal {
	var list []refusal
	var first, last *elf.Segment
	for i, s := range o.Segments {
		if s.Type != elf.Load {
			continue
		}
		if first == nil {
			first = &o.Segments[i]
		}
		last = &o.Segments[i]
		list = append(list, loadRefusals(s)...)
	}
	if last == nil {
		return append(list, refusal{field: "PT_LOAD", value: "none", says: "object file has no loadable segments", any: true})
	}
	if span := last.Addr + last.MemSize - first.Addr&^(pageBytes-1); span >= addressSpace {
		list = append(list, refusal{field: "PT_LOAD", value: fmt.Sprintf("%#x bytes of memory", span), says: "failed to map segment from shared object", any: true})
	}
	return append(list, o.coverRefusals()...)
}

// loadRefusals judges one PT_LOAD. Since 2.35 only that address and offset agree within a page
// counts; before, the alignment that the file asks for did.
func loadRefusals(s elf.Segment) []refusal {
	at := fmt.Sprintf("address %#x, offset %#x, alignment %#x", s.Addr, s.Offset, s.Align)
	aligned := "Link it again with pages of 4096 bytes (-z max-page-size), and change it with no tool that moves segments without regard to that (old patchelf, strip of other binutils)."
	switch apart := s.Addr - s.Offset; {
	case apart%pageBytes != 0:
		return []refusal{{field: "PT_LOAD", value: at, says: "ELF load command address/offset not page-aligned", remedy: aligned, any: true}}
	case s.Align&(pageBytes-1) != 0:
		return []refusal{{field: "PT_LOAD", value: at, says: "ELF load command alignment not page-aligned", before: "2.35", remedy: aligned}}
	case apart&(s.Align-1) != 0:
		return []refusal{{field: "PT_LOAD", value: at, says: "ELF load command address/offset not properly aligned", before: "2.35", remedy: aligned}}
	case s.MemSize > s.FileSize && s.MemSize-s.FileSize >= absurdMemory:
		return []refusal{{field: "PT_LOAD", value: fmt.Sprintf("%#x bytes of memory", s.MemSize), says: "cannot map zero-fill pages", any: true}}
	}
	return nil
}

// coverRefusals judges what the loader writes to or reads from in memory that a PT_LOAD must
// have mapped.
func (o *object) coverRefusals() []refusal {
	var list []refusal
	for _, s := range o.Segments {
		switch s.Type {
		case elf.GNURelro:
			// Whole pages are protected, and the last one that is not whole is left out.
			start, end := s.Addr&^(pageBytes-1), (s.Addr+s.MemSize)&^(pageBytes-1)
			if start < end && !o.covers(start, end) {
				list = append(list, refusal{field: "PT_GNU_RELRO", value: fmt.Sprintf("%#x to %#x", start, end), says: "cannot apply additional memory protection after relocation"})
			}
		case elf.HeadersSeg:
			if !o.covers(s.Addr, s.Addr+s.MemSize) {
				list = append(list, refusal{field: "PT_PHDR", value: fmt.Sprintf("address %#x", s.Addr), says: "the process ends: the program headers are not where the file says"})
			}
		default: // of the others no address matters once it is loaded
		}
	}
	return list
}

// covers reports whether the pages of one or several PT_LOAD, without a gap, have an address
// range.
func (o *object) covers(start, end uint64) bool {
	for _, s := range o.Segments {
		if s.Type != elf.Load {
			continue
		}
		if from, to := s.Addr&^(pageBytes-1), (s.Addr+s.MemSize+pageBytes-1)&^(pageBytes-1); from <= start && start < to {
			start = to
		}
	}
	return start >= end
}

// dynamicRefusals judges what the loader asks of the dynamic section.
func (o *object) dynamicRefusals() []refusal {
	if !o.Dynamic {
		return []refusal{{field: "PT_DYNAMIC", value: "none", says: "object file has no dynamic section", remedy: "It may be a file of debug information: take the library that it is of.", any: true}}
	}
	var list []refusal
	if o.Flags1&elf.Flag1PIE != 0 {
		list = append(list, refusal{field: "DT_FLAGS_1", value: "PIE", says: "cannot dynamically load position-independent executable", since: "2.30", remedy: "It is a program: build a shared library (-shared)."})
	}
	if o.Flags1&elf.Flag1NoOpen != 0 {
		list = append(list, refusal{field: "DT_FLAGS_1", value: "NOOPEN", says: "shared object cannot be dlopen()ed", opened: true, remedy: "Link it without -z nodlopen."})
	}
	const aborts = "the process ends: inconsistency detected by ld.so"
	if o.RelaEntry != 0 && o.RelaEntry != elf.RelaEntrySize {
		list = append(list, refusal{field: "DT_RELAENT", value: fmt.Sprint(o.RelaEntry), says: aborts})
	}
	if o.PltRel != 0 && o.PltRel != elf.PltRelRela {
		list = append(list, refusal{field: "DT_PLTREL", value: fmt.Sprint(o.PltRel), says: aborts})
	}
	if o.BloomWords&(o.BloomWords-1) != 0 {
		list = append(list, refusal{field: "DT_GNU_HASH", value: fmt.Sprintf("filter of %d words", o.BloomWords), says: aborts})
	}
	return append(list, o.relrRefusals()...)
}

// relrVersion is the version of libc.so.6 by which a file tells older loaders that they do not
// understand DT_RELR.
const relrVersion = "GLIBC_ABI_DT_RELR"

// relrRefusals judges relocations that glibc knows since 2.36, and takes from files alone that
// say so. Where a file does, older ones refuse it for that: the check versions tells.
func (o *object) relrRefusals() []refusal {
	if !o.Relr {
		return nil
	}
	needsLibc := false
	for _, n := range o.Needs {
		if !strings.HasPrefix(n.File, "libc.so.") {
			continue
		}
		needsLibc = true
		if slices.ContainsFunc(n.Versions, func(v elf.Version) bool { return v.Name == relrVersion }) {
			return nil
		}
	}
	link := "Link it with a linker that adds the version " + relrVersion + " to libc.so.6, or without -z pack-relative-relocs."
	list := []refusal{{field: "DT_RELR", value: "without " + relrVersion, says: "it leaves the relocations out, and the process ends", before: "2.36", remedy: link}}
	if needsLibc {
		list = append(list, refusal{field: "DT_RELR", value: "without " + relrVersion, says: "DT_RELR without GLIBC_ABI_DT_RELR dependency", since: "2.36", remedy: link})
	}
	return list
}
