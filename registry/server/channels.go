package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/registry/internal/protocol"
)

// What channels want of a registry does not need their keys: a log only grows, the tag of a
// channel's name says what its log does, and what holds a digest names that one.

// write is a manifest on its way, and the tags that it is to have.
type write struct {
	repository string
	tags       []string
	raw        []byte
	// expected is the digest of the condition that the log of a channel is written under; empty for
	// a new one.
	expected string
}

func (p write) digest() string { return hashOf(p.raw) }

func hashOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// readWrite reads what a request writes, and puts it back.
func readWrite(r *http.Request, a act) (write, error) {
	p := write{repository: a.repository, tags: r.URL.Query()["tag"], expected: strings.Trim(r.Header.Get("If-Match"), `"`)}
	if !strings.Contains(a.ref, ":") {
		p.tags = append(p.tags, a.ref)
	}
	var err error
	p.raw, err = io.ReadAll(io.LimitReader(r.Body, protocol.MaxManifest+1))
	r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(p.raw), r.Body))
	return p, err
}

// deniedError says that a write is not what a channel takes.
type deniedError struct {
	status int
	text   string
}

func (e *deniedError) Error() string { return e.text }

// Kind says whose fault it is.
func (*deniedError) Kind() faults.Kind { return faults.Refused }

// checkChannels refuses a write that contradicts a channel. It returns the tags that follow the log
// of one: they may move to where that leads.
func (h *Handler) checkChannels(ctx context.Context, p write) (follow []string, err error) {
	for _, tag := range p.tags {
		_, isLog := artifact.ChannelOfLog(tag)
		switch {
		case artifact.IsHoldTag(tag):
			err = p.checkHold(tag)
		case isLog:
			err = h.checkGrows(ctx, p)
		case artifact.IsChannel(tag):
			var follows bool
			if follows, err = h.checkNamed(ctx, p, tag); follows {
				follow = append(follow, tag)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return follow, nil
}

// checkHold wants the digest of a hold's name.
func (p write) checkHold(tag string) error {
	held, _, _ := strings.Cut(tag, ".")
	if held != artifact.HoldTag(p.digest()) {
		return &deniedError{http.StatusConflict, fmt.Sprintf("%s cannot name %s", tag, p.digest())}
	}
	return nil
}

// form is what is read of the manifest of a log.
type form struct {
	Annotations map[string]string `json:"annotations"`
	Layers      []struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
	} `json:"layers"`
}

// checkNamed wants of the tag of a channel's name what the channel's log names, and reports whether
// it is that. Where there is no such channel nothing is wanted.
func (h *Handler) checkNamed(ctx context.Context, p write, tag string) (bool, error) {
	raw, err := h.manifest(ctx, p.repository, artifact.ChannelTag(tag))
	if raw == nil || err != nil {
		return false, err
	}
	var log form
	if err := json.Unmarshal(raw, &log); err != nil {
		return false, fmt.Errorf("reading %s: %w", artifact.ChannelTag(tag), err)
	}
	names := log.Annotations[artifact.AnnotationChannelNames]
	if names == "" {
		// Its log was last written by a version that does not say so: what it has accepted will do.
		held, err := h.manifest(ctx, p.repository, artifact.ChannelHoldTag(tag, p.digest()))
		if err != nil || held != nil {
			return held != nil, err
		}
		names = "something else"
	}
	if names != p.digest() {
		return false, &deniedError{http.StatusPreconditionFailed, fmt.Sprintf("%s is the tag of a channel, whose log names %s", tag, names)}
	}
	return true, nil
}

// checkGrows wants a log to have all entries, in their order, of the one that it takes the place of.
func (h *Handler) checkGrows(ctx context.Context, p write) error {
	if !artifact.IsDigest(p.expected) {
		return nil // it is new, or refused for its condition
	}
	raw, err := h.manifest(ctx, p.repository, p.expected)
	if raw == nil || err != nil {
		return err // then the condition does not hold
	}
	var before, after form
	if json.Unmarshal(raw, &before) != nil || json.Unmarshal(p.raw, &after) != nil {
		return nil // it is no log, or no manifest
	}
	same := 0
	for same < min(len(before.Layers), len(after.Layers)) && before.Layers[same].Digest == after.Layers[same].Digest {
		same++
	}
	old, err := h.entries(ctx, p.repository, form{Layers: before.Layers[same:]})
	if err != nil {
		return err
	}
	added, err := h.entries(ctx, p.repository, form{Layers: after.Layers[same:]})
	if err != nil {
		return err
	}
	if len(added) < len(old) || !slices.Equal(added[:len(old)], old) {
		return &deniedError{http.StatusConflict, "the log of a channel only grows: this one has not all entries of the one before"}
	}
	return nil
}

// entries are the hashes of the entries of files of a log.
func (h *Handler) entries(ctx context.Context, repository string, files form) ([]string, error) {
	var all []string
	for _, f := range files.Layers {
		if f.MediaType != artifact.ChannelSegmentType {
			all = append(all, f.Digest)
			continue
		}
		lines, err := h.lines(ctx, repository, f.Digest)
		if err != nil {
			return nil, err
		}
		all = append(all, lines...)
	}
	return all, nil
}

// lines are the hashes of the lines of a segment.
func (h *Handler) lines(ctx context.Context, repository, digest string) ([]string, error) {
	const longest = 1 << 20
	resp, err := h.ask(ctx, repository, "blobs", digest)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reading segment %s: %s", digest, resp.Status)
	}
	var all []string
	scan := bufio.NewScanner(resp.Body)
	scan.Buffer(nil, longest)
	for scan.Scan() {
		all = append(all, hashOf(scan.Bytes()))
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("reading segment %s: %w", digest, err)
	}
	return all, nil
}

// manifest reads a manifest from the registry; nil where there is none.
func (h *Handler) manifest(ctx context.Context, repository, ref string) ([]byte, error) {
	resp, err := h.ask(ctx, repository, "manifests", ref)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotFound:
		return nil, nil
	case http.StatusOK:
		return io.ReadAll(io.LimitReader(resp.Body, protocol.MaxManifest))
	}
	return nil, fmt.Errorf("reading %s of %s: %s", ref, repository, resp.Status)
}

// ask sends a request of this server's own to the registry.
func (h *Handler) ask(ctx context.Context, repository, kind, ref string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/v2/"+repository+"/"+kind+"/"+ref, nil)
	if err != nil {
		return nil, err
	}
	return h.registry.RoundTrip(req)
}

// refuseWrite answers a write that contradicts a channel, or that could not be looked at.
func refuseWrite(w http.ResponseWriter, err error) {
	var denied *deniedError
	if errors.As(err, &denied) {
		protocol.Refuse(w, denied.status, "DENIED", denied.text)
		return
	}
	protocol.Refuse(w, http.StatusBadGateway, "UNKNOWN", err.Error())
}
