package cli

import (
	"context"

	"github.com/spf13/cobra"

	"ampoule/registry"
	"ampoule/registry/channel"
	"ampoule/wiring"
)

// probed is how a channel's registry is written, as JSON.
type probed struct {
	Channel string       `json:"channel"`
	Way     registry.Way `json:"way"`
	// Writable says that channels can be written there.
	Writable bool `json:"writable"`
}

// ways says for people how registries are written.
var ways = map[registry.Way]string{
	registry.Conditional: "it takes conditions on tags: the channel can be written there",
	registry.CreateOnly:  "its tags do not move: the channel can be written there, each entry under a tag of its own",
	registry.Unguarded:   "its tags move, without a condition: the channel cannot be written there; it can have copies",
}

func newChannelProbe(s *Session) *cobra.Command {
	var policy string
	cmd := &cobra.Command{
		Use:   "probe NAME:CHANNEL",
		Short: "Tries how a channel's registry can be written",
		Long: `Probe writes a few small manifests under the tag channel-CHANNEL.probe, and looks what becomes
of them: whether a condition on what a tag names is kept, also among several writers at the same
moment, or whether tags do not move at all. What a registry says of itself does not count. The
result, conditional, create-only or unguarded, is remembered for a day, and promotions obey it.`,
		Example:           "  ampoule channel probe registry.example/web:prod",
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.onChannel(cmd, args[0], policy, func(ctx context.Context, _ *wiring.Channels, c *channel.Channel) error {
				way, err := c.Way(ctx, true)
				if err != nil {
					return err
				}
				s.tell("%s: %s", c, ways[way])
				return s.print(string(way), probed{c.String(), way, way != registry.Unguarded})
			})
		},
	}
	channelPolicyFlag(cmd, &policy)
	return cmd
}
