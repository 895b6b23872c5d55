// Package artifact is the contract of what Ampoule publishes: what it is made of, how
// its parts are called, and what is written on them. Who publishes and who reads take
// every name from here.
//
// An artifact is an OCI image index (image-spec, image-index.md) with a runnable image
// for each platform. The index's digest is the artifact's: what refers to it, the
// verdict, the wheelhouse and the debug information, is no part of it. Its repository
// bears the recipe's name.
package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"time"
)

// Artifact is a sealed tree that passed the gate, with all that belongs to it, ready to
// be published: the image for one platform, and what refers to it.
type Artifact struct {
	// Name is the recipe's, and the repository's.
	Name string
	// Key is "sha256:" and the hash of what was built, in hexadecimal.
	Key string
	// Platform is OS/ARCH or OS/ARCH/VARIANT, for example linux/amd64 (image-spec,
	// image-index.md, "platform").
	Platform string
	// Created enters the digest, in whole seconds UTC: a fixed time, not the clock's.
	Created time.Time
	// Base is the image that the tree is laid on; Layers are the tree, below [Prefix].
	// The lowest come first.
	Base, Layers []Layer
	Config       Config
	// Verdict is the gate's, as JSON.
	Verdict []byte
	// Source says what the artifact's first-party code is of, as JSON; empty without any.
	Source []byte
	// SBOM writes the bill of materials of the artifact with a digest, as CycloneDX JSON; may
	// be nil.
	SBOM func(digest string) ([]byte, error)
	// Provenance says how it was built. It is published where somebody signs it.
	Provenance Provenance
	// Wheelhouse holds every wheel that was installed.
	Wheelhouse []File
	// Debug is the debug information that was stripped from the tree, each named by
	// what it belongs to, and laid out like the image.
	Debug []Layer
}

// Layer is one layer of an image, not compressed (image-spec, layer.md).
type Layer struct {
	// Name says what it holds. Layers of images that are not published have none.
	Name string
	// DiffID is "sha256:" and the hash of the tar (image-spec, config.md, "Layer DiffID").
	DiffID string
	// Open returns the tar from its start, each time it is called.
	Open func(context.Context) (io.ReadCloser, error)
}

// Config is what an image says beside its layers: how it runs, and what it is
// (image-spec, config.md, "Properties").
type Config struct {
	// Architecture is the processor's, in Go's words: amd64.
	Architecture string
	// Env holds KEY=value entries, in order.
	Env        []string
	Entrypoint []string
	Cmd        []string
	WorkingDir string
	User       string
	// Labels are those of [Labels], for an artifact.
	Labels map[string]string
}

// Referrer is a manifest that refers to an artifact (image-spec, manifest.md, "subject").
type Referrer struct {
	// ArtifactType is a media type that says what it is: [VerdictType], for example.
	ArtifactType string
	Annotations  map[string]string
	Files        []File
}

// File is a file that a registry keeps as a blob.
type File struct {
	// Name has no directory in it.
	Name      string
	MediaType string
	// Digest is "sha256:" and the hash of the content; Size is its length in bytes.
	Digest string
	Size   int64
	// Open returns the content from its start, each time it is called.
	Open func(context.Context) (io.ReadCloser, error)
}

// BytesFile makes a file of bytes.
func BytesFile(name, mediaType string, data []byte) File {
	sum := sha256.Sum256(data)
	return File{
		Name: name, MediaType: mediaType, Digest: hashPrefix + hex.EncodeToString(sum[:]), Size: int64(len(data)),
		Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
	}
}

// Beside says by artifact type which referrers belong to a publication. What others
// attach is no part of it: publishing again would not bring that back.
type Beside struct {
	// Always are there; Maybe need not be, but are whole where they are listed.
	Always, Maybe []string
}

// PublishedBeside is what belongs to each artifact that is published.
func PublishedBeside() Beside {
	return Beside{Always: []string{VerdictType, WheelhouseType}, Maybe: []string{DebugType, SourceType, SBOMType}}
}
