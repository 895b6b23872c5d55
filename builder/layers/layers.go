// Package layers keeps what sandboxes made, and the parts of sealed trees, as image
// layers in the store: each an uncompressed tar under its own sha256, which is its
// DiffID, found again by the key of what made it.
package layers

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"ampoule/builder/sandbox"
	"ampoule/store"
	"ampoule/tree"
)

// Limits bound what is taken out of a sandbox.
var Limits = tree.Limits{Entries: 500_000, Bytes: 16 << 30}

// maxExport bounds the tar that [Limits] are then applied to, headers included, in bytes.
const maxExport = 17 << 30

// Key makes the key of a stage's result: the hash of everything that decides it,
// as JSON. The format number is raised when the stage itself gives other bytes.
func Key(stage string, format int, inputs any) string {
	data, err := json.Marshal(struct {
		Stage  string
		Format int
		Inputs any
	}{stage, format, inputs})
	if err != nil {
		panic("layers: inputs of " + stage + " are not JSON: " + err.Error())
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// DiffIDs names an image's layers, for keys.
func DiffIDs(image sandbox.Image) []string {
	ids := make([]string, len(image.Layers))
	for i, layer := range image.Layers {
		ids[i] = layer.DiffID
	}
	return ids
}

// Export takes what is below dir out of a sandbox. The tree's contents are in a
// file without a name, which goes away when the returned closer is closed.
func Export(ctx context.Context, st *store.Store, sb sandbox.Sandbox, dir string) (*tree.Tree, io.Closer, error) {
	r, err := sb.Export(ctx, dir)
	if err != nil {
		return nil, nil, fmt.Errorf("exporting %s: %w", dir, err)
	}
	t, closer, err := scratch(st, func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	})
	if closeErr := r.Close(); err == nil && closeErr != nil {
		err = errors.Join(closeErr, closer.Close())
	}
	if err != nil {
		return nil, nil, fmt.Errorf("exporting %s: %w", dir, err)
	}
	return t, closer, nil
}

// scratch reads the tar that write writes, out of a file without a name.
func scratch(st *store.Store, write func(io.Writer) error) (_ *tree.Tree, _ io.Closer, err error) {
	f, err := os.CreateTemp(st.Dir(store.Tmp), "export-*.tar")
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := os.Remove(f.Name()); err != nil {
		return nil, nil, err
	}
	bounded := &limited{w: f, left: maxExport}
	if err := write(bounded); err != nil {
		return nil, nil, err
	}
	size := maxExport - bounded.left
	if err := checkEnd(f, size); err != nil {
		return nil, nil, err
	}
	t, err := tree.FromTar(f, size, Limits)
	return t, f, err
}

// endMark is how many zero bytes end a tar (POSIX pax, "ustar Interchange Format").
const endMark = 1024

// checkEnd refuses a tar that just stops.
func checkEnd(r io.ReaderAt, size int64) error {
	end := make([]byte, endMark)
	if size < endMark {
		return fmt.Errorf("reading tar: %w", io.ErrUnexpectedEOF)
	}
	if _, err := r.ReadAt(end, size-endMark); err != nil {
		return fmt.Errorf("reading tar: %w", err)
	}
	if bytes.ContainsFunc(end, func(r rune) bool { return r != 0 }) {
		return fmt.Errorf("reading tar: it does not end: %w", io.ErrUnexpectedEOF)
	}
	return nil
}

// limited passes on as many bytes as are left, and refuses more.
type limited struct {
	w    io.Writer
	left int64
}

// Write implements [io.Writer].
func (l *limited) Write(p []byte) (int, error) {
	if int64(len(p)) > l.left {
		return 0, fmt.Errorf("more than %d bytes: %w", maxExport, tree.ErrLimit)
	}
	n, err := l.w.Write(p)
	l.left -= int64(n)
	return n, err
}

// Save writes a tree, below prefix, as a layer into the store. Owners become root.
func Save(ctx context.Context, st *store.Store, t *tree.Tree, prefix string) (sandbox.Layer, error) {
	w, err := st.Create(ctx)
	if err != nil {
		return sandbox.Layer{}, fmt.Errorf("saving layer: %w", err)
	}
	defer w.Abort()
	rooted := t.Map(func(e tree.Entry) tree.Entry {
		e.UID, e.GID = 0, 0
		return e
	})
	buffered := bufio.NewWriterSize(w, 1<<20)
	if err := errors.Join(rooted.WriteTar(buffered, prefix, tree.Time), buffered.Flush()); err != nil {
		return sandbox.Layer{}, fmt.Errorf("saving layer: %w", err)
	}
	sum, _, err := w.Commit()
	if err != nil {
		return sandbox.Layer{}, fmt.Errorf("saving layer: %w", err)
	}
	return Stored(st, sum), nil
}

// Stored returns the layer that the store holds under a sha256 in hex.
func Stored(st *store.Store, sum string) sandbox.Layer {
	return sandbox.Layer{
		DiffID: "sha256:" + sum,
		Open:   func(context.Context) (io.ReadCloser, error) { return st.Open(sum) },
	}
}

// Read indexes a stored layer. Its contents stay in the store's file, which is
// held open until the returned closer is closed.
func Read(st *store.Store, sum string) (*tree.Tree, io.Closer, error) {
	f, err := st.Open(sum)
	if err != nil {
		return nil, nil, fmt.Errorf("reading layer: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("reading layer: %w", err)
	}
	t, err := readIndexed(st, sum, f, info.Size())
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("reading layer sha256:%s: %w", sum, err)
	}
	return t, f, nil
}

// FileOf makes a file entry of content that the store holds.
func FileOf(st *store.Store, sum, p string) (tree.Entry, error) {
	f, err := st.Open(sum)
	if err != nil {
		return tree.Entry{}, fmt.Errorf("reading %s: %w", p, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return tree.Entry{}, fmt.Errorf("reading %s: %w", p, err)
	}
	return tree.Entry{
		Path: p, Kind: tree.File, Mode: 0o644, Size: info.Size(), SHA256: sum,
		Content: stored{st, sum},
	}, nil
}

// stored is content in the store.
type stored struct {
	st  *store.Store
	sum string
}

// Open implements [tree.Content].
func (s stored) Open() (io.ReadCloser, error) { return s.st.Open(s.sum) }
