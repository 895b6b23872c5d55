package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/cmd/ampoule/display"
	"ampoule/faults"
	"ampoule/registry/embedded"
	"ampoule/store"
	"ampoule/wiring"
)

func newStoreVerify(s *Session) *cobra.Command {
	var repair bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Reads the whole store and compares it with its hashes",
		Long: `Verify reads everything that was fetched, built and published and compares it with its
sha256, and every record of what answers which key with its checksum, its name, and the
content that it names. In the embedded registry it also looks whether all that is referred to
is there in its size, whether keys name their artifacts, and for files that belong to
nothing. What is wrong is listed on stdout, and the exit code is 4.

--repair removes what is damaged, so that it is fetched or made again, or restores it
where the store has the same bytes; it makes lost lists of the registry anew, and removes
tags that lie and files that belong to nothing. What is lost of a published artifact is
published again by ampoule build of its recipe. What nobody can make again (which inputs
ampoule fetch keeps) is left and told.`,
		Example:           "  ampoule store verify\n  ampoule store verify --repair",
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
				return StoreVerify(ctx, s, repair, w.Own, w.Store.Check)
			})
		},
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "remove what is damaged and can be made again")
	return cmd
}

// StoreChecker reads a part of the store, and repairs what can be repaired.
type StoreChecker func(ctx context.Context, repair bool) (store.Checked, error)

// DamagedError says that files of a store are not what their names say.
type DamagedError struct {
	Files int
	// Lost are those that nobody can make again, Unpublished those that only publishing
	// again mends.
	Lost, Unpublished int
	Repaired          bool
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("files of the store are damaged: %d", e.Files)
}

// Kind says whose fault it is.
func (*DamagedError) Kind() faults.Kind { return faults.Refused }

// Hint says what to do.
func (e *DamagedError) Hint() string {
	hint := "remove them with --repair: they will be fetched or made again; look after the disk"
	if e.Repaired {
		hint = "they were removed and will be fetched or made again; look after the disk"
	}
	if e.Lost > 0 {
		hint += fmt.Sprintf("; not those that say what is kept (%d): run `ampoule fetch` again for their recipes, or remove the files", e.Lost)
	}
	if e.Unpublished > 0 {
		hint += fmt.Sprintf("; what is lost of published artifacts (%d) is published again by `ampoule build` of their recipes, or goes with `ampoule registry rm`", e.Unpublished)
	}
	return hint
}

// StoreVerify reads the parts of a store, then its registry, and tells what is damaged. The
// registry comes last: it is restored from what is whole of the rest.
func StoreVerify(ctx context.Context, s *Session, repair bool, reg RegistryVerifier, checkers ...StoreChecker) error {
	all := store.Checked{Damages: []store.Damage{}}
	for _, check := range checkers {
		part, err := check(ctx, repair)
		if err != nil {
			return err
		}
		all.Files, all.Bytes = all.Files+part.Files, all.Bytes+part.Bytes
		all.Damages = append(all.Damages, part.Damages...)
	}
	s.tell("compared %s in %d files", display.Size(all.Bytes), all.Files)
	published, err := reg.Verify(ctx, repair)
	if err != nil {
		return err
	}
	s.tell("compared %s in %d files of the registry", display.Size(published.Bytes), published.Files)
	for _, ref := range published.LeftOut {
		s.note("the registry is a copy, and is without %s: it was pushed while the directory was copied", ref)
	}
	damaged := &DamagedError{Files: len(all.Damages) + len(published.Faults), Repaired: repair}
	if damaged.Files == 0 {
		return nil
	}
	text := damaged.list(all.Damages, published.Faults)
	if err := s.print(display.Clean(text, true), struct {
		Damaged  []store.Damage   `json:"damaged"`
		Registry []embedded.Fault `json:"registry"`
	}{all.Damages, published.Faults}); err != nil {
		return err
	}
	return damaged
}

// list counts what cannot be made again, and gives a line for each thing that is wrong.
func (e *DamagedError) list(damages []store.Damage, faults []embedded.Fault) string {
	var lines []string
	for _, d := range damages {
		line := d.Path + ": " + d.What
		if d.Lost {
			e.Lost++
			line += " (it cannot be made again)"
		}
		lines = append(lines, line)
	}
	for _, f := range faults {
		if f.Lost {
			e.Unpublished++
		}
		lines = append(lines, "registry: "+strings.ReplaceAll(f.String(), "\n", " "))
	}
	return strings.Join(lines, "\n")
}
