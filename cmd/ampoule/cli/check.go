package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"ampoule/builder"
	"ampoule/faults"
	"ampoule/store"
	"ampoule/wiring"
)

// Checker builds a recipe a second time and compares.
type Checker interface {
	Check(ctx context.Context, req builder.Request, only string, publisher func(*store.Store) (builder.Publisher, io.Closer, error)) (builder.Checked, error)
}

// Check builds the session's recipe again in another environment, all of it or one part,
// and tells what differs.
func Check(ctx context.Context, s *Session, c Checker, how builder.Request, only string, reference func(name, digest string) string) error {
	in, err := s.readLocked()
	if err != nil {
		return err
	}
	res, err := watched(ctx, s, func(ctx context.Context) (builder.Checked, error) {
		return c.Check(ctx, in.request(how), only, wiring.OwnRegistry)
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
	return faults.New(faults.Refused, "each place says what differs and, where it is known, why; a patch or a setting under packages.NAME may fix it",
		"%s: a second build gave other bits, in %d places", res.What, len(res.Differences))
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
