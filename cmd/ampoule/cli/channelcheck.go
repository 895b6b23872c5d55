package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/cmd/ampoule/display"
	"ampoule/faults"
	"ampoule/registry/channel"
	"ampoule/wiring"
)

// ChannelCheckSchema names the form of a [ChannelCheckReport].
const ChannelCheckSchema = "ampoule.channel-check/v1"

// ChannelCheckReport says whether a channel could go to the digests that it has named last.
type ChannelCheckReport struct {
	Schema string `json:"schema"`
	// Channel is NAME:CHANNEL.
	Channel string `json:"channel"`
	// Targets are the digests, the one named last first.
	Targets []channel.Checked `json:"targets"`
}

func newChannelCheck(s *Session) *cobra.Command {
	var policy string
	var last int
	cmd := &cobra.Command{
		Use:   "check NAME:CHANNEL",
		Short: "Looks whether all is there that a channel may go back to",
		Long: `Check looks at the digests that the channel has named last: whether every manifest and blob of
each is in the registry, with all that refers to it, whether the channel's hold is on it, and
whether its signatures count. What is missing is told today, and not on the day on which
somebody has to go back: the code is 4 then. Content is asked for by its size, and not read;
ampoule store verify reads all of the store's registry.`,
		Example:           "  ampoule channel check web:prod\n  ampoule channel check registry.example/web:prod --last 2",
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if last < 1 {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--last must be at least 1")}
			}
			if c, err := s.service(); c != nil || err != nil {
				return s.checksThere(cmd, c, args[0], last, err)
			}
			return s.onChannel(cmd, args[0], policy, func(ctx context.Context, all *wiring.Channels, c *channel.Channel) error {
				checked, err := all.Check(ctx, c, last)
				if err != nil {
					return err
				}
				return ChannelCheck(s, c.String(), checked)
			})
		},
	}
	channelPolicyFlag(cmd, &policy)
	cmd.Flags().IntVar(&last, "last", 5, "how many of the digests that the channel has named last")
	return cmd
}

// ChannelCheck prints what was found of a channel's digests. Where it could not go to one of
// them, that is an error of kind Refused.
func ChannelCheck(s *Session, name string, checked []channel.Checked) error {
	var b strings.Builder
	broken := 0
	for _, c := range checked {
		mark := ""
		if c.Current {
			mark = "  (named now)"
		}
		fmt.Fprintf(&b, "%s  %d manifests, %d blobs, %s%s\n", c.Digest, c.Parts.Manifests, c.Parts.Blobs, display.Size(c.Parts.Bytes), mark)
		for _, problem := range c.Problems {
			fmt.Fprintf(&b, "  %s\n", problem)
		}
		if len(c.Problems) > 0 {
			broken++
		}
	}
	if len(checked) == 0 {
		s.warn("channel %s has no digest that may be used", name)
	}
	if err := s.print(display.Clean(b.String(), true), ChannelCheckReport{ChannelCheckSchema, name, append([]channel.Checked{}, checked...)}); err != nil {
		return err
	}
	if broken > 0 {
		return faults.New(faults.Refused, "publish or copy what is missing again, while its recipe and its inputs are there; what nothing holds, `ampoule registry hold` does",
			"channel %s could not go to %d of %d digests", name, broken, len(checked))
	}
	return nil
}
