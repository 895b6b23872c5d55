package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ampoule/cmd/ampoule/display"
	"ampoule/registry/tokens"
	"ampoule/wiring"
)

func newRegistryToken(s *Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Makes, lists and revokes tokens for registry serve",
		Long: `Tokens say who may do what through ampoule registry serve. As long as none was ever made,
everybody may read there and nobody may write.`,
		Args: usage(noVerb),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTokenCreate(s), newTokenList(s), newTokenRevoke(s))
	return cmd
}

// tokenResult is a token as JSON.
type tokenResult struct {
	ID      string         `json:"id"`
	Name    string         `json:"name"`
	Scopes  []tokens.Scope `json:"scopes"`
	Created time.Time      `json:"created"`
	Expires time.Time      `json:"expires,omitzero"`
	Revoked time.Time      `json:"revoked,omitzero"`
	// Token is the secret, which is shown by create alone.
	Token string `json:"token,omitempty"`
}

func resultOf(t tokens.Token, secret string) tokenResult {
	return tokenResult{t.ID, t.Name, t.Scopes, t.Created, t.Expires, t.Revoked, secret}
}

func newTokenCreate(s *Session) *cobra.Command {
	var scopes []string
	var expires string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Makes a token and shows it once",
		Long: `Create makes a token. The result is the token, which is shown this once: the store keeps its
hash alone. Clients take it as a password, with any user's name.

Each scope is VERB:PATTERN. The verbs are pull, push (with pull) and delete; in a pattern of
repositories' names, * stands for any text, slashes included.

The first token of a store ends reading without one, unless the registry is served with
--public. A server that is running knows of a new or revoked token at its next request.`,
		Example: `  ampoule registry token create production --scope 'pull:*'
  ampoule registry token create ci --scope 'push:team/*' --expires 30d
  ampoule registry token create ci --scope 'push:*' | docker login registry.example --username ci --password-stdin`,
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
			return s.atOwnRegistry(cmd, func(_ context.Context, w *wiring.Parts) error {
				return TokenCreate(s, tokens.Open(w.Store), args[0], scopes, until)
			})
		},
	}
	cmd.Flags().StringArrayVar(&scopes, "scope", nil, "what it allows: pull:PATTERN, push:PATTERN or delete:PATTERN")
	cmd.Flags().StringVar(&expires, "expires", "90d", "how long it counts, or never")
	return cmd
}

// TokenCreate makes a token and prints it.
func TokenCreate(s *Session, book *tokens.Book, name string, texts []string, expires time.Time) error {
	scopes := make([]tokens.Scope, len(texts))
	for i, text := range texts {
		var err error
		if scopes[i], err = tokens.ParseScope(text); err != nil {
			return err
		}
	}
	t, secret, err := book.Create(name, scopes, expires)
	if err != nil {
		return err
	}
	s.tell("token %s (%s) counts %s; it is not shown again", t.Name, t.ID, until(t.Expires))
	return s.print(secret, resultOf(t, secret))
}

func until(t time.Time) string {
	if t.IsZero() {
		return "for ever"
	}
	return "until " + t.Format(time.RFC3339)
}

func newTokenList(s *Session) *cobra.Command {
	return &cobra.Command{
		Use:               "list",
		Short:             "Lists the tokens",
		Long:              "List shows all tokens that were ever made: ID, name, scopes, and until when they count. It shows no secret.",
		Example:           "  ampoule registry token list",
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.atOwnRegistry(cmd, func(_ context.Context, w *wiring.Parts) error { return TokenList(s, tokens.Open(w.Store), time.Now()) })
		},
	}
}

// TokenList prints the tokens.
func TokenList(s *Session, book *tokens.Book, now time.Time) error {
	all, err := book.List()
	if err != nil {
		return err
	}
	results := make([]tokenResult, len(all))
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for i, t := range all {
		results[i] = resultOf(t, "")
		scopes := make([]string, len(t.Scopes))
		for j, scope := range t.Scopes {
			scopes[j] = scope.String()
		}
		state := until(t.Expires)
		switch {
		case !t.Revoked.IsZero():
			state = "revoked " + t.Revoked.Format(time.RFC3339)
		case !t.Expires.IsZero() && !now.Before(t.Expires):
			state = "expired " + t.Expires.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", t.ID, t.Name, strings.Join(scopes, " "), state)
	}
	_ = w.Flush() // it writes to memory
	if len(all) == 0 && s.Output == Text {
		s.tell("there are no tokens")
		return nil
	}
	return s.print(display.Clean(b.String(), true), results)
}

func newTokenRevoke(s *Session) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke NAME|ID...",
		Short: "Ends tokens at once",
		Long: `Revoke ends tokens: a server that is running refuses them from the next request on. When all
are revoked, the registry is not open again. The result is the IDs.`,
		Example:           "  ampoule registry token revoke ci",
		Args:              usage(cobra.MinimumNArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.atOwnRegistry(cmd, func(_ context.Context, w *wiring.Parts) error {
				return TokenRevoke(s, tokens.Open(w.Store), args)
			})
		},
	}
}

// TokenRevoke revokes tokens.
func TokenRevoke(s *Session, book *tokens.Book, named []string) error {
	ids := make([]string, len(named))
	for i, name := range named {
		t, err := book.Revoke(name)
		if err != nil {
			return err
		}
		s.tell("token %s (%s) counts no more", t.Name, t.ID)
		ids[i] = t.ID
	}
	return s.print(strings.Join(ids, "\n"), ids)
}
