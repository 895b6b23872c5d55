package ci

import "context"

// buildkite is Buildkite: headings of a log, and the agent's program for all else (Buildkite
// Docs, "Managing log output", "buildkite-agent annotate" and "meta-data").
type buildkite struct {
	shell
	run func(ctx context.Context, input, program string, args ...string) error
}

func newBuildkite(p Place) System { return buildkite{run: p.Run} }

const agent = "buildkite-agent"

// Name implements [System].
func (buildkite) Name() string { return "buildkite" }

// Begin implements [System].
func (buildkite) Begin(p Part) string { return "--- " + oneLine(p.Title) }

// Disarm implements [System]: headings stand at the beginning of a line; images, links and times are escape
// sequences, which the agent and the page of the log read.
func (buildkite) Disarm() []Replacement {
	var rules []Replacement
	for _, heading := range []string{"---", "+++", "~~~", "^^^"} {
		rules = append(rules, Replacement{From: heading, To: " " + heading, AtLineStart: true})
	}
	for _, sequence := range []string{"\x1b]1337;", "\x1b]1338;", "\x1b]1339;", "\x1b_bk;"} {
		rules = append(rules, Replacement{From: sequence, To: `\x1b` + sequence[1:]})
	}
	return rules
}

// Export keeps the values in the build's meta-data, as ampoule-NAME.
func (b buildkite) Export(ctx context.Context, values []Value) error {
	for _, v := range values {
		if err := b.run(ctx, oneLine(v.Text), agent, "meta-data", "set", "ampoule-"+v.Name); err != nil {
			return err
		}
	}
	return nil
}

// Summarize adds to the build's annotation.
func (b buildkite) Summarize(ctx context.Context, markdown string) error {
	return b.run(ctx, markdown, agent, "annotate", "--context", "ampoule", "--append")
}
