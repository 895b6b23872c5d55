package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// saved looks for images in a file of "docker save".
func (p *picker) saved(ctx context.Context) error {
	if err := savedFits(ctx, p.dir); err != nil {
		return err
	}
	open := func() (io.ReadCloser, error) { return openWhile(ctx, p.dir) }
	manifest, err := tarball.LoadManifest(open)
	if err != nil {
		return err
	}
	if len(manifest) == 0 {
		return errors.New("its manifest.json names none")
	}
	if len(manifest) > maxSaved {
		return fmt.Errorf("it has %d: more than %d", len(manifest), maxSaved)
	}
	for i, d := range manifest {
		open, err := onlyOne(open, d)
		if err != nil {
			return err
		}
		image := func() (v1.Image, error) { return tarball.Image(open, nil) }
		label := labelOf(d.Config, i)
		if platform := platformOfSaved(image); platform != "" && platform != p.platform && len(manifest) > 1 {
			p.left = append(p.left, Left{label, "it is for another platform, " + platform})
			continue
		}
		if err := p.add(ctx, label, d.RepoTags, image); err != nil {
			return err
		}
	}
	return nil
}

// maxSaved bounds the images of a file: each is looked for from its beginning.
const maxSaved = 100

// labelOf is how an image without a tag is called.
func labelOf(config string, i int) string {
	if config != "" {
		return config
	}
	return fmt.Sprintf("image %d", i+1)
}

// platformOfSaved is what an image's configuration says that it is for; empty where it does not.
func platformOfSaved(open func() (v1.Image, error)) string {
	image, err := open()
	if err != nil {
		return ""
	}
	config, err := image.ConfigFile()
	if err != nil || config.OS == "" || config.Architecture == "" {
		return ""
	}
	return config.OS + "/" + config.Architecture
}

// onlyOne opens an archive as if one image were all that it has: its manifest.json stands before
// the archive's own, and the first one counts.
func onlyOne(open tarball.Opener, d tarball.Descriptor) (tarball.Opener, error) {
	data, err := json.Marshal(tarball.Manifest{d})
	if err != nil {
		return nil, err
	}
	var head bytes.Buffer
	w := tar.NewWriter(&head)
	err = w.WriteHeader(&tar.Header{Name: "manifest.json", Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg})
	if err == nil {
		_, err = w.Write(data)
	}
	// An archive that is not closed has no end: the other one follows.
	if err = errors.Join(err, w.Flush()); err != nil {
		return nil, err
	}
	return func() (io.ReadCloser, error) {
		rest, err := open()
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(head.Bytes()), rest), rest}, nil
	}, nil
}
