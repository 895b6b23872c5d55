package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/registry/channel"
	"ampoule/wiring"
)

func newChannelMirror(s *Session) *cobra.Command {
	var policy string
	var last int
	cmd := &cobra.Command{
		Use:   "mirror NAME:CHANNEL REGISTRY",
		Short: "Copies a channel to another registry",
		Long: `Mirror has another registry, HOST[/PREFIX], have a copy of a channel: the artifacts that it has
named last with their evidence, what holds them, its log, and the tag of its name, in this
order. It is called after each promotion, and continued by calling it again. Whoever reads the
copy verifies it as he does the original; nobody writes it. A registry of any kind will do: where
tags do not move, the log is copied entry by entry, and the tag stays away. A copy that has an
entry that the channel has not is refused. The result is the reference of the copy.`,
		Example:           "  ampoule channel mirror web:prod registry.example/team",
		Args:              usage(cobra.ExactArgs(2)),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if last < 1 {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--last must be at least 1")}
			}
			return s.onChannel(cmd, args[0], policy, func(ctx context.Context, all *wiring.Channels, c *channel.Channel) error {
				done, err := all.Mirror(ctx, c, args[1], last)
				if err != nil {
					return err
				}
				s.tell("channel %s: %d artifacts are there, and %d entries, of which %d were", done.To, len(done.Artifacts), done.Entries, done.Before)
				if !done.Tag {
					s.warn("tags do not move there: the tag %s does not follow the channel", done.To)
				}
				return s.print(strings.TrimSuffix(done.To, ":"+c.Name())+"@"+done.Digest, done)
			})
		},
	}
	channelPolicyFlag(cmd, &policy)
	cmd.Flags().IntVar(&last, "last", 5, "how many of the digests that the channel has named last")
	return cmd
}
