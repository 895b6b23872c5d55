package workspace

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // git's own name of a file, beside the sha256 that counts
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"

	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/system"
	"ampoule/tree"
)

// ChangedError says that a file is not what it was when the workspace was read.
type ChangedError struct{ Path string }

func (e *ChangedError) Error() string {
	return e.Path + " changed while the application was built"
}

// Kind says whose fault it is.
func (*ChangedError) Kind() faults.Kind { return faults.Input }

// Hint says what can be done.
func (*ChangedError) Hint() string { return "build again when nothing writes there" }

// entry reads one file of a source in the directory at. It returns false for one that is
// tracked and was deleted.
func (r *reader) entry(ctx context.Context, at string, f file) (tree.Entry, bool, error) {
	if err := context.Cause(ctx); err != nil {
		return tree.Entry{}, false, err
	}
	r.files++
	if r.files > r.limits.files {
		return tree.Entry{}, false, r.tooMany()
	}
	p := path.Join(at, f.path)
	info, err := r.lstat(p)
	if errors.Is(err, fs.ErrNotExist) {
		r.changed(p)
		return tree.Entry{}, false, nil
	}
	if err != nil {
		return tree.Entry{}, false, err
	}
	e := tree.Entry{Path: f.path}
	var is blob
	pointer := ""
	switch info.Mode().Type() {
	case fs.ModeSymlink:
		e.Kind, e.Mode = tree.Symlink, 0o777
		if e.Link, err = r.root.Readlink(p); err != nil {
			return e, false, err
		}
		is = blob{modeLink, r.named(f.committed, []byte(e.Link))}
	case 0:
		if is, pointer, err = r.content(ctx, p, info, f, &e); err != nil {
			return e, false, err
		}
	default:
		r.refuse(p, fmt.Sprintf("it is a %s: an application holds files and links", kindOf(info.Mode())), "remove it, or leave it out with app.files")
		return e, false, nil
	}
	switch {
	case f.committed != nil && (is == *f.committed || blob{is.mode, pointer} == *f.committed):
	case f.generated:
		if len(r.state.Generated) < maxChanged {
			r.state.Generated = append(r.state.Generated, p)
		}
	default:
		r.changed(p)
	}
	return e, true, nil
}

// lstat looks at a path below the top. What lies below a link is not there, as git has it.
func (r *reader) lstat(p string) (fs.FileInfo, error) {
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		info, err := r.root.Lstat(dir)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("%s: %w", p, fs.ErrNotExist)
		}
	}
	info, err := r.root.Lstat(p)
	if err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s: %w", p, fs.ErrNotExist)
	}
	return info, err
}

// kindOf names what is no file.
func kindOf(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeNamedPipe != 0:
		return "pipe"
	default:
		return "device"
	}
}

// lfsPointer is what stands in place of a file that Git LFS has elsewhere (git-lfs,
// docs/spec.md).
var lfsPointer = regexp.MustCompile(`\Aversion https://[^\n]+/spec/v[0-9]+\n(?:[a-z0-9.-]+ [^\n]+\n)*oid sha256:[0-9a-f]{64}\nsize [0-9]+\n`)

// maxPointer bounds such a pointer, in bytes (git-lfs, docs/spec.md).
const maxPointer = 1024

// lfsPointerTo is the pointer to a file with that sha256 and size.
func lfsPointerTo(sum string, size int64) []byte {
	return fmt.Appendf(nil, "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", sum, size)
}

// content reads a regular file. Beside git's name of it, it returns that of the pointer with
// which Git LFS would have it committed.
func (r *reader) content(ctx context.Context, p string, info fs.FileInfo, f file, e *tree.Entry) (is blob, pointer string, err error) {
	in, err := r.root.OpenFile(p, os.O_RDONLY|system.NonBlock, 0)
	if err != nil {
		return blob{}, "", err
	}
	defer in.Close()
	if now, err := in.Stat(); err != nil || !os.SameFile(now, info) {
		return blob{}, "", errors.Join(&ChangedError{r.shown(p)}, err)
	}
	r.bytes += info.Size()
	if r.bytes > r.limits.bytes {
		return blob{}, "", recipes.Faults{fault(r.spec.At, fmt.Sprintf("the application has more than %d bytes", r.limits.bytes), "app.files names the files that belong to it")}
	}
	sum, name := sha256.New(), nameOf(f.committed)
	fmt.Fprintf(name, "blob %d\x00", info.Size())
	var head bytes.Buffer
	n, err := io.Copy(io.MultiWriter(sum, name, &firstBytes{&head, maxPointer}), tree.ReaderWhile(ctx, io.LimitReader(in, info.Size()+1)))
	switch {
	case err != nil:
		return blob{}, "", err
	case n != info.Size():
		return blob{}, "", &ChangedError{r.shown(p)}
	case n < maxPointer && lfsPointer.Match(head.Bytes()):
		r.refuse(p, "it is a pointer of Git LFS, in place of the file", "`git lfs pull` brings the files")
	}
	e.Kind, e.Mode, e.Size, e.SHA256 = tree.File, 0o644, n, hex.EncodeToString(sum.Sum(nil))
	mode := modeFile
	if isExecutable(info.Mode(), f.committed, system.Modes) {
		e.Mode, mode = 0o755, modeExecutable
	}
	e.Content = content{filepath.Join(r.top, filepath.FromSlash(p)), r.shown(p), n, e.SHA256}
	return blob{mode, hex.EncodeToString(name.Sum(nil))}, r.named(f.committed, lfsPointerTo(e.SHA256, n)), nil
}

// isExecutable reports whether a file may be run. Where the system has no modes, the commit says so,
// as git has it (git-config(1), core.fileMode).
func isExecutable(mode fs.FileMode, committed *blob, modes bool) bool {
	if modes {
		return mode&0o100 != 0
	}
	return committed != nil && committed.mode == modeExecutable
}

// nameOf makes the hash by which a repository names its files: the one that what is committed
// has.
func nameOf(committed *blob) hash.Hash {
	if committed != nil && len(committed.id) == hex.EncodedLen(sha256.Size) {
		return sha256.New()
	}
	return sha1.New() //nolint:gosec // git's
}

// named gives git's name of bytes.
func (r *reader) named(committed *blob, data []byte) string {
	h := nameOf(committed)
	fmt.Fprintf(h, "blob %d\x00%s", len(data), data)
	return hex.EncodeToString(h.Sum(nil))
}

// firstBytes keeps the first bytes that are written, and takes all.
type firstBytes struct {
	to   *bytes.Buffer
	most int
}

// Write implements [io.Writer].
func (w *firstBytes) Write(p []byte) (int, error) {
	if left := w.most - w.to.Len(); left > 0 {
		w.to.Write(p[:min(left, len(p))])
	}
	return len(p), nil
}

// beside looks whether the files beside the code are as the commit has them.
func (r *reader) beside(ctx context.Context) error {
	if !r.tracked || r.state.Commit == "" {
		return nil
	}
	// git lists what is below a directory: files above the recipe's are found from the top.
	from := r.dir
	if slices.ContainsFunc(r.spec.Beside, func(name string) bool { return !filepath.IsLocal(name) }) {
		from = "."
	}
	committed, err := r.git.committed(ctx, filepath.Join(r.top, filepath.FromSlash(from)), r.state.Commit)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(slices.Values(r.spec.Beside)) {
		file := path.Join(r.dir, name)
		if !filepath.IsLocal(file) {
			// No commit of this repository has it.
			r.changed(file)
			continue
		}
		data, err := r.root.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		listed := name
		if from == "." {
			listed = file
		}
		was, known := committed[listed]
		if !known || r.named(&was, data) != was.id {
			r.changed(file)
		}
	}
	return nil
}

// content is a file on disk that must be what it was.
type content struct {
	path, shown string
	size        int64
	sum         string
}

// Open implements [tree.Content].
func (c content) Open() (io.ReadCloser, error) {
	f, err := os.OpenFile(c.path, os.O_RDONLY|system.NonBlock|system.NoFollow, 0)
	if err != nil {
		return nil, errors.Join(&ChangedError{c.shown}, err)
	}
	return &reading{content: c, f: f, h: sha256.New()}, nil
}

// reading gives a content's bytes, and an error in place of its end where they are others.
type reading struct {
	content
	f *os.File
	h hash.Hash
	n int64
}

// Read implements [io.Reader].
func (r *reading) Read(p []byte) (int, error) {
	if left := r.size - r.n; left > 0 {
		p = p[:min(int64(len(p)), left)]
	}
	n, err := r.f.Read(p)
	r.n += int64(n)
	r.h.Write(p[:n])
	switch {
	case r.n > r.size, errors.Is(err, io.EOF) && (r.n < r.size || hex.EncodeToString(r.h.Sum(nil)) != r.sum):
		return 0, &ChangedError{r.shown}
	}
	return n, err
}

// Close implements [io.Closer].
func (r *reading) Close() error { return r.f.Close() }
