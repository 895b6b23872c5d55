package fetch

import (
	"context"
	"slices"

	"ampoule/config"
)

// Sources tells where the sources are, for the clients that locking runs. What it
// gives may hold credentials: it is for a client's configuration, never for a
// message, a log or a lock.
type Sources struct{ fetcher *Fetcher }

// Mirror is one mirror of Debian's archive.
type Mirror struct {
	// URL is the archive's root, as apt takes it; file:/… for a directory.
	URL string
	// Security says that it serves the security archive.
	Security bool
}

// Sources gives the fetcher's sources.
func (f *Fetcher) Sources() Sources { return Sources{f} }

// Debian lists the mirrors of Debian's archives: those configured, else apt's own.
func (s Sources) Debian(ctx context.Context) ([]Mirror, error) {
	mirrors, err := s.fetcher.mirrors(ctx, Debian)
	if err != nil {
		return nil, err
	}
	found := make([]Mirror, 0, len(mirrors))
	for _, m := range mirrors {
		found = append(found, Mirror{URL: m.String(), Security: m.security})
	}
	return found, nil
}

// Without are the parts that a source's mirrors lack, as its configuration says: see
// [Source].
func (s Sources) Without(source string) []string {
	return slices.Clone(s.fetcher.config.Sources[source].Without)
}

// Index is the root of the Python package index (PEP 503's base URL): the first
// configured mirror of PyPI that is no directory, else pip's own.
func (s Sources) Index(ctx context.Context) (string, error) {
	mirrors, err := s.fetcher.mirrors(ctx, PyPI)
	if err != nil {
		return "", err
	}
	for _, m := range mirrors {
		if !m.isDir() {
			return m.String(), nil
		}
	}
	return "", noIndex(PyPI)
}

// Network is how other machines are reached.
func (s Sources) Network() config.Network { return s.fetcher.config.Network }

// Owner is the source that alone may give distributions of that name, or PyPI when
// no source owns it.
func (s Sources) Owner(name string) (string, error) {
	owner, err := s.fetcher.config.Sources.Owner(name)
	if owner == "" && err == nil {
		return PyPI, nil
	}
	return owner, err
}

func noIndex(source string) error {
	return &config.Error{
		Where: "source " + source,
		Msg:   "none of its mirrors is an index: a directory has no project pages",
		Help:  "add the URL of an index (PEP 503) to its mirrors",
	}
}
