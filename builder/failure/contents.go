package failure

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/faults"
	"ampoule/store"
)

// maxContents bounds what is kept of one failure, in bytes.
const maxContents = 4 << 30

// markBytes is the length of the text that no two contents share. It stands before
// the tar, so that no other content of the store has the same sha256 and what is
// dropped is nobody else's.
const markBytes = 26

func sumOf(diffID string) string { return strings.TrimPrefix(diffID, "sha256:") }

// keepLayers puts an image's layers into the store, as far as they are not there.
func keepLayers(ctx context.Context, st *store.Store, image sandbox.Image) error {
	for _, layer := range image.Layers {
		sum := sumOf(layer.DiffID)
		whole, err := st.Whole(ctx, sum)
		if err != nil {
			return err
		}
		if whole {
			continue
		}
		r, err := layer.Open(ctx)
		if err != nil {
			return fmt.Errorf("opening layer %s: %w", layer.DiffID, err)
		}
		err = st.PutExpected(ctx, r, sum)
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	return nil
}

// take puts what directories hold into the store: all of it, or nothing and an error
// that says why. More than limit bytes are one.
func take(ctx context.Context, st *store.Store, sb sandbox.Sandbox, dirs []string, limit int64) (taken []contents, err error) {
	defer func() {
		if err != nil {
			drop(st, taken)
			taken = nil
		}
	}()
	left := limit
	for _, dir := range dirs {
		sum, size, err := takeDir(ctx, st, sb, dir, left)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return taken, err
		case size == 0:
			return taken, fmt.Errorf("it is more than %d MiB", limit>>20)
		}
		left -= size
		taken = append(taken, contents{Dir: dir, SHA256: sum})
	}
	return taken, nil
}

// takeDir puts what one directory holds into the store. A size of 0 says that it is
// more than what is left.
func takeDir(ctx context.Context, st *store.Store, sb sandbox.Sandbox, dir string, left int64) (sum string, size int64, err error) {
	r, err := sb.Export(ctx, dir)
	if err != nil {
		return "", 0, err
	}
	defer r.Close()
	w, err := st.Create(ctx)
	if err != nil {
		return "", 0, err
	}
	defer w.Abort()
	if _, err := io.WriteString(w, rand.Text()[:markBytes]); err != nil {
		return "", 0, err
	}
	n, err := io.Copy(w, io.LimitReader(r, left+1))
	if err != nil {
		return "", 0, fmt.Errorf("exporting %s: %w", dir, err)
	}
	if n > left {
		return "", 0, nil
	}
	return w.Commit()
}

// drop removes contents, which nothing else in the store can be. What is open stays
// readable for whoever reads it.
func drop(st *store.Store, all []contents) {
	for _, c := range all {
		// What cannot be removed takes room, nothing else.
		_ = os.Remove(st.Path(c.SHA256))
	}
}

// gone says that what was kept of a failure is no longer in the store.
func gone(title string, err error) error {
	return faults.New(faults.NotFound, "build again: the step leaves it anew if it still fails", "opening %s: %w", title, err)
}

// Open starts a sandbox that is as the failed step left it: from the same image, with
// the same contents of Dirs, as sealed as any other one. The caller closes it. A
// state whose contents were lost has its directories empty, where the image has
// nothing there.
func (s State) Open(ctx context.Context, st *store.Store, runner sandbox.Runner, images sandbox.Images) (_ sandbox.Sandbox, err error) {
	for _, id := range layers.DiffIDs(s.Image) {
		whole, err := st.Whole(ctx, sumOf(id))
		if err != nil {
			return nil, fmt.Errorf("opening %s: %w", s.Title, err)
		}
		if !whole {
			return nil, gone(s.Title, fmt.Errorf("layer %s: %w", id, store.ErrNotFound))
		}
	}
	id, err := images.Load(ctx, s.Image.Config, s.Image.Layers...)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", s.Title, err)
	}
	sb, err := runner.Start(ctx, sandbox.Spec{Image: id, Name: "shell-" + s.Step})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", s.Title, err)
	}
	if err := s.fill(ctx, st, sb); err != nil {
		return nil, errors.Join(err, sb.Close())
	}
	return sb, nil
}

// fill lays what was kept into a sandbox.
func (s State) fill(ctx context.Context, st *store.Store, sb sandbox.Sandbox) error {
	dirs := []string{s.Dir}
	for _, c := range s.contents {
		dirs = append(dirs, c.Dir)
	}
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		if err := sb.Import(ctx, dir, emptyTar()); err != nil {
			return fmt.Errorf("opening %s: %w", s.Title, err)
		}
	}
	for _, c := range s.contents {
		err := lay(ctx, st, sb, c)
		if errors.Is(err, store.ErrNotFound) {
			return gone(s.Title, err)
		}
		if err != nil {
			return fmt.Errorf("opening %s: %w", s.Title, err)
		}
	}
	return nil
}

// lay lays what one directory held into a sandbox. It is imported from the root, as
// an engine refuses a relative symbolic link that leaves the directory of an import.
func lay(ctx context.Context, st *store.Store, sb sandbox.Sandbox, c contents) error {
	f, err := st.Open(c.SHA256)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(markBytes, io.SeekStart); err != nil {
		return err
	}
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(writeBelow(w, f, c.Dir))
	}()
	err = sb.Import(ctx, "/", r)
	r.CloseWithError(io.ErrClosedPipe)
	<-done
	return err
}

// writeBelow writes a tar whose members are below a directory.
func writeBelow(w io.Writer, source io.Reader, dir string) error {
	below := func(name string) string { return strings.TrimPrefix(path.Join(dir, name), "/") }
	buffered := bufio.NewWriterSize(w, 1<<20)
	tr, tw := tar.NewReader(source), tar.NewWriter(buffered)
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return errors.Join(tw.Close(), buffered.Flush())
		}
		if err != nil {
			return fmt.Errorf("reading what was kept of %s: %w", dir, err)
		}
		// A longer name may take another format.
		hdr.Name, hdr.Format = below(hdr.Name), tar.FormatUnknown
		if hdr.Typeflag == tar.TypeLink {
			hdr.Linkname = below(hdr.Linkname)
		}
		if err := tw.WriteHeader(hdr); err != nil {
			return err
		}
		if _, err := io.Copy(tw, tr); err != nil {
			return err
		}
	}
}

// emptyTar is what makes a directory, where it is missing, and changes nothing.
func emptyTar() io.Reader {
	var buf bytes.Buffer
	if err := tar.NewWriter(&buf).Close(); err != nil {
		panic("failure: " + err.Error()) // A Buffer takes everything.
	}
	return &buf
}
