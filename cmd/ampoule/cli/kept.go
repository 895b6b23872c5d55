package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"ampoule/builder"
	"ampoule/cmd/ampoule/display"
	"ampoule/store"
	"ampoule/wiring"
)

func newStoreKept(s *Session) *cobra.Command {
	var forget []string
	cmd := &cobra.Command{
		Use:   "kept",
		Short: "Lists the inputs that no collection removes",
		Long: `Kept lists what ampoule fetch has brought into the store to stay: for each build its
recipe's name, its key, and how much its inputs take. Builds may share inputs.

With --forget those of a recipe, or of one key, may be collected from then on; what is
kept elsewhere (ampoule fetch --to) stays there.`,
		Example: `  ampoule store kept
  ampoule store kept --forget web
  ampoule store kept --forget 3f6d12ab9c01`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.wired(cmd.Context(), func(_ context.Context, w *wiring.Parts) error { return StoreKept(s, w.Store, forget) })
		},
	}
	cmd.Flags().StringArrayVar(&forget, "forget", nil, "a recipe's name, or at least 12 digits of a key, whose inputs need not stay")
	return cmd
}

// keptBuild is what stays for one build. Size is in bytes.
type keptBuild struct {
	Name string `json:"name"`
	// Key is the build's, in hexadecimal.
	Key   string `json:"key"`
	Files int    `json:"files"`
	Size  int64  `json:"size"`
}

// minKey is how many digits name a key.
const minKey = 12

// StoreKept prints for which builds a store keeps inputs, or for which it does not any more.
func StoreKept(s *Session, st *store.Store, forget []string) error {
	all, err := builder.KeptInputs(st)
	if err != nil {
		return err
	}
	builds := make([]keptBuild, 0, len(all))
	for _, in := range all {
		b := keptBuild{Name: in.Name, Key: strings.TrimPrefix(in.Key, "sha256:"), Files: len(in.Files)}
		for _, f := range in.Files {
			b.Size += f.Size
		}
		builds = append(builds, b)
	}
	if len(forget) == 0 {
		return s.print(keptText(builds), builds)
	}
	forgotten := make([]keptBuild, 0, len(builds))
	for _, named := range forget {
		count := len(forgotten)
		for _, b := range builds {
			if b.Name == named || len(named) >= minKey && strings.HasPrefix(b.Key, named) {
				forgotten = append(forgotten, b)
			}
		}
		if len(forgotten) == count {
			return notFound("kept inputs of "+named, "ampoule store kept lists what there is")
		}
	}
	for _, b := range forgotten {
		if err := st.Forget(builder.InputsKind, "sha256:"+b.Key); err != nil {
			return err
		}
	}
	s.tell("need not stay any more; ampoule store gc removes what nothing uses")
	return s.print(keptText(forgotten), forgotten)
}

func keptText(builds []keptBuild) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, k := range builds {
		fmt.Fprintf(w, "%s\t%.12s\t%d files\t%s\n", k.Name, k.Key, k.Files, display.Size(k.Size))
	}
	_ = w.Flush() // it writes to memory
	return strings.TrimRight(b.String(), "\n")
}
