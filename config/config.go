// Package config reads what people set: the file config.toml, and the environment that it is
// handed. It is asked once, where a program begins, and gives plain values; nothing else
// looks into the environment.
//
// A flag counts before a variable, a variable before the file, and the file before the
// default. [Settings] lists them all.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ampoule/faults"
)

// Config is everything that is set.
type Config struct {
	Place  Place
	Inputs Inputs
	Bounds Bounds
	Trust  Trust
	// Serving says how the store's registry is served.
	Serving Serving
	// Service is what works in this machine's place.
	Service Service
}

// Place says where a program works: what the environment alone tells, and flags replace.
type Place struct {
	// Store is the store's directory; empty where the environment names none and no home.
	Store string
	// Registry is HOST[:PORT][/PREFIX]; empty is the store's own registry.
	Registry string
	// RegistryToken is what that registry knows the caller by; empty leaves it to Docker's
	// configuration.
	RegistryToken string
	// Engine is where Docker listens, such as unix:///run/docker.sock; empty is its usual socket.
	Engine  string
	Network Network
	// Term is the kind of the terminal, such as xterm-256color; "dumb" understands no
	// control characters.
	Term string
}

// StoreDir is the store's directory as an absolute path.
func (p Place) StoreDir() (string, error) {
	if p.Store == "" {
		return "", &Error{
			Where: "the store", Msg: "no directory is named for it, and " + homeVariable + " is not set",
			Help: "name one: --store DIR, " + storeVariable,
		}
	}
	dir, err := filepath.Abs(p.Store)
	if err != nil {
		return "", fmt.Errorf("finding the store's directory: %w", err)
	}
	return dir, nil
}

// Inputs says where inputs of builds are. None of it enters a lock or a key.
type Inputs struct {
	// Sources are the configured sources, by name.
	Sources Sources
	// Kept are places that keep inputs by their sha256, asked before any mirror in this
	// order: absolute paths of directories, and registries as HOST[:PORT][/PREFIX].
	Kept []string
	// Cache is where results of stages are kept for other machines.
	Cache Cache
	// Environ is what pip, apt and cargo are asked in for their mirrors, as os.Environ has it,
	// without the secrets of sources.
	Environ []string
}

// Cache says which caches in registries are used, and whom they are trusted to be by. No variable
// of the environment says any of it.
type Cache struct {
	// Use are repositories, HOST[:PORT]/NAME, asked in this order. The first one is written to.
	Use []string
	// Key is the path of the private key that entries are signed with; empty where none are
	// written.
	Key string
	// Trusted are the public keys whose entries are used: paths of PEM files, or PEM. Retired are
	// those whose entries are not used any more; they may also be named by sha256:HEX.
	Trusted, Retired []string
}

// Bounds are how much the store may take after a build.
type Bounds struct {
	// Set reports whether any of them is set: without one nothing is collected after builds.
	Set bool
	// Limit is in bytes; 0 is none.
	Limit int64
	// Keep is how long what nobody uses stays.
	Keep time.Duration
	// Published is how long artifacts of the embedded registry stay that nobody uses and
	// nothing holds; 0 is for ever.
	Published time.Duration
}

// DefaultKeep is how long what nobody uses stays, unless told otherwise.
const DefaultKeep = 30 * 24 * time.Hour

// PlaceOf gives what an environment says of the place. The environment is as os.Environ has it.
func PlaceOf(environ []string) Place {
	env := environment(environ)
	return Place{Store: env.store(), Engine: env.get(engineVariable), Network: env.network(), Term: env.get(termVariable)}
}

// Read reads a file and an environment, which is as os.Environ has it. When file is empty it
// is ampoule/config.toml in the user's configuration directory (XDG Base Directory
// Specification), which may be missing. Faults are [*Error]s, all in one go.
func Read(environ []string, file string) (Config, error) {
	env := environment(environ)
	r := reading{source: map[string]string{}, credentials: map[string]string{}}
	required := file != ""
	if !required {
		file = env.file()
	}
	if file != "" {
		if err := r.read(file); err != nil && (required || !errors.Is(err, fs.ErrNotExist)) {
			return Config{}, err
		}
	}
	r.override(env)
	bounds, err := r.bounds()
	trust, trustErr := r.trust(env)
	if err := errors.Join(err, trustErr, r.checkRegistry(), r.checkKept(), r.checkCache(), r.checkSources()); err != nil {
		return Config{}, err
	}
	return Config{
		Place:  PlaceOf(environ),
		Inputs: Inputs{Sources: r.parsed.Sources, Kept: r.parsed.Kept, Cache: Cache(r.parsed.Cache), Environ: env.withoutSecrets()},
		Bounds: bounds,
		Trust:  trust, Serving: r.parsed.Registry, Service: r.service(env),
	}, nil
}

// override replaces what the file says by what variables say.
func (r *reading) override(env environment) {
	if r.parsed.Sources == nil {
		r.parsed.Sources = Sources{}
	}
	// A source may be named by a variable that comes later.
	credentials := map[string][][2]string{}
	for _, entry := range env {
		variable, value, _ := strings.Cut(entry, "=")
		suffix, ok := strings.CutPrefix(variable, SourcePrefix)
		if !ok || strings.TrimSpace(value) == "" {
			continue
		}
		if owner, key, ok := credentialOf(suffix); ok {
			credentials[owner] = append(credentials[owner], [2]string{key, value})
			r.credentials[owner] = variable
			continue
		}
		name := r.named(suffix)
		source := r.parsed.Sources[name]
		source.Mirrors = strings.Fields(value)
		r.parsed.Sources[name], r.source[name] = source, variable
	}
	for _, suffix := range slices.Sorted(maps.Keys(credentials)) {
		name := r.named(suffix)
		source := r.parsed.Sources[name]
		for _, set := range credentials[suffix] {
			source.Credentials.set(set[0], set[1])
		}
		r.parsed.Sources[name], r.credentials[name] = source, r.credentials[suffix]
	}
	if value := env.get(keptVariable); strings.TrimSpace(value) != "" {
		r.parsed.Kept, r.kept = strings.Fields(value), keptVariable
	}
}

// named is the source that a variable's suffix means: a known or configured one whose name
// is spelled so in capitals with "_", else the suffix in small letters with "-".
func (r *reading) named(suffix string) string {
	names := append([]string{PyPI, Debian, CPython, Crates, Profiles}, slices.Sorted(maps.Keys(r.parsed.Sources))...)
	for _, name := range names {
		if strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name)) == suffix {
			return name
		}
	}
	return strings.ToLower(strings.ReplaceAll(suffix, "_", "-"))
}

// Error is a fault in the configuration file, in a variable, or in what both together say.
type Error struct {
	// Where is FILE:LINE:COLUMN, or the name of a variable, a flag or a source.
	Where string
	Msg   string
	Help  string
}

func (e *Error) Error() string { return e.Where + ": " + e.Msg }

// Kind says whose fault it is.
func (*Error) Kind() faults.Kind { return faults.Input }

// Hint says what to do.
func (e *Error) Hint() string { return e.Help }
