package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	ociregistry "github.com/google/go-containerregistry/pkg/registry"
	"github.com/klauspost/compress/zstd"

	"ampoule/artifact"
	"ampoule/registry"
	"ampoule/store"
)

// server is a registry that can be disturbed.
type server struct {
	*httptest.Server
	// fault answers a request in the registry's place if it reports so; nil disturbs nothing.
	fault atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
	// writes counts requests that could change something.
	writes atomic.Int64
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{}
	inner := ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0)))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			s.writes.Add(1)
		}
		if fault := s.fault.Load(); fault != nil && (*fault)(w, req) {
			return
		}
		inner.ServeHTTP(w, req)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) disturb(fault func(http.ResponseWriter, *http.Request) bool) { s.fault.Store(&fault) }

func (s *server) ref() string { return strings.TrimPrefix(s.URL, "http://") + "/team/cache" }

// signer makes a key, and gives the file of the public one.
func newSigner(t *testing.T) (_ *Signer, public string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cache.key")
	if _, err := Generate(file); err != nil {
		t.Fatal(err)
	}
	s, err := ReadSigner(file)
	if err != nil {
		t.Fatal(err)
	}
	return s, file + ".pub"
}

func trusting(t *testing.T, public ...string) Trust {
	t.Helper()
	trust, err := NewTrust(public, nil)
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

func (s *server) open(t *testing.T, trust Trust, signer *Signer) *Cache {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(s.ref(), st, trust, signer)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// value is a record with two contents.
type value struct{ Layer, Wheel string }

func (v value) Content() []string { return []string{v.Layer, v.Wheel} }

func names(text []byte) ([]string, error) {
	var v value
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, err
	}
	return store.ContentOf(v), nil
}

const kind, key = "wheel", "the key"

var wanted = Wanted{Kind: kind, Key: key, Names: names}

// plain is what a layer could be, zipped what a wheel could be.
var plain, zipped = strings.Repeat("a layer\n", 100_000), "PK\x03\x04 a wheel"

// fill writes an entry, and gives its value.
func fill(t *testing.T, c *Cache, key string) value {
	t.Helper()
	v := value{put(t, c, plain), put(t, c, zipped)}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Write(t.Context(), kind, key, text, v.Content()); err != nil {
		t.Fatal(err)
	}
	return v
}

func put(t *testing.T, c *Cache, content string) string {
	t.Helper()
	sum, _, err := c.store.Put(t.Context(), strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// What one store has written another one reads, if it trusts the key. It sends nothing.
func TestReadBack(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	signer, public := newSigner(t)
	v := fill(t, s.open(t, Trust{}, signer), key)
	writes := s.writes.Load()
	reader := s.open(t, trusting(t, public), nil)
	w, came, of := wanted, int64(0), int64(0)
	w.Advance = func(done, total int64) { came, of = max(came, done), total }
	text, err := reader.Read(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	var got value
	if err := json.Unmarshal(text, &got); err != nil || got != v {
		t.Errorf("the value is %s, %v", text, err)
	}
	for _, sum := range v.Content() {
		if err := reader.store.Verify(t.Context(), sum); err != nil {
			t.Error(err)
		}
	}
	if size := int64(len(plain) + len(zipped)); came != size || of != size {
		t.Errorf("%d of %d bytes came, of %d", came, of, size)
	}
	w.Key = "another key"
	if _, err := reader.Read(t.Context(), w); !errors.Is(err, ErrAbsent) {
		t.Errorf("another key: %v", err)
	}
	if err := reader.Write(t.Context(), kind, key, text, nil); !errors.Is(err, ErrNoKey) || reader.Writable() {
		t.Errorf("writing without a key: %v", err)
	}
	if n := s.writes.Load(); n != writes {
		t.Errorf("a reader has sent %d requests that write", n-writes)
	}
	// The writer reads what it wrote, without more trust than in itself.
	if _, err := s.open(t, Trust{}, signer).Read(t.Context(), wanted); err != nil {
		t.Error(err)
	}
}

// forgery is an entry that somebody writes who may write to the registry.
type forgery struct {
	statement, signature string
	files                []artifact.File
}

// entry reads an entry as it is.
func entry(t *testing.T, c *Cache, key string) forgery {
	t.Helper()
	info, err := c.at.Tagged(t.Context(), Tag(kind, key))
	if err != nil {
		t.Fatal(err)
	}
	f := forgery{signature: info.Annotations[artifact.AnnotationSignature]}
	for i, file := range info.Files {
		r, err := c.at.Open(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			f.statement = string(data)
			continue
		}
		f.files = append(f.files, artifact.BytesFile(file.Name, file.MediaType, data))
	}
	return f
}

func (f forgery) write(t *testing.T, c *Cache, artifactType string) {
	t.Helper()
	files := append([]artifact.File{artifact.BytesFile("statement.json", artifact.CacheStatementType, []byte(f.statement))}, f.files...)
	if err := c.at.Put(t.Context(), Tag(kind, key), artifactType, map[string]string{artifact.AnnotationSignature: f.signature}, files); err != nil {
		t.Fatal(err)
	}
}

// resign signs the statement with a key.
func (f *forgery) resign(t *testing.T, s *Signer) {
	t.Helper()
	var err error
	if f.signature, err = s.sign([]byte(f.statement)); err != nil {
		t.Fatal(err)
	}
}

func packed(t *testing.T, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(content)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func halved(b []byte) []byte { return b[:len(b)/2] }

// Whoever may write to the registry, and has no trusted key, gives no build anything.
func TestForged(t *testing.T) {
	t.Parallel()
	own, public := newSigner(t)
	stranger, _ := newSigner(t)
	old, oldPublic := newSigner(t)
	replaced := func(content []byte) func(*forgery) {
		return func(f *forgery) {
			for i, file := range f.files {
				if file.MediaType == artifact.CachePackedType {
					f.files[i] = artifact.BytesFile(file.Name, file.MediaType, content)
				}
			}
		}
	}
	for name, c := range map[string]struct {
		forge func(*forgery)
		want  string
	}{
		"other content":         {replaced(packed(t, []byte("poison"))), "is damaged"},
		"longer content":        {replaced(packed(t, []byte(plain+"poison"))), "is damaged"},
		"a bomb":                {replaced(packed(t, make([]byte, 256<<20))), "is damaged"},
		"no compressed content": {replaced([]byte("poison")), "is damaged"},
		"cut content":           {replaced(halved(packed(t, []byte(plain)))), "is damaged"},
		"no content":            {func(f *forgery) { f.files = nil }, "is not whole"},
		"no signature":          {func(f *forgery) { f.signature = "" }, "wrong signature"},
		"garbage as signature":  {func(f *forgery) { f.signature = "!" }, "wrong signature"},
		"another value": {func(f *forgery) {
			f.statement = strings.Replace(f.statement, `"value":{"Layer":"`, `"value":{"Layer":"0`, 1)
		}, "wrong signature"},
		"of a stranger": {func(f *forgery) {
			f.statement = strings.Replace(f.statement, own.ID(), stranger.ID(), 1)
			f.resign(t, stranger)
		}, `by a key that is not trusted, "` + stranger.ID()},
		"of a stranger in another name": {func(f *forgery) { f.resign(t, stranger) }, "wrong signature"},
		"of a retired key": {func(f *forgery) {
			f.statement = strings.Replace(f.statement, own.ID(), old.ID(), 1)
			f.resign(t, old)
		}, "by a retired key, " + old.ID()},
		"of somebody with a long name": {func(f *forgery) {
			f.statement = strings.Replace(f.statement, own.ID(), strings.Repeat("ä", 1<<20), 1)
		}, "by a key that is not trusted"},
		"no statement": {func(f *forgery) { f.statement = "[]" }, "cannot be read"},
		"two statements": {func(f *forgery) {
			f.statement += "{}"
			f.resign(t, own)
		}, "cannot be read"},
		"another format": {func(f *forgery) {
			f.statement = strings.Replace(f.statement, `"format":1`, `"format":2`, 1)
			f.resign(t, own)
		}, "its format is 2"},
		"of another kind": {func(f *forgery) {
			f.statement = strings.Replace(f.statement, `"kind":"wheel"`, `"kind":"install"`, 1)
			f.resign(t, own)
		}, "another key: install"},
		"other content than named": {func(f *forgery) {
			f.statement = strings.Replace(f.statement, `"Wheel":"`, `"Other":"`, 1)
			f.resign(t, own)
		}, "other content than its value names"},
		"content that is no sha256": {func(f *forgery) {
			f.statement = strings.Replace(f.statement, `"content":[{"sha256":"`, `"content":[{"sha256":"../../`, 1)
			f.resign(t, own)
		}, "names content"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			writer := s.open(t, Trust{}, own)
			v := fill(t, writer, key)
			f := entry(t, writer, key)
			before := f.statement
			c.forge(&f)
			f.write(t, writer, artifact.CacheType)
			trust, err := NewTrust([]string{public, oldPublic}, []string{old.ID()})
			if err != nil {
				t.Fatal(err)
			}
			reader := s.open(t, trust, nil)
			_, err = reader.Read(t.Context(), wanted)
			var refused *RefusedError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want a refusal with %q (statement changed: %v)", err, c.want, before != f.statement)
			}
			if len(err.Error()) > 2*maxWhy || !utf8.ValidString(err.Error()) {
				t.Errorf("the reason has %d bytes", len(err.Error()))
			}
			if reader.store.Has(v.Layer) {
				t.Error("the store has the layer")
			}
		})
	}
}

// An entry that is moved to another key's tag is not that key's, and what is no entry is none.
func TestMoved(t *testing.T) {
	t.Parallel()
	own, public := newSigner(t)
	for name, c := range map[string]struct{ from, artifactType, want string }{
		"another key's": {"another key", artifact.CacheType, "is that of another key: wheel another key"},
		"no entry":      {key, artifact.InputsType, "is none of a cache"},
	} {
		s := newServer(t)
		writer := s.open(t, Trust{}, own)
		fill(t, writer, c.from)
		entry(t, writer, c.from).write(t, writer, c.artifactType)
		_, err := s.open(t, trusting(t, public), nil).Read(t.Context(), wanted)
		var refused *RefusedError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want a refusal with %q", name, err, c.want)
		}
	}
}

// hang answers nothing until the caller gives up.
func hang(_ http.ResponseWriter, req *http.Request) bool {
	<-req.Context().Done()
	return true
}

// status answers with a status.
func status(code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(code)
		return true
	}
}

// blobs disturbs reading blobs alone.
func blobs(fault func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, req *http.Request) bool {
		return req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/") && fault(w, req)
	}
}

// cut promises more than it sends.
func cut(w http.ResponseWriter, _ *http.Request) bool {
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, "the beginning")
	return true
}

// A cache that is away, busy, slow or cut off is an error that says so, in bounded time.
func TestReadFails(t *testing.T) {
	t.Parallel()
	signer, public := newSigner(t)
	for name, c := range map[string]struct {
		fault func(http.ResponseWriter, *http.Request) bool
		want  string
	}{
		"fails":                {status(http.StatusInternalServerError), "500"},
		"denies":               {status(http.StatusForbidden), "403"},
		"hangs":                {hang, "not done within 500ms"},
		"content hangs":        {blobs(hang), "not done within 500ms"},
		"content is cut off":   {blobs(cut), "unexpected EOF"},
		"content is not there": {blobs(status(http.StatusNotFound)), "is not whole"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			fill(t, s.open(t, Trust{}, signer), key)
			s.disturb(c.fault)
			reader := s.open(t, trusting(t, public), nil)
			reader.answer = 500 * time.Millisecond
			begun := time.Now()
			_, err := reader.Read(t.Context(), wanted)
			if err == nil || errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want one with %q", err, c.want)
			}
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
	t.Run("away", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		reader := s.open(t, trusting(t, public), nil)
		s.Close()
		if _, err := reader.Read(t.Context(), wanted); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("%v", err)
		}
	})
}

// A registry that is full, or fails while an entry is written, has no entry afterwards.
func TestWriteFails(t *testing.T) {
	t.Parallel()
	signer, _ := newSigner(t)
	for name, code := range map[string]int{"full": http.StatusInsufficientStorage, "fails": http.StatusInternalServerError, "denies": http.StatusUnauthorized} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.disturb(func(w http.ResponseWriter, req *http.Request) bool {
				return req.Method != http.MethodGet && req.Method != http.MethodHead && status(code)(w, req)
			})
			c := s.open(t, Trust{}, signer)
			sum := put(t, c, plain)
			err := c.Write(t.Context(), kind, key, []byte(`{"Layer":"`+sum+`"}`), []string{sum})
			var failed *registry.RemoteError
			if !errors.As(err, &failed) {
				t.Errorf("%v", err)
			}
			s.fault.Store(nil)
			if _, err := c.Read(t.Context(), wanted); !errors.Is(err, ErrAbsent) {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// A caller that ends is obeyed while an entry is packed, and nothing is left.
func TestWriteEnds(t *testing.T) {
	t.Parallel()
	signer, _ := newSigner(t)
	c := newServer(t).open(t, Trust{}, signer)
	sum := put(t, c, plain)
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if err := c.Write(ctx, kind, key, []byte(`{}`), []string{sum}); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
	left, err := filepath.Glob(filepath.Join(c.store.Dir(store.Tmp), "*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

func TestTag(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte("any text"))
	if got := Tag("toolchain-layer", "any text"); got != "toolchain-layer-"+hex.EncodeToString(sum[:]) {
		t.Error(got)
	}
}

// Whatever a statement holds, what is used of it is within bounds.
func FuzzStatement(f *testing.F) {
	f.Add([]byte(`{"format":1,"kind":"wheel","key":"the key","created":"2026-01-01T00:00:00Z","signer":"","value":{},"content":[{"sha256":"ab","size":1}]}`))
	f.Add([]byte(`{"format":1,"kind":"wheel","key":"the key","content":[{"sha256":"` + strings.Repeat("0", 64) + `","size":9223372036854775807}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseStatement(text)
		if err != nil || s.check(kind, key) != nil {
			return
		}
		if s.size() < 0 || s.size() > maxContent || len(s.Content) > maxContents {
			t.Errorf("%d contents of %d bytes", len(s.Content), s.size())
		}
		for _, sum := range s.sums() {
			if store.CheckSum(sum) != nil {
				t.Errorf("content %q", sum)
			}
		}
	})
}
