package builder

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"ampoule/audit"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/seal"
	"ampoule/tree"
)

// publish hands the sealed tree, with everything that belongs beside it, to the registry.
func (r *build) publish(ctx context.Context, sealed *seal.Sealed, made []seal.Wheel, verdict *audit.Verdict) (_ string, err error) {
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
	for _, w := range made {
		e, err := layers.FileOf(r.b.Store, w.SHA256, w.File)
		if err != nil {
			return "", err
		}
		artifact.Wheelhouse = append(artifact.Wheelhouse, File{Name: w.File, Size: e.Size, SHA256: w.SHA256, Open: e.Content.Open})
	}
	return r.b.Publisher.Publish(ctx, artifact)
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
			LabelFingerprint: sealed.Fingerprint.Digest(), LabelTree: sealed.Tree.Hash(), LabelPrefix: "/" + Prefix,
			LabelRepeatable: strconv.FormatBool(!slices.Contains(r.recipe.Python.Configure, "--enable-optimizations")),
		},
	}
}
