package install

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"ampoule/artifact"
	"ampoule/registry"
)

// chain holds the documents through which a tree's hash follows from an artifact's
// digest, in the bytes that the registry gave.
type chain struct {
	// Index is empty where the digest is the manifest's.
	Index    []byte `json:"index,omitempty"`
	Manifest []byte `json:"manifest"`
	Config   []byte `json:"config"`
}

// chainOf takes the documents out of an artifact's description.
func chainOf(d registry.Description, image registry.ImageInfo) chain {
	c := chain{Index: d.Raw, Manifest: image.Manifest, Config: image.RawConfig}
	if bytes.Equal(c.Index, c.Manifest) {
		c.Index = nil
	}
	return c
}

// Check is one thing that was compared.
type Check struct {
	// What is digest, index, manifest, configuration, platform, tree or owner.
	What string
	// Found is what is there; Want what it must be.
	Found, Want string
	Holds       bool
}

// err says in what a check fails.
func (c Check) err() error {
	if c.Holds {
		return nil
	}
	return fmt.Errorf("its %s is %s, not %s", c.What, c.Found, c.Want)
}

// checks notes what was compared, up to the first that fails.
type checks struct {
	list []Check
	err  error
}

// same compares what is there with what may be there.
func (c *checks) same(what, found string, want ...string) {
	if c.err != nil {
		return
	}
	check := Check{What: what, Found: found, Want: strings.Join(want, " or "), Holds: slices.Contains(want, found)}
	c.list, c.err = append(c.list, check), check.err()
}

// follow goes from an artifact's digest to the hash of the tree for a platform.
func (c chain) follow(digest, platform string, note *checks) (tree string, err error) {
	root, what := c.Index, "index"
	if len(root) == 0 {
		root, what = c.Manifest, "manifest"
	}
	note.same(what, digestOf(root), digest)
	if note.err == nil && len(c.Index) > 0 {
		err = c.listed(platform, note)
	}
	if err := errors.Join(note.err, err); err != nil {
		return "", err
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(c.Manifest))
	if err != nil {
		return "", fmt.Errorf("reading manifest: %w", err)
	}
	note.same("configuration", digestOf(c.Config), manifest.Config.Digest.String())
	if note.err != nil {
		return "", note.err
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(c.Config))
	if err != nil {
		return "", fmt.Errorf("reading configuration: %w", err)
	}
	note.same("platform", config.Platform().String(), platform)
	if note.err != nil {
		return "", note.err
	}
	labels, err := artifact.ParseLabels(config.Config.Labels)
	if err == nil && labels.Tree == "" {
		err = fmt.Errorf("it has no label %s", artifact.LabelTree)
	}
	if err != nil {
		return "", fmt.Errorf("%w: it is no artifact of Ampoule", err)
	}
	return labels.Tree, nil
}

// listed compares the manifest with what the index lists for a platform.
func (c chain) listed(platform string, note *checks) error {
	index, err := v1.ParseIndexManifest(bytes.NewReader(c.Index))
	if err != nil {
		return fmt.Errorf("reading index: %w", err)
	}
	var want []string
	for _, d := range index.Manifests {
		if d.Platform == nil || d.Platform.String() == platform {
			want = append(want, d.Digest.String())
		}
	}
	if len(want) == 0 {
		return fmt.Errorf("its index lists nothing for %s", platform)
	}
	note.same("manifest", digestOf(c.Manifest), want...)
	return nil
}

func digestOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}
