// Package indextest serves what tests want a package index to have.
package indextest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

// SimpleJSON is the media type of an index's pages (PEP 691).
const SimpleJSON = "application/vnd.pypi.simple.v1+json"

// Sdist makes an archive of files: each a name and, behind it, a text.
func Sdist(t *testing.T, files ...string) string {
	t.Helper()
	var data bytes.Buffer
	zipped := gzip.NewWriter(&data)
	archive := tar.NewWriter(zipped)
	for i := 0; i+1 < len(files); i += 2 {
		if err := archive.WriteHeader(&tar.Header{Name: files[i], Size: int64(len(files[i+1])), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	return data.String()
}

// Serve answers to each path with the text that pages has for it, as a page of an index
// where it begins as JSON; an empty text is a gateway's error.
func Serve(t *testing.T, pages map[string]string) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, ok := pages[r.URL.Path]
		switch {
		case !ok:
			http.NotFound(w, r)
			return
		case page == "":
			http.Error(w, "down", http.StatusBadGateway)
			return
		case page[0] == '{':
			w.Header().Set("Content-Type", SimpleJSON)
		}
		fmt.Fprint(w, page)
	}))
	t.Cleanup(server.Close)
	return server
}
