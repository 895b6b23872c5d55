package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"ampoule/artifact"
	"ampoule/audit"
	wheelfile "ampoule/audit/wheel"
	"ampoule/builder/layers"
	"ampoule/builder/once"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/seal"
	"ampoule/store"
	"ampoule/tree"
)

// named gives layers their names, and sorts them by these.
func named(byName map[string]sandbox.Layer) []artifact.Layer {
	all := make([]artifact.Layer, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		l := byName[name]
		l.Name = name
		all = append(all, l)
	}
	return all
}

// labelledKind is the store's kind of records that name a wheel with its record in it.
const labelledKind = "labelled-wheel"

// wheelhouse writes into each wheel what it was built with: then it can be told wherever
// the wheel goes. The wheels in the store know nothing of it, so that a wheel is the
// same for every tree that it is in.
func (r *build) wheelhouse(ctx context.Context, record *audit.ArtifactRecord) ([]artifact.File, error) {
	files := make([]artifact.File, len(record.Wheels))
	group, writing := errgroup.WithContext(ctx)
	group.SetLimit(max(1, r.with.Jobs))
	for i, w := range record.Wheels {
		group.Go(func() (err error) {
			files[i], err = r.recorded(writing, audit.WheelRecord{WheelMade: w, Python: record.Python})
			return err
		})
	}
	return files, group.Wait()
}

// recorded is a wheel of the wheelhouse, with the record of how it was made in it.
func (r *build) recorded(ctx context.Context, made audit.WheelRecord) (artifact.File, error) {
	told, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		return artifact.File{}, fmt.Errorf("writing the record of %s: %w", made.File, err)
	}
	sum, err := r.labelled(ctx, made.WheelMade, append(told, '\n'))
	if err != nil {
		return artifact.File{}, err
	}
	e, err := layers.FileOf(r.b.d.Store, sum, made.File)
	return artifact.File{
		Name: made.File, MediaType: artifact.WheelType, Digest: "sha256:" + sum, Size: e.Size,
		Open: func(context.Context) (io.ReadCloser, error) { return e.Content.Open() },
	}, err
}

// labelledKey names a wheel, by its sha256, with a record in it.
func labelledKey(sum string, told []byte) string {
	return layers.Key(labelledKind, 1, map[string]any{"wheel": sum, "record": string(told)})
}

// labelled returns the hash of a wheel with a record in it.
func (r *build) labelled(ctx context.Context, w audit.WheelMade, told []byte) (string, error) {
	task := progress.Later(ctx, progress.StagePublish, "record of "+w.File)
	sum, reused, err := once.Remembered(once.Alone(ctx), r.b.d.Store, task, labelledKind, labelledKey(w.SHA256, told), func(ctx context.Context) (string, error) {
		return label(ctx, r.b.d.Store, w, told)
	})
	task.Finish(reused, err)
	return sum, err
}

// label writes a record into a wheel, as another content of the store.
func label(ctx context.Context, st *store.Store, w audit.WheelMade, told []byte) (sum string, err error) {
	f, err := st.Open(w.SHA256)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	out, err := st.Create(ctx)
	if err != nil {
		return "", err
	}
	defer out.Abort()
	if err := wheelfile.WithFile(out, f, info.Size(), artifact.WheelRecordFile, told); err != nil {
		return "", fmt.Errorf("writing %s for the wheelhouse: %w", w.File, err)
	}
	sum, _, err = out.Commit()
	return sum, err
}

// image makes the part of the artifact that its digest names.
func (r *build) image(ctx context.Context, sealed *seal.Sealed) (artifact.Artifact, error) {
	config, err := r.config(sealed)
	if err != nil {
		return artifact.Artifact{}, fmt.Errorf("configuring the image: %w", err)
	}
	below, err := r.imageBase(ctx)
	if err != nil {
		return artifact.Artifact{}, err
	}
	parts, err := layers.SaveParts(ctx, r.b.d.Store, progress.StagePublish, layers.Split(sealed.Tree, r.ownNames()...), Prefix)
	return artifact.Artifact{
		Name: r.req.Recipe.Name, Key: r.plan.Key, Platform: r.req.platform(), Created: tree.Time, Config: config,
		Base: below.Layers, Layers: parts,
	}, err
}

// imageBase is the image that the artifact's stands on.
func (r *build) imageBase(ctx context.Context) (sandbox.Image, error) {
	base, ok := r.req.Lock.Targets["container"]
	if !ok {
		// The oldest machine's base serves as the image's: it was tested there.
		base = r.req.Lock.Targets["vm"]
	}
	return r.env.Base(ctx, base)
}

// imageUser and imageName are the user that the image runs as: no user of Debian's, and the
// one that images without a shell have come to use. Its files belong to root.
const (
	imageUser = "65532:65532"
	imageName = "nonroot"
)

// config says how the image runs, and what it is. It starts any program, as the images of
// Docker's own python do, through a program that reaps. HOME and USER are what libraries ask
// for, as the user is in no /etc/passwd. PYTHONPATH is kept: nothing leaks into a container
// that its image or whoever starts it does not name.
func (r *build) config(sealed *seal.Sealed) (artifact.Config, error) {
	bin := path.Join("/", Prefix, "bin")
	_, arch, _ := strings.Cut(r.req.platform(), "/")
	labels, err := artifact.Labels{
		Recipe: r.req.Recipe.Name, Key: r.plan.Key, Python: r.req.Lock.Python.Version,
		Fingerprint: sealed.Record.Python.FingerprintDigest, Tree: sealed.Tree.Hash(), Prefix: "/" + Prefix,
		Repeatable: new(r.req.Recipe.Python.Repeatable()),
	}.Encode()
	command := []string{"python3"}
	if app := r.req.Recipe.App; app != nil && len(app.Command) > 0 {
		command = app.Command
	}
	return artifact.Config{
		Architecture: arch,
		Env: []string{
			"PATH=" + bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"LANG=C.UTF-8", "HOME=/tmp", "USER=" + imageName,
		},
		Entrypoint: []string{bin + "/ampoule-exec", "--keep-env=PYTHONPATH", "--"},
		Cmd:        command,
		User:       imageUser,
		Labels:     labels,
	}, err
}
