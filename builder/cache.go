package builder

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"ampoule/builder/fetch"
	"ampoule/builder/once"
	"ampoule/builder/progress"
)

// Cache is what the builder needs of a cache in a registry.
type Cache = once.Cache

// Wanted is what a cache is asked for.
type Wanted = once.Wanted

// Entry is what a cache is given.
type Entry = once.Entry

// Tally counts where the results of stages came from.
type Tally = once.Tally

// caching has stages look into the caches, and fill them. End waits for what is still sent, and
// tells what came from where; without a cache it gives nothing.
func (b *Builder) caching(ctx context.Context) (_ context.Context, end func() *Tally) {
	if len(b.d.Caches) == 0 {
		return ctx, func() *Tally { return nil }
	}
	ctx, use := once.Using(ctx, b.d.Caches...)
	return ctx, func() *Tally {
		task := progress.Later(ctx, progress.StagePublish, "results to the cache")
		if use.IsSending() {
			task.Begin()
		}
		t := use.End()
		task.End(nil)
		progress.Send(ctx, progress.Event{Kind: progress.Told, Stage: progress.StageBuild, Message: fmt.Sprintf(
			"of %d results of stages, %d were made, %d found in the store, and %d read from a cache", t.Made+t.Found+t.Cached, t.Made, t.Found, t.Cached)})
		return &t
	}
}

// fetchFirst are the inputs that are fetched before anything is built. Where a cache may have what
// is made of the others, these wait until it is made: packages, sources, profiles, crates. Published wheels
// are installed as they are.
func (b *Builder) fetchFirst(inputs []fetch.Item) []fetch.Item {
	if len(b.d.Caches) == 0 {
		return inputs
	}
	return slices.DeleteFunc(slices.Clone(inputs), func(i fetch.Item) bool { return !strings.HasSuffix(i.File, ".whl") })
}
