package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
)

// Server answers pulls.
type Server interface {
	// Serve answers until the context ends, and tells once at which address.
	Serve(ctx context.Context, listen string, ready func(address string)) error
}

func newRegistry(s *Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "registry",
		Short: "Serves the store's registry",
		Long:  "Registry has verbs for the registry that every store has.",
		Args:  usage(noVerb),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRegistryServe(s))
	return cmd
}

func newRegistryServe(s *Session) *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Answers pulls from the store's registry",
		Long: `Serve lets other programs, such as docker pull, read the store's registry until it
is interrupted. Nobody is asked for credentials, so only reading is answered. The
result is the address, printed as soon as it answers.`,
		Example: `  ampoule registry serve
  ampoule registry serve --listen 127.0.0.1:0`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.Registry != "" {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--registry names another registry than the store's own")}
			}
			return s.wired(cmd.Context(), func(ctx context.Context, w *wiring) error {
				return ServeRegistry(ctx, s, w.embedded(), listen)
			})
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:5000", "the address to listen on; port 0 is a free one")
	return cmd
}

// ServeRegistry serves until the context ends and prints the address first.
func ServeRegistry(ctx context.Context, s *Session, server Server, listen string) error {
	var printed error
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := server.Serve(ctx, listen, func(address string) {
		printed = s.print(address, struct {
			Address string `json:"address"`
		}{address})
		if printed != nil {
			cancel()
		}
	})
	return errors.Join(printed, err)
}
