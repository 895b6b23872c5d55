package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ampoule/config"
	"ampoule/registry/channel"
	"ampoule/registry/channel/imagefile"
	"ampoule/wiring"
)

func newChannelResolve(s *Session) *cobra.Command {
	var policy, stale string
	var pinned pinFlags
	cmd := &cobra.Command{
		Use:   "resolve NAME:CHANNEL",
		Short: "Prints the digest that a channel names",
		Long: `Resolve verifies the channel's log and prints the reference that it names: NAME@sha256:…. A
digest that was revoked is refused. With --max-stale the last entry must not be older than
that. --write has files of Kubernetes, compose or Nomad name the digest, as for ampoule channel
promote.`,
		Example: `  ampoule install "$(ampoule channel resolve web:prod)" --root /opt/web
  ampoule channel resolve registry.example/web:prod --max-stale 1h`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			var most time.Duration
			if stale != "" {
				var err error
				if most, err = config.ParseDuration(stale); err != nil || most == 0 {
					return &UsageError{Verb: cmd.CommandPath(), Err: fmt.Errorf("--max-stale: %q is no duration such as 1h or 2d", stale)}
				}
			}
			files, err := pinned.read(cmd, args[0])
			if err != nil {
				return err
			}
			if c, err := s.service(); c != nil || err != nil {
				return s.resolvesThere(cmd, c, args[0], stale, files, err)
			}
			return s.onChannel(cmd, args[0], policy, func(ctx context.Context, _ *wiring.Channels, c *channel.Channel) error {
				return ChannelResolve(ctx, s, c, most, time.Now(), files...)
			})
		},
	}
	channelPolicyFlag(cmd, &policy)
	pinned.add(cmd)
	cmd.Flags().StringVar(&stale, "max-stale", "", "how old the last entry may be, for example 1h or 2d (default: any age)")
	return cmd
}

func newChannelHistory(s *Session) *cobra.Command {
	var policy string
	var unverified bool
	cmd := &cobra.Command{
		Use:   "history NAME:CHANNEL",
		Short: "Lists the entries of a channel, the last one first",
		Long: `History verifies the channel's log and lists its entries: what was done, when, by which key,
to which digest, and why. With --unverified they are listed as they are, whoever wrote them,
for a log that is refused.`,
		Example:           "  ampoule channel history web:prod\n  ampoule channel history web:prod --output json",
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if c, err := s.service(); c != nil || err != nil {
				return s.listsThere(cmd, c, args[0], unverified, err)
			}
			return s.onChannel(cmd, args[0], policy, func(ctx context.Context, _ *wiring.Channels, c *channel.Channel) error {
				return ChannelHistory(ctx, s, c, unverified)
			})
		},
	}
	channelPolicyFlag(cmd, &policy)
	cmd.Flags().BoolVar(&unverified, "unverified", false, "list what is there without believing any of it")
	return cmd
}

// ChannelResolve prints what a channel names, if its last entry is not too old; 0 is any age. It has
// files name that first.
func ChannelResolve(ctx context.Context, s *Session, c *channel.Channel, most time.Duration, now time.Time, files ...*imagefile.File) error {
	log, err := c.Read(ctx)
	if err != nil {
		return err
	}
	if _, err := log.Current(); err != nil {
		return err
	}
	if err := log.CheckFresh(now, most); err != nil {
		return err
	}
	if err := s.pinFiles(files, log.Digest); err != nil {
		return err
	}
	report := reportOf(c, log, log.Entries[len(log.Entries)-1:])
	return s.print(report.Ref, report)
}

// ChannelHistory lists the entries of a channel.
func ChannelHistory(ctx context.Context, s *Session, c *channel.Channel, unverified bool) error {
	if unverified {
		entries, err := c.Unverified(ctx)
		if err != nil {
			return err
		}
		s.warn("nobody has verified any of this")
		report := ChannelReport{Schema: ChannelSchema, Channel: c.String(), Accepted: []string{}, Revoked: map[string]string{}, Entries: entriesOf(entries)}
		return s.print(report.text(), report)
	}
	log, err := c.Read(ctx)
	if err != nil {
		return err
	}
	if len(log.Entries) == 0 {
		_, err := log.Current()
		return err
	}
	report := reportOf(c, log, log.Entries)
	return s.print(report.text(), report)
}
