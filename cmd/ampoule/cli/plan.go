package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/builder"
	"ampoule/builder/fetch"
)

func newPlan(s *Session) *cobra.Command {
	return &cobra.Command{
		Use:   "plan",
		Short: "Says what a build takes and compiles",
		Long: `Plan says what ampoule build would do with recipe and lock: the key that the artifact
is found by, the files that it takes, and what is compiled. Nothing is looked up: whether
something is in the store or the registry already is not asked.

Published wheels that the recipe accepts are listed with what is known of building
them from source, and what is in the way. With --output json, every file is listed.`,
		Example: `  ampoule plan
  ampoule plan -f services/web/ampoule.yaml --output json`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.service()
			if err != nil {
				return err
			}
			if c != nil {
				return RemotePlan(cmd.Context(), s, c)
			}
			return Plan(cmd.Context(), s)
		},
	}
}

// planResult is the verb's result as JSON.
type planResult struct {
	Name     string            `json:"name"`
	Key      string            `json:"key"`
	Inputs   []plannedInput    `json:"inputs"`
	Compiled []string          `json:"compiled"`
	Adopted  []builder.Adopted `json:"adopted"`
}

// plannedInput is one file that a build takes.
type plannedInput struct {
	Source  string `json:"source"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	File    string `json:"file"`
	SHA256  string `json:"sha256"`
}

// Plan tells what building the session's recipe would do.
func Plan(ctx context.Context, s *Session) error {
	in, err := s.readLocked()
	if err != nil {
		return err
	}
	p, err := builder.PlanBuild(ctx, in.request(builder.Request{}), s.Environ)
	if err != nil {
		return err
	}
	res := planResult{in.recipe.Name, p.Key, []plannedInput{}, append([]string{}, p.Compiled...), append([]builder.Adopted{}, p.Adopted...)}
	for _, i := range p.Inputs {
		res.Inputs = append(res.Inputs, plannedInput{i.Source, i.Name, i.Version, i.File, i.SHA256})
	}
	return s.print(planText(p), res)
}

// planText is the plan as people read it.
func planText(p builder.Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "key       %s\n", p.Key)
	fmt.Fprintf(&b, "inputs    %d files: %s\n", len(p.Inputs), bySource(p.Inputs))
	fmt.Fprintf(&b, "compiled  CPython, and %s\n", counted(len(p.Compiled), "wheel"))
	for _, id := range p.Compiled {
		fmt.Fprintf(&b, "  %s\n", id)
	}
	if len(p.Adopted) == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, "adopted   %s\n", counted(len(p.Adopted), "published wheel"))
	for _, a := range p.Adopted {
		fmt.Fprintf(&b, "  %s, until %s: %s\n", a.ID(), a.Until, a.Why)
		for _, known := range a.Known {
			fmt.Fprintf(&b, "    known: %s\n", known)
		}
		for _, block := range a.Blocks {
			fmt.Fprintf(&b, "    open:  %s\n", block)
		}
	}
	return b.String()
}

// bySource counts files by their source.
func bySource(items []fetch.Item) string {
	counts := map[string]int{}
	for _, i := range items {
		counts[i.Source]++
	}
	var parts []string
	for _, source := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d of %s", counts[source], source))
	}
	return strings.Join(parts, ", ")
}

// counted is a number of things: no wheel, 1 wheel, 2 wheels.
func counted(n int, what string) string {
	switch n {
	case 0:
		return "no " + what
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
