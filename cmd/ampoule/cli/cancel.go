package cli

import (
	"context"

	"github.com/spf13/cobra"
)

// newCancel is a verb of services alone.
func newCancel(s *Session) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel BUILD",
		Short: "Withdraws a build that was submitted to a service",
		Long: `Cancel tells a service that its caller does not want a build any more. A build that others
follow, too, goes on for them; otherwise it ends within seconds. What it has compiled by
then is kept. The result is the build's state.

The service is that of --server, or of AMPOULE_SERVER.`,
		Example:           "  ampoule cancel 4k2vq7wz6bxn3m5a7c2e --server https://ampoule.example",
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.service()
			if err != nil {
				return err
			}
			return Cancel(cmd.Context(), s, c, args[0])
		},
	}
}

// Cancel withdraws a build.
func Cancel(ctx context.Context, s *Session, c Service, id string) error {
	b, err := c.Cancel(ctx, id)
	if err != nil {
		return err
	}
	if b.Cancelling {
		s.tell("build %s is being cancelled", b.ID)
	} else if !b.Terminal() {
		s.tell("build %s goes on for others: %d", b.ID, b.Followers)
	}
	return s.print(b.State, b)
}
