package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"ampoule/audit"
	wheelfile "ampoule/audit/wheel"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/seal"
	"ampoule/tree"
)

// publish hands the sealed tree, with everything that belongs beside it, to the registry.
func (r *build) publish(ctx context.Context, sealed *seal.Sealed, verdict *audit.Verdict) (_ string, err error) {
	task := progress.Start(ctx, "publish", r.recipe.Name)
	defer func() { task.End(err) }()
	told, err := json.MarshalIndent(verdict, "", "  ")
	if err != nil {
		return "", fmt.Errorf("writing the verdict: %w", err)
	}
	artifact, err := r.image(ctx, sealed)
	if err != nil {
		return "", err
	}
	artifact.Verdict, artifact.Debug = told, r.debug
	if artifact.Wheelhouse, err = r.wheelhouse(ctx, sealed.Record); err != nil {
		return "", err
	}
	return r.b.Publisher.Publish(ctx, artifact)
}

// labelledKind is the store's kind of records that name a wheel with its record in it.
const labelledKind = "labelled-wheel"

// wheelhouse writes into each wheel what it was built with: then it can be told wherever
// the wheel goes. The wheels in the store know nothing of it, so that a wheel is the
// same for every tree that it is in.
func (r *build) wheelhouse(ctx context.Context, record *audit.ArtifactRecord) ([]File, error) {
	files := make([]File, len(record.Wheels))
	for i, w := range record.Wheels {
		told, err := json.MarshalIndent(audit.WheelRecord{WheelMade: w, Python: record.Python}, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("writing the record of %s: %w", w.File, err)
		}
		sum, err := r.labelled(ctx, w, append(told, '\n'))
		if err != nil {
			return nil, err
		}
		e, err := layers.FileOf(r.b.Store, sum, w.File)
		if err != nil {
			return nil, err
		}
		files[i] = File{Name: w.File, Size: e.Size, SHA256: sum, Open: func(context.Context) (io.ReadCloser, error) { return e.Content.Open() }}
	}
	return files, nil
}

// labelledKey names a wheel, by its sha256, with a record in it.
func labelledKey(sum string, told []byte) string {
	return layers.Key(labelledKind, 1, map[string]any{"wheel": sum, "record": string(told)})
}

// labelled returns the hash of a wheel with a record in it.
func (r *build) labelled(ctx context.Context, w audit.WheelMade, told []byte) (sum string, err error) {
	st := r.b.Store
	key := labelledKey(w.SHA256, told)
	found, err := st.Lookup(labelledKind, key, &sum)
	if err == nil && found {
		found, err = st.Whole(ctx, sum)
	}
	if err != nil || found {
		return sum, err
	}
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
	if err := wheelfile.WithFile(out, f, info.Size(), audit.WheelRecordFile, told); err != nil {
		return "", fmt.Errorf("writing %s for the wheelhouse: %w", w.File, err)
	}
	if sum, _, err = out.Commit(); err != nil {
		return "", err
	}
	return sum, st.Record(labelledKind, key, sum)
}

// image makes the part of the artifact that its digest names.
func (r *build) image(ctx context.Context, sealed *seal.Sealed) (Artifact, error) {
	artifact := Artifact{
		Name: r.recipe.Name, Key: r.plan.Key, Platform: r.platform, Created: tree.Time, Config: r.config(sealed),
	}
	base, ok := r.lock.Targets["container"]
	if !ok {
		// The oldest machine's base serves as the image's: it was tested there.
		base = r.lock.Targets["vm"]
	}
	below, err := r.images.Base(ctx, base)
	if err != nil {
		return Artifact{}, err
	}
	artifact.Base = below.Layers
	artifact.Layers, err = layers.SaveParts(ctx, r.b.Store, layers.Split(sealed.Tree), Prefix)
	return artifact, err
}

// Labels of the image's configuration.
const (
	LabelKey         = "dev.ampoule.key"
	LabelRecipe      = "dev.ampoule.recipe"
	LabelPython      = "dev.ampoule.python"
	LabelFingerprint = "dev.ampoule.fingerprint"
	LabelTree        = "dev.ampoule.tree"
	LabelPrefix      = "dev.ampoule.prefix"
	// LabelRepeatable is "false" for an interpreter whose optimisation was trained
	// while it was built: training differs from run to run.
	LabelRepeatable = "dev.ampoule.repeatable"
)

func (r *build) config(sealed *seal.Sealed) sandbox.Config {
	bin := path.Join("/", Prefix, "bin")
	_, arch, _ := strings.Cut(r.platform, "/")
	return sandbox.Config{
		Architecture: arch,
		Env: []string{
			"PATH=" + bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"LANG=C.UTF-8",
		},
		Entrypoint: []string{bin + "/python3"},
		Labels: map[string]string{
			LabelKey: r.plan.Key, LabelRecipe: r.recipe.Name, LabelPython: r.lock.Python.Version,
			LabelFingerprint: sealed.Record.Python.FingerprintDigest, LabelTree: sealed.Tree.Hash(), LabelPrefix: "/" + Prefix,
			LabelRepeatable: strconv.FormatBool(!slices.Contains(r.recipe.Python.Configure, "--enable-optimizations")),
		},
	}
}
