package audit

import "ampoule/audit/elf"

// X8664Level is the highest level of x86-64 that a file says it needs, in the property that
// the loader acts on: 1 is the baseline, 0 that it does not say.
func X8664Level(f *elf.File) int { return neededLevel(f.Notes) }
