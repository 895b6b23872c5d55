// Package registry publishes artifacts to an OCI registry and reads them back:
// references, keys, manifests and referrers. What an artifact is, package artifact says.
//
// A key's tag is written last: whoever finds a key finds a whole artifact.
package registry

import (
	"context"
	"time"

	"ampoule/artifact"
	"ampoule/registry/layer"
)

// Packed is an artifact in the form that a registry takes: with compressed layers. Equal
// ones have equal digests: referrers are no part of it. [Pack] makes one.
type Packed struct {
	// Name is the repository: the recipe's name.
	Name string
	// Key is "sha256:" and hex.
	Key string
	// Images are the images, one for each platform.
	Images []PackedImage
	// Referrers are published with it, before its key is.
	Referrers []artifact.Referrer
	// Evidence makes what is signed of the artifact when its digest is known, in the
	// repository that it is published to; nil makes nothing. It is sent before the key is.
	Evidence func(ctx context.Context, repository, digest string) ([]Evidence, error)
	// Claim is asked when all of the artifact is there under its digest, before its key is: an
	// error of it leaves the key as it was, and is returned as it is. Nil asks nobody.
	Claim func(ctx context.Context, digest string) error
}

// PackedImage is the image for one platform.
type PackedImage struct {
	// Platform is OS/ARCH or OS/ARCH/VARIANT, for example linux/amd64.
	Platform string
	// Created enters the digest, in whole seconds UTC: SOURCE_DATE_EPOCH, not the clock.
	Created time.Time
	// Base are the layers of the runtime base, the lowest first.
	Base []layer.Layer
	// Layers are the tree's layers, on top of the base.
	Layers []layer.Layer
	// Config is for the platform's architecture.
	Config artifact.Config
}

// Published names a published artifact.
type Published struct {
	// Ref is the reference to use from now on: NAME@sha256:…, with the registry's
	// host and prefix in front unless it is the store's own registry.
	Ref    string
	Digest string
}

// Description is what a registry says of an artifact.
type Description struct {
	// Ref names the artifact by digest, as [Published].Ref does.
	Ref    string
	Name   string
	Digest string
	// Raw holds the bytes that Digest is the hash of: an index, or the one image's manifest.
	Raw    []byte
	Images []ImageInfo
}

// ImageInfo describes the image for one platform.
type ImageInfo struct {
	Platform string
	// Digest is the image manifest's.
	Digest string
	// Manifest and RawConfig are the bytes of the manifest and of the configuration
	// that it names.
	Manifest, RawConfig []byte
	Created             time.Time
	Config              artifact.Config
	// Layers are listed from the lowest up.
	Layers []LayerInfo
}

// LayerInfo describes one published layer.
type LayerInfo struct {
	Name string
	// Base tells layers of the runtime base from layers of the tree.
	Base   bool
	DiffID string
	Digest string
	// Size is the compressed size in bytes.
	Size      int64
	MediaType string
	// Blob is the blob's reference: where [Registry.OpenLayer] finds it.
	Blob string
}

// ReferrerInfo describes one published referrer.
type ReferrerInfo struct {
	Digest       string
	ArtifactType string
	Annotations  map[string]string
	Files        []FileInfo
}

// FileInfo describes one file of a published referrer.
type FileInfo struct {
	Name      string
	MediaType string
	Digest    string
	// Size is in bytes.
	Size int64
	// Blob is the blob's reference: where [Registry.OpenFile] finds it.
	Blob string
}

// Base is a foreign image that a toolchain or a runtime target stands on.
type Base struct {
	// Layers are listed from the lowest up. Their blobs stay in their registry
	// until they are opened.
	Layers []layer.Layer
	Config artifact.Config
}
