package cli

import (
	"github.com/spf13/cobra"
)

func newStore(s *Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Looks at the store",
		Long: `The store is a directory that holds what was fetched and built, the embedded
registry and the logs. It is --store, or $AMPOULE_STORE, or a directory of the
user's data directory.`,
		Args: usage(noVerb),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStoreUsage(s), newStoreCollect(s), newStoreKept(s), newStoreVerify(s), &cobra.Command{
		Use:               "path",
		Short:             "Prints where the store is",
		Long:              "Path prints the store's directory, whether it is there yet or not.",
		Example:           "  du -sh \"$(ampoule store path)\"",
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(*cobra.Command, []string) error { return StorePath(s) },
	})
	return cmd
}

// StorePath prints the session's store.
func StorePath(s *Session) error {
	dir, err := s.storeDir()
	if err != nil {
		return err
	}
	return s.print(dir, struct {
		Store string `json:"store"`
	}{dir})
}

// storeDir is the absolute path of the session's store.
func (s *Session) storeDir() (string, error) {
	return s.workplace().StoreDir()
}
