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
	"ampoule/wiring"
)

// imageFiles are the files of an image, readable until closed.
type imageFiles struct {
	survey.Files
	spooled []*os.File
	// several are the images of a file that has more than one: then there are no Files. left
	// is what else the file has.
	several []images.Image
	left    []images.Left
	// saved is a temporary file that they are read from; empty without one.
	saved string
}

// Close gives the temporary files back.
func (i *imageFiles) Close() error {
	var errs []error
	for _, f := range i.spooled {
		errs = append(errs, f.Close())
	}
	if i.saved != "" {
		errs = append(errs, os.Remove(i.saved))
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
			return unsoundLayer(ctx, n, err)
		}
	}
	all, err := tree.Overlay(trees...)
	if err != nil {
		return unsoundLayer(ctx, len(layers)-1, err)
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
	files.saved = saved.Name()
	defer func() { err = errors.Join(err, saved.Close()) }()
	if err := docker.SaveImage(ctx, s.workplace().Engine, target, saved); err != nil {
		if errors.Is(err, sandbox.ErrUnavailable) {
			return nil, notFound("file, directory or image "+target, "for an image Docker has to run: "+err.Error())
		}
		return nil, fmt.Errorf("no file has this name, and %w", err)
	}
	err = files.open(ctx, saved.Name())
	if len(files.several) == 0 { // all of it was read
		files.saved = ""
		err = errors.Join(err, os.Remove(saved.Name()))
	}
	return files, err
}

// fileName matches how the files are called that people audit.
var fileName = regexp.MustCompile(`\.(whl|zip|egg|tar|tgz|gz|body)$|\.so(\.[0-9.]+)?$`)

// isPath reports whether a name that leads to no file is meant to be a file's all the same:
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

// isImageFile reports whether a file is a tar archive with an image in it.
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

// unsoundLayer is the error about a layer that no tree can be made of.
func unsoundLayer(ctx context.Context, n int, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("reading layer %d: %w: %w", n+1, images.ErrDamaged, err)
}

// open reads the image of a file or a layout, or notes the several that it has.
func (i *imageFiles) open(ctx context.Context, path string) error {
	list, left, err := images.All(ctx, path, platform())
	if err != nil {
		return err
	}
	i.left = left
	if len(list) > 1 {
		i.several = list
		return nil
	}
	return i.openOne(ctx, &list[0])
}

// openOne reads an image of a file.
func (i *imageFiles) openOne(ctx context.Context, image *images.Image) error {
	if image.Err != nil {
		return image.Err
	}
	list := make([]func() (io.ReadCloser, error), len(image.Layers))
	for n, l := range image.Layers {
		list[n] = l.Open
	}
	return i.lay(ctx, list)
}

// only refuses a file of several images, of which none is named.
func (i *imageFiles) only(target string) error {
	if len(i.several) < 2 {
		return nil
	}
	return fmt.Errorf("opening image %s: %w: it has %d, %s and others", target, images.ErrNoImage, len(i.several), i.several[0].Label())
}

// look audits a target: of a file with several images each.
func (i *imageFiles) look(ctx context.Context, t survey.Target) (*survey.Report, error) {
	var report *survey.Report
	var err error
	if len(i.several) == 0 {
		report, err = survey.Look(ctx, t)
	} else {
		report, err = i.lookAtEach(ctx, t)
	}
	if err != nil {
		return nil, err
	}
	for _, left := range i.left {
		report.Unlooked = append(report.Unlooked, survey.Unlooked{Path: left.Label, Why: left.Why, Count: 1})
	}
	return report, nil
}

// lookAtEach audits the images one after another. One that cannot be read is told, and the
// others are audited all the same.
func (i *imageFiles) lookAtEach(ctx context.Context, t survey.Target) (*survey.Report, error) {
	var parts []survey.Part
	var nothing *survey.NothingError
	empty := 0
	for n := range i.several {
		image := &i.several[n]
		report, err := lookAt(ctx, t, image)
		switch {
		case ctx.Err() == nil && errors.Is(err, images.ErrDamaged):
			report = &survey.Report{Unread: []survey.Unread{{Path: "/", Why: err.Error()}}}
		case errors.As(err, &nothing):
			empty++
			report = &survey.Report{Passed: true, Unlooked: []survey.Unlooked{{Path: "/", Why: "no wheel and no installed distribution is in it", Count: 1}}}
		case err != nil:
			return nil, err
		}
		parts = append(parts, survey.Part{Name: image.Label(), Report: report})
	}
	if empty == len(parts) {
		return nil, nothing
	}
	return survey.Join(t.Name, parts), nil
}

// lookAt audits one of several images.
func lookAt(ctx context.Context, t survey.Target, image *images.Image) (_ *survey.Report, err error) {
	var files imageFiles
	defer func() { err = errors.Join(err, files.Close()) }()
	if err := files.openOne(ctx, image); err != nil {
		return nil, err
	}
	t.Files = files.Files
	return survey.Look(ctx, t)
}

// pull reads an image of a registry, by its digest.
func (i *imageFiles) pull(ctx context.Context, s *Session, ref string) error {
	return s.wired(ctx, func(ctx context.Context, w *wiring.Parts) error {
		reg, err := w.Registry()
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
