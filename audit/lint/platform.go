package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ampoule/audit"
	"ampoule/audit/elf"
	"ampoule/audit/policy"
	"ampoule/packaging"
)

// Platform says on how old a system a wheel's native code runs.
type Platform struct {
	// Machine is as platform tags have it; Libc is empty where the code needs none.
	Machine string         `json:"machine"`
	Libc    packaging.Libc `json:"libc,omitempty"`
	// Satisfies are the tags of the policy for the oldest systems that the code keeps: its
	// own and those of before PEP 600; linux_MACHINE where it keeps none. Code that needs no
	// C library keeps one of each. Empty is not known: no file was judged, or one is unsound.
	Satisfies []string `json:"satisfies"`
	// Claims are the platform tags in the wheel's name.
	Claims []string `json:"claims"`
	// Limits are what keeps the code from the oldest policy of its machine, the worst first.
	Limits []Limit `json:"limits"`
	// Unjudged are the files that no policy was held against: they are for another machine or
	// C library than the wheel, for a machine without policies here, of 32 bits, or unsound.
	Unjudged []string `json:"unjudged,omitempty"`

	sets []*policy.Set
	kept []int
	// narrow says that a tag of the wheel's is for a Python with narrow Unicode.
	narrow bool
}

// LimitKind says what of a file it is that only newer systems have.
type LimitKind string

// The kinds of limits.
const (
	// LimitVersion is a symbol version; LimitLibrary a library that the wheel does not have.
	LimitVersion LimitKind = "symbol version"
	LimitLibrary LimitKind = "library"
	// LimitSymbol is a symbol that the library has for itself alone, or in newer releases only.
	LimitSymbol LimitKind = "symbol"
	// LimitProcessor is a level of x86-64 above the baseline.
	LimitProcessor LimitKind = "processor"
	// LimitPython is a Python with fpectl, which tags do not tell, or a Python 2 with narrow
	// Unicode, where the wheel's tag does not say so (PEP 513).
	LimitPython LimitKind = "python"
)

// Limit is one thing that keeps a wheel from an older policy.
type Limit struct {
	File string    `json:"file"`
	Kind LimitKind `json:"kind"`
	// Library is the soname that the thing is asked of; empty where it is of none.
	Library string `json:"library,omitempty"`
	// Name is the version, library, symbol or level.
	Name string `json:"name"`
	// Admits is the tag of the first policy that admits it.
	Admits string `json:"admits"`

	policy int
}

// machines are the names in tags of the machines that policies are known of.
var machines = map[elf.Machine]string{elf.X8664: "x86_64", elf.AArch64: "aarch64", elf.RISCV: "riscv64"}

// platform holds the policies against the wheel's native code; nil without any.
func (x *exam) platform() *Platform {
	if len(x.natives) == 0 && len(x.foreign) == 0 {
		return nil
	}
	p := &Platform{Satisfies: []string{}, Claims: []string{}, Limits: []Limit{}, Unjudged: slices.Clone(x.foreign)}
	for _, t := range x.tags {
		if !slices.Contains(p.Claims, t.Platform) {
			p.Claims = append(p.Claims, t.Platform)
		}
		// cp27m is narrow, cp27mu wide (PEP 513, "UCS-2 vs UCS-4 builds").
		p.narrow = p.narrow || strings.HasPrefix(t.ABI, "cp2") && !strings.HasSuffix(t.ABI, "u")
	}
	slices.Sort(p.Claims)
	p.Machine, p.Libc = x.kind()
	judged := x.judged(p)
	slices.Sort(p.Unjudged)
	if len(judged) == 0 || x.unsound {
		return p
	}
	for _, libc := range []packaging.Libc{packaging.Glibc, packaging.Musl} {
		if p.Libc == libc || p.Libc == "" {
			p.hold(policy.Of(libc), judged)
		}
	}
	slices.SortFunc(p.Limits, func(a, b Limit) int {
		return cmp.Or(cmp.Compare(b.policy, a.policy), cmp.Compare(a.File, b.File), cmp.Compare(a.Library, b.Library),
			cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return p
}

// kind is the machine and the C library that the wheel is for: what its tags say, if any file
// is for that, else what its first file says.
func (x *exam) kind() (machine string, libc packaging.Libc) {
	claims, libcs := x.claims(), map[packaging.Libc]bool{}
	for _, c := range claims {
		machine = cmp.Or(machine, c.Machine)
		libcs[c.Libc] = true
	}
	for _, t := range x.tags {
		if rest, ok := strings.CutPrefix(t.Platform, "linux_"); ok {
			machine = cmp.Or(machine, rest)
		}
	}
	has := map[packaging.Libc]bool{}
	for _, n := range x.natives {
		machine = cmp.Or(machine, machines[n.Machine])
		libc = cmp.Or(libc, n.libc)
		has[n.libc] = true
	}
	if len(libcs) == 1 && has[claims[0].Libc] {
		return machine, claims[0].Libc
	}
	return machine, libc
}

// judged are the files that the policies are about; the others are noted.
func (x *exam) judged(p *Platform) []*native {
	var judged []*native
	for _, n := range x.natives {
		if machines[n.Machine] == p.Machine && (n.libc == "" || n.libc == p.Libc) {
			judged = append(judged, n)
		} else {
			p.Unjudged = append(p.Unjudged, n.member)
		}
	}
	return judged
}

// hold notes what of the files keeps the wheel from the first policy of a set.
func (p *Platform) hold(s *policy.Set, judged []*native) {
	lowest, ok := s.First(p.Machine)
	if !ok {
		return
	}
	kept := lowest
	for _, n := range judged {
		for _, l := range n.limits(s, p) {
			if l.policy <= lowest {
				continue
			}
			kept = max(kept, l.policy)
			l.File, l.Admits = n.member, s.Tags(l.policy, p.Machine)[0]
			p.Limits = append(p.Limits, l)
		}
	}
	p.sets, p.kept = append(p.sets, s), append(p.kept, kept)
	p.Satisfies = append(p.Satisfies, s.Tags(kept, p.Machine)...)
}

// limits are what a file asks for, with the first policy that admits each.
func (n *native) limits(s *policy.Set, p *Platform) []Limit {
	list := slices.Concat(n.versionLimits(s, p.Machine), n.libraryLimits(s), n.symbolLimits(s, p))
	if level := audit.X8664Level(n.File); n.Machine == elf.X8664 && level > 1 && !strings.Contains(n.member, "/glibc-hwcaps/") {
		list = append(list, Limit{Kind: LimitProcessor, Name: fmt.Sprintf("x86-64-v%d", level), policy: s.Never()})
	}
	if s == policy.Of(packaging.Musl) {
		list = append(list, n.muslLimits(s)...)
	}
	return list
}

// versionLimits are the symbol versions that a file insists on, of libraries that are not in
// the wheel.
func (n *native) versionLimits(s *policy.Set, machine string) []Limit {
	var list []Limit
	for _, need := range n.Needs {
		if isLoader(need.File) || n.from[need.File] != nil {
			continue
		}
		for _, v := range need.Versions {
			if first, ok := s.Version(machine, v.Name); ok && !v.Weak && s == policy.Of(packaging.Glibc) {
				list = append(list, Limit{Kind: LimitVersion, Library: need.File, Name: v.Name, policy: first})
			}
		}
	}
	return list
}

// libraryLimits are the libraries that a file needs and the wheel does not have.
func (n *native) libraryLimits(s *policy.Set) []Limit {
	var list []Limit
	for _, soname := range n.Needed {
		known := soname
		if strings.HasPrefix(soname, "libc.musl-") {
			known = "libc.so" // musl's own name for it; the other one is Alpine's
		}
		if isLoader(soname) || n.from[soname] != nil {
			continue
		}
		list = append(list, Limit{Kind: LimitLibrary, Library: soname, Name: soname, policy: s.Library(known)})
	}
	return list
}

// symbolLimits are the symbols that a file asks for and may not under some policy.
func (n *native) symbolLimits(s *policy.Set, p *Platform) []Limit {
	var list []Limit
	var known []string
	for soname := range s.Symbols() {
		if slices.Contains(n.Needed, soname) && n.from[soname] == nil {
			known = append(known, soname)
		}
	}
	for _, sym := range n.Symbols {
		if sym.Defined || sym.Weak {
			continue
		}
		for _, soname := range known {
			if first := s.Symbol(soname, sym.Name); first > 0 {
				list = append(list, Limit{Kind: LimitSymbol, Library: soname, Name: sym.Name, policy: first})
			}
		}
		if strings.HasPrefix(sym.Name, "PyUnicodeUCS2_") && !p.narrow || slices.Contains(fpectl, sym.Name) {
			list = append(list, Limit{Kind: LimitPython, Name: sym.Name, policy: s.Never()})
		}
	}
	return list
}

// fpectl are what extension modules of a Python with fpectl ask for, which others do not
// have (PEP 513, "fpectl builds vs. no fpectl builds").
var fpectl = []string{"PyFPE_jbuf", "PyFPE_dummy", "PyFPE_counter"}

// isLoader reports whether a soname is the loader's, which every system has.
func isLoader(soname string) bool {
	return strings.HasPrefix(soname, "ld-linux") || strings.HasPrefix(soname, "ld64.so.") || strings.HasPrefix(soname, "ld-musl-")
}

// platformNotes compares what the code keeps with what the wheel's name promises.
func (x *exam) platformNotes(p *Platform) []Note {
	notes := slices.Concat(x.purelibNotes(), x.muslNotes())
	if p == nil {
		return notes
	}
	for i, s := range p.sets {
		notes = append(notes, x.claimNotes(p, s, p.kept[i])...)
	}
	if p.Libc != "" && len(p.sets) > 0 {
		notes = append(notes, x.otherLibc(p)...)
	}
	return notes
}

// claimNotes compares the policy that is kept with the tags for the same C library.
func (x *exam) claimNotes(p *Platform, s *policy.Set, kept int) []Note {
	var mine []claim
	for _, c := range x.claims() {
		if policy.Of(c.Libc) == s && c.Machine == p.Machine {
			mine = append(mine, c)
		}
	}
	if len(mine) == 0 {
		return x.untagged(p, s, kept)
	}
	oldest := slices.MinFunc(mine, compareClaims)
	switch order := compareAge(s, kept, oldest); {
	case order > 0:
		return []Note{p.broken(s, kept, oldest)}
	case order < 0 && oldest.Libc == packaging.Glibc: // of musl, names tell too little to advise an older one
		return []Note{{
			Rule:   "platform-older",
			Text:   fmt.Sprintf("The code runs on systems as old as %s promises; the wheel is tagged for %s at the oldest.", s.Tags(kept, p.Machine)[0], oldest.tag),
			Remedy: "Tag it for them (wheel tags --platform-tag, or auditwheel repair, which chooses by itself), if its build is to be used there.",
		}}
	}
	return nil
}

// untagged tells of a wheel that only says that it is for Linux what it could say.
func (x *exam) untagged(p *Platform, s *policy.Set, kept int) []Note {
	onlyLinux := slices.ContainsFunc(p.Claims, func(c string) bool { return c == "linux_"+p.Machine }) && len(x.claims()) == 0
	if !onlyLinux || kept == s.Never() {
		return nil
	}
	return []Note{{
		Rule:   "platform-older",
		Text:   fmt.Sprintf("The wheel promises nothing of the system that it runs on; its code keeps %s.", s.Tags(kept, p.Machine)[0]),
		Remedy: "Have auditwheel repair give it that tag, without which no index takes it.",
	}}
}

// broken is the note about a tag that promises more than the code keeps.
func (p *Platform) broken(s *policy.Set, kept int, c claim) Note {
	n := Note{
		Rule:   "platform-libraries",
		Text:   fmt.Sprintf("The tag %s does not promise the libraries that the code needs and the wheel does not have.", c.tag),
		Remedy: "Carry them in the wheel (auditwheel repair), or leave it, where another distribution that is required has loaded them or the machine has to have them.",
	}
	for _, l := range p.Limits {
		if compareAge(s, l.policy, c) <= 0 {
			continue
		}
		if l.Kind != LimitLibrary {
			n.Rule = "platform-claim"
			n.Text = fmt.Sprintf("The tag %s promises more than the code keeps, which is %s: installers hand the wheel to systems on which it does not load.", c.tag, s.Tags(kept, p.Machine)[0])
			n.Remedy = "Compile it in the image that belongs to the tag, or tag it for what it keeps."
		}
		if len(n.Files) == 0 || n.Files[len(n.Files)-1] != l.File {
			n.Files = append(n.Files, l.File)
		}
	}
	slices.Sort(n.Files)
	n.Files = slices.Compact(n.Files)
	return n
}

// otherLibc refuses tags for another C library than the code's.
func (x *exam) otherLibc(p *Platform) []Note {
	for _, c := range x.claims() {
		if c.Libc != p.Libc {
			return []Note{{
				Rule: "platform-claim", Text: fmt.Sprintf("The tag %s is for %s; the wheel has code for %s.", c.tag, c.Libc, p.Libc),
				Remedy: "Build a wheel for each C library, and tag each for its own.",
			}}
		}
	}
	return nil
}

func compareClaims(a, b claim) int {
	return cmp.Or(cmp.Compare(a.Major, b.Major), cmp.Compare(a.Minor, b.Minor))
}

// compareAge compares the age of a policy's systems with that of a tag's: more is newer.
func compareAge(s *policy.Set, kept int, c claim) int {
	if kept >= s.Never() {
		return 1
	}
	major, minor := s.AtLeast(kept)
	return cmp.Or(cmp.Compare(major, c.Major), cmp.Compare(minor, c.Minor))
}

// purelibNotes tells of native code in the part of the library for all machines (PEP 427).
func (x *exam) purelibNotes() []Note {
	var files []string
	for _, n := range x.natives {
		below := strings.HasPrefix(n.member, x.data+"/purelib/")
		if _, inLibrary := x.inLibrary(n.member); below || x.purelib && inLibrary && !strings.HasPrefix(n.member, x.data+"/") {
			files = append(files, n.member)
		}
	}
	if len(files) == 0 {
		return nil
	}
	return []Note{{
		Rule: "purelib-native", Files: files,
		Text:   "Native code is in the part of the library that is for all machines: systems that keep the parts apart share it with the wrong ones.",
		Remedy: "Have the build say that the wheel is for one platform (Root-Is-Purelib: false).",
	}}
}
