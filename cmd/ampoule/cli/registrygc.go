package cli

import (
	"context"

	"ampoule/cmd/ampoule/display"
	"ampoule/registry/embedded"
)

// RegistryCollector collects the embedded registry.
type RegistryCollector interface {
	Collect(ctx context.Context, keep embedded.Keep) (embedded.Collected, error)
}

// RegistryCollection collects the embedded registry as a part of the store, and tells what
// it did. It is a [store.Collector].
type RegistryCollection struct {
	Tell     func(format string, args ...any)
	Registry RegistryCollector
	Keep     embedded.Keep
	// Did is the outcome.
	Did embedded.Collected
}

// Collect implements [store.Collector]. What is published never goes for want of space.
func (c *RegistryCollection) Collect(ctx context.Context, dry bool) (removed, left int64, err error) {
	c.Keep.Dry = dry
	if c.Did, err = c.Registry.Collect(ctx, c.Keep); err != nil {
		return 0, 0, err
	}
	verb := "removed"
	if dry {
		verb = "would remove"
	}
	for _, ref := range c.Did.Artifacts {
		c.Tell("%s %s: it was not used for long and nothing holds it", verb, ref)
	}
	for _, name := range c.Did.Skipped {
		c.Tell("repository %s of the store's registry is damaged and was left as it is: see ampoule store verify", name)
	}
	return c.Did.RemovedBytes, c.Did.LeftBytes, nil
}

// warn tells that what is published alone is more than a limit, which may be 0 for none.
func (c *RegistryCollection) warn(limit int64) {
	if limit > 0 && c.Did.LeftBytes >= limit {
		c.Tell("what is published takes %s, more than %s: remove some of it (ampoule registry rm), or let what is old go (--published)", display.Size(c.Did.LeftBytes), display.Size(limit))
	}
}

// RegistryVerifier verifies the embedded registry.
type RegistryVerifier interface {
	Verify(ctx context.Context, repair bool) (embedded.Report, error)
}
