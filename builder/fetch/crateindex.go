package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"ampoule/config"
)

// CratePages is the path of a [CrateIndex]'s root.
const CratePages = "/crates/"

// maxCrateVersions bounds what an index has of one crate, in bytes: the largest have some 4 MB.
const maxCrateVersions = 32 << 20

// crateName is what a crate may be called (The Cargo Book, "The name field").
var crateName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)

// CrateIndex answers cargo as a sparse index (The Cargo Book, "Registry Index") with what the
// indices of the source of crates have. It has no crates: cargo chooses, and downloads nothing.
//
// Its index is at [CratePages].
type CrateIndex struct {
	fetcher *Fetcher
	// pins are the versions that crates are held to, by lower-case name.
	pins map[string][]string

	mu     sync.Mutex
	faults []error
}

// CrateIndex gives an index of crates. Pins hold crates to versions, as NAME==VERSION: of the
// versions that are compatible with it (semantic versioning), the index has none but that.
func (f *Fetcher) CrateIndex(pins []string) *CrateIndex {
	i := &CrateIndex{fetcher: f, pins: map[string][]string{}}
	for _, pin := range pins {
		name, version, _ := strings.Cut(pin, "==")
		name = strings.ToLower(name)
		i.pins[name] = append(i.pins[name], version)
	}
	return i
}

// Faults gives what has kept the index from answering since this was last called; what is
// not there is none.
func (i *CrateIndex) Faults() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	err := several(i.faults)
	i.faults = nil
	return err
}

// Serve answers what comes through the listener's connections until ctx is done.
func (i *CrateIndex) Serve(ctx context.Context, l net.Listener) { serveUntil(ctx, l, i) }

// ServeHTTP implements [http.Handler].
func (i *CrateIndex) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	below, ok := strings.CutPrefix(r.URL.Path, CratePages)
	switch {
	case r.Method != http.MethodGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case ok && below == "config.json":
		_, _ = io.WriteString(w, `{"dl": "http://`+r.Host+`/none"}`)
	case ok && crateName.MatchString(path.Base(below)):
		i.crate(w, r, strings.ToLower(path.Base(below)))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// crate answers with the versions of a crate.
func (i *CrateIndex) crate(w http.ResponseWriter, r *http.Request, name string) {
	text, err := i.fetcher.crateVersions(r.Context(), name)
	switch {
	case r.Context().Err() != nil:
	case errors.Is(err, errNotThere):
		w.WriteHeader(http.StatusNotFound)
	case err != nil:
		i.mu.Lock()
		i.faults = append(i.faults, err)
		i.mu.Unlock()
		// One that cargo does not ask for again: that has been done.
		w.WriteHeader(http.StatusBadRequest)
	default:
		_, _ = w.Write(held(text, i.pins[name]))
	}
}

// held leaves out the versions that pins exclude.
func held(text []byte, pins []string) []byte {
	if len(pins) == 0 {
		return text
	}
	var kept []byte
	for line := range bytes.Lines(text) {
		v, err := parseCrateVersion(line)
		excludes := func(pin string) bool { return CompatibleCrates(pin, v.Version) }
		if err == nil && (slices.Contains(pins, v.Version) || !slices.ContainsFunc(pins, excludes)) {
			kept = append(kept, line...)
		}
	}
	return kept
}

// CrateVersion is a version of a crate, as an index has it.
type CrateVersion struct {
	Version string `json:"vers"`
	Yanked  bool   `json:"yanked"`
	// Rust is the oldest Rust that it is for; empty where it does not say.
	Rust string `json:"rust_version"`
}

func parseCrateVersion(line []byte) (CrateVersion, error) {
	var v CrateVersion
	err := json.Unmarshal(line, &v)
	return v, err
}

// CrateVersions lists the versions of a crate that the indices of the source of crates have.
// Lines of an index that are none are left out.
func (f *Fetcher) CrateVersions(ctx context.Context, name string) ([]CrateVersion, error) {
	text, err := f.crateVersions(ctx, strings.ToLower(name))
	if err != nil {
		return nil, err
	}
	var all []CrateVersion
	for line := range bytes.Lines(text) {
		if v, err := parseCrateVersion(line); err == nil {
			all = append(all, v)
		}
	}
	return all, nil
}

// CompatibleCrates reports whether one version of a crate could take the place of the other:
// the first of their numbers that is not zero is the same, and so are those before it (The
// Cargo Book, "SemVer Compatibility"). A version without three numbers is compatible with none.
func CompatibleCrates(a, b string) bool {
	x, plainX := CrateNumbers(a)
	y, plainY := CrateNumbers(b)
	if !plainX || !plainY {
		return false
	}
	for i := range x {
		if x[i] != y[i] {
			return false
		}
		if x[i] != 0 {
			return true
		}
	}
	return true
}

// CrateNumbers gives the three numbers of a crate's version, without what follows them.
func CrateNumbers(version string) (numbers [3]int, ok bool) {
	release, _, _ := strings.Cut(version, "+")
	release, _, _ = strings.Cut(release, "-")
	parts := strings.Split(release, ".")
	if len(parts) != len(numbers) {
		return numbers, false
	}
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return numbers, false
		}
		numbers[i] = n
	}
	return numbers, true
}

// crateVersions gives what the first index that has a crate says of it. The error is an
// errNotThere when all have answered, and none has it. Answers are kept as long as the
// Fetcher lives.
func (f *Fetcher) crateVersions(ctx context.Context, name string) ([]byte, error) {
	return ask(ctx, f, "crate "+name, func() ([]byte, error) {
		mirrors, err := f.mirrors(ctx, Crates)
		if err != nil {
			return nil, err
		}
		var attempts []Attempt
		missing := true
		for _, m := range mirrors {
			index, ok := m.crateIndex()
			if !ok {
				continue
			}
			text, err := f.inCrateIndex(ctx, index, name)
			if err == nil || fatal(ctx, err) {
				return text, err
			}
			missing = missing && errors.Is(err, errNotThere)
			attempts = append(attempts, Attempt{index.redacted(), err})
		}
		switch {
		case len(attempts) == 0:
			return nil, &config.Error{
				Where: "source " + Crates, Msg: "none of its mirrors is an index, which choosing crates takes",
				Help: "add the root of a sparse index to its mirrors, or a directory with one in index/",
			}
		case missing:
			return nil, errNotThere
		}
		return nil, &RemoteError{What: "the crate " + name + " of source " + Crates, Attempts: attempts}
	})
}

// crateIndex is the index that a mirror of crates has, if it is known: a directory has one below
// index, as cargo's local registries do.
func (m mirror) crateIndex() (mirror, bool) {
	switch {
	case m.isDir():
		index := m.join("index")
		info, err := os.Stat(index.dir)
		return index, err == nil && info.IsDir()
	case m.index != nil:
		return mirror{url: m.index, access: m.access}, true
	}
	return m, !hasMarker(m.template())
}

// inCrateIndex gives what one index says of a crate.
func (f *Fetcher) inCrateIndex(ctx context.Context, index mirror, name string) ([]byte, error) {
	address := index.join(cratePrefix(name), name)
	if address.isDir() {
		text, err := os.ReadFile(address.dir)
		if errors.Is(err, fs.ErrNotExist) {
			err = errNotThere
		}
		return text, err
	}
	// What is no index would give whatever it likes for a crate.
	if _, err := f.download(ctx, index); err != nil {
		return nil, err
	}
	var text []byte
	err := f.persist(ctx, func() (int64, error) {
		var err error
		text, err = f.crateVersionsOnce(ctx, address)
		return 0, err
	})
	return text, err
}

func (f *Fetcher) crateVersionsOnce(ctx context.Context, address mirror) ([]byte, error) {
	answer, err := f.get(ctx, address, http.Header{})
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, &StatusError{Code: answer.StatusCode, Status: answer.Status}
	}
	text, err := io.ReadAll(io.LimitReader(answer, maxCrateVersions+1))
	if err != nil {
		return nil, classify(ctx, err)
	}
	if len(text) > maxCrateVersions {
		return nil, fmt.Errorf("the index has more than %d bytes of it", maxCrateVersions)
	}
	return text, nil
}
