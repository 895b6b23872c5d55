package audit

import (
	"context"
	"errors"

	"ampoule/audit/elf"
)

func init() {
	register(check{
		name:   "parse",
		reason: "every file with ELF's magic number can be read",
		run:    checkParse,
	})
}

// checkParse refuses what cannot be parsed: it would escape every other check
// while the loader may still accept it. Where files are judged as they are found, what no
// import leads to is data.
func checkParse(_ context.Context, x *exam) (outcome, error) {
	out := outcome{examined: len(x.objects)}
	for path, o := range x.objects {
		if o.fault == nil {
			continue
		}
		f := Finding{
			Severity: Refuse, File: path, Field: "ELF header", Value: o.fault.Error(),
			Cause:  "The file starts as ELF files do but cannot be read as one.",
			Remedy: words(x.found, "Rebuild the file, or leave it out of the tree; test data may have an exception.", "Install its distribution again if the file is not the one that RECORD lists, or take another release; nothing, if it is data."),
		}
		if errors.Is(o.fault, elf.ErrUnsupported) {
			f.Cause = "The file is built for another kind of machine: " + o.String() + "."
			x.asData(&f, o.entry)
		}
		if x.found {
			f.Remedy = "Take it again from where it came, another release, or build it here."
			if !x.isModule(o) {
				f.Severity = Warn // data: what needs it as a library is told by the check closure
				f.Cause += " Nothing here would load it."
			}
		}
		out.add(f)
	}
	return out, nil
}
