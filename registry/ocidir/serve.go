package ocidir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"regexp"
	"strconv"

	"ampoule/artifact"
)

// route matches the requests that a client makes: what is asked for, and which one.
var route = regexp.MustCompile(`^/v2/[^?]+?/(manifests|referrers|blobs/uploads|blobs)/([^/]*)$`)

// RoundTrip implements [http.RoundTripper].
func (l *Layout) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer func() { _ = req.Body.Close() }()
	}
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	resp, err := l.answer(req)
	if err != nil {
		return nil, err
	}
	resp.Request, resp.Proto, resp.ProtoMajor, resp.ProtoMinor = req, "HTTP/1.1", 1, 1
	resp.Status = fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	return resp, nil
}

func (l *Layout) answer(req *http.Request) (*http.Response, error) {
	if req.URL.Path == "/v2/" {
		return status(http.StatusOK), nil
	}
	m := route.FindStringSubmatch(req.URL.Path)
	if m == nil {
		return refusal(http.StatusNotFound, "UNSUPPORTED"), nil
	}
	read := req.Method == http.MethodGet || req.Method == http.MethodHead
	switch {
	case read && m[1] == "manifests":
		return l.getManifest(req, m[2])
	case read && m[1] == "blobs":
		return l.getBlob(req, m[2])
	case read && m[1] == "referrers":
		return l.getReferrers(m[2])
	case l.writer == nil:
		return refusal(http.StatusMethodNotAllowed, "UNSUPPORTED"), nil
	case req.Method == http.MethodPut && m[1] == "manifests":
		return l.putManifest(req, m[2])
	case m[1] == "blobs/uploads":
		return l.writer.upload(req, m[2])
	}
	return refusal(http.StatusMethodNotAllowed, "UNSUPPORTED"), nil
}

// digestOf finds the digest of a tag. A digest is its own.
func (l *Layout) digestOf(ref string) (string, error) {
	if artifact.IsDigest(ref) {
		return ref, nil
	}
	index, err := l.index()
	if err != nil {
		return "", err
	}
	for _, d := range index.Manifests {
		if d.Annotations[artifact.AnnotationRefName] == ref && ref != "" {
			return d.Digest.String(), nil
		}
	}
	return "", fmt.Errorf("tag %s: %w", ref, fs.ErrNotExist)
}

func (l *Layout) getManifest(req *http.Request, ref string) (*http.Response, error) {
	digest, err := l.digestOf(ref)
	var m *described
	if err == nil {
		m, err = l.manifest(digest)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return refusal(http.StatusNotFound, "MANIFEST_UNKNOWN"), nil
	}
	if err != nil {
		return nil, err
	}
	resp := content(m.mediaType(), m.raw)
	resp.Header.Set("Docker-Content-Digest", digest)
	if req.Method == http.MethodHead {
		resp.Body = http.NoBody
	}
	return resp, nil
}

func (l *Layout) getBlob(req *http.Request, digest string) (*http.Response, error) {
	if !artifact.IsDigest(digest) {
		return refusal(http.StatusNotFound, "BLOB_UNKNOWN"), nil
	}
	r, size, err := l.files.open(blobName(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return refusal(http.StatusNotFound, "BLOB_UNKNOWN"), nil
	}
	if err != nil {
		return nil, err
	}
	resp := status(http.StatusOK)
	resp.ContentLength, resp.Body = size, r
	resp.Header.Set("Content-Length", strconv.FormatInt(size, 10))
	resp.Header.Set("Content-Type", "application/octet-stream")
	resp.Header.Set("Docker-Content-Digest", digest)
	if req.Method == http.MethodHead {
		resp.Body = http.NoBody
		return resp, r.Close()
	}
	return resp, nil
}

func (l *Layout) getReferrers(subject string) (*http.Response, error) {
	list, err := l.referrers(subject)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("listing referrers: %w", err)
	}
	return content(artifact.IndexType, data), nil
}

func status(code int) *http.Response {
	return &http.Response{StatusCode: code, Header: http.Header{}, Body: http.NoBody}
}

func content(mediaType string, data []byte) *http.Response {
	resp := status(http.StatusOK)
	resp.ContentLength, resp.Body = int64(len(data)), io.NopCloser(bytes.NewReader(data))
	resp.Header.Set("Content-Length", strconv.Itoa(len(data)))
	resp.Header.Set("Content-Type", mediaType)
	return resp
}

// refusal is an answer with a code of the distribution specification ("Error codes").
func refusal(code int, text string) *http.Response {
	resp := content("application/json", []byte(`{"errors":[{"code":"`+text+`"}]}`))
	resp.StatusCode = code
	return resp
}
