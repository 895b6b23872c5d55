package cli

import (
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"

	"ampoule/config"
	"ampoule/registry/cache"
)

// noCache is the value of --cache that stands for none.
const noCache = "none"

// addCacheFlags adds the flags of verbs that build.
func (s *Session) addCacheFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&s.Caches, "cache", nil, "look into the cache in this repository, HOST[:PORT]/NAME, before anything is made; again for further ones; none for none (default: those of config.toml)")
	cmd.Flags().StringVar(&s.CacheKey, "cache-key", "", "sign what is made with the private key in this file, and put it into the first cache")
	for flag, complete := range map[string]cobra.CompletionFunc{
		"cache":     cobra.NoFileCompletions,
		"cache-key": cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
	} {
		if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
			panic("cli: " + err.Error())
		}
	}
}

// cacheOf is the configured cache, as far as no flag says something else.
func (s *Session) cacheOf(set config.Cache) (config.Cache, error) {
	if len(s.Caches) > 0 {
		set.Use = nil
		for _, ref := range s.Caches {
			if ref != noCache {
				set.Use = append(set.Use, ref)
			}
		}
	}
	if s.CacheKey == "" {
		return set, nil
	}
	if len(set.Use) == 0 {
		return set, &UsageError{Err: errors.New("--cache-key signs what goes into a cache: name one with --cache")}
	}
	file, err := filepath.Abs(s.CacheKey)
	set.Key = file
	return set, err
}

func newCache(s *Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Looks after caches in registries",
		Long: `Cache has verbs for caches in registries: what one machine has compiled, another one reads
with --cache or cache.use of config.toml.`,
		Args: usage(noVerb),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCacheKeygen(s))
	return cmd
}

func newCacheKeygen(s *Session) *cobra.Command {
	return &cobra.Command{
		Use:   "keygen FILE",
		Short: "Makes the key that a cache is filled with",
		Long: `Keygen writes a new private key to a file that only its owner can read, and the public key
beside it, as FILE.pub. Whoever has the private key fills the cache, with --cache-key or
cache.key; whoever has the public one among cache.trusted uses what it signed. The result
is the name by which messages and cache.retired know the key.`,
		Example: "  ampoule cache keygen /etc/ampoule/cache.key",
		Args:    usage(cobra.ExactArgs(1)),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(_ *cobra.Command, args []string) error {
			id, err := cache.Generate(args[0])
			if err != nil {
				return err
			}
			s.tell("%s is the private key, %s.pub the public one", args[0], args[0])
			return s.print(id, keygenResult{id, args[0], args[0] + ".pub"})
		},
	}
}

// keygenResult is the verb's result as JSON.
type keygenResult struct {
	// ID names the public key.
	ID      string `json:"id"`
	Private string `json:"private"`
	Public  string `json:"public"`
}
