package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"ampoule/builder"
	"ampoule/recipes"
	"ampoule/store"
	"ampoule/wiring"
)

// Checker builds a recipe a second time and compares.
type Checker interface {
	Check(ctx context.Context, recipe *recipes.Recipe, reqs *recipes.RequirementSet, lock *recipes.Lock, only string, publisher func(*store.Store) (builder.Publisher, io.Closer, error)) (builder.Checked, error)
}

// DifferentError says that two builds of one key gave different bits.
type DifferentError struct {
	What string
	// Differences is how many places were found.
	Differences int
}

func (e *DifferentError) Error() string {
	return fmt.Sprintf("%s: a second build gave other bits, in %d places", e.What, e.Differences)
}

// Hint says what to do.
func (e *DifferentError) Hint() string {
	return "each place says what differs and, where it is known, why; a patch or a setting under packages.NAME may fix it"
}

// Check builds the session's recipe again in another environment, all of it or one part,
// and tells what differs.
func Check(ctx context.Context, s *Session, c Checker, only string, reference func(name, digest string) string) error {
	in, err := s.readLocked()
	if err != nil {
		return err
	}
	res, err := watched(ctx, s, func(ctx context.Context) (builder.Checked, error) {
		return c.Check(ctx, in.recipe, in.reqs, in.lock, only, wiring.Elsewhere)
	})
	if err != nil {
		return err
	}
	text := fmt.Sprintf("same bits: %s %s", res.What, res.First)
	if only == "" {
		text = "same bits: " + reference(res.Name, res.First)
	}
	if !res.Same() {
		text = differencesText(res)
	}
	if err := s.print(text, res); err != nil || res.Same() {
		return err
	}
	return &DifferentError{res.What, len(res.Differences)}
}

// differencesText shows each place with what both builds have there.
func differencesText(res builder.Checked) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s differs\n  first   %s\n  second  %s\n", res.What, res.First, res.Second)
	for _, d := range res.Differences {
		fmt.Fprintf(&b, "\n%s: %s\n", d.File, d.Place)
		if d.First != "" || d.Second != "" {
			fmt.Fprintf(&b, "  first   %s\n  second  %s\n", d.First, d.Second)
		}
		if d.Cause != "" {
			fmt.Fprintf(&b, "  likely  %s\n", d.Cause)
		}
	}
	return strings.TrimRight(b.String(), "\n")
}
