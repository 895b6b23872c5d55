package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"ampoule/cmd/ampoule/display"
	"ampoule/contents"
	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/wiring"
)

// shownChanges is how many changes of a kind are shown, unless all are.
const shownChanges = 20

func newDiff(s *Session) *cobra.Command {
	var all, exitCode bool
	cmd := &cobra.Command{
		Use:   "diff REF REF",
		Short: "Says how two artifacts differ",
		Long: `Diff reads two artifacts and says what the second one has otherwise than the first: what
went in (key, sources, toolchain, build requirements), the interpreter with its measured
link contract and its sysconfig, distributions, carried libraries with their Debian
packages, files, sizes, and the dynamic symbols of the interpreter and of changed
modules. A line begins with + for what the second one alone has, - for what the first one
alone has, ~ for what both have, differently.

` + refsHelp + `

It ends with code 0 whether they differ or not; with --exit-code it ends with 4 if their
digests differ. Of each kind the first ` + fmt.Sprint(shownChanges) + ` changes are shown, all of them with --all or as JSON.`,
		Example: `  ampoule diff web@sha256:… web@sha256:…
  ampoule diff web:prod ./web.tar --output json`,
		Args:              usage(cobra.ExactArgs(2)),
		ValidArgsFunction: s.completeRefs(-1, false),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := DiffOptions{All: all, ExitCode: exitCode}
			c, err := s.serviceOf(cmd, args...)
			if err != nil {
				return err
			}
			if c != nil {
				return RemoteDiff(cmd.Context(), s, c, args[0], args[1], o)
			}
			return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
				a, err := s.locate(ctx, w, args[0])
				if err != nil {
					return err
				}
				b, err := s.locate(ctx, w, args[1])
				if err != nil {
					return errors.Join(err, a.close())
				}
				err = Diff(ctx, s, Compared{a, a.ref}, Compared{b, b.ref}, o)
				return errors.Join(err, a.close(), b.close())
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "show all changes, however many there are")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "end with code 4 if the digests differ")
	return cmd
}

// Compared is one of two artifacts, and where it is.
type Compared struct {
	From contents.Source
	Ref  string
}

// DiffOptions are how a difference is told.
type DiffOptions struct{ All, ExitCode bool }

// Diff prints how two artifacts differ.
func Diff(ctx context.Context, s *Session, from, to Compared, o DiffOptions) (err error) {
	a, err := contents.Open(ctx, from.From, from.Ref, platform())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	b, err := contents.Open(ctx, to.From, to.Ref, platform())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	d, err := contents.Compare(a, b)
	if err != nil {
		return err
	}
	return s.tellDiff(d, o)
}

// tellDiff prints a difference.
func (s *Session) tellDiff(d *contents.Diff, o DiffOptions) error {
	text := diffText{most: shownChanges}
	if o.All {
		text.most = -1
	}
	if err := s.print(text.of(d), d); err != nil {
		return err
	}
	if o.ExitCode && d.Differs() {
		return faults.New(faults.Refused, "", "%s and %s differ", d.A.Ref, d.B.Ref)
	}
	return nil
}

// diffText writes a difference for people. What it shows was written by whoever published the
// artifacts: no value of it can begin a line of its own.
type diffText struct {
	b    strings.Builder
	most int
}

func (t *diffText) of(d *contents.Diff) string {
	fmt.Fprintf(&t.b, "- %s\n+ %s\n", clean(d.A.Ref), clean(d.B.Ref))
	if d.Same {
		t.b.WriteString("\nthey are the same\n")
		return t.b.String()
	}
	for _, u := range d.Unknown {
		fmt.Fprintf(&t.b, "  unknown: %s\n", clean(u))
	}
	t.changes("inputs", d.Inputs)
	t.changes("interpreter", d.Interpreter)
	t.changes("sysconfig", d.Sysconfig)
	t.changes("distributions", d.Distributions)
	t.changes("carried libraries", d.Libraries)
	t.files(d)
	t.sizes(d)
	t.symbols(d.Symbols)
	return t.b.String()
}

func clean(text string) string { return display.Clean(text, false) }

// section begins a part, and returns how many of its n lines are shown.
func (t *diffText) section(title string, n int) int {
	fmt.Fprintf(&t.b, "\n%s\n", title)
	if t.most < 0 {
		return n
	}
	return min(n, t.most)
}

// more says how many lines are not shown.
func (t *diffText) more(n, shown int) {
	if n > shown {
		fmt.Fprintf(&t.b, "  … and %d more: --all shows them\n", n-shown)
	}
}

func (t *diffText) changes(title string, list []contents.Change) {
	if len(list) == 0 {
		return
	}
	shown := t.section(title, len(list))
	w := tabwriter.NewWriter(&t.b, 0, 8, 2, ' ', 0)
	for _, c := range list[:shown] {
		sign, value := "~", shorten(c.From)+" → "+shorten(c.To)
		switch {
		case c.From == "":
			sign, value = "+", shorten(c.To)
		case c.To == "":
			sign, value = "-", shorten(c.From)
		}
		fmt.Fprintf(w, "  %s %s\t%s\n", sign, clean(c.What), value)
	}
	_ = w.Flush() // it writes to memory
	t.more(len(list), shown)
}

// shownValue is how many characters of a value are shown.
const shownValue = 60

// sumForm matches a sha256, with what it is shown by.
var sumForm = regexp.MustCompile(`^((?:sha256:)?[0-9a-f]{12})[0-9a-f]{52}$`)

// shorten shows a value in one line: hashes by their first digits, and long texts by their
// beginning.
func shorten(value string) string {
	words := strings.Fields(value)
	for i, word := range words {
		words[i] = sumForm.ReplaceAllString(word, "$1")
	}
	runes := []rune(strings.Join(words, " "))
	if len(runes) > shownValue {
		runes = append(runes[:shownValue-1], '…')
	}
	return clean(string(runes))
}

func (t *diffText) files(d *contents.Diff) {
	if len(d.Files.Added)+len(d.Files.Removed)+len(d.Files.Changed) == 0 {
		return
	}
	directories, added, removed := renamed(d.Files)
	lists := []struct {
		sign  string
		paths []string
	}{{"~", directories}, {"+", added}, {"-", removed}, {"~", d.Files.Changed}}
	title := fmt.Sprintf("files: %d added, %d removed, %d changed", len(added), len(removed), len(d.Files.Changed))
	if len(directories) > 0 {
		title += fmt.Sprintf(", directories renamed: %d", len(directories))
	}
	t.section(title, 0)
	for _, l := range lists {
		shown := len(l.paths)
		if t.most >= 0 {
			shown = min(shown, t.most)
		}
		for _, p := range l.paths[:shown] {
			fmt.Fprintf(&t.b, "  %s %s\n", l.sign, clean(p))
		}
		t.more(len(l.paths), shown)
	}
}

// renamed tells of directories of metadata that have another version in their names and the same
// files, and gives the other files that were added and removed.
func renamed(f contents.Files) (directories, added, removed []string) {
	before, after := byInfo(f.Removed), byInfo(f.Added)
	gone := map[string]bool{}
	for _, from := range slices.Sorted(maps.Keys(before)) {
		name, _, _ := packaging.ParseInfoDir(path.Base(from))
		for _, to := range slices.Sorted(maps.Keys(after)) {
			other, _, ok := packaging.ParseInfoDir(path.Base(to))
			if ok && !gone[to] && path.Dir(from) == path.Dir(to) && packaging.NormalName(name) == packaging.NormalName(other) && slices.Equal(before[from], after[to]) {
				gone[from], gone[to] = true, true
				directories = append(directories, fmt.Sprintf("%s → %s, %d files", from, path.Base(to), len(after[to])))
				break
			}
		}
	}
	inOne := func(p string) bool {
		dir, _ := infoOf(p)
		return gone[dir]
	}
	return directories, slices.DeleteFunc(slices.Clone(f.Added), inOne), slices.DeleteFunc(slices.Clone(f.Removed), inOne)
}

// byInfo lists paths by the directory of metadata that they are in, relative to it.
func byInfo(paths []string) map[string][]string {
	all := map[string][]string{}
	for _, p := range paths {
		if dir, rest := infoOf(p); dir != "" {
			all[dir] = append(all[dir], rest)
		}
	}
	return all
}

// infoOf parts a path from the directory of metadata that it is in; dir is empty for any other.
func infoOf(p string) (dir, rest string) {
	const end = ".dist-info"
	i := strings.Index(p, end+"/")
	if i < 0 {
		return "", p
	}
	return p[:i+len(end)], p[i+len(end)+1:]
}

func (t *diffText) sizes(d *contents.Diff) {
	if len(d.Sizes) == 0 {
		return
	}
	title := fmt.Sprintf("sizes: files %s → %s, compressed %s → %s",
		display.Size(d.A.Bytes), display.Size(d.B.Bytes), display.Size(d.A.Compressed), display.Size(d.B.Compressed))
	shown := t.section(title, len(d.Sizes))
	w := tabwriter.NewWriter(&t.b, 0, 8, 2, ' ', 0)
	for _, size := range d.Sizes[:shown] {
		fmt.Fprintf(w, "  %s\t%s → %s\t%+d bytes\n", clean(size.Of), display.Size(size.From), display.Size(size.To), size.To-size.From)
	}
	_ = w.Flush() // it writes to memory
	t.more(len(d.Sizes), shown)
}

func (t *diffText) symbols(list []contents.Symbols) {
	if len(list) == 0 {
		return
	}
	shown := t.section("symbols", len(list))
	for _, f := range list[:shown] {
		fmt.Fprintf(&t.b, "  %s\n", clean(f.File))
		t.symbolLine("defines, too", f.DefinedAdded)
		t.symbolLine("defines no more", f.DefinedRemoved)
		t.symbolLine("wants, too", f.UndefinedAdded)
		t.symbolLine("wants no more", f.UndefinedRemoved)
	}
	t.more(len(list), shown)
}

// shownSymbols is how many symbols of a kind are shown of one file.
const shownSymbols = 5

func (t *diffText) symbolLine(what string, names []string) {
	if len(names) == 0 {
		return
	}
	shown := len(names)
	if t.most >= 0 {
		shown = min(shown, shownSymbols)
	}
	text := strings.Join(names[:shown], " ")
	if len(names) > shown {
		text += fmt.Sprintf(" … and %d more", len(names)-shown)
	}
	fmt.Fprintf(&t.b, "    %s: %s\n", what, clean(text))
}
