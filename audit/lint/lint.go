// Package lint tells of a wheel what its maker could do better, and what its names promise
// that it does not keep: how old a system it runs on by PEP 600 and PEP 656, and what keeps
// it from an older one; which Pythons its modules of the stable ABI work with (PEP 384); what
// is in it that wheels should not have. Package audit reports whether a wheel works; nothing here
// changes that.
//
// It goes by what the wheel holds and by nothing of the machine that it runs on.
package lint

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"ampoule/packaging"
	"ampoule/tree"
)

// Wheel is a wheel file whose members can be read.
type Wheel struct {
	// Name is what the file is called, or would be: NAME-VERSION-TAGS.whl.
	Name string
	// Files are its members by their paths in it, each with its hash. What holds ELF code can
	// be read anywhere (io.ReaderAt); elsewhere none is looked for.
	Files []tree.Entry
}

// Report is what is told of one wheel. Its JSON form is deterministic.
type Report struct {
	// Platform is nil for a wheel without native code that a policy is about.
	Platform *Platform `json:"platform,omitempty"`
	// Modules are the extension modules, sorted by path.
	Modules []Module `json:"modules"`
	// Notes are sorted by rule.
	Notes []Note `json:"notes"`
}

// Level says how much a note matters.
type Level string

// The levels.
const (
	// Fault is a promise that is not kept, or content that no wheel should have.
	Fault Level = "fault"
	// Advice is what could be better.
	Advice Level = "advice"
)

// Note is what one rule says of a wheel.
type Note struct {
	// Rule is the name of one of [Rules].
	Rule  string `json:"rule"`
	Level Level  `json:"level"`
	// Text says in a sentence what there is, Remedy what to do about it.
	Text   string `json:"text"`
	Remedy string `json:"remedy"`
	// Files are paths in the wheel, sorted; none where it is about the whole wheel.
	Files []string `json:"files,omitempty"`
}

// Check reads a wheel. An error means that a member could not be read; unsound files have
// findings in package audit, and are left out here.
func Check(w Wheel) (*Report, error) {
	x, err := open(w)
	if err != nil {
		return nil, fmt.Errorf("linting %s: %w", w.Name, err)
	}
	r := &Report{Platform: x.platform(), Modules: x.modules(), Notes: []Note{}}
	for _, n := range slices.Concat(x.platformNotes(r.Platform), x.stableNotes(r.Modules), x.layoutNotes()) {
		n.Level = levels[n.Rule]
		r.Notes = append(r.Notes, n)
	}
	slices.SortStableFunc(r.Notes, func(a, b Note) int { return strings.Compare(a.Rule, b.Rule) })
	return r, nil
}

// Faults counts the notes of level [Fault].
func (r *Report) Faults() int {
	n := 0
	for _, note := range r.Notes {
		if note.Level == Fault {
			n++
		}
	}
	return n
}

// Without leaves out the notes of some rules.
func (r *Report) Without(rules []string) {
	r.Notes = slices.DeleteFunc(r.Notes, func(n Note) bool { return slices.Contains(rules, n.Rule) })
}

// exam is a wheel as the rules look at it.
type exam struct {
	// tags are those of its name; none where it has no proper one.
	tags []packaging.Tag
	// info is its .dist-info directory, data the .data directory that belongs to it.
	info, data string
	// purelib is WHEEL's Root-Is-Purelib.
	purelib bool
	// requires says that METADATA has a Requires-Dist.
	requires bool
	// declared are the names in top_level.txt, which setuptools writes; nil without one.
	declared map[string]bool
	files    []tree.Entry
	// library are the paths in the wheel of what lands in a site-packages directory, by
	// their paths there.
	library map[string]string
	// natives are the ELF files, sorted by path.
	natives []*native
	// extensions are the extension modules by where they are installed.
	extensions map[string]bool
	// foreign are the ELF files that are not read: unsound, of 32 bits, or big-endian.
	foreign []string
	// unsound says that one of them is: nothing can be said of the wheel's platform then.
	unsound bool
}

// maxText bounds the texts of .dist-info that are read, in bytes.
const maxText = 8 << 20

func open(w Wheel) (*exam, error) {
	x := &exam{files: w.Files, library: map[string]string{}, extensions: map[string]bool{}}
	if name, err := packaging.ParseWheelName(w.Name); err == nil {
		x.tags = name.Tags()
	}
	for _, e := range w.Files {
		if dir, _, ok := strings.Cut(e.Path, "/"); ok && strings.HasSuffix(dir, ".dist-info") {
			x.info, x.data = dir, strings.TrimSuffix(dir, ".dist-info")+".data"
		}
	}
	for _, e := range w.Files {
		if e.Path == "" || e.Size > maxText || path.Dir(e.Path) != x.info {
			continue
		}
		if err := x.describe(e); err != nil {
			return nil, err
		}
	}
	for _, e := range w.Files {
		if p, ok := x.inLibrary(e.Path); ok {
			x.library[p] = e.Path
		}
	}
	return x, x.readNatives()
}

// describe reads what a file of .dist-info says of the wheel.
func (x *exam) describe(e tree.Entry) error {
	base := path.Base(e.Path)
	if base != "WHEEL" && base != "METADATA" && base != "top_level.txt" {
		return nil
	}
	text, err := e.ReadAll()
	if err != nil {
		return fmt.Errorf("reading %s: %w", e.Path, err)
	}
	if base == "top_level.txt" {
		x.declared = setOf(string(text))
		return nil
	}
	// Package audit has a finding about what cannot be read.
	if base == "WHEEL" {
		w, err := packaging.ParseWheelFile(text)
		x.purelib = err == nil && w.Purelib
		return nil
	}
	h, err := packaging.ParseMetadata(text)
	x.requires = err == nil && len(h.Values("Requires-Dist")) > 0
	return nil
}

// inLibrary is where a member lands below a site-packages directory, if it lands there
// (PEP 427, "The .data directory").
func (x *exam) inLibrary(member string) (string, bool) {
	dir, rest, below := strings.Cut(member, "/")
	switch {
	case below && dir == x.info:
		return "", false
	case below && dir == x.data:
		scheme, rest, ok := strings.Cut(rest, "/")
		return rest, ok && (scheme == "purelib" || scheme == "platlib")
	}
	return member, true
}
