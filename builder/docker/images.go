package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"

	"ampoule/builder/sandbox"
)

// repository is the name of every image that is loaded, followed by the store's id.
// No registry can have it (RFC 6761).
const repository = "ampoule.invalid/"

// epoch is when every image was made.
const epoch = "1970-01-01T00:00:00Z"

var diffID = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// imageConfig is an image's configuration, in the form that Docker and OCI share
// (image-spec config.md). The order of its fields is part of every image's ID.
type imageConfig struct {
	Architecture string    `json:"architecture"`
	Config       runConfig `json:"config"`
	Created      string    `json:"created"`
	History      []history `json:"history"`
	OS           string    `json:"os"`
	RootFS       rootFS    `json:"rootfs"`
}

type runConfig struct {
	User       string            `json:"User,omitempty"`
	Env        []string          `json:"Env,omitempty"`
	Entrypoint []string          `json:"Entrypoint,omitempty"`
	Cmd        []string          `json:"Cmd,omitempty"`
	WorkingDir string            `json:"WorkingDir,omitempty"`
	Labels     map[string]string `json:"Labels,omitempty"`
}

type history struct {
	Created   string `json:"created"`
	CreatedBy string `json:"created_by"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// stage is an image that is to be loaded.
type stage struct {
	config sandbox.Config
	layers []sandbox.Layer
	json   []byte
	// digest is the hash of json in hexadecimal.
	digest string
	// tag keeps the image from being pruned as one that nobody named.
	tag string
}

// Load implements [sandbox.Images]. The ID is the hash of a configuration that has
// nothing of this machine or store in it, unless the engine keeps its images in
// containerd: then the ID is the manifest's, and the same on that engine only. The
// image is tagged ampoule.invalid/STORE:HASH, so that "docker image prune" leaves
// it. A layer that does not hash to its DiffID is an error before anything is made
// of it.
func (e *Engine) Load(ctx context.Context, config sandbox.Config, layers ...sandbox.Layer) (sandbox.ID, error) {
	s, err := e.stage(config, layers)
	if err != nil {
		return "", fmt.Errorf("loading image: %w", err)
	}
	own, _ := e.images.LoadOrStore(s.digest, make(chan struct{}, 1))
	for _, turn := range []chan struct{}{own.(chan struct{}), e.loading} {
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-ctx.Done():
			return "", fmt.Errorf("loading image %.12s: %w", s.digest, context.Cause(ctx))
		}
	}
	id, err := e.load(ctx, s)
	if !errors.Is(err, errLayer) {
		err = engineFault(err)
	}
	if err != nil {
		return "", fmt.Errorf("loading image %.12s: %w", s.digest, err)
	}
	return id, nil
}

// stage makes the configuration of an image.
func (e *Engine) stage(config sandbox.Config, layers []sandbox.Layer) (*stage, error) {
	if config.Architecture == "" || len(layers) == 0 {
		return nil, errors.New("an image needs an architecture and a layer")
	}
	c := imageConfig{
		Architecture: config.Architecture,
		Config: runConfig{
			User: config.User, Env: config.Env, Entrypoint: config.Entrypoint, Cmd: config.Cmd,
			WorkingDir: config.WorkingDir, Labels: config.Labels,
		},
		Created: epoch,
		OS:      "linux",
		RootFS:  rootFS{Type: "layers"},
	}
	for _, l := range layers {
		if !diffID.MatchString(l.DiffID) {
			return nil, fmt.Errorf("layer %q: not a sha256 digest", l.DiffID)
		}
		c.History = append(c.History, history{Created: epoch, CreatedBy: "ampoule"})
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, l.DiffID)
	}
	data, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	return &stage{config: config, layers: layers, json: data, digest: digest, tag: repository + e.store + ":" + digest}, nil
}

// load sends an image, unless it is there.
func (e *Engine) load(ctx context.Context, s *stage) (sandbox.ID, error) {
	if id, err := e.present(ctx, s); err != nil || id != "" {
		return id, err
	}
	lower, err := e.lowerLayers(ctx, s)
	if err != nil {
		return "", err
	}
	err = e.send(ctx, s, lower)
	if err != nil && lower > 0 && !errors.Is(err, errLayer) && ctx.Err() == nil {
		err = e.send(ctx, s, 0)
	}
	if err != nil {
		return "", err
	}
	id, err := e.present(ctx, s)
	if err == nil && id == "" {
		err = errors.New("the engine took the image, but does not have it")
	}
	return id, err
}

// present finds an image by its ID, or by its tag where IDs are manifests'. It
// returns no ID when the image is not there.
func (e *Engine) present(ctx context.Context, s *stage) (sandbox.ID, error) {
	for _, name := range []string{"sha256:" + s.digest, s.tag} {
		found, err := e.client.ImageInspect(ctx, name)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("inspecting image: %w", err)
		}
		if !s.is(found) {
			return "", fmt.Errorf("image %s of the engine is another one: remove it", name)
		}
		if !slices.Contains(found.RepoTags, s.tag) {
			err := e.client.ImageTag(ctx, found.ID, s.tag)
			if errdefs.IsNotFound(err) {
				continue // another store's last name of it was removed meanwhile, and the image with it
			}
			if err != nil {
				return "", fmt.Errorf("tagging image: %w", err)
			}
		}
		return sandbox.ID(found.ID), nil
	}
	return "", nil
}

// is reports whether an image of the engine is this one.
func (s *stage) is(found image.InspectResponse) bool {
	c := found.Config
	return c != nil && slices.Equal(found.RootFS.Layers, s.diffIDs()) && found.Architecture == s.config.Architecture &&
		c.User == s.config.User && c.WorkingDir == s.config.WorkingDir && maps.Equal(c.Labels, s.config.Labels) &&
		slices.Equal(c.Env, s.config.Env) && slices.Equal(c.Entrypoint, s.config.Entrypoint) && slices.Equal(c.Cmd, s.config.Cmd)
}

func (s *stage) diffIDs() []string {
	ids := make([]string, len(s.layers))
	for i, l := range s.layers {
		ids[i] = l.DiffID
	}
	return ids
}

// lowerLayers counts the layers, from the lowest, that the engine has already as the
// lowest layers of another image.
func (e *Engine) lowerLayers(ctx context.Context, s *stage) (int, error) {
	if !e.partial {
		return 0, nil
	}
	images, err := e.client.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", repository+"*"))})
	if err != nil {
		return 0, fmt.Errorf("listing images: %w", err)
	}
	most, want := 0, s.diffIDs()
	for _, summary := range images {
		found, err := e.client.ImageInspect(ctx, summary.ID)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("inspecting image: %w", err)
		}
		n := 0
		for n < len(want) && n < len(found.RootFS.Layers) && want[n] == found.RootFS.Layers[n] {
			n++
		}
		most = max(most, n)
	}
	return most, nil
}

// RemoveImages removes the images of this store that decide removes, and tells how many
// are gone. Decide gets the DiffIDs of an image's layers, and what removes it. Images in
// use by a container stay.
func (e *Engine) RemoveImages(ctx context.Context, decide func(diffIDs []string, remove func() error) error) (removed int, err error) {
	images, err := e.client.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", repository+e.store))})
	if err != nil {
		return 0, fmt.Errorf("listing images: %w", err)
	}
	for _, summary := range images {
		found, err := e.client.ImageInspect(ctx, summary.ID)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return removed, fmt.Errorf("inspecting image: %w", err)
		}
		err = decide(found.RootFS.Layers, func() error {
			n, err := e.untag(ctx, found.RepoTags)
			removed += n
			return err
		})
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// All has [Engine.RemoveImages] remove every image.
func All(_ []string, remove func() error) error { return remove() }

// untag removes the tags of this store, and the image with its last one. It counts those
// that are gone.
func (e *Engine) untag(ctx context.Context, tags []string) (removed int, err error) {
	for _, tag := range tags {
		if !strings.HasPrefix(tag, repository+e.store+":") {
			continue
		}
		_, err := e.client.ImageRemove(ctx, tag, image.RemoveOptions{PruneChildren: true})
		switch {
		case err == nil:
			removed++
		case !errdefs.IsConflict(err) && !e.gone(ctx, tag):
			return removed, fmt.Errorf("removing image %s: %w", tag, err)
		}
	}
	return removed, nil
}

// gone reports whether an image is not there any more. What another process removes at the
// same time, under another tag, fails here in more ways than one.
func (e *Engine) gone(ctx context.Context, tag string) bool {
	_, err := e.client.ImageInspect(ctx, tag)
	return errdefs.IsNotFound(err)
}
