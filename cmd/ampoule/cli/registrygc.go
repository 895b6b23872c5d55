package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"ampoule/cmd/ampoule/display"
	"ampoule/registry/embedded"
	"ampoule/store"
)

// keepPublished reads how long unused artifacts stay; empty is for ever.
func keepPublished(text string) (embedded.Keep, error) {
	if text == "" {
		return embedded.Keep{}, nil
	}
	d, err := duration(text)
	if err == nil && d == 0 {
		err = fmt.Errorf("%q is no time that artifacts stay: want more, such as 180d", text)
	}
	return embedded.Keep{Unused: d}, err
}

// RegistryCollector collects the embedded registry.
type RegistryCollector interface {
	Collect(ctx context.Context, keep embedded.Keep) (embedded.Collected, error)
}

// collectRegistry collects the embedded registry, tells what it did, and takes what is left
// there from the bound of the store. What is published never goes for want of space.
func collectRegistry(ctx context.Context, s *Session, reg RegistryCollector, keep embedded.Keep, bound *store.Keep) (embedded.Collected, error) {
	keep.Dry = bound.Dry
	did, err := reg.Collect(ctx, keep)
	if err != nil {
		return did, err
	}
	for _, ref := range did.Artifacts {
		s.tell("%s %s: it was not used for long and nothing holds it", cmp.Or(map[bool]string{true: "would remove"}[keep.Dry], "removed"), ref)
	}
	for _, name := range did.Skipped {
		s.tell("repository %s of the store's registry is damaged and was left as it is: see ampoule store verify", name)
	}
	if bound.Limit > 0 {
		if did.LeftBytes >= bound.Limit {
			s.tell("what is published takes %s, more than %s: remove some of it (ampoule registry rm), or let what is old go (--published)", display.Size(did.LeftBytes), display.Size(bound.Limit))
		}
		bound.Limit = max(bound.Limit-did.LeftBytes, 1)
	}
	return did, nil
}

// RegistryVerifier verifies the embedded registry.
type RegistryVerifier interface {
	Verify(ctx context.Context, repair bool) (embedded.Report, error)
}

// verifyRegistry verifies the embedded registry, and returns its faults as lines, and how
// many of them publishing alone can mend.
func verifyRegistry(ctx context.Context, s *Session, reg RegistryVerifier, repair bool) (report embedded.Report, lines []string, lost int, err error) {
	if report, err = reg.Verify(ctx, repair); err != nil {
		return report, nil, 0, err
	}
	s.tell("compared %s in %d files of the registry", display.Size(report.Bytes), report.Files)
	for _, f := range report.Faults {
		lines = append(lines, "registry: "+strings.ReplaceAll(f.String(), "\n", " "))
		if f.Lost {
			lost++
		}
	}
	return report, lines, lost, nil
}
