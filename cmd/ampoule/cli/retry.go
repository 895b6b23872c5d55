package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"ampoule/faults"
	"ampoule/service/client"
	"ampoule/service/wire"
)

// Retrier submits builds again that did not end well, and follows them.
type Retrier interface {
	Retry(ctx context.Context, id string) (wire.Build, error)
}

// newRetry is a verb of services alone.
func newRetry(s *Session) *cobra.Command {
	return &cobra.Command{
		Use:   "retry BUILD",
		Short: "Submits a build again that failed at a service, or was cancelled",
		Long: `Retry submits what a build was submitted with once more, and follows the new build: with the
progress, the result and the exit code of ampoule build. What the first one has compiled is
not compiled again. Of a build that made a lock the result is the lock itself.
Interrupting withdraws the submission.

The service is that of --server, or of AMPOULE_SERVER. A build that is done, or still runs, is
not repeated: ampoule build --force builds what is published.`,
		Example: `  ampoule retry 4k2vq7wz6bxn3m5a7c2e --server https://ampoule.example
  ampoule retry 4k2vq7wz6bxn3m5a7c2e >ampoule.lock`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.service()
			if err != nil {
				return err
			}
			return Retry(cmd.Context(), s, c, s.remote(c, client.Wishes{}), args[0])
		},
	}
}

// Retry repeats a build, and prints what came of it.
func Retry(ctx context.Context, s *Session, c Service, r Retrier, id string) error {
	b, err := watched(ctx, s, func(ctx context.Context) (wire.Build, error) { return r.Retry(ctx, id) })
	switch {
	case err != nil:
		return err
	case b.Result != nil && b.Result.Digest != "":
		return s.print(b.Result.Ref, b)
	case b.Result == nil || !b.Result.Lock:
		return faults.New(faults.Remote, "", "the service says that build %s is done, and not what it has made", b.ID)
	}
	lock, err := c.Lock(ctx, b.ID)
	if err != nil {
		return fmt.Errorf("fetching the lock: %w", err)
	}
	return s.print(string(lock), b)
}
