package audit

import (
	"context"
	"fmt"
	"slices"

	"ampoule/audit/elf"
	"ampoule/audit/policy"
)

func init() {
	register(check{
		name:   "hardening",
		reason: "no file wants an executable stack, or memory that is writable and executable",
		run:    checkHardening,
	})
}

// Bits of p_flags and DT_FLAGS (gABI, chapters 5 and "Dynamic Section").
const (
	segmentExecutable = 1
	segmentWritable   = 2
	flagTextRel       = 4
)

// checkHardening refuses what takes a process's protection away for everything in it, and
// warns about relocations that stay writable, and about an interpreter at a fixed address, or whose
// threads have executable stacks. Whether symbols are bound at start (DF_BIND_NOW)
// is not judged: compilers' defaults differ, and the check load binds all at once.
func checkHardening(_ context.Context, x *exam) (outcome, error) {
	out := outcome{}
	for _, o := range x.parsed() {
		out.examined++
		findings := append(stackFaults(o), memoryFaults(o)...)
		if !x.found && o.entry.Path == x.home.exe {
			findings = append(findings, interpreterFaults(o)...)
		}
		for _, f := range findings {
			// It loads nevertheless, but for the stack since glibc 2.41, and a program starts.
			if x.found && (f.Field != "PT_GNU_STACK" || !x.refusesStacks() || o.IsExecutable()) {
				f.Severity = Warn
			}
			out.add(f)
		}
	}
	return out, nil
}

// interpreterFaults tells of an interpreter that a recipe wants faster and easier to attack.
func interpreterFaults(o *object) []Finding {
	var findings []Finding
	if o.Type == elf.Executable {
		findings = append(findings, Finding{
			Severity: Warn, File: o.entry.Path, Field: "e_type", Value: "ET_EXEC",
			Cause:  "The interpreter's code is at the same addresses in each process: who finds a way to jump somewhere knows where to.",
			Remedy: "Remove python.executable, or --enable-bolt, from the recipe, or keep it for its speed.",
		})
	}
	// Without the segment, glibc on x86-64 has stacks executable (DEFAULT_STACK_PERMS), all but the first thread's.
	if o.Machine == elf.X8664 && !slices.ContainsFunc(o.Segments, func(s elf.Segment) bool { return s.Type == elf.GNUStack }) {
		findings = append(findings, Finding{
			Severity: Warn, File: o.entry.Path, Field: "PT_GNU_STACK", Value: "missing",
			Cause:  "The stacks of the interpreter's threads are executable: what an attacker writes there runs.",
			Remedy: "With --enable-bolt, pin a training profile of `ampoule pgo-profile`, or write BOLT_APPLY_FLAGS without -use-gnu-stack into python.env.",
		})
	}
	return findings
}

// refusesStacks reports whether the machine's dlopen refuses files that want an executable
// stack (glibc 2.41).
func (x *exam) refusesStacks() bool {
	return slices.Compare(policy.Numbers(x.glibc), []int{2, 41}) >= 0
}

// stackFaults judges PT_GNU_STACK. On x86-64, glibc takes a library without one for one
// that wants an executable stack.
func stackFaults(o *object) []Finding {
	f := Finding{
		Severity: Refuse, File: o.entry.Path, Field: "PT_GNU_STACK", Value: "executable",
		Cause:  "Loading the file makes the stack of every thread executable; dlopen refuses that since glibc 2.41.",
		Remedy: "Link it with -z noexecstack; assembler sources need a section .note.GNU-stack.",
	}
	missing, executable := o.Machine == elf.X8664 && !o.IsExecutable(), false
	for _, s := range o.Segments {
		if s.Type == elf.GNUStack {
			// Of several the last one counts.
			missing, executable = false, s.Flags&segmentExecutable != 0
		}
	}
	switch {
	case missing:
		f.Value = "missing"
	case !executable:
		return nil
	}
	return []Finding{f}
}

// memoryFaults judges the segments that are loaded, and relocations of them.
func memoryFaults(o *object) []Finding {
	var findings []Finding
	add := func(severity Severity, field, value, cause, remedy string) {
		findings = append(findings, Finding{Severity: severity, File: o.entry.Path, Field: field, Value: value, Cause: cause, Remedy: remedy})
	}
	for _, s := range o.Segments {
		if s.Type == elf.Load && s.Flags&segmentWritable != 0 && s.Flags&segmentExecutable != 0 {
			add(Refuse, "PT_LOAD", fmt.Sprintf("writable and executable at %#x", s.Addr),
				"What an attacker writes there runs.", "Link it without --omagic (-N) or a script that joins code and data.")
		}
	}
	if o.TextRel || o.Flags&flagTextRel != 0 {
		add(Refuse, "DT_TEXTREL", "relocations of code", "The loader makes code writable to relocate it, which systems that forbid that refuse.",
			"Compile all of it with -fPIC.")
	}
	if !slices.ContainsFunc(o.Segments, func(s elf.Segment) bool { return s.Type == elf.GNURelro }) && o.Dynamic {
		add(Warn, "PT_GNU_RELRO", "missing", "Tables that only the loader writes stay writable.", "Link it with -z relro.")
	}
	return findings
}
