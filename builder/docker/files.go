package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"ampoule/builder/sandbox"
)

// Import implements [sandbox.Sandbox]. Directories that are missing belong to the
// sandbox's user and have mode 0755. A tar that ends without its end mark is
// an error, as is a path or a hard link that leaves dir.
func (b *box) Import(ctx context.Context, dir string, r io.Reader) error {
	if err := b.importTar(ctx, dir, r); err != nil {
		return fmt.Errorf("importing into %s of %s: %w", dir, b.name, b.explain(ctx, err))
	}
	return nil
}

// explain tells of an error why there is one: the context's cause, a sandbox that
// was removed, or an engine that was stopped.
func (b *box) explain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if excess := b.exceeded.Load(); excess != nil {
		return excess
	}
	if errors.Is(err, errEnded) && !b.isRemoved() && b.stopped(ctx) {
		return unavailable(err, goneHint)
	}
	return b.afterRemoval(err)
}

// afterRemoval tells of an error that the sandbox was removed, if it was.
func (b *box) afterRemoval(err error) error {
	if b.isRemoved() {
		return errors.Join(sandbox.ErrClosed, err)
	}
	return err
}

func (b *box) importTar(ctx context.Context, dir string, r io.Reader) error {
	if err := checkDir(dir); err != nil {
		return err
	}
	if err := b.makeDirs(ctx, dir); err != nil {
		return err
	}
	stream := rewrite(r, chain(checkMember, b.confinement.owned))
	err := b.engine.client.CopyToContainer(ctx, b.id, dir, struct{ io.Reader }{stream}, container.CopyToContainerOptions{})
	// Why the stream ended early tells more than that the engine got too little.
	if streamErr := stream.finish(err == nil); streamErr != nil {
		return streamErr
	}
	return engineFault(err)
}

func checkDir(dir string) error {
	if !path.IsAbs(dir) || path.Clean(dir) != dir {
		return fmt.Errorf("%q is not a clean absolute path", dir)
	}
	return nil
}

// makeDirs makes a directory and its parents, leaving those that exist as they are.
func (b *box) makeDirs(ctx context.Context, dir string) error {
	existing, missing := dir, []string(nil)
	for ; existing != "/"; existing = path.Dir(existing) {
		_, err := b.engine.client.ContainerStatPath(ctx, b.id, existing)
		if err == nil {
			break
		}
		if !errdefs.IsNotFound(err) {
			return fmt.Errorf("looking for %s: %w", existing, err)
		}
		missing = append(missing, existing)
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Reverse(missing)
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, name := range missing {
		rel := strings.TrimPrefix(strings.TrimPrefix(name, existing), "/")
		hdr := &tar.Header{Typeflag: tar.TypeDir, Name: rel + "/", Mode: 0o755, Uid: b.confinement.user, Gid: b.confinement.user}
		if err := tw.WriteHeader(hdr); err != nil {
			return err
		}
	}
	if err := tw.Close(); err != nil {
		return err
	}
	if err := b.engine.client.CopyToContainer(ctx, b.id, existing, &buf, container.CopyToContainerOptions{}); err != nil {
		return fmt.Errorf("making %s: %w", dir, engineFault(err))
	}
	return nil
}

// Export implements [sandbox.Sandbox]. User and group names are left out. The
// engine leaves out files that vanish while it reads, and sockets: export when no
// step runs.
func (b *box) Export(ctx context.Context, dir string) (io.ReadCloser, error) {
	r, err := b.export(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("exporting %s of %s: %w", dir, b.name, b.explain(ctx, err))
	}
	return r, nil
}

func (b *box) export(ctx context.Context, dir string) (io.ReadCloser, error) {
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	if dir == "/" {
		body, err := b.engine.client.ContainerExport(ctx, b.id)
		if err != nil {
			return nil, engineFault(err)
		}
		return rewrite(fromEngine{body, b}, chain(leaveOutEngine(dir), b.outward())), nil
	}
	body, stat, err := b.engine.client.CopyFromContainer(ctx, b.id, dir)
	if errdefs.IsNotFound(err) && !b.isRemoved() {
		return nil, errors.Join(fs.ErrNotExist, err)
	}
	if err != nil {
		return nil, engineFault(err)
	}
	if !stat.Mode.IsDir() {
		return nil, errors.Join(errors.New("not a directory"), body.Close())
	}
	return rewrite(fromEngine{body, b}, chain(stripFirst, leaveOutEngine(dir), b.outward())), nil
}

// fromEngine is what an engine sends.
type fromEngine struct {
	io.ReadCloser
	box *box
}

// Read implements [io.Reader].
func (f fromEngine) Read(b []byte) (int, error) {
	n, err := f.ReadCloser.Read(b)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	if excess := f.box.exceeded.Load(); excess != nil {
		return n, excess
	}
	return n, engineFault(err)
}
