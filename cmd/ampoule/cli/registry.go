package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"ampoule/wiring"
)

func newRegistry(s *Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "registry",
		Short: "Serves the store's registry, and looks after it",
		Long:  "Registry has verbs for the registry that every store has.",
		Args:  usage(noVerb),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRegistryServe(s), newRegistryList(s), newRegistryRemove(s), newRegistryHold(s), newRegistryUnhold(s), newRegistryToken(s))
	return cmd
}

// atOwnRegistry does a verb's work at the store's own registry, and refuses --registry.
func (s *Session) atOwnRegistry(cmd *cobra.Command, work func(context.Context, *wiring.Parts) error) error {
	if s.Registry != "" {
		return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--registry names another registry than the store's own")}
	}
	return s.wired(cmd.Context(), work)
}
