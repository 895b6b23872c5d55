package server

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"ampoule/registry/internal/protocol"
)

// steady reads a body as long as something comes.
type steady struct {
	io.ReadCloser
	control *http.ResponseController
}

// Read implements io.Reader.
func (s *steady) Read(p []byte) (int, error) {
	// Where there are no deadlines, in tests, nothing is bounded.
	_ = s.control.SetReadDeadline(time.Now().Add(silence))
	n, err := s.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		// What is done with the body may take longer. After another error net/http looks for the rest
		// of the body, which may never come.
		_ = s.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// bound limits what a request may send, and reports whether it may send anything.
func (h *Handler) bound(w http.ResponseWriter, r *http.Request, a act) bool {
	limit := h.MaxBlob
	switch {
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		limit = 0
	case a.kind == "manifests":
		limit = protocol.MaxManifest
	case a.kind == "blobs":
		limit -= uploaded(r)
	}
	if r.ContentLength > limit || limit < 0 {
		w.Header().Set("Connection", "close")
		protocol.Refuse(w, http.StatusRequestEntityTooLarge, "SIZE_INVALID", fmt.Sprintf("this server takes blobs of at most %d bytes, and manifests of at most %d", h.MaxBlob, protocol.MaxManifest))
		return false
	}
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	return true
}

// uploaded is how much of a blob was sent before, in bytes: the registry has clients say it, and
// takes nothing from who says it wrongly.
func uploaded(r *http.Request) int64 {
	var state struct {
		Offset int64 `json:"offset"`
	}
	raw, err := base64.RawURLEncoding.DecodeString(r.URL.Query().Get("state"))
	if err != nil || json.Unmarshal(raw, &state) != nil || state.Offset < 0 {
		return 0
	}
	return state.Offset
}
