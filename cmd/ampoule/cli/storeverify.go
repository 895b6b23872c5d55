package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/cmd/ampoule/display"
	"ampoule/store"
)

func newStoreVerify(s *Session) *cobra.Command {
	var repair bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Reads the whole store and compares it with its hashes",
		Long: `Verify reads everything that was fetched and built and compares it with its sha256, and
every record of what answers which key with its checksum, its name, and the content that
it names. What is damaged is listed on stdout, with what is wrong with it, and the exit
code is 4; --repair removes it, so that it is fetched or made again. What nobody can make
again (which inputs ampoule fetch keeps) is left and told.`,
		Example:           "  ampoule store verify\n  ampoule store verify --repair",
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.wired(cmd.Context(), func(ctx context.Context, w *wiring) error { return StoreVerify(ctx, s, repair, w.checkers()...) })
		},
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "remove what is damaged and can be made again")
	return cmd
}

// StoreChecker reads a part of the store, and repairs what can be repaired.
type StoreChecker func(ctx context.Context, repair bool) (store.Checked, error)

// checkers check all parts of the store.
func (w *wiring) checkers() []StoreChecker { return []StoreChecker{w.store.Check} }

// DamagedError says that files of a store are not what their names say.
type DamagedError struct {
	Files int
	// Lost are those that nobody can make again.
	Lost     int
	Repaired bool
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("files of the store are damaged: %d", e.Files)
}

// Hint says what to do.
func (e *DamagedError) Hint() string {
	hint := "remove them with --repair: they will be fetched or made again; look after the disk"
	if e.Repaired {
		hint = "they were removed and will be fetched or made again; look after the disk"
	}
	if e.Lost > 0 {
		hint += fmt.Sprintf("; not those that say what is kept (%d): run `ampoule fetch` again for their recipes, or remove the files", e.Lost)
	}
	return hint
}

// StoreVerify reads the parts of a store and tells what is damaged.
func StoreVerify(ctx context.Context, s *Session, repair bool, checkers ...StoreChecker) error {
	var all store.Checked
	for _, check := range checkers {
		part, err := check(ctx, repair)
		if err != nil {
			return err
		}
		all.Files, all.Bytes = all.Files+part.Files, all.Bytes+part.Bytes
		all.Damages = append(all.Damages, part.Damages...)
	}
	s.tell("compared %s in %d files", display.Size(all.Bytes), all.Files)
	if len(all.Damages) == 0 {
		return nil
	}
	damaged := &DamagedError{Files: len(all.Damages), Repaired: repair}
	var text strings.Builder
	for _, d := range all.Damages {
		fmt.Fprintf(&text, "%s: %s", d.Path, d.What)
		if d.Lost {
			damaged.Lost++
			text.WriteString(" (it cannot be made again)")
		}
		text.WriteString("\n")
	}
	if err := s.print(strings.TrimRight(text.String(), "\n"), struct {
		Damaged []store.Damage `json:"damaged"`
	}{all.Damages}); err != nil {
		return err
	}
	return damaged
}
