package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ampoule/cmd/ampoule/display"
)

// newWhoAmI is a verb of services alone.
func newWhoAmI(s *Session) *cobra.Command {
	return &cobra.Command{
		Use:   "whoami",
		Short: "Says as whom a service knows its caller, and what that may do",
		Long: `Whoami asks a service whose token it is given: the name, who has issued it, what it allows,
whether what it has built is trusted, and until when it counts. It shows no secret.

The service is that of --server, or of AMPOULE_SERVER; the token is that of AMPOULE_TOKEN, or of
the file that config.toml names.`,
		Example: `  ampoule whoami --server https://ampoule.example
  ampoule whoami --output json`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.service()
			if err != nil {
				return err
			}
			return WhoAmI(cmd.Context(), s, c)
		},
	}
}

// WhoAmI prints as whom a service knows the session.
func WhoAmI(ctx context.Context, s *Session, c Service) error {
	who, err := c.WhoAmI(ctx)
	if err != nil {
		return err
	}
	trusted, until := "no: it is not promoted, and no cache has it", "ever"
	if who.Trusted {
		trusted = "yes"
	}
	if !who.Expires.IsZero() {
		until = who.Expires.Local().Format(time.DateTime)
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "caller\t%s\n", who.Name)
	if who.Issuer != "" {
		fmt.Fprintf(w, "issuer\t%s, as %s\n", who.Issuer, who.Subject)
	} else {
		fmt.Fprintf(w, "token\t%s\n", who.ID)
	}
	fmt.Fprintf(w, "scopes\t%s\n", strings.Join(who.Scopes, ", "))
	fmt.Fprintf(w, "trusted\t%s\n", trusted)
	fmt.Fprintf(w, "until\t%s\n", until)
	_ = w.Flush() // it writes to memory
	return s.print(display.Clean(b.String(), true), who)
}
