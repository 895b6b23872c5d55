package audit

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"ampoule/audit/elf"
)

func init() {
	register(check{
		name:   "isa",
		reason: "every file is for the interpreter's machine and for processors of the target's level",
		run:    checkISA,
	})
}

// checkISA compares each file's machine with the interpreter's, what it says it needs of
// the processor with the target's level, and looks for compilers that were told to use
// whatever the build machine has. Most files do not say what they need.
func checkISA(_ context.Context, x *exam) (outcome, error) {
	out := outcome{}
	exe := x.objects[x.home.exe]
	for _, o := range x.parsed() {
		out.examined++
		if !slices.Contains(processors, o.Machine) {
			continue // code for a graphics processor, say, which ld.so never sees
		}
		if exe != nil && o.Machine != exe.Machine {
			f := Finding{
				Severity: Refuse, File: o.entry.Path, Field: "e_machine", Value: o.Machine.String(),
				Cause:  "The file is for another machine than the interpreter, which is for " + exe.Machine.String() + ".",
				Remedy: "Take the wheel for this machine, or build it here.",
			}
			x.asData(&f, o.entry)
			out.add(f)
			continue
		}
		if o.Machine != elf.X8664 {
			continue
		}
		for _, t := range x.Targets {
			if level := neededLevel(o.Notes); t.CPU != "" && level > max(cpuLevel(t.CPU), chosenLevel(o.entry.Path)) {
				out.add(Finding{
					Severity: Refuse, File: o.entry.Path, Field: "x86 ISA needed", Value: levelName(level), Targets: []string{t.Name},
					Cause:  "The loader refuses the file on processors of the level that " + words(x.found, "the target promises", "this machine has") + ", " + t.CPU + ".",
					Remedy: words(x.found, "Compile it for that level (-march), or raise the target's.", "Run it on a newer processor, or take a release that is compiled for this one."),
				})
			}
		}
	}
	for _, call := range x.NativeCalls {
		out.add(Finding{
			Severity: Refuse, File: x.infoOf(call.Dist), Field: "compiler call", Value: printable(call.Call),
			Cause:  "The wheel was compiled for the processor of its build machine: another one may lack what it uses, and another machine builds another wheel.",
			Remedy: "Have its build leave the flag out (packages.NAME in the recipe: env, config-settings or a patch).",
		})
	}
	for _, n := range x.facts.native() {
		out.add(Finding{
			Severity: x.travels(), File: n.file, Field: n.variable, Value: printable(n.word),
			Cause:  "The interpreter was compiled for the processor of its build machine, or has modules compiled so.",
			Remedy: "Name a level instead: -march=x86-64-v2.",
		})
	}
	return out, nil
}

// infoOf is the .dist-info directory of a distribution; its name where there is none.
func (x *exam) infoOf(name string) string {
	for _, d := range x.dists() {
		if d.name == name {
			return d.info
		}
	}
	return name
}

// processors are the machines that Python runs on.
var processors = []elf.Machine{elf.X86, elf.ARM, elf.X8664, elf.AArch64, elf.RISCV}

// chosenLevel is the level of the directory that a file is in, into which the loader looks
// on processors of that level only (ld.so(8), glibc-hwcaps); 0 elsewhere.
func chosenLevel(p string) int {
	_, below, ok := strings.Cut(p, "/glibc-hwcaps/")
	if !ok {
		return 0
	}
	level, _, _ := strings.Cut(below, "/")
	return cpuLevel(level)
}

// The note that holds program properties, and the property that says which levels of
// x86-64 a file needs, a bit each (x86-64 psABI, "Program Property").
const (
	propertyNote  = 5
	isaNeeded     = 0xc0008002
	propertyAlign = 8
)

// neededLevel is the highest level of x86-64 that a file says it needs: 1 is the
// baseline, 0 that it does not say.
func neededLevel(notes []elf.Note) int {
	for _, n := range notes {
		if n.Name != "GNU" || n.Type != propertyNote {
			continue
		}
		for rest := n.Desc; len(rest) >= 8; {
			kind, size := binary.LittleEndian.Uint32(rest), uint64(binary.LittleEndian.Uint32(rest[4:]))
			rest = rest[8:]
			if size > uint64(len(rest)) {
				break
			}
			if kind == isaNeeded && size == 4 {
				level := 0
				for bits := binary.LittleEndian.Uint32(rest); bits != 0; bits >>= 1 {
					level++
				}
				return level
			}
			rest = rest[min((size+propertyAlign-1)&^(propertyAlign-1), uint64(len(rest))):]
		}
	}
	return 0
}

// cpuLevel reads x86-64 and x86-64-vN.
func cpuLevel(name string) int {
	var n int
	if _, err := fmt.Sscanf(name, "x86-64-v%d", &n); err != nil {
		return 1
	}
	return n
}

func levelName(level int) string {
	if level <= 1 {
		return "x86-64"
	}
	return fmt.Sprintf("x86-64-v%d", level)
}
