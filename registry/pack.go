package registry

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"ampoule/artifact"
	"ampoule/registry/layer"
)

// Pack compresses an artifact's layers, and makes referrers of what belongs beside it. One
// without a verdict is given that by [Packed.WithVerdict].
// What the packer keeps must stay until the result is published.
func Pack(ctx context.Context, packer layer.Packer, a artifact.Artifact) (Packed, error) {
	image, err := packImage(ctx, packer, a)
	if err != nil {
		return Packed{}, fmt.Errorf("packing %s: %w", a.Name, err)
	}
	debug, err := packDebug(ctx, packer, a.Debug)
	if err != nil {
		return Packed{}, fmt.Errorf("packing %s: debug information: %w", a.Name, err)
	}
	referrers := []artifact.Referrer{{ArtifactType: artifact.WheelhouseType, Files: a.Wheelhouse}}
	if len(debug) > 0 {
		referrers = append(referrers, artifact.Referrer{ArtifactType: artifact.DebugType, Files: debug})
	}
	if len(a.Source) > 0 {
		source := artifact.BytesFile(artifact.SourceFile, artifact.SourceType, a.Source)
		referrers = append(referrers, artifact.Referrer{ArtifactType: artifact.SourceType, Files: []artifact.File{source}})
	}
	packed := Packed{Name: a.Name, Key: a.Key, Images: []PackedImage{image}, Referrers: referrers}
	if a.SBOM != nil {
		bill, err := packBill(packed, a.SBOM)
		if err != nil {
			return Packed{}, fmt.Errorf("packing %s: %w", a.Name, err)
		}
		packed.Referrers = append(packed.Referrers, bill)
	}
	if a.Verdict == nil {
		return packed, nil
	}
	return packed.WithVerdict(a.Verdict), nil
}

// WithVerdict is the artifact with the verdict about it, for one that was packed before that was
// known.
func (p Packed) WithVerdict(verdict []byte) Packed {
	file := artifact.BytesFile(artifact.VerdictFile, artifact.VerdictType, verdict)
	p.Referrers = append([]artifact.Referrer{{ArtifactType: artifact.VerdictType, Files: []artifact.File{file}}}, p.Referrers...)
	return p
}

// packBill makes the referrer of the bill of materials, which has the artifact's digest in it.
func packBill(packed Packed, write func(digest string) ([]byte, error)) (artifact.Referrer, error) {
	docs, err := encode(packed)
	if err != nil {
		return artifact.Referrer{}, err
	}
	return billReferrer(write, docs.index.digest())
}

// billReferrer is the bill of materials of what has a digest.
func billReferrer(write func(digest string) ([]byte, error), digest string) (artifact.Referrer, error) {
	data, err := write(digest)
	file := artifact.BytesFile(artifact.SBOMFile, artifact.SBOMType, data)
	return artifact.Referrer{ArtifactType: artifact.SBOMType, Files: []artifact.File{file}}, err
}

// packImage makes the artifact's image. Layers of the base are named by their place.
func packImage(ctx context.Context, packer layer.Packer, a artifact.Artifact) (PackedImage, error) {
	all := slices.Concat(a.Base, a.Layers)
	for i := range a.Base {
		all[i].Name = fmt.Sprintf("base-%d", i)
	}
	packed, err := packLayers(ctx, packer, all)
	if err != nil {
		return PackedImage{}, err
	}
	return PackedImage{
		Platform: a.Platform, Created: a.Created, Config: a.Config,
		Base: packed[:len(a.Base)], Layers: packed[len(a.Base):],
	}, nil
}

// packLayers packs layers, several at a time, in their order.
func packLayers(ctx context.Context, packer layer.Packer, all []artifact.Layer) ([]layer.Layer, error) {
	packed := make([]layer.Layer, len(all))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, l := range all {
		group.Go(func() (err error) {
			packed[i], err = packer.Pack(ctx, l.Name, l.DiffID, l.Open)
			return err
		})
	}
	return packed, group.Wait()
}

// packDebug packs debug information, a compressed tar for each part.
func packDebug(ctx context.Context, packer layer.Packer, parts []artifact.Layer) ([]artifact.File, error) {
	packed, err := packLayers(ctx, packer, parts)
	if err != nil {
		return nil, err
	}
	files := make([]artifact.File, len(packed))
	for i, p := range packed {
		files[i] = artifact.File{
			Name: artifact.DebugFile(p.Name), MediaType: artifact.LayerType, Digest: p.Digest, Size: p.Size, Open: p.Open,
		}
	}
	return files, nil
}
