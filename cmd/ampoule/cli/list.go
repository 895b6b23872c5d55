package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ampoule/cmd/ampoule/display"
	"ampoule/registry/embedded"
	"ampoule/wiring"
)

// Lister lists what a registry has.
type Lister interface {
	Artifacts(ctx context.Context) ([]embedded.Artifact, error)
}

func newList(s *Session) *cobra.Command {
	var refs bool
	cmd := &cobra.Command{
		Use:   "list [NAME]",
		Short: "Lists the artifacts of the store's registry",
		Long: `List shows the artifacts that the store's registry has, or those of one name: the name,
the beginning of the digest, the version of CPython, how much it takes with what refers
to it, how long ago it was published, and its dependency groups. Those of one name stand
together, the newest first.

With --refs it prints whole references alone, one in a line, for other verbs. See ampoule
registry ls for use, marks and tags. With --server it lists those of a service.`,
		Example: `  ampoule list
  ampoule list web --output json
  ampoule list web --refs`,
		Args: usage(cobra.MaximumNArgs(1)),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return namesOf(s.published(cmd.Context())), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			c, err := s.service()
			if err != nil {
				return err
			}
			if c != nil {
				return ListArtifacts(cmd.Context(), s, c, name, refs, time.Now())
			}
			return s.atOwnRegistry(cmd, func(ctx context.Context, w *wiring.Parts) error {
				return List(ctx, s, w.Own, name, refs, time.Now())
			})
		},
	}
	cmd.Flags().BoolVar(&refs, "refs", false, "print whole references alone")
	return cmd
}

// List prints the artifacts of a registry, or those of a name, as they are at a time.
func List(ctx context.Context, s *Session, l Lister, name string, refs bool, now time.Time) error {
	all, err := listed(ctx, l, name)
	if err != nil {
		return err
	}
	if name != "" && len(all) == 0 {
		return noArtifact(name)
	}
	if len(all) == 0 && s.Output == Text {
		s.tell("nothing is published in the store's registry")
		return nil
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, a := range all {
		if refs {
			fmt.Fprintf(w, "%s@%s\n", a.Name, a.Digest)
			continue
		}
		marks := slices.Clone(a.Groups)
		if !a.Whole {
			marks = append(marks, "(damaged)")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", a.Name, shortDigest(a.Digest), cmp.Or(a.Python, "-"), display.Size(a.Bytes), ago(now.Sub(a.Published)), strings.Join(marks, " "))
	}
	_ = w.Flush() // it writes to memory
	return s.print(display.Clean(b.String(), true), all)
}

// listed lists artifacts, or those of a name, by name, the newest first. Of a repository
// whose list is lost it knows nothing.
func listed(ctx context.Context, l Lister, name string) ([]embedded.Artifact, error) {
	all, err := l.Artifacts(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(a embedded.Artifact) bool { return a.Digest == "" || name != "" && a.Name != name })
	slices.SortStableFunc(all, func(a, b embedded.Artifact) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), b.Published.Compare(a.Published), cmp.Compare(a.Digest, b.Digest))
	})
	return all, nil
}

// ago says how long ago something was, in the largest whole unit.
func ago(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return "now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < day:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	case d < 2*day:
		return "1 day ago"
	}
	return fmt.Sprintf("%d days ago", int(d/day))
}

func noArtifact(name string) error {
	return notFound(fmt.Sprintf("an artifact %q in the store's registry", name), "list them with `ampoule list`; one of another registry needs its digest or its tag")
}

// Newest is the reference of the artifact of a name that a registry got last. Which one it
// is, and of how many, is told.
func Newest(ctx context.Context, s *Session, l Lister, name string) (string, error) {
	all, err := listed(ctx, l, name)
	if err != nil {
		return "", err
	}
	if len(all) == 0 {
		return "", noArtifact(name)
	}
	ref := name + "@" + all[0].Digest
	if len(all) == 1 {
		s.tell("%s is the only artifact of that name", ref)
	} else {
		s.tell("%s is the newest of %d artifacts of that name", ref, len(all))
	}
	return ref, nil
}

// published is what the store's registry has, for completion. What goes wrong is not told:
// the shell's line is no place for it.
func (s *Session) published(ctx context.Context) []embedded.Artifact {
	dir, err := s.storeDir()
	if err != nil || s.Registry != "" {
		return nil
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		// Completing must not make a store.
		return nil
	}
	var all []embedded.Artifact
	err = s.wired(ctx, func(ctx context.Context, w *wiring.Parts) error {
		var err error
		all, err = listed(ctx, w.Own, "")
		return err
	})
	if err != nil {
		return nil
	}
	return all
}

// namesOf are the names of artifacts, each once.
func namesOf(all []embedded.Artifact) []cobra.Completion {
	var names []cobra.Completion
	for _, a := range all {
		if !slices.Contains(names, a.Name) {
			names = append(names, a.Name)
		}
	}
	return names
}

// completeRefs completes the argument at a place by what the store's registry has: whole
// references, and names alone if the verb takes them. A place below 0 is any.
func (s *Session) completeRefs(place int, names bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if place >= 0 && len(args) != place {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		all := s.published(cmd.Context())
		var found []cobra.Completion
		if names {
			found = namesOf(all)
		}
		for _, a := range all {
			found = append(found, cobra.CompletionWithDesc(a.Name+"@"+a.Digest, fmt.Sprintf("CPython %s, %s", cmp.Or(a.Python, "unknown"), ago(time.Since(a.Published)))))
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}
