package cli

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"ampoule/registry/tokens"
	"ampoule/service/database"
	"ampoule/service/records"
	"ampoule/store"
)

func newToken(s *Session) *cobra.Command {
	var at serviceData
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Makes, lists and revokes tokens for ampoule serve",
		Long: `Tokens say who may do what through ampoule serve. They are kept beside the service's data,
or in its database where it has PostgreSQL; a server that is running knows of a new or
revoked token at its next request.`,
		Args: usage(noVerb),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&at.dir, "data", "", dataHelp)
	cmd.PersistentFlags().StringVar(&at.database, "database", "", "the service's PostgreSQL database, as postgres://…")
	cmd.AddCommand(newServiceTokenCreate(s, &at), newServiceTokenList(s, &at), newServiceTokenRevoke(s, &at))
	return cmd
}

// dataHelp says what --data is.
const dataHelp = "the service's data directory (default: ampoule-service beside the store)"

// serviceData says where a service keeps what it has.
type serviceData struct{ dir, database string }

// place is the directory.
func (d serviceData) place(s *Session) (string, error) {
	if d.dir != "" {
		return filepath.Abs(d.dir)
	}
	st, err := s.workplace().StoreDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(st), "ampoule-service"), nil
}

// ownStore is the store of a service's data directory.
func ownStore(data string) string { return filepath.Join(data, "store") }

// openTokens opens what keeps the tokens of a service that has no database server. That is the data
// directory's store, whichever store the service builds in: a token of one service lets nobody
// into another that shares its store, and is made without naming it.
func openTokens(data string) (*store.Store, error) { return store.Open(ownStore(data)) }

// withBook does work on the tokens of a service.
func (d serviceData) withBook(ctx context.Context, s *Session, work func(*tokens.Book) error) error {
	if d.database != "" {
		db, err := database.Open(ctx, database.Options{URL: d.database})
		if err != nil {
			return err
		}
		return errors.Join(work(tokens.Open(records.In(db))), db.Close())
	}
	dir, err := d.place(s)
	if err != nil {
		return err
	}
	st, err := openTokens(dir)
	if err != nil {
		return err
	}
	return errors.Join(work(tokens.Open(st)), st.Close())
}

func newServiceTokenCreate(s *Session, at *serviceData) *cobra.Command {
	var scopes []string
	var expires string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Makes a token and shows it once",
		Long: `Create makes a token. The result is the token, which is shown this once: its hash alone is
kept. Clients send it in the header Authorization: Bearer TOKEN; ampoule takes it from
AMPOULE_TOKEN.

Each scope is VERB:PATTERN. In a pattern of recipes' names, * stands for any text, slashes
included. The verbs are:

  read     see builds, logs, artifacts and channels
  build    submit, cancel and retry builds, too
  promote  move channels: promote:PATTERN→CHANNEL, or -> for →; without a channel, all
  approve  approve promotions, in the same form
  admin    build, see workers, make and revoke tokens (for those, admin:*)

pull, push and delete are for the service's registry, as ampoule registry token has them.`,
		Example: `  ampoule token create me --scope 'admin:*'
  ampoule token create ci --scope 'build:payments/*' --expires 30d
  ampoule token create release --scope 'promote:payments/*->prod'`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			until := time.Time{}
			if expires != "never" {
				var err error
				if until, err = expiry(expires); err != nil {
					return err
				}
			}
			return at.withBook(cmd.Context(), s, func(b *tokens.Book) error { return TokenCreate(s, b, args[0], scopes, until) })
		},
	}
	cmd.Flags().StringArrayVar(&scopes, "scope", nil, "what it allows: VERB:PATTERN")
	cmd.Flags().StringVar(&expires, "expires", "90d", "how long it counts, or never")
	return cmd
}

func newServiceTokenList(s *Session, at *serviceData) *cobra.Command {
	return &cobra.Command{
		Use:               "list",
		Short:             "Lists the tokens",
		Long:              "List shows all tokens that were ever made: ID, name, scopes, and until when they count. It shows no secret.",
		Example:           "  ampoule token list",
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return at.withBook(cmd.Context(), s, func(b *tokens.Book) error { return TokenList(s, b, time.Now()) })
		},
	}
}

func newServiceTokenRevoke(s *Session, at *serviceData) *cobra.Command {
	return &cobra.Command{
		Use:               "revoke NAME|ID...",
		Short:             "Ends tokens at once",
		Long:              "Revoke ends tokens: a server that is running refuses them from the next request on, and ends the streams that they follow. The result is the IDs.",
		Example:           "  ampoule token revoke ci",
		Args:              usage(cobra.MinimumNArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return at.withBook(cmd.Context(), s, func(b *tokens.Book) error { return TokenRevoke(s, b, args) })
		},
	}
}
