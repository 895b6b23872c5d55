package images

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"ampoule/tree"
)

// What describes an image is read into memory whole, so that it is bounded before. A
// registry may refuse manifests above 4 MiB (distribution specification).
const (
	// maxDescription bounds an index, a manifest and a configuration, in bytes.
	maxDescription = 4 << 20
	// maxMembers bounds the members of a file of "docker save".
	maxMembers = 100_000
)

// fits refuses what describes an image and is too large to.
func fits(name string, size int64) error {
	if size > maxDescription {
		return fmt.Errorf("%s has %d bytes: nothing that describes an image has more than %d", name, size, maxDescription)
	}
	return nil
}

// fileFits refuses a file that is too large to describe an image.
func fileFits(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	return fits(filepath.Base(file), info.Size())
}

// blobFits refuses a blob of a layout that is too large to describe an image.
func blobFits(dir string, digest v1.Hash) error {
	return fileFits(filepath.Join(dir, "blobs", digest.Algorithm, digest.Hex))
}

// savedFits refuses a file of "docker save" whose descriptions are too large.
func savedFits(ctx context.Context, file string) (err error) {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sizes := map[string]int64{}
	var images []struct{ Config string }
	members := tar.NewReader(f)
	for range maxMembers {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		hdr, err := members.Next()
		if errors.Is(err, io.EOF) {
			for _, image := range images {
				if err := fits(image.Config, sizes[image.Config]); err != nil {
					return err
				}
			}
			return nil
		}
		if err != nil {
			return err
		}
		sizes[hdr.Name] = max(sizes[hdr.Name], hdr.Size)
		if hdr.Name != "manifest.json" {
			continue
		}
		if err := fits(hdr.Name, hdr.Size); err != nil {
			return err
		}
		if err := json.NewDecoder(members).Decode(&images); err != nil {
			return fmt.Errorf("reading %s: %w", hdr.Name, err)
		}
	}
	return fmt.Errorf("it has more than %d members", maxMembers)
}

// openWhile opens a file for as long as ctx is not done.
func openWhile(ctx context.Context, file string) (io.ReadCloser, error) {
	return tree.While(ctx, fileContent(file)).Open()
}

// fileContent is content in a file of its own.
type fileContent string

// Open implements [tree.Content].
func (f fileContent) Open() (io.ReadCloser, error) { return os.Open(string(f)) }
