package survey

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"ampoule/audit"
)

// badness orders checks by how sure they are that nothing works, the worst first.
var badness = []string{"libpython-needed", "second-runtime", "parse", "symbols", "closure", "versions", "isa", "tags", "record"}

func rank(check string) int {
	if i := slices.Index(badness, check); i >= 0 {
		return i
	}
	return len(badness)
}

func compareRanks(a, b audit.Finding) int { return cmp.Compare(rank(a.Check), rank(b.Check)) }

// block is the files of one wheel, or of one installed distribution, in which the same
// checks found something: what is wrong with the first is told for all.
type block struct {
	unit *Unit
	// files are the findings about each file, the worst first. Those of what is undecided may
	// be of several units.
	files [][]audit.Finding
	// turn counts the worse blocks of the same wheel or distribution.
	turn int
}

func (b *block) first() audit.Finding { return b.files[0][0] }

// blocks lists what is found of a severity: of each wheel and distribution the worst before
// the second of any, so that none hides the others.
func (r *Report) blocks(severity audit.Severity) []*block {
	var all []*block
	for i := range r.Units {
		all = append(all, r.Units[i].blocks(severity)...)
	}
	slices.SortStableFunc(all, func(a, b *block) int {
		return cmp.Or(cmp.Compare(a.turn, b.turn), compareRanks(a.first(), b.first()))
	})
	if severity == audit.Undecided {
		return joined(all)
	}
	return all
}

// joined makes one block of those that say the same: what one flag decides is told once,
// however many wheels wait for it.
func joined(all []*block) []*block {
	var blocks []*block
	alike := map[string]*block{}
	for _, b := range all {
		said := ""
		for _, f := range b.files[0] {
			said += f.Check + "\n" + f.Cause + "\n" + f.Needs + "\n"
		}
		if first := alike[said]; first != nil {
			first.files = append(first.files, b.files...)
			continue
		}
		alike[said] = b
		blocks = append(blocks, b)
	}
	return blocks
}

// blocks lists those of one unit, the worst first.
func (u *Unit) blocks(severity audit.Severity) []*block {
	type likeness struct{ distribution, checks string }
	alike := map[likeness]*block{}
	var blocks []*block
	for _, findings := range u.files(severity) {
		l := likeness{u.distribution(findings[0]), strings.Join(checksOf(findings), " ")}
		if alike[l] == nil {
			alike[l] = &block{unit: u}
			blocks = append(blocks, alike[l])
		}
		alike[l].files = append(alike[l].files, findings)
	}
	slices.SortStableFunc(blocks, func(a, b *block) int { return compareRanks(a.first(), b.first()) })
	turns := map[string]int{}
	for _, b := range blocks {
		d := u.distribution(b.first())
		b.turn = turns[d]
		turns[d]++
	}
	return blocks
}

// distribution is the one that a finding is about, where a unit has several.
func (u *Unit) distribution(f audit.Finding) string {
	if u.Kind == KindWheel {
		return ""
	}
	return f.Distribution
}

// files lists the findings of a severity by file, those of each file the worst first.
func (u *Unit) files(severity audit.Severity) [][]audit.Finding {
	var files [][]audit.Finding
	index := map[string]int{}
	for _, f := range u.Findings {
		if f.Severity != severity {
			continue
		}
		i, ok := index[f.File]
		if !ok {
			i, index[f.File] = len(files), len(files)
			files = append(files, nil)
		}
		files[i] = append(files[i], f)
	}
	for _, findings := range files {
		slices.SortStableFunc(findings, func(a, b audit.Finding) int {
			return cmp.Or(compareRanks(a, b), cmp.Compare(a.Check, b.Check))
		})
	}
	return files
}

// checksOf names the checks of sorted findings, each once.
func checksOf(findings []audit.Finding) []string {
	var checks []string
	for _, f := range findings {
		checks = append(checks, f.Check)
	}
	return slices.Compact(checks)
}

// writeBlocks tells what is found of a severity, the worst in full, and how much of it is
// left out.
func (r *Report) writeBlocks(w io.Writer, severity audit.Severity, o TextOptions) {
	all, told, total := r.blocks(severity), 0, 0
	for i, b := range all {
		for _, findings := range b.files {
			total += len(findings)
		}
		switch {
		case i < shown:
			told += b.write(w, severity, o)
		case i < shown+named:
			if i == shown {
				fmt.Fprintln(w)
			}
			b.writeLine(w, severity)
		}
	}
	if more := len(all) - shown - named; more > 0 {
		fmt.Fprintf(w, "… and %d more like these\n", more)
	}
	if told < total {
		fmt.Fprintf(w, "\ntold in full: %d of %s; --output json tells all\n", told, plural(total, nouns[severity]))
	}
}

// How findings of a severity are told, and how they are counted.
var (
	words = map[audit.Severity]string{audit.Refuse: "refused", audit.Undecided: "undecided", audit.Warn: "warning"}
	nouns = map[audit.Severity]string{audit.Refuse: "refusal", audit.Undecided: "open question", audit.Warn: "warning"}
)

// file names the first file; the wheel itself by the name that it has, if that is one.
func (b *block) file() string {
	name := path.Base(b.unit.Path)
	if b.unit.Kind == KindSite {
		name = b.unit.Path
	}
	if !wheelFile.MatchString(name) {
		name = cmp.Or(b.unit.Wheel, name)
	}
	return audit.Printable(cmp.Or(b.first().File, name))
}

// place names the wheel or the distribution; empty where neither is known.
func (b *block) place() string {
	switch {
	case b.unit.Kind == KindWheel && b.unit.Wheel != "":
		return "in " + audit.Printable(b.unit.Path+" ("+b.unit.Wheel+")")
	case b.unit.Kind == KindWheel:
		return "in " + audit.Printable(b.unit.Path)
	case b.first().Distribution != "":
		return "of " + b.first().Distribution
	}
	return ""
}

// others counts the files but the first; empty if there are none.
func (b *block) others() string {
	if len(b.files) == 1 {
		return ""
	}
	return fmt.Sprintf("and %s like it", plural(len(b.files)-1, "more file"))
}

// write tells the first file in full, and returns how many findings that were.
func (b *block) write(w io.Writer, severity audit.Severity, o TextOptions) (told int) {
	fmt.Fprintf(w, "\n%s: %s\n", words[severity], b.file())
	for _, line := range []string{b.others(), b.place()} {
		if line != "" {
			fmt.Fprintf(w, "  %s\n", line)
		}
	}
	for rest := b.files[0]; len(rest) > 0; {
		n := slices.IndexFunc(rest, func(f audit.Finding) bool { return f.Check != rest[0].Check })
		if n < 0 {
			n = len(rest)
		}
		told += b.writeCheck(w, rest[:n], o)
		rest = rest[n:]
	}
	if severity == audit.Refuse && b.unit.Remedy != "" {
		fmt.Fprintln(w, "  what to do here")
		list := b.unit.remedies(slices.Concat(b.files...))
		for _, r := range list {
			o.paragraph(w, r.sentence(len(list) > 1))
			if command := r.command(b.unit); command != "" {
				fmt.Fprintf(w, "    $ %s\n", command)
			}
		}
	}
	for i, needs := range needsOf(b.files[0]) {
		if i == 0 {
			fmt.Fprintln(w, "  what decides it")
		}
		o.paragraph(w, sentence(needs))
	}
	return told
}

// needsOf lists what findings depend on, each once.
func needsOf(findings []audit.Finding) []string {
	var list []string
	for _, f := range findings {
		if f.Needs != "" && !slices.Contains(list, f.Needs) {
			list = append(list, f.Needs)
		}
	}
	return list
}

// sentence makes one of what stands elsewhere within one.
func sentence(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + strings.TrimSuffix(text[size:], ".") + "."
}

// inFile is how many findings of one check are told of one file.
const inFile = 3

// writeCheck tells what one check found in a file: the evidence, a line each, and the
// sentences about them once.
func (b *block) writeCheck(w io.Writer, findings []audit.Finding, o TextOptions) (told int) {
	list := findings[:min(inFile, len(findings))]
	for i, f := range list {
		fmt.Fprintf(w, "  %s", f.Check)
		if f.Field != "" {
			fmt.Fprintf(w, ": %s %s", f.Field, f.Value)
		}
		fmt.Fprintln(w)
		if i+1 < len(list) && list[i+1].Cause == f.Cause && list[i+1].Remedy == f.Remedy {
			continue
		}
		o.paragraph(w, f.Cause)
		if !beyond(f, b.files[0]) {
			o.paragraph(w, f.Remedy)
		}
	}
	if more := len(findings) - len(list); more > 0 {
		fmt.Fprintf(w, "    and %d more in this file\n", more)
	}
	return len(list)
}

// writeLine names the first file, its place and the checks.
func (b *block) writeLine(w io.Writer, severity audit.Severity) {
	parts := []string{words[severity] + ", too:", b.file()}
	for _, part := range []string{b.others(), b.place()} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	fmt.Fprintf(w, "%s (%s)\n", strings.Join(parts, " "), strings.Join(checksOf(b.files[0]), ", "))
}

// beyond reports whether a finding's remedy is no use, since a worse finding is about the
// same thing: a library that is missing and should not be wanted at all.
func beyond(f audit.Finding, all []audit.Finding) bool {
	return slices.ContainsFunc(all, func(worse audit.Finding) bool {
		return rank(worse.Check) < rank(f.Check) && worse.Field == f.Field && worse.Value == f.Value
	})
}
