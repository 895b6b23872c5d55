package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"ampoule/builder/memo"
	"ampoule/config"
)

// mirror is the root of a place that bytes may come from, or one address in it: a
// URL or a path.
type mirror struct {
	url *url.URL
	dir string
	// security says that it serves Debian's security archive.
	security bool
	// index is the root of the sparse index that the template of a registry of crates is from;
	// nil where that is not known.
	index *url.URL
	// access is how its server knows who asks; nil where it need not.
	access *access
}

// parseMirror reads a mirror as a person writes it.
func parseMirror(text string) (mirror, error) {
	u, dir, err := config.ParseMirror(text)
	return mirror{url: u, dir: dir}, err
}

func (m mirror) isDir() bool { return m.url == nil }

// String is the mirror for a client, credentials included.
func (m mirror) String() string {
	if m.isDir() {
		return (&url.URL{Scheme: "file", Path: m.dir}).String()
	}
	return m.url.String()
}

// redacted is the mirror for a person: without credentials, query and fragment,
// any of which may be a secret.
func (m mirror) redacted() string {
	if m.isDir() {
		return m.dir
	}
	u := *m.url
	u.User, u.RawQuery, u.Fragment, u.RawFragment = nil, "", "", ""
	return u.String()
}

// join is an address below the mirror. Its parts are not escaped.
func (m mirror) join(parts ...string) mirror {
	if m.isDir() {
		return mirror{dir: filepath.Join(append([]string{m.dir}, parts...)...)}
	}
	return mirror{url: m.url.JoinPath(escape(parts)...), access: m.access}
}

// beside is the address of what has a file's name with more behind it.
func (m mirror) beside(suffix string) mirror {
	u := *m.url
	u.Path += suffix
	if u.RawPath != "" {
		u.RawPath += suffix
	}
	m.url = &u
	return m
}

func escape(parts []string) []string {
	var escaped []string
	for _, part := range parts {
		for _, segment := range strings.Split(part, "/") {
			escaped = append(escaped, url.PathEscape(segment))
		}
	}
	return escaped
}

// ask gives what was answered to key before, else the answer of get. Faults are not
// remembered; who asks while another one does waits for that answer, as long as ctx lasts.
func ask[T any](ctx context.Context, f *Fetcher, key string, get func() (T, error)) (T, error) {
	entry, _ := f.memory.LoadOrStore(key, memo.New[T]())
	return entry.(*memo.Value[T]).Get(ctx, get)
}

// mirrors lists a source's mirrors: those configured, else the defaults.
func (f *Fetcher) mirrors(ctx context.Context, source string) ([]mirror, error) {
	configured, ok := f.config.Sources[source]
	if _, known := f.config.Sources.Kind(source); !known {
		return nil, config.Unknown(source)
	}
	var mirrors []mirror
	var err error
	switch {
	case ok && len(configured.Mirrors) > 0:
		mirrors, err = mirrorsOf(configured)
	case source == PyPI, source == Debian, source == Crates:
		mirrors, err = ask(ctx, f, "default "+source, func() ([]mirror, error) { return f.defaults(ctx, source) })
		mirrors = slices.Clone(mirrors)
	}
	for i := range mirrors {
		mirrors[i].access = f.accessOf(source)
	}
	return mirrors, err
}

func parseMirrors(texts []string) ([]mirror, error) {
	mirrors := make([]mirror, 0, len(texts))
	for _, text := range texts {
		m, err := parseMirror(text)
		if err != nil {
			return nil, scrubbedError{err}
		}
		mirrors = append(mirrors, m)
	}
	return mirrors, nil
}

// place is a mirror together with how it finds an item's addresses.
type place struct {
	mirror mirror
	// find lists the addresses, best first. A mirror that answers that it has no
	// such item gives errNotThere.
	find func(context.Context) ([]mirror, error)
}

// errNotThere says that a mirror has answered, and has no such item.
var errNotThere = errors.New("it is not there")

// places lists where the item may be, by the kind of its source.
func (f *Fetcher) places(ctx context.Context, item Item) ([]place, error) {
	source, err := f.sourceOf(item)
	if err != nil {
		return nil, err
	}
	if source == CPython {
		return f.cpythonPlaces(ctx, item)
	}
	mirrors, err := f.mirrors(ctx, source)
	if err != nil {
		return nil, err
	}
	kind, _ := f.config.Sources.Kind(source)
	places := make([]place, 0, len(mirrors))
	for _, m := range mirrors {
		switch {
		case kind == config.Index && !m.isDir():
			places = append(places, place{m, func(ctx context.Context) ([]mirror, error) { return f.inIndex(ctx, m, item) }})
		case kind == config.Registry && !m.isDir():
			places = append(places, place{m, func(ctx context.Context) ([]mirror, error) { return f.inRegistry(ctx, m, item) }})
		case kind == config.Archive && !m.isDir():
			places = append(places, fixed(m, m.join(item.File)))
		case m.isDir():
			places = append(places, inDirectory(m, item))
		default:
			places = append(places, onServer(m, item.Version, item))
		}
	}
	return places, nil
}

// sourceOf is the item's source. A distribution whose name a source owns comes from
// that source, whatever the item says.
func (f *Fetcher) sourceOf(item Item) (string, error) {
	if kind, ok := f.config.Sources.Kind(item.Source); !ok || kind != config.Index {
		return item.Source, nil
	}
	owner, err := f.config.Sources.Owner(item.Name)
	if err != nil || owner == "" {
		return item.Source, err
	}
	return owner, nil
}

func fixed(m mirror, addresses ...mirror) place {
	return place{m, func(context.Context) ([]mirror, error) { return addresses, nil }}
}

// inDirectory looks for a file by its path, by its name, below its name or version,
// and by its sha256.
func inDirectory(m mirror, item Item) place {
	base := path.Base(item.File)
	addresses := []mirror{m.join(item.File)}
	if base != item.File {
		addresses = append(addresses, m.join(base))
	}
	return fixed(m, append(addresses,
		m.join(item.Name, base), m.join(item.Version, base), m.join(item.SHA256))...)
}

// onServer looks for a file below its version, by its name, and by its sha256: so does a server find it
// that has a [Directory] of what is kept.
func onServer(m mirror, version string, item Item) place {
	return fixed(m, m.join(version, item.File), m.join(item.File), m.join(item.SHA256))
}

var cpythonFile = regexp.MustCompile(`^Python-(([0-9]+\.[0-9]+)\.[0-9]+)((?:a|b|rc)[0-9]+)?\.(tar\.xz|tgz)$`)

// cpythonPlaces lists where a source archive of CPython may be. Debian publishes
// upstream's archive, unchanged, as the ".orig" file of its source package; before
// its letters a pre-release has "~" there (Debian Policy 5.6.12). Upstream keeps the
// archives of a release and of its pre-releases in one directory.
func (f *Fetcher) cpythonPlaces(ctx context.Context, item Item) ([]place, error) {
	var places []place
	release := item.Version
	if m := cpythonFile.FindStringSubmatch(item.File); m != nil {
		release = m[1]
		version := m[1]
		if m[3] != "" {
			version += "~" + m[3]
		}
		suffix := strings.Replace(m[4], "tgz", "tar.gz", 1)
		pool := fmt.Sprintf("pool/main/p/python%s/python%s_%s.orig.%s", m[2], m[2], version, suffix)
		places = append(places, f.debianPlaces(ctx, pool, item)...)
	}
	mirrors, err := f.mirrors(ctx, CPython)
	if err != nil {
		return nil, err
	}
	for _, m := range mirrors {
		if m.isDir() {
			places = append(places, inDirectory(m, item))
			continue
		}
		places = append(places, onServer(m, release, item))
	}
	return places, nil
}

// debianPlaces lists Debian's mirrors. When they cannot be found, that is told as the
// one place's reason, because others may follow.
func (f *Fetcher) debianPlaces(ctx context.Context, pool string, item Item) []place {
	mirrors, err := f.mirrors(ctx, Debian)
	if err != nil {
		nowhere := mirror{dir: "source " + Debian}
		return []place{{nowhere, func(context.Context) ([]mirror, error) { return nil, err }}}
	}
	places := make([]place, 0, len(mirrors))
	for _, m := range mirrors {
		if m.isDir() {
			item := item
			item.File = pool
			places = append(places, inDirectory(m, item))
			continue
		}
		places = append(places, fixed(m, m.join(pool)))
	}
	return places
}
