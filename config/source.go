package config

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

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

// The sources that every Ampoule knows. Configuration may add others.
const (
	// PyPI is the Python package index.
	PyPI = "pypi"
	// Debian is Debian's archive, the security archive included.
	Debian = "debian"
	// CPython is where CPython's source archives come from: Debian's source
	// packages, then what is configured.
	CPython = "cpython"
	// Crates is cargo's public registry.
	Crates = "crates"
	// Profiles is where training profiles of CPython come from: what is configured.
	Profiles = "profiles"
)

var builtinKinds = map[string]Kind{PyPI: Index, Debian: Archive, CPython: Files, Crates: Registry, Profiles: Files}

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
	// Credentials are for the mirrors of this source alone.
	Credentials Credentials `toml:"credentials"`
}

// Sources are sources by name.
type Sources map[string]Source

// Kind is a source's kind; ok is false when no such source is known.
func (s Sources) Kind(name string) (kind Kind, ok bool) {
	if kind, ok := builtinKinds[name]; ok {
		return kind, true
	}
	configured, ok := s[name]
	if ok && configured.Kind == "" {
		return Index, true
	}
	return configured.Kind, ok
}

// Owner is the source that owns distributions of a name; empty when none does. Names and
// patterns are compared in their normal form.
func (s Sources) Owner(name string) (string, error) {
	var owners []string
	for _, source := range slices.Sorted(maps.Keys(s)) {
		for _, pattern := range s[source].Names {
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
	return "", &Error{
		Where: "sources " + strings.Join(owners, " and "),
		Msg:   fmt.Sprintf("both own the name %s", name),
		Help:  "narrow the patterns in names, so that one source owns it",
	}
}

// Unknown says that a source is named that nothing configures.
func Unknown(source string) *Error {
	return &Error{
		Where: "source " + source,
		Msg:   "it is not configured",
		Help:  NameMirrors(source),
	}
}

// NameMirrors says where a source's mirrors are named.
func NameMirrors(source string) string {
	return fmt.Sprintf("name its mirrors in %s%s or in config.toml", SourcePrefix, strings.ToUpper(strings.ReplaceAll(source, "-", "_")))
}

// sparsePrefix is what cargo writes before the URL of a sparse index.
const sparsePrefix = "sparse+"

// ParseMirror reads a mirror as a person writes it: a URL, or the path of a directory.
func ParseMirror(text string) (u *url.URL, dir string, err error) {
	if filepath.IsAbs(text) {
		return nil, filepath.Clean(text), nil
	}
	u, err = url.Parse(strings.TrimPrefix(text, sparsePrefix))
	if err != nil {
		return nil, "", fmt.Errorf("mirror %q is no URL", shown(text))
	}
	switch {
	case u.Scheme == "file" && filepath.IsAbs(u.Path) && (u.Host == "" || u.Host == "localhost"):
		return nil, filepath.Clean(u.Path), nil
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		return u, "", nil
	}
	return nil, "", fmt.Errorf("mirror %q is neither an http nor an https URL nor an absolute path", shown(text))
}

// shown is what was written for a mirror and is none, for a person. What stands before an
// "@" there may be the end of a password.
func shown(text string) string {
	if strings.Contains(text, "//") {
		return address.One(text)
	}
	return strings.TrimPrefix(address.One("//"+text), "//")
}

// IsRegistry reports whether a place is a registry and not a directory: the first part of a registry's name is a
// host, which has a dot or a port or is localhost. What begins with a dot or a slash is
// a directory.
func IsRegistry(place string) bool {
	host, _, _ := strings.Cut(place, "/")
	return !strings.HasPrefix(place, ".") && (host == "localhost" || strings.ContainsAny(host, ".:"))
}

var sourceName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$`)

// checkSources refuses sources that no build could use.
func (r *reading) checkSources() error {
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(r.parsed.Sources)) {
		source := r.parsed.Sources[name]
		fault := func(help, msg string, key ...string) {
			faults = append(faults, &Error{
				Where: r.whereSource(name, key...), Help: help,
				Msg: fmt.Sprintf("source %s: ", name) + address.Redact(msg),
			})
		}
		if !sourceName.MatchString(name) {
			fault("", "its name must have lower-case letters, digits, \"-\", \"_\" and \".\" only")
		}
		if key, err := checkKind(name, source); err != nil {
			fault("", err.Error(), key)
		}
		kind, _ := r.parsed.Sources.Kind(name)
		if key, help, err := checkCredentials(name, kind, source.Credentials); err != nil {
			fault(help, err.Error(), strings.Fields(key)...)
		}
		checkMirrors(source, fault)
		for i, pattern := range source.Names {
			if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
				fault("patterns are as in acme-*", fmt.Sprintf("name pattern %q is wrong", pattern), "names", index(i))
			}
		}
	}
	return errors.Join(faults...)
}

// checkMirrors refuses mirrors that are none.
func checkMirrors(source Source, fault func(help, msg string, key ...string)) {
	for _, list := range []struct {
		key     string
		mirrors []string
	}{{"mirrors", source.Mirrors}, {"security", source.Security}} {
		for i, text := range list.mirrors {
			if _, _, err := ParseMirror(text); err != nil {
				fault("a mirror is an http or https URL or the absolute path of a directory", err.Error(), list.key, index(i))
			}
		}
	}
	for i, text := range source.Security {
		if !slices.Contains(source.Mirrors, text) {
			fault("", fmt.Sprintf("security mirror %s is not among its mirrors", text), "security", index(i))
		}
	}
}

// checkKind refuses what a source's kind does not go with, and names the key that is wrong.
func checkKind(name string, source Source) (key string, err error) {
	kind := source.Kind
	builtin, known := builtinKinds[name]
	if known {
		if kind != "" && kind != builtin {
			return "kind", fmt.Errorf("its kind is %s, not %s", builtin, kind)
		}
		kind = builtin
	}
	switch kind {
	case "", Index:
	case Archive, Files, Registry:
		if len(source.Names) > 0 {
			return "names", errors.New("only a source of kind index can own names")
		}
	default:
		return "kind", fmt.Errorf("unknown kind %q: it is index, debian, files or cargo", kind)
	}
	if key, err := checkDebian(kind, source); err != nil {
		return key, err
	}
	if slices.ContainsFunc(source.Mirrors, isSparse) && kind != Registry {
		return "mirrors", errors.New("only a source of kind cargo has sparse indexes")
	}
	if !known && len(source.Mirrors) == 0 {
		return "", errors.New("it has no mirrors")
	}
	return "", nil
}

func isSparse(mirror string) bool { return strings.HasPrefix(mirror, sparsePrefix) }

// checkDebian refuses what only Debian's archive has.
func checkDebian(kind Kind, source Source) (key string, err error) {
	if len(source.Security) > 0 && kind != Archive {
		return "security", errors.New("only a source of kind debian has security mirrors")
	}
	if len(source.Without) > 0 && kind != Archive {
		return "without", errors.New("only a source of kind debian is without parts of suites")
	}
	for _, part := range source.Without {
		if part != "updates" && part != "security" {
			return "without", fmt.Errorf("it is without %q: a suite can be without updates and security", part)
		}
	}
	return "", nil
}

// checkKept refuses what depends on the working directory. Whether the others can be
// had shows when they are asked.
func (r *reading) checkKept() error {
	var faults []error
	for i, place := range r.parsed.Kept {
		if !filepath.IsAbs(place) && !IsRegistry(place) {
			faults = append(faults, &Error{
				Where: r.whereKept(i),
				Msg:   fmt.Sprintf("kept: %q is neither an absolute path nor a registry", address.One(place)),
				Help:  "name the absolute path of a directory, or a registry as HOST[:PORT][/PREFIX]",
			})
		}
	}
	return errors.Join(faults...)
}
