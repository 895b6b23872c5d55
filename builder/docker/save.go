package docker

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"

	"ampoule/faults"
)

// SaveImage writes an image of the engine at a host in the form of "docker save". The engine is
// asked for nothing else. Without a host it is the usual one (see [Options]).
func SaveImage(ctx context.Context, host, name string, w io.Writer) (err error) {
	e, err := connect(ctx, Options{Host: host})
	if err != nil {
		return fmt.Errorf("opening Docker: %w", err)
	}
	defer func() { err = errors.Join(err, e.client.Close()) }()
	if _, err := e.client.ImageInspect(ctx, name); err != nil {
		if errdefs.IsNotFound(err) {
			return faults.New(faults.NotFound, "docker pull "+name, "Docker has no image %s", name)
		}
		return fmt.Errorf("looking for image %s: %w", name, engineFault(err))
	}
	r, err := e.client.ImageSave(ctx, []string{name})
	if err != nil {
		return fmt.Errorf("saving image %s: %w", name, engineFault(err))
	}
	defer r.Close()
	if _, err := io.Copy(w, r); err != nil {
		return fmt.Errorf("saving image %s: %w", name, err)
	}
	return nil
}
