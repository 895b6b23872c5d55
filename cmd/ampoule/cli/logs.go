package cli

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ampoule/builder/buildlog"
	"ampoule/cmd/ampoule/display"
	"ampoule/store"
)

func newLogs(s *Session) *cobra.Command {
	return &cobra.Command{
		Use:   "logs [BUILD [LOG]]",
		Short: "Lists builds, or prints a build's logs",
		Long: `Logs lists the builds whose logs the store holds, the latest first: when it ended, its
name, the recipe, the result (the digest, what else it has done, such as "locked", or
the kind of the failure), how long it took, and its logs. The result is "unknown" of a build that still runs, that
was killed, or that an earlier Ampoule made. With a build
(the beginning of its name is enough, "latest" is the latest one) it prints its
logs, each below its name; with a log's name too, that log alone.

With --server it lists the builds of a service (when it was submitted, its name, the
recipe, the result, how long it took, who asked), or prints the log of one, as it grows,
until that ends; with a step's name, that step's lines alone.`,
		Example: `  ampoule logs
  ampoule logs latest
  ampoule logs latest interpreter`,
		Args: usage(cobra.MaximumNArgs(2)),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return s.completeLogs(args), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.service()
			if err != nil {
				return err
			}
			if c != nil {
				args = append(args, "", "")
				if args[0] == "" {
					return ListBuilds(cmd.Context(), s, c)
				}
				return FollowLog(cmd.Context(), s, c, args[0], args[1])
			}
			dir, err := s.logsDir()
			if err != nil {
				return err
			}
			switch len(args) {
			case 0:
				return ListLogs(s, dir)
			case 1:
				return PrintLogs(s, dir, args[0], "")
			default:
				return PrintLogs(s, dir, args[0], args[1])
			}
		},
	}
}

// logsDir is where the session's store keeps logs.
func (s *Session) logsDir() (string, error) {
	dir, err := s.storeDir()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		// Looking must not make a store.
		return filepath.Join(dir, string(store.Logs)), nil
	}
	st, err := store.Open(dir)
	if err != nil {
		return "", err
	}
	return st.Dir(store.Logs), nil
}

// loggedBuild is one build's logs.
type loggedBuild struct {
	Build string    `json:"build"`
	Dir   string    `json:"dir"`
	Time  time.Time `json:"time"`
	// Outcome says how it ended; nil if that is not known: it still runs, was killed, or an
	// earlier Ampoule made it.
	Outcome *buildlog.Outcome `json:"outcome,omitempty"`
	// Logs are the names of its logs, sorted.
	Logs []string `json:"logs"`
}

// what says for people of which recipe a build is, how it ended, and how long it took.
func (b loggedBuild) what() (recipe, result, took string) {
	o := b.Outcome
	if o == nil {
		return "-", "unknown", "-"
	}
	recipe, took = o.Recipe, display.Duration(o.Ended.Sub(o.Begun))
	if o.Group != "" {
		recipe += " with group " + o.Group
	}
	switch {
	case o.Failure != "":
		return recipe, "failed: " + o.Failure, took
	case o.Digest != "":
		return recipe, shortDigest(o.Digest), took
	}
	return recipe, cmp.Or(o.Did, "locked"), took
}

// shortDigest is the beginning of a digest, which a person compares it by.
func shortDigest(digest string) string {
	return digest[:min(len(digest), len("sha256:")+minKey)]
}

const logExt = ".log"

// ListLogs lists the builds that have logs in a directory.
func ListLogs(s *Session, dir string) error {
	builds, err := loggedBuilds(dir)
	if err != nil {
		return err
	}
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	for _, b := range builds {
		recipe, result, took := b.what()
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", b.Time.Local().Format(time.DateTime), b.Build, display.Clean(recipe, false), display.Clean(result, false), took, strings.Join(b.Logs, " "))
	}
	_ = w.Flush() // it writes to memory
	if len(builds) == 0 && s.Output == Text {
		s.tell("no build has logs in %s", dir)
		return nil
	}
	return s.print(text.String(), builds)
}

// PrintLogs prints the logs of a build, or the one of a name.
func PrintLogs(s *Session, dir, build, log string) error {
	b, err := findBuild(dir, build)
	if err != nil {
		return err
	}
	names := b.Logs
	if log != "" {
		log = strings.TrimSuffix(log, logExt)
		if !slices.Contains(names, log) {
			return notFound(fmt.Sprintf("log %q of build %s", log, b.Build), "there are: "+strings.Join(names, ", "))
		}
		names = []string{log}
	}
	if s.Output == JSON {
		return s.print("", b)
	}
	for _, name := range names {
		if len(names) > 1 {
			fmt.Fprintf(s.Out, "==> %s <==\n", name)
		}
		if err := copyLog(s.Out, filepath.Join(b.Dir, name+logExt)); err != nil {
			return fmt.Errorf("printing log: %w", err)
		}
	}
	return nil
}

// copyLog prints a log: its bytes, or on a terminal its lines with everything that
// would act on the terminal shown instead.
func copyLog(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if out, ok := w.(*os.File); !ok || !term.IsTerminal(int(out.Fd())) {
		_, err = io.Copy(w, f)
		return err
	}
	for r := bufio.NewReader(f); ; {
		text, err := r.ReadString('\n')
		if _, werr := io.WriteString(w, display.Clean(text, true)); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// findBuild finds a build by its name, the beginning of its name, or "latest".
func findBuild(dir, name string) (loggedBuild, error) {
	builds, err := loggedBuilds(dir)
	if err != nil {
		return loggedBuild{}, err
	}
	if name == "latest" && len(builds) > 0 {
		return builds[0], nil
	}
	var found []loggedBuild
	for _, b := range builds {
		if b.Build == name {
			return b, nil
		}
		if strings.HasPrefix(b.Build, name) {
			found = append(found, b)
		}
	}
	switch len(found) {
	case 0:
		return loggedBuild{}, notFound(fmt.Sprintf("build %q", name), "list them with `ampoule logs`")
	case 1:
		return found[0], nil
	default:
		return loggedBuild{}, &UsageError{Verb: "ampoule logs", Err: fmt.Errorf("%d builds begin with %q", len(found), name)}
	}
}

// loggedBuilds lists the directories that hold logs, the latest first.
func loggedBuilds(dir string) ([]loggedBuild, error) {
	builds := map[string]*loggedBuild{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != logExt && d.Name() != buildlog.OutcomeFile {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		parent := filepath.Dir(path)
		rel, err := filepath.Rel(dir, parent)
		if err != nil {
			return err
		}
		b := builds[parent]
		if b == nil {
			b = &loggedBuild{Build: filepath.ToSlash(rel), Dir: parent, Logs: []string{}}
			builds[parent] = b
		}
		if name, isLog := strings.CutSuffix(d.Name(), logExt); isLog {
			b.Logs = append(b.Logs, name)
		} else if o, err := buildlog.ReadOutcome(parent); err == nil {
			b.Outcome = &o
		}
		if info.ModTime().After(b.Time) {
			b.Time = info.ModTime()
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing logs: %w", err)
	}
	list := []loggedBuild{}
	for _, b := range builds {
		list = append(list, *b)
	}
	slices.SortFunc(list, func(a, b loggedBuild) int {
		if c := b.Time.Compare(a.Time); c != 0 {
			return c
		}
		return strings.Compare(a.Build, b.Build)
	})
	return list, nil
}

// completeLogs completes the names of builds, then those of a build's logs.
func (s *Session) completeLogs(args []string) []cobra.Completion {
	dir, err := s.logsDir()
	if err != nil || len(args) > 1 {
		return nil
	}
	if len(args) == 1 {
		b, err := findBuild(dir, args[0])
		if err != nil {
			return nil
		}
		return b.Logs
	}
	builds, err := loggedBuilds(dir)
	if err != nil {
		return nil
	}
	names := []cobra.Completion{"latest"}
	for _, b := range builds {
		names = append(names, cobra.CompletionWithDesc(b.Build, b.Time.Local().Format(time.DateTime)))
	}
	return names
}
