package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"ampoule/wiring"
)

// Server answers pulls.
type Server interface {
	// Serve answers until the context ends, and tells once at which address. Requests
	// that name another host than those are refused.
	Serve(ctx context.Context, listen string, hosts []string, ready func(address string)) error
}

func newRegistry(s *Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "registry",
		Short: "Serves the store's registry, and looks after it",
		Long:  "Registry has verbs for the registry that every store has.",
		Args:  usage(noVerb),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRegistryServe(s), newRegistryList(s), newRegistryRemove(s), newRegistryHold(s), newRegistryUnhold(s))
	return cmd
}

func newRegistryServe(s *Session) *cobra.Command {
	var listen string
	var hosts []string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Answers pulls from the store's registry",
		Long: `Serve lets other programs, such as docker pull, read the store's registry until it
is interrupted. Nobody is asked for credentials, so only reading is answered. The
result is the address, printed as soon as it answers.

Only requests that name this server are answered: by the host of --listen, by the
address that they came to, by a loopback name or address, or by a name that --host
gives. Others get 421: a web page that has its own name lead here reads nothing.`,
		Example: `  ampoule registry serve
  ampoule registry serve --listen 127.0.0.1:0
  ampoule registry serve --listen 0.0.0.0:5000 --host registry.example`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.atOwnRegistry(cmd, func(ctx context.Context, w *wiring.Parts) error {
				return ServeRegistry(ctx, s, w.Own, listen, hosts)
			})
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:5000", "the address to listen on; port 0 is a free one")
	cmd.Flags().StringArrayVar(&hosts, "host", nil, "a further name that clients use for this server")
	return cmd
}

// atOwnRegistry does a verb's work at the store's own registry, and refuses --registry.
func (s *Session) atOwnRegistry(cmd *cobra.Command, work func(context.Context, *wiring.Parts) error) error {
	if s.Registry != "" {
		return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--registry names another registry than the store's own")}
	}
	return s.wired(cmd.Context(), work)
}

// ServeRegistry serves until the context ends and prints the address first.
func ServeRegistry(ctx context.Context, s *Session, server Server, listen string, hosts []string) error {
	var printed error
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := server.Serve(ctx, listen, hosts, func(address string) {
		printed = s.print(address, struct {
			Address string `json:"address"`
		}{address})
		if printed != nil {
			cancel()
		}
	})
	return errors.Join(printed, err)
}
