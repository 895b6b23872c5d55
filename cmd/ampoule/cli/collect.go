package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"ampoule/builder"
	"ampoule/builder/fetch"
	"ampoule/cmd/ampoule/display"
	"ampoule/store"
)

// keepUnused is how long what nobody uses stays, unless told otherwise.
const keepUnused = "30d"

func newStoreUsage(s *Session) *cobra.Command {
	return &cobra.Command{
		Use:   "du",
		Short: "Tells how much the store takes",
		Long: `Du adds up the store by its parts: content (what was fetched and built), records (what
answers which key), the embedded registry (what was published), logs, and what is in the
making.`,
		Example:           "  ampoule store du",
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.wired(cmd.Context(), func(_ context.Context, w *wiring) error { return StoreUsage(s, w.store) })
		},
	}
}

// StoreUsage prints how much a store takes.
func StoreUsage(s *Session, st *store.Store) error {
	u, err := st.Usage()
	if err != nil {
		return err
	}
	var text strings.Builder
	line := func(name string, p store.Part) {
		fmt.Fprintf(&text, "%-8s %9d %11s\n", name, p.Files, display.Size(p.Bytes))
	}
	var all store.Part
	for _, p := range []struct {
		name string
		store.Part
	}{{"content", u.Content}, {"records", u.Records}, {"registry", u.Registry}, {"logs", u.Logs}, {"tmp", u.Tmp}} {
		line(p.name, p.Part)
		all.Files, all.Bytes = all.Files+p.Files, all.Bytes+p.Bytes
	}
	line("all", all)
	return s.print(strings.TrimRight(text.String(), "\n"), u)
}

func newStoreCollect(s *Session) *cobra.Command {
	var keep, limit string
	var dry bool
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Removes what was not used for long, or is too much",
		Long: `Gc removes content, records and logs that nothing has used for some time (--keep), and,
where that leaves more than --limit, what was used the longest time ago. What was
fetched with ampoule fetch stays (see ampoule store kept), and so does what is published in
the embedded registry. Docker's images of which a layer is gone go, too. The rest is
fetched or built again when it is needed, as far as its mirrors still have it; logs, and
what failed steps left, are gone.

It waits until no build uses the store; builds that begin meanwhile wait for it. Limits
stand in config.toml, too, as limit and keep of [store]: with them every build ends with a
collection, unless another one is running.`,
		Example: `  ampoule store gc
  ampoule store gc --keep 7d --limit 50GiB
  ampoule store gc --dry-run`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := fetch.LoadConfig(os.Environ(), "")
			if err != nil {
				return err
			}
			if _, err := keeping(cmp.Or(keep, keepUnused), limit); err != nil {
				return &UsageError{Verb: cmd.CommandPath(), Err: err}
			}
			if err := checkBounds(config.Store); err != nil {
				return err
			}
			k, err := keeping(cmp.Or(keep, config.Store.Keep, keepUnused), cmp.Or(limit, config.Store.Limit))
			if err != nil {
				return err
			}
			k.Dry = dry
			return s.wired(cmd.Context(), func(ctx context.Context, w *wiring) error { return StoreCollect(ctx, s, w.store, k, w.removeImages) })
		},
	}
	cmd.Flags().StringVar(&keep, "keep", "", "how long what nobody uses stays, such as 12h or 7d (default: the configuration's, else "+keepUnused+")")
	cmd.Flags().StringVar(&limit, "limit", "", "how much may be left, such as 50GiB (default: the configuration's, else no bound)")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "tell what would be removed, and remove nothing")
	return cmd
}

// checkBounds refuses bounds of the configuration that cannot be read.
func checkBounds(bounds fetch.StoreBounds) error {
	if _, err := keeping(cmp.Or(bounds.Keep, keepUnused), bounds.Limit); err != nil {
		return &fetch.ConfigError{Where: "[store] in config.toml", Msg: err.Error()}
	}
	return nil
}

// keeping reads a duration and a size as people write them.
func keeping(keep, limit string) (store.Keep, error) {
	k := store.Keep{Pinned: []string{builder.InputsKind, idKind}}
	days, isDays := strings.CutSuffix(keep, "d")
	if n, err := strconv.ParseUint(days, 10, 16); isDays && err == nil {
		k.Unused = time.Duration(n) * 24 * time.Hour
	} else if k.Unused, err = time.ParseDuration(keep); err != nil || k.Unused < 0 {
		return k, fmt.Errorf("%q is no duration such as 12h or 30d", keep)
	}
	if limit == "" {
		return k, nil
	}
	var err error
	if k.Limit, err = units.RAMInBytes(limit); err != nil || k.Limit <= 0 {
		return k, fmt.Errorf("%q is no size such as 50GiB", limit)
	}
	return k, nil
}

// StoreCollect collects, has Docker's images removed that stood on what is gone, and tells
// what it did.
func StoreCollect(ctx context.Context, s *Session, st *store.Store, keep store.Keep, removeImages func(context.Context) (int, error)) error {
	did, err := st.Collect(ctx, keep, false)
	if errors.Is(err, store.ErrInUse) {
		s.tell("waiting until no build uses the store")
		did, err = st.Collect(ctx, keep, true)
	}
	if err != nil {
		return err
	}
	verb := "removed"
	if keep.Dry {
		verb = "would remove"
	} else if removed, err := removeImages(ctx); err != nil {
		s.tell("Docker's images stay: %v", err)
	} else if removed > 0 {
		s.tell("removed %d images from Docker", removed)
	}
	text := fmt.Sprintf("%s %s in %d files, left %s in %d", verb, display.Size(did.RemovedBytes), did.Removed, display.Size(did.LeftBytes), did.Left)
	if keep.Limit > 0 && did.LeftBytes > keep.Limit {
		s.tell("more than %s is left: %s of it was fetched to be kept (ampoule store kept)", display.Size(keep.Limit), display.Size(did.PinnedBytes))
	}
	return s.print(text, did)
}

// collectAfter keeps the store within the configuration's bounds, if it has any and
// nobody else uses the store. That it failed is told; what was built before counts.
func (w *wiring) collectAfter(ctx context.Context) {
	if w.bounds == (fetch.StoreBounds{}) || ctx.Err() != nil {
		return
	}
	keep, err := keeping(cmp.Or(w.bounds.Keep, keepUnused), w.bounds.Limit)
	var did store.Collected
	if err == nil {
		did, err = w.store.Collect(ctx, keep, false)
	}
	if err == nil && did.Removed > 0 {
		_, err = w.removeImages(ctx)
	}
	if err != nil && !errors.Is(err, store.ErrInUse) {
		w.session.tell("collecting what the store need not keep: %v", err)
	}
}

// removeImages removes the store's images from Docker of which it has not all layers any
// more. A store that never asked Docker for anything has none.
func (w *wiring) removeImages(ctx context.Context) (int, error) {
	var id string
	if found, err := w.store.Lookup(idKind, "", &id); err != nil || !found {
		return 0, err
	}
	engine, err := w.engine(ctx)
	if err != nil {
		return 0, err
	}
	return engine.RemoveImages(ctx, func(diffIDs []string) bool {
		return !slices.ContainsFunc(diffIDs, func(id string) bool { return !w.store.Has(strings.TrimPrefix(id, "sha256:")) })
	})
}

func newStoreVerify(s *Session) *cobra.Command {
	var repair bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Reads all content and compares it with its hash",
		Long: `Verify reads everything that was fetched and built and compares it with its sha256.
Damaged files are listed on stdout, and the exit code is 4; --repair removes them, so
that they are fetched or made again.`,
		Example:           "  ampoule store verify\n  ampoule store verify --repair",
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.wired(cmd.Context(), func(ctx context.Context, w *wiring) error { return StoreVerify(ctx, s, w.store, repair) })
		},
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "remove what is damaged")
	return cmd
}

// DamagedError says that files of a store are not what their names say.
type DamagedError struct {
	Files    int
	Repaired bool
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("files of the store are damaged: %d", e.Files)
}

// Hint says what to do.
func (e *DamagedError) Hint() string {
	if e.Repaired {
		return "they were removed and will be fetched or made again; look after the disk"
	}
	return "remove them with --repair: they will be fetched or made again; look after the disk"
}

// StoreVerify reads all content of a store.
func StoreVerify(ctx context.Context, s *Session, st *store.Store, repair bool) error {
	release, err := st.Use(ctx)
	if err != nil {
		return err
	}
	defer release()
	checked, damaged, err := st.Damaged(ctx, repair)
	if err != nil {
		return err
	}
	s.tell("compared %s in %d files", display.Size(checked.Bytes), checked.Files)
	if len(damaged) == 0 {
		return nil
	}
	if err := s.print(strings.Join(damaged, "\n"), struct {
		Damaged []string `json:"damaged"`
	}{damaged}); err != nil {
		return err
	}
	return &DamagedError{len(damaged), repair}
}
