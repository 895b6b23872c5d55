package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"ampoule/config"
	"ampoule/packaging"
)

// Front answers a resolver as one package index (PEP 691) for all sources. Each name is
// asked of the source that owns it and of no other, so that no other source's files get
// into an answer, and no other source's server learns of the name. Credentials are added
// on the way: who is answered sees neither them nor the servers' addresses.
//
// Its index is at /simple/.
type Front struct {
	fetcher *Fetcher

	mu sync.Mutex
	// files are the files that pages named, by the part of their address that stands for them.
	files  map[string]mirror
	faults []error
}

// Front gives a front of the fetcher's sources.
func (f *Fetcher) Front() *Front { return &Front{fetcher: f, files: map[string]mirror{}} }

// Paths of the front.
const (
	frontPages     = "/simple/"
	frontFiles     = "/files/"
	metadataSuffix = ".metadata"
)

// Faults gives what has kept the front from answering since this was last called, each
// fault once; what is not there is none.
func (f *Front) Faults() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var texts []string
	faults := slices.DeleteFunc(f.faults, func(err error) bool {
		known := slices.Contains(texts, err.Error())
		texts = append(texts, err.Error())
		return known
	})
	f.faults = nil
	return several(faults)
}

// requestTime is how long a request may take to come.
const requestTime = 30 * time.Second

// Serve answers what comes through the listener's connections until ctx is done. With it
// end the requests that have begun.
func (f *Front) Serve(ctx context.Context, l net.Listener) { serveUntil(ctx, l, f) }

// serveUntil answers by a handler until ctx is done.
func serveUntil(ctx context.Context, l net.Listener, handler http.Handler) {
	server := http.Server{
		Handler: handler, ReadHeaderTimeout: requestTime, ErrorLog: log.New(io.Discard, "", 0),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	_ = server.Serve(l) // Its only error is that the listener has ended.
}

// ServeHTTP implements [http.Handler].
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if name, ok := strings.CutPrefix(r.URL.Path, frontPages); ok {
		f.page(w, r, strings.Trim(name, "/"))
		return
	}
	key, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, frontFiles), "/")
	f.mu.Lock()
	address, ok := f.files[key]
	f.mu.Unlock()
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if strings.HasSuffix(name, metadataSuffix) {
		address = address.beside(metadataSuffix)
	}
	f.file(w, r, address)
}

// frontFile is a file as the front tells it (PEP 691).
type frontFile struct {
	Filename       string            `json:"filename"`
	URL            string            `json:"url"`
	Hashes         map[string]string `json:"hashes"`
	RequiresPython string            `json:"requires-python,omitempty"`
	Yanked         bool              `json:"yanked"`
	Metadata       bool              `json:"core-metadata"`
	Size           int64             `json:"size,omitempty"`
}

// page answers with a project's files.
func (f *Front) page(w http.ResponseWriter, r *http.Request, name string) {
	if !packaging.IsName(name) {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	files, err := f.fetcher.Project(r.Context(), PyPI, name)
	if err != nil {
		f.fail(w, r, err)
		return
	}
	told := make([]frontFile, len(files))
	for i, file := range files {
		told[i] = frontFile{
			Filename: file.File, URL: "../.." + frontFiles + f.add(file.address()) + "/" + escape([]string{file.File})[0],
			Hashes: map[string]string{}, RequiresPython: file.RequiresPython, Yanked: file.Yanked, Metadata: file.metadata, Size: file.Size,
		}
		if file.SHA256 != "" {
			told[i].Hashes["sha256"] = file.SHA256
		}
	}
	w.Header().Set("Content-Type", "application/vnd.pypi.simple.v1+json")
	w.Header().Set("Cache-Control", "max-age=86400")
	_ = json.NewEncoder(w).Encode(map[string]any{"meta": map[string]string{"api-version": "1.0"}, "name": name, "files": told})
}

// add notes a file's address, and gives the part that stands for it.
func (f *Front) add(address mirror) string {
	sum := sha256.Sum256([]byte(address.String()))
	key := hex.EncodeToString(sum[:16])
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[key] = address
	return key
}

// fail answers instead of what is not there, or what cannot be had. It notes a fault, for
// which the answer is one that no resolver asks for again: that has been done.
func (f *Front) fail(w http.ResponseWriter, r *http.Request, err error) {
	var missing *NoProjectError
	switch {
	case r.Context().Err() != nil:
	case errors.As(err, &missing), errors.Is(err, errNotThere):
		w.WriteHeader(http.StatusNotFound)
	default:
		f.mu.Lock()
		f.faults = append(f.faults, err)
		f.mu.Unlock()
		w.WriteHeader(http.StatusBadRequest)
	}
}

// The headers that the front passes on.
var (
	rangeHeaders = []string{"Range", "If-Range"}
	fileHeaders  = []string{"Accept-Ranges", "Content-Length", "Content-Range", "Content-Type", "Etag", "Last-Modified"}
)

// file answers with a file, or a part of it.
func (f *Front) file(w http.ResponseWriter, r *http.Request, address mirror) {
	header := http.Header{"Accept-Encoding": {"identity"}}
	take(header, r.Header, rangeHeaders)
	answer, err := f.open(r.Context(), r.Method, address, header)
	if err != nil {
		f.fail(w, r, &RemoteError{What: "a file that an index names", Attempts: []Attempt{{address.redacted(), err}}})
		return
	}
	defer answer.Close()
	take(w.Header(), answer.Header, fileHeaders)
	w.Header().Set("Cache-Control", "max-age=86400, immutable")
	w.WriteHeader(answer.StatusCode)
	if _, err := io.Copy(w, answer); err != nil {
		panic(http.ErrAbortHandler) // What came is not whole, and whoever asked is to see it.
	}
}

// open asks for an address until there is an answer.
func (f *Front) open(ctx context.Context, method string, address mirror, header http.Header) (*answered, error) {
	var answer *answered
	err := f.fetcher.persist(ctx, func() (int64, error) {
		var err error
		answer, err = f.fetcher.request(ctx, method, address, header)
		return 0, err
	})
	return answer, err
}

func take(to, from http.Header, names []string) {
	for _, name := range names {
		if values := from.Values(name); len(values) > 0 {
			to[name] = values
		}
	}
}

// Private reports whether a resolver that asks the public index itself would not do: names
// belong to other sources, or the index wants credentials.
func (s Sources) Private(ctx context.Context) (bool, error) {
	for _, source := range s.fetcher.config.Sources {
		if len(source.Names) > 0 {
			return true, nil
		}
	}
	mirrors, err := s.fetcher.mirrors(ctx, PyPI)
	if err != nil {
		return false, err
	}
	for _, m := range mirrors {
		if m.isDir() {
			continue
		}
		if m.url.User != nil || !s.fetcher.config.Sources[config.PyPI].Credentials.IsZero() {
			return true, nil
		}
		header, err := m.access.authorization(ctx, m.url)
		if err != nil || header != "" {
			return header != "", err
		}
	}
	return false, nil
}
