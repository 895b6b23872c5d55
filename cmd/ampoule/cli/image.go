package cli

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"runtime"
	"strings"

	"ampoule/audit/survey"
	"ampoule/builder/docker"
	"ampoule/builder/sandbox"
	"ampoule/registry/images"
	"ampoule/tree"
)

// imageFiles are the files of an image, readable until closed.
type imageFiles struct {
	survey.Files
	spooled []*os.File
}

// Close gives the temporary files back.
func (i *imageFiles) Close() error {
	var errs []error
	for _, f := range i.spooled {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// spool copies a stream to a file without a name.
func (i *imageFiles) spool(write func(io.Writer) error) (*os.File, int64, error) {
	f, err := os.CreateTemp("", "ampoule-image-*")
	if err != nil {
		return nil, 0, err
	}
	i.spooled = append(i.spooled, f)
	if err := errors.Join(os.Remove(f.Name()), write(f)); err != nil {
		return nil, 0, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	return f, size, err
}

// lay reads layers and lays them over one another.
func (i *imageFiles) lay(ctx context.Context, layers []func() (io.ReadCloser, error)) error {
	trees := make([]*tree.Tree, len(layers))
	for n, open := range layers {
		f, size, err := i.spool(func(w io.Writer) error {
			r, err := open()
			if err != nil {
				return err
			}
			_, err = io.Copy(w, io.LimitReader(tree.ReaderWhile(ctx, r), tarLimits.Bytes+1))
			return errors.Join(err, r.Close())
		})
		if err != nil {
			return err
		}
		if trees[n], err = tree.FromTar(tree.ReaderAtWhile(ctx, f), size, tarLimits); err != nil {
			return err
		}
	}
	all, err := tree.Overlay(trees...)
	if err != nil {
		return err
	}
	i.Files = survey.NewImage(all)
	return nil
}

// openImage finds the image that a target names: an OCI layout, a file of "docker save", a
// digest in a registry, or a name that Docker has. It is nil for any other path.
func openImage(ctx context.Context, s *Session, target, root string) (_ *imageFiles, err error) {
	if root != "/" && !strings.Contains(target, "@sha256:") {
		return nil, nil // it is a path of that system
	}
	files := &imageFiles{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("opening image %s: %w", target, err), files.Close())
		}
	}()
	info, err := os.Stat(target)
	switch {
	case err == nil && (info.IsDir() && images.IsLayout(target) || info.Mode().IsRegular() && isImageFile(target)):
		return files, files.open(ctx, target)
	case err == nil || !errors.Is(err, fs.ErrNotExist) || !imageName.MatchString(target):
		return nil, nil
	case strings.Contains(target, "@sha256:"):
		return files, files.pull(ctx, s, target)
	case isPath(target):
		return nil, nil
	}
	saved, err := os.CreateTemp("", "ampoule-image-*.tar")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, saved.Close(), os.Remove(saved.Name())) }()
	if err := docker.SaveImage(ctx, target, saved); err != nil {
		if errors.Is(err, sandbox.ErrUnavailable) {
			return nil, &NotFoundError{What: "file, directory or image " + target, Advice: "for an image Docker has to run: " + err.Error()}
		}
		return nil, fmt.Errorf("no file has this name, and %w", err)
	}
	return files, files.open(ctx, saved.Name())
}

// fileName matches how the files are called that people audit.
var fileName = regexp.MustCompile(`\.(whl|zip|egg|tar|tgz|gz|body)$|\.so(\.[0-9.]+)?$`)

// isPath tells whether a name that leads to no file is meant to be a file's all the same:
// it looks like one, its first directory is there, or it is a link to what is not there.
func isPath(name string) bool {
	if fileName.MatchString(name) {
		return true
	}
	if _, err := os.Lstat(name); err == nil {
		return true
	}
	dir, _, below := strings.Cut(name, "/")
	info, err := os.Stat(dir)
	return below && err == nil && info.IsDir()
}

// imageName matches what Docker takes for an image's name or ID (distribution/reference).
var imageName = regexp.MustCompile(`^[a-z0-9][a-z0-9._/:-]*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?(?:@sha256:[0-9a-f]{64})?$`)

// isImageFile tells whether a file is a tar archive with an image in it.
func isImageFile(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	r := tar.NewReader(f)
	for range 10_000 {
		h, err := r.Next()
		if err != nil {
			return false
		}
		if h.Name == "manifest.json" {
			return true
		}
	}
	return false
}

func platform() string { return "linux/" + runtime.GOARCH }

// open reads an image that is a file or a layout.
func (i *imageFiles) open(ctx context.Context, path string) error {
	layers, err := images.Open(ctx, path, platform())
	if err != nil {
		return err
	}
	list := make([]func() (io.ReadCloser, error), len(layers))
	for n, l := range layers {
		list[n] = l.Open
	}
	return i.lay(ctx, list)
}

// pull reads an image of a registry, by its digest.
func (i *imageFiles) pull(ctx context.Context, s *Session, ref string) error {
	return s.wired(ctx, func(ctx context.Context, w *wiring) error {
		reg, err := w.registry()
		if err != nil {
			return err
		}
		image, err := reg.PullBase(ctx, ref, platform())
		if err != nil {
			return err
		}
		list := make([]func() (io.ReadCloser, error), len(image.Layers))
		for n, l := range image.Layers {
			list[n] = func() (io.ReadCloser, error) { return l.OpenTar(ctx) }
		}
		return i.lay(ctx, list)
	})
}
