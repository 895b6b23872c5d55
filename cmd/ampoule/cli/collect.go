package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/cmd/ampoule/display"
	"ampoule/config"
	"ampoule/registry/embedded"
	"ampoule/store"
	"ampoule/wiring"
)

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
			return s.wired(cmd.Context(), func(_ context.Context, w *wiring.Parts) error { return StoreUsage(s, w.Store) })
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
	var keep, limit, published string
	var dry bool
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Removes what was not used for long, or is too much",
		Long: `Gc removes content, records and logs that nothing has used for some time (--keep), and,
where that leaves more than --limit, what was used the longest time ago. What was
fetched with ampoule fetch stays (see ampoule store kept). Docker's images of which a layer
is gone go, too. The rest is fetched or built again when it is needed, as far as its mirrors
still have it; logs, and what failed steps left, are gone.

The embedded registry counts for the limit. In it, what nothing refers to goes an hour
after it came. What is published stays, unless --published says how long artifacts stay that
nobody builds or pulls and that only their key names; ampoule registry hold has one stay
in any case, and ampoule registry rm removes one.

Builds, publications and pulls go on meanwhile: what they use stays. Limits stand in
config.toml, too, as limit, keep and published of [store]: with them every build ends with a
collection, unless another one is running, and in a service one follows each build.`,
		Example: `  ampoule store gc
  ampoule store gc --keep 7d --limit 50GiB
  ampoule store gc --published 180d
  ampoule store gc --dry-run`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			set, err := config.Read(s.Environ, "")
			if err != nil {
				return err
			}
			k, artifacts, err := keeping(keep, limit, published, set.Bounds)
			if err != nil {
				return &UsageError{Verb: cmd.CommandPath(), Err: err}
			}
			k.Dry = dry
			return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
				return StoreCollect(ctx, s, w.Store, k, &RegistryCollection{Tell: s.tell, Registry: w.Own, Keep: artifacts}, w.RemoveImages)
			})
		},
	}
	cmd.Flags().StringVar(&keep, "keep", "", "how long what nobody uses stays, such as 12h or 7d (default: the configuration's, else 30d)")
	cmd.Flags().StringVar(&limit, "limit", "", "how much may be left, such as 50GiB (default: the configuration's, else no bound)")
	cmd.Flags().StringVar(&published, "published", "", "how long published artifacts stay that nobody uses and nothing holds, such as 180d (default: the configuration's, else for ever)")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "tell what would be removed, and remove nothing")
	return cmd
}

// keeping is what flags say of a collection, else the configuration.
func keeping(keep, limit, published string, set config.Bounds) (store.Keep, embedded.Keep, error) {
	k, artifacts := store.Keep{Unused: set.Keep, Limit: set.Limit}, embedded.Keep{Unused: set.Published}
	var err error
	if keep != "" {
		if k.Unused, err = config.ParseDuration(keep); err != nil {
			return k, artifacts, err
		}
	}
	if limit != "" {
		if k.Limit, err = config.ParseSize(limit); err != nil {
			return k, artifacts, err
		}
	}
	if published != "" {
		artifacts.Unused, err = config.ParsePublished(published)
	}
	return k, artifacts, err
}

// collected is the outcome of a collection as JSON.
type collected struct {
	store.Collected
	Registry embedded.Collected `json:"registry"`
}

// StoreCollect collects, has Docker's images removed that stood on what is gone, and tells
// what it did. Without reg, the registry is measured only.
func StoreCollect(ctx context.Context, s *Session, st *store.Store, keep store.Keep, reg *RegistryCollection, removeImages func(context.Context) (int, error)) error {
	var published embedded.Collected
	if reg != nil {
		keep.Registry = reg
		defer func() { reg.warn(keep.Limit) }()
	}
	did, err := st.Collect(ctx, keep, false)
	if errors.Is(err, store.ErrCollecting) {
		s.tell("waiting for another collection")
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
	if reg != nil {
		published = reg.Did
		text += fmt.Sprintf("\nregistry: %s %s in %d files, left %s in %d", verb, display.Size(published.RemovedBytes), published.Removed, display.Size(published.LeftBytes), published.Left)
	}
	if keep.Limit > 0 && did.LeftBytes > keep.Limit {
		s.tell("more than %s is left: %s was fetched to be kept (ampoule store kept), %s is in use, %s is published in the store's registry",
			display.Size(keep.Limit), display.Size(did.KeptBytes), display.Size(did.InUseBytes), display.Size(did.RegistryBytes))
	}
	return s.print(text, collected{did, published})
}

// collectAfter keeps the store within the configuration's bounds, if it has any and
// no other collection runs. That it failed is told; what was built before counts.
func collectAfter(ctx context.Context, w *wiring.Parts, bounds config.Bounds, tell func(format string, args ...any)) {
	if !bounds.Set || ctx.Err() != nil {
		return
	}
	keep := store.Keep{Unused: bounds.Keep, Limit: bounds.Limit}
	keep.Registry = &RegistryCollection{Tell: tell, Registry: w.Own, Keep: embedded.Keep{Unused: bounds.Published}}
	did, err := w.Store.Collect(ctx, keep, false)
	if err == nil && did.Removed > 0 {
		_, err = w.RemoveImages(ctx)
	}
	if err != nil && !errors.Is(err, store.ErrCollecting) {
		tell("collecting what the store need not keep: %v", err)
	}
}
