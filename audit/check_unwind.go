package audit

import (
	"context"
	"slices"

	"ampoule/audit/elf"
)

func init() {
	register(check{
		name:   "unwind",
		reason: "what handles exceptions has the table by which they find their handlers",
		run:    checkUnwind,
	})
}

// unwinds reports whether a symbol that a file asks others for belongs to the handling of
// exceptions: what throws or goes on with one, or the routine that finds handlers of C++, or
// of cleanups in C (Itanium C++ ABI: Exception Handling). What only looks at the stack does not.
func unwinds(name string) bool {
	switch name {
	case "__gxx_personality_v0", "__gcc_personality_v0", "_Unwind_Resume", "_Unwind_RaiseException", "_Unwind_ForcedUnwind":
		return true
	}
	return false
}

// checkUnwind wants PT_GNU_EH_FRAME of what has handlers (Linux Standard Base, "Exception
// Frames"). Without it the unwinder finds none in the file, and an exception that is
// thrown there ends the process.
func checkUnwind(_ context.Context, x *exam) (outcome, error) {
	out := outcome{}
	for _, o := range x.parsed() {
		if o.unwinds == "" {
			continue
		}
		out.examined++
		if !slices.ContainsFunc(o.Segments, func(s elf.Segment) bool { return s.Type == elf.GNUEHFrame }) {
			out.add(Finding{
				Severity: Refuse, File: o.entry.Path, Field: "PT_GNU_EH_FRAME", Value: o.unwinds,
				Cause:  "The file handles exceptions and has no table of its handlers: the first one that is thrown ends the process.",
				Remedy: "Link it with the compiler's driver and without --no-eh-frame-hdr; see whether a specs file changes what the driver hands to the linker.",
			})
		}
	}
	return out, nil
}
