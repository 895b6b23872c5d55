package fetch

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"ampoule/address"
	"ampoule/packaging"
)

// Kind says how a source's mirrors are laid out.
type Kind string

// The kinds of sources.
const (
	// Index is a Python package index (PEP 503, PEP 691).
	Index Kind = "index"
	// Archive is a Debian archive: files by their path below its root.
	Archive Kind = "debian"
	// Files is a place of files by name, or by version and name.
	Files Kind = "files"
	// Registry is a registry of crates, as cargo knows it.
	Registry Kind = "cargo"
)

// defaultJobs is how many items are fetched at a time.
const defaultJobs = 8

// maxConfig is the largest configuration file in bytes.
const maxConfig = 1 << 20

// keptVariable holds the places that keep inputs, separated by spaces, and replaces the
// file's.
const keptVariable = "AMPOULE_KEPT"

// variablePrefix begins the variables that name a source's mirrors.
const variablePrefix = "AMPOULE_SOURCE_"

// Config says where sources are. None of it enters a lock or a key.
type Config struct {
	// Sources are the configured sources, by name.
	Sources map[string]Source
	// Kept are places that keep inputs by their sha256, asked before any mirror in this
	// order: absolute paths of directories, and registries as HOST[:PORT][/PREFIX].
	Kept []string
	// Store bounds the store.
	Store StoreBounds
	// Jobs is how many items are fetched at a time; 0 means 8.
	Jobs int

	// env is the environment that clients are asked in, as os.Environ has it.
	env []string
}

// StoreBounds are how much the store may take, as people write it; who collects reads it.
type StoreBounds struct {
	// Limit is a size, such as 50GiB.
	Limit string `toml:"limit"`
	// Keep is how long what nobody uses stays, such as 30d.
	Keep string `toml:"keep"`
	// Published is how long artifacts of the embedded registry stay that nobody uses and
	// nothing holds, such as 180d; for ever where it is empty.
	Published string `toml:"published"`
}

// Source is a configured source.
type Source struct {
	// Kind is Index where it is empty; the sources that every Ampoule knows have
	// theirs.
	Kind Kind `toml:"kind"`
	// Mirrors are tried in this order: http and https URLs, which may hold
	// credentials, and absolute paths of directories. Empty means the default. A
	// registry's URL is the root of its sparse index, with or without cargo's
	// "sparse+" before it, or a template of download URLs as its config.json has it.
	Mirrors []string `toml:"mirrors"`
	// Security lists those mirrors of Debian that serve the security archive.
	// One whose URL ends in "-security" need not be listed.
	Security []string `toml:"security"`
	// Without lists the parts of Debian's suites that its mirrors do not have, and that a
	// lock is made without: "updates", "security". A part that is missing and not listed
	// is an error.
	Without []string `toml:"without"`
	// Names are patterns (path.Match, over normalised names) of distributions that
	// come from this source and from nowhere else.
	Names []string `toml:"names"`
}

// LoadConfig reads the configuration from a file and from the variables
// AMPOULE_SOURCE_<NAME>, which hold mirrors separated by spaces and replace the
// file's mirrors of that source. The environment is as os.Environ has it. When file is
// empty it is ampoule/config.toml in the user's configuration directory (XDG Base
// Directory Specification), which may be missing. Faults are [*ConfigError]s, all in
// one go.
func LoadConfig(env []string, file string) (Config, error) {
	config := Config{Sources: map[string]Source{}, env: env}
	if file != "" {
		if err := config.read(file); err != nil {
			return Config{}, err
		}
	} else if file = defaultFile(env); file != "" {
		if err := config.read(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Config{}, err
		}
	}
	where := map[string]string{}
	for name := range config.Sources {
		where[name] = file
	}
	for _, entry := range env {
		variable, value, _ := strings.Cut(entry, "=")
		if suffix, ok := strings.CutPrefix(variable, variablePrefix); ok && strings.TrimSpace(value) != "" {
			name := config.named(suffix)
			source := config.Sources[name]
			source.Mirrors = strings.Fields(value)
			config.Sources[name], where[name] = source, variable
		}
	}
	keptAt := file
	if value := lookup(env, keptVariable); strings.TrimSpace(value) != "" {
		config.Kept, keptAt = strings.Fields(value), keptVariable
	}
	if err := errors.Join(config.checkKept(keptAt), config.check(where)); err != nil {
		return Config{}, err
	}
	return config, nil
}

// checkKept refuses what depends on the working directory. Whether the others can be
// had shows when they are asked.
func (c *Config) checkKept(where string) error {
	var faults []error
	for _, place := range c.Kept {
		if !filepath.IsAbs(place) && !IsRegistry(place) {
			faults = append(faults, &ConfigError{
				Where: where,
				Msg:   fmt.Sprintf("kept: %q is neither an absolute path nor a registry", address.One(place)),
				Help:  "name the absolute path of a directory, or a registry as HOST[:PORT][/PREFIX]",
			})
		}
	}
	return errors.Join(faults...)
}

func defaultFile(env []string) string {
	if dir := lookup(env, "XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "ampoule", "config.toml")
	}
	if home := lookup(env, "HOME"); home != "" {
		return filepath.Join(home, ".config", "ampoule", "config.toml")
	}
	return ""
}

// lookup gives a variable's value; the last one counts, as it does for os.Getenv's callers.
func lookup(env []string, name string) string {
	for _, entry := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

func (c *Config) read(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("reading configuration: %w", err)
	}
	if info.Size() > maxConfig {
		return &ConfigError{Where: file, Msg: fmt.Sprintf("%d bytes are more than the limit of %d", info.Size(), maxConfig)}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading configuration: %w", err)
	}
	var parsed struct {
		Kept    []string          `toml:"kept"`
		Store   StoreBounds       `toml:"store"`
		Sources map[string]Source `toml:"sources"`
	}
	err = toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&parsed)
	if err != nil {
		return tomlFaults(file, err)
	}
	c.Kept, c.Store = parsed.Kept, parsed.Store
	maps.Copy(c.Sources, parsed.Sources)
	return nil
}

func tomlFaults(file string, err error) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) {
		var faults []error
		for _, e := range unknown.Errors {
			row, column := e.Position()
			faults = append(faults, &ConfigError{
				Where: fmt.Sprintf("%s:%d:%d", file, row, column),
				Msg:   fmt.Sprintf("unknown key %q", strings.Join(e.Key(), ".")),
				Help:  "known keys are kept, of [store] limit and keep, and of [sources.NAME] kind, mirrors, security, without and names",
			})
		}
		return errors.Join(faults...)
	}
	var fault *toml.DecodeError
	if errors.As(err, &fault) {
		row, column := fault.Position()
		return &ConfigError{Where: fmt.Sprintf("%s:%d:%d", file, row, column), Msg: fault.Error()}
	}
	return &ConfigError{Where: file, Msg: err.Error()}
}

// named is the source that a variable's suffix means: a known or configured one
// whose name is spelled so in capitals with "_", else the suffix in small letters with "-".
func (c *Config) named(suffix string) string {
	names := append([]string{PyPI, Debian, CPython, Crates}, slices.Sorted(maps.Keys(c.Sources))...)
	for _, name := range names {
		if strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name)) == suffix {
			return name
		}
	}
	return strings.NewReplacer("_", "-").Replace(strings.ToLower(suffix))
}

var sourceName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$`)

func (c *Config) check(where map[string]string) error {
	var faults []error
	fault := func(name, help, format string, args ...any) {
		msg := fmt.Sprintf("source %s: ", name) + address.Redact(fmt.Sprintf(format, args...))
		faults = append(faults, &ConfigError{Where: where[name], Msg: msg, Help: help})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Sources)) {
		source := c.Sources[name]
		if !sourceName.MatchString(name) {
			fault(name, "", "its name must have lower-case letters, digits, \"-\", \"_\" and \".\" only")
		}
		if err := checkKind(name, source); err != nil {
			fault(name, "", "%v", err)
		}
		for _, text := range slices.Concat(source.Mirrors, source.Security) {
			if _, err := parseMirror(text); err != nil {
				fault(name, "a mirror is an http or https URL or the absolute path of a directory", "%v", err)
			}
		}
		for _, text := range source.Security {
			if !slices.Contains(source.Mirrors, text) {
				fault(name, "", "security mirror %s is not among its mirrors", text)
			}
		}
		for _, pattern := range source.Names {
			if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
				fault(name, "patterns are as in acme-*", "name pattern %q is wrong", pattern)
			}
		}
	}
	return errors.Join(faults...)
}

func checkKind(name string, source Source) error {
	kind := source.Kind
	if builtin, ok := builtinKinds[name]; ok {
		if kind != "" && kind != builtin {
			return fmt.Errorf("its kind is %s, not %s", builtin, kind)
		}
		kind = builtin
	}
	switch kind {
	case "", Index:
	case Archive, Files, Registry:
		if len(source.Names) > 0 {
			return errors.New("only a source of kind index can own names")
		}
	default:
		return fmt.Errorf("unknown kind %q: it is index, debian, files or cargo", kind)
	}
	if len(source.Security) > 0 && kind != Archive {
		return errors.New("only a source of kind debian has security mirrors")
	}
	if len(source.Without) > 0 && kind != Archive {
		return errors.New("only a source of kind debian is without parts of suites")
	}
	for _, part := range source.Without {
		if part != "updates" && part != "security" {
			return fmt.Errorf("it is without %q: a suite can be without updates and security", part)
		}
	}
	if slices.ContainsFunc(source.Mirrors, isSparse) && kind != Registry {
		return errors.New("only a source of kind cargo has sparse indexes")
	}
	if _, ok := builtinKinds[name]; !ok && len(source.Mirrors) == 0 {
		return errors.New("it has no mirrors")
	}
	return nil
}

var builtinKinds = map[string]Kind{PyPI: Index, Debian: Archive, CPython: Files, Crates: Registry}

func (c Config) withDefaults() Config {
	if c.Jobs <= 0 {
		c.Jobs = defaultJobs
	}
	if c.env == nil {
		c.env = os.Environ()
	}
	return c
}

// kind is the source's kind; ok is false when no such source is known.
func (c Config) kind(source string) (kind Kind, ok bool) {
	if kind, ok := builtinKinds[source]; ok {
		return kind, true
	}
	configured, ok := c.Sources[source]
	if ok && configured.Kind == "" {
		return Index, true
	}
	return configured.Kind, ok
}

// owner is the source that owns distributions of that name; empty when none does.
func (c Config) owner(name string) (string, error) {
	var owners []string
	for _, source := range slices.Sorted(maps.Keys(c.Sources)) {
		for _, pattern := range c.Sources[source].Names {
			if matched, _ := path.Match(packaging.NormalName(pattern), packaging.NormalName(name)); matched {
				owners = append(owners, source)
				break
			}
		}
	}
	switch len(owners) {
	case 0:
		return "", nil
	case 1:
		return owners[0], nil
	}
	return "", &ConfigError{
		Where: "sources " + strings.Join(owners, " and "),
		Msg:   fmt.Sprintf("both own the name %s", name),
		Help:  "narrow the patterns in names, so that one source owns it",
	}
}

// parse reads the source's mirrors.
func (s Source) parse() ([]mirror, error) {
	mirrors, err := parseMirrors(s.Mirrors)
	for i, m := range mirrors {
		named := strings.HasSuffix(strings.TrimRight(m.String(), "/"), "-security")
		mirrors[i].security = named || slices.Contains(s.Security, s.Mirrors[i])
	}
	return mirrors, err
}
