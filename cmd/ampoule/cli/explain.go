package cli

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/audit/explain"
	"ampoule/cmd/ampoule/display"
	"ampoule/faults"
)

// maxExplained bounds a text that is read to be explained, in bytes.
const maxExplained = 1 << 20

func newExplain(s *Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain MESSAGE|-",
		Short: "Says what an error of Python's, the loader's, pip's or a server's means",
		Long: `Explain takes an error message, or a whole traceback ("-" reads it from stdin), and
says what it means, the command that helps first, and what prevents it: libraries,
symbols and versions that are not found, files that do not load, programs and
services that do not start, modules that are missing or of another release, numpy,
CUDA, drivers of databases, displays, OpenSSL, what pip, uv and compilers say, limits
and rights of a machine, signals.

Of several lines the one counts that tells most; what loggers write before them
(dates, containers' and units' names, JSON) is taken off. A message that begins with
"-" stands last, behind "--"; a login shell's ("-bash: …") needs none.

Of a message that is not known it says what kind of line would help; the exit code is
5 then.`,
		Example: `  ampoule explain 'ImportError: libpython3.7m.so.1.0: cannot open shared object file: No such file or directory'
  python3 -m app 2>&1 | ampoule explain -
  journalctl -u web -n 100 | ampoule explain -`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error { return Explain(s, strings.Join(args, " ")) },
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &UsageError{Verb: cmd.CommandPath(), Err: fmt.Errorf("%w; a message that begins with - stands last, behind --", err)}
	})
	return cmd
}

// loginShell is how a login shell's messages begin: its name has a dash before it (login(1)).
var loginShell = regexp.MustCompile(`^-[a-z]*sh: `)

// loginMessage puts a login shell's message, which would be read as flags, behind "--", if
// the arguments are those of explain. A "--" of the user's stays the only one.
func loginMessage(root *cobra.Command, args []string) []string {
	cmd, _, err := root.Find(args)
	at := slices.IndexFunc(args, loginShell.MatchString)
	if err != nil || cmd.Name() != "explain" || at < 0 || slices.Contains(args, "--") {
		return args
	}
	return append(slices.Delete(slices.Clone(args), at, at+1), "--", args[at])
}

// Explain writes what a message means; "-" reads it from the session's input.
func Explain(s *Session, message string) error {
	if message == "-" {
		data, err := io.ReadAll(io.LimitReader(s.In, maxExplained+1))
		if err != nil {
			return fmt.Errorf("reading the message: %w", err)
		}
		if len(data) > maxExplained {
			return &UsageError{Verb: "ampoule explain", Err: errors.New("the text has more than 1 MiB")}
		}
		message = string(data)
	}
	e, ok := explain.Text(message)
	if !ok {
		return faults.New(faults.NotFound, explain.Wanted(message), "nothing is known about this message")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s\n\nWhat to do, what helps most first:\n", e.Message, display.Wrap(e.Means, "", lineWidth))
	for _, step := range e.Find {
		b.WriteString(stepText(step))
	}
	fmt.Fprintf(&b, "\nWhat prevents it:\n%s\n", display.Wrap(e.Prevents, "  ", lineWidth))
	if len(e.Checks) > 0 {
		fmt.Fprintf(&b, "  (checks of the gate: %s)\n", strings.Join(e.Checks, ", "))
	}
	return s.print(b.String(), e)
}

// stepText is a step as an item of a list: its command whole, so that it can be copied, and
// what it shows.
func stepText(step explain.Step) string {
	const bullet, indent = "  - ", "    "
	switch {
	case step.Run == "":
		return bullet + strings.TrimLeft(display.Wrap(step.Says, indent, lineWidth), " ") + "\n"
	case step.Says == "":
		return bullet + step.Run + "\n"
	}
	return bullet + step.Run + "\n" + display.Wrap(step.Says, indent+"  ", lineWidth) + "\n"
}

// lineWidth is how wide paragraphs are, in characters.
const lineWidth = 80
