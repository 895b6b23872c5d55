// Package registry publishes artifacts to an OCI registry and reads them back:
// the artifact model, references, keys and referrers.
//
// An artifact is an OCI image index with one runnable image manifest for each
// platform. The index's digest is the artifact's name and the subject of its
// referrers. A tag "key-HEX" points from a key to the index, and is written last:
// whoever finds a key finds a whole artifact.
package registry

import (
	"context"
	"io"
	"time"

	"ampoule/registry/layer"
)

// Labels of an image's configuration that Ampoule reads back.
const (
	// LabelKey holds the key: "sha256:" and hex.
	LabelKey = "dev.ampoule.key"
	// LabelRecipe holds the recipe's name.
	LabelRecipe = "dev.ampoule.recipe"
	// LabelFingerprint holds the interpreter's fingerprint.
	LabelFingerprint = "dev.ampoule.fingerprint"
	// LabelTree holds the tree's hash, as tree.Tree.Hash has it.
	LabelTree = "dev.ampoule.tree"
	// LabelPrefix holds the absolute directory at which the tree stands in the image.
	LabelPrefix = "dev.ampoule.prefix"
)

// Annotations of a manifest's layers.
const (
	// AnnotationLayer holds the layer's name.
	AnnotationLayer = "dev.ampoule.layer"
	// AnnotationKind says whether a layer is of the base or of the tree: [KindBase] or [KindTree].
	AnnotationKind = "dev.ampoule.layer.kind"

	KindBase = "base"
	KindTree = "tree"
)

// AnnotationTitle names a referrer's file (OCI image-spec, annotations.md).
const AnnotationTitle = "org.opencontainers.image.title"

// Artifact is what is published. Equal artifacts have equal digests: referrers
// are no part of it.
type Artifact struct {
	// Name is the repository: the recipe's name.
	Name string
	// Key is "sha256:" and hex.
	Key string
	// Images are the images, one for each platform.
	Images []Image
	// Referrers are published with it, before its key is.
	Referrers []Referrer
}

// Image is the image for one platform.
type Image struct {
	// Platform is OS/ARCH or OS/ARCH/VARIANT, for example linux/amd64.
	Platform string
	// Created enters the digest, in whole seconds UTC: SOURCE_DATE_EPOCH, not the clock.
	Created time.Time
	// Base are the layers of the runtime base, the lowest first.
	Base []layer.Layer
	// Layers are the tree's layers, on top of the base.
	Layers []layer.Layer
	Config Config
}

// Config is how the image runs, and what it says of itself.
type Config struct {
	// Env holds KEY=value entries, in order.
	Env        []string
	Entrypoint []string
	Cmd        []string
	WorkingDir string
	User       string
	Labels     map[string]string
}

// Referrer is a manifest that refers to an artifact: a verdict, a wheelhouse.
type Referrer struct {
	// ArtifactType is a media type that says what it is.
	ArtifactType string
	Annotations  map[string]string
	Files        []File
}

// File is one file of a referrer.
type File struct {
	Name      string
	MediaType string
	// Digest is "sha256:" and the hash of the content; Size is its length in bytes.
	Digest string
	Size   int64
	// Open returns the content from its start, each time it is called.
	Open func(context.Context) (io.ReadCloser, error)
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
	Config              Config
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
	Config Config
}
