package fetch

import (
	"slices"
	"strings"

	"ampoule/config"
)

// defaultJobs is how many items are fetched at a time.
const defaultJobs = 8

// Source is a configured source.
type Source = config.Source

// Config says where sources are, and how they are reached. None of it enters a lock or a key.
type Config struct {
	// Sources are the configured sources, by name.
	Sources config.Sources
	// Keepers are asked before any mirror, in this order.
	Keepers []Keeper
	// Profiles is asked for training profiles behind the keepers; nil where none ship.
	Profiles Keeper
	// Jobs is how many items are fetched at a time; 0 means 8.
	Jobs int
	// Environ is what pip, apt and cargo are asked in, as os.Environ has it.
	Environ []string
	Network config.Network
}

func (c Config) withDefaults() Config {
	if c.Jobs <= 0 {
		c.Jobs = defaultJobs
	}
	return c
}

// keepers are the places that may keep an item.
func (c Config) keepers(item Item) []Keeper {
	if item.Source == Profiles && c.Profiles != nil {
		return append(slices.Clone(c.Keepers), c.Profiles)
	}
	return c.Keepers
}

// lookup gives a variable's value; the last one counts, as it does for a program's own.
func lookup(env []string, name string) string {
	for _, entry := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// mirrorsOf reads a source's mirrors.
func mirrorsOf(s Source) ([]mirror, error) {
	mirrors, err := parseMirrors(s.Mirrors)
	for i, m := range mirrors {
		named := strings.HasSuffix(strings.TrimRight(m.String(), "/"), "-security")
		mirrors[i].security = named || slices.Contains(s.Security, s.Mirrors[i])
	}
	return mirrors, err
}
