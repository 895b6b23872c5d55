package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"ampoule/config"
	"ampoule/registry/server"
	"ampoule/registry/tokens"
	"ampoule/wiring"
)

func newRegistryServe(s *Session) *cobra.Command {
	o := serveOptions{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serves the store's registry to other programs",
		Long: `Serve lets other programs, such as docker, crane, skopeo and oras, use the store's registry
until it is interrupted. The result is the address, printed as soon as it answers.

As long as no token was ever made, everybody who reaches the address may read, and nobody may
write. From the first token on (ampoule registry token create) each request needs one that
allows it; --public lets everybody read all the same. A token is the password of Basic, with
any user's name, or that of Bearer. Over a network tokens need TLS: --tls-cert and --tls-key,
whose files are read anew when they change, or a proxy that speaks TLS (--behind-proxy).

A digest always means the same content, and a tag keeps the digest that it got first. Tags that
--mutable names may be moved, and those beside an artifact: its signatures, attestations, bills
of materials (sha256-….sig, .att, .sbom) and lists of referrers (sha256-…). If-Match and
If-None-Match are obeyed when a manifest is written.

Only requests that name this server are answered: by the host of --listen, by the
address that they came to, by a loopback name or address, or by a name that --host
gives. Others get 421: a web page that has its own name lead here reads nothing.`,
		Example: `  ampoule registry serve
  ampoule registry serve --listen 127.0.0.1:0
  ampoule registry serve --listen 0.0.0.0:5000 --host registry.example --tls-cert server.pem --tls-key server.key
  ampoule registry serve --public --mutable latest --mutable 'channel-*'`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.config(s, cmd.Flags().Changed("mutable"))
			if err != nil {
				return err
			}
			return s.atOwnRegistry(cmd, func(ctx context.Context, w *wiring.Parts) error {
				book := tokens.Open(w.Store)
				return ServeRegistry(ctx, s, book, o.log, c, func(ctx context.Context, c server.Config, ready func(string)) error {
					return server.Serve(ctx, w.Own, book, c, ready)
				})
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Listen, "listen", "127.0.0.1:5000", "the address to listen on; port 0 is a free one")
	flags.StringArrayVar(&o.Hosts, "host", nil, "a further name that clients use for this server")
	flags.BoolVar(&o.Public, "public", false, "let everybody read although there are tokens")
	flags.StringVar(&o.Certificate, "tls-cert", "", "the PEM file with the certificate and its chain (default: plain http)")
	flags.StringVar(&o.Key, "tls-key", "", "the PEM file with the certificate's key")
	flags.BoolVar(&o.Proxied, "behind-proxy", false, "believe the proxy before this server, which speaks TLS (X-Forwarded-For, X-Forwarded-Proto)")
	flags.StringArrayVar(&o.Mutable, "mutable", nil, "tags that may be moved; * stands for any text (default: registry.mutable in config.toml, or none)")
	flags.StringVar(&o.maxBlob, "max-blob", "10GiB", "the largest blob that is taken")
	flags.StringVar(&o.log, "access-log", "", "a file that gets a line of JSON for each request")
	return cmd
}

// serveOptions are the flags of serve.
type serveOptions struct {
	server.Config
	maxBlob, log string
}

// config completes the flags with what the configuration sets.
func (o *serveOptions) config(s *Session, mutableSet bool) (server.Config, error) {
	c := o.Config
	size, err := config.ParseSize(o.maxBlob)
	if err != nil {
		return c, &UsageError{Err: fmt.Errorf("--max-blob: %w", err)}
	}
	c.MaxBlob = size
	if mutableSet {
		for _, pattern := range c.Mutable {
			if err := config.CheckTagPattern(pattern); err != nil {
				return c, &UsageError{Err: fmt.Errorf("--mutable: %w", err)}
			}
		}
		return c, nil
	}
	set, err := config.Read(s.Environ, "")
	c.Mutable = set.Serving.Mutable
	return c, err
}

// ServeRegistry serves until the context ends and prints the address first. Requests are noted
// in a file, if one is named.
func ServeRegistry(ctx context.Context, s *Session, book *tokens.Book, log string, c server.Config, serve func(context.Context, server.Config, func(address string)) error) error {
	armed, err := book.Any()
	if err != nil {
		return err
	}
	if log != "" {
		f, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return fmt.Errorf("opening the access log: %w", err)
		}
		defer f.Close()
		c.Note = noteTo(f)
	}
	c.Warn = func(message string) { s.warn("%s", message) }
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var printed error
	err = serve(ctx, c, func(address string) {
		s.tell("%s", whoMay(armed, c.Public))
		printed = s.print(address, struct {
			Address string `json:"address"`
		}{address})
		if printed != nil {
			cancel()
		}
	})
	return errors.Join(printed, err)
}

// whoMay says who may do what.
func whoMay(armed, public bool) string {
	switch {
	case !armed:
		return "everybody may read, and nobody may write: there are no tokens (ampoule registry token create)"
	case public:
		return "everybody may read; writing needs a token"
	}
	return "reading and writing need a token"
}

// noteTo writes entries of an access log, a line each.
func noteTo(w io.Writer) func(server.Entry) {
	var mu sync.Mutex
	lines := json.NewEncoder(w)
	return func(e server.Entry) {
		mu.Lock()
		defer mu.Unlock()
		_ = lines.Encode(e) // a log on a full disk stops nobody
	}
}
