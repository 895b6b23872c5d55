package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/seal"
)

// Preparer is a [Publisher] that can do a part of its work before it is known whether the artifact
// may be published: what compresses layers need not wait for the gate.
type Preparer interface {
	// Prepare compresses an artifact that has no verdict yet. Nobody can find anything of it.
	Prepare(ctx context.Context, a artifact.Artifact) (Prepared, error)
}

// Prepared is an artifact that can be published.
type Prepared interface {
	// Publish pushes the artifact with its verdict, as [Publisher.Publish] does.
	Publish(ctx context.Context, verdict []byte, provenance artifact.Provenance) (digest string, err error)
	// Close removes what was prepared.
	Close() error
}

// unprepared is an artifact of a [Publisher] that cannot prepare one.
type unprepared struct {
	publisher Publisher
	artifact  artifact.Artifact
}

// Publish implements [Prepared].
func (u unprepared) Publish(ctx context.Context, verdict []byte, provenance artifact.Provenance) (string, error) {
	u.artifact.Verdict, u.artifact.Provenance = verdict, provenance
	return u.publisher.Publish(ctx, u.artifact)
}

// Close implements [Prepared].
func (unprepared) Close() error { return nil }

// packing is an artifact that is prepared while the gate judges its tree.
type packing struct {
	cancel context.CancelFunc
	done   chan struct{}
	ready  Prepared
	err    error
}

// pack begins to prepare the artifact. What the gate writes for its targets first is written by
// then, and is no work any more: it begins when that is there.
func (r *build) pack(ctx context.Context, open *layers.Opened, sealed *seal.Sealed, begin <-chan struct{}) *packing {
	ctx, cancel := context.WithCancel(ctx)
	p := &packing{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		select {
		case <-begin:
			p.ready, p.err = r.prepare(ctx, open, sealed)
		case <-ctx.Done():
			p.err = context.Cause(ctx)
		}
	}()
	return p
}

// prepare makes all of the artifact but its verdict and its provenance.
func (r *build) prepare(ctx context.Context, open *layers.Opened, sealed *seal.Sealed) (Prepared, error) {
	a, err := r.image(ctx, sealed)
	if err != nil {
		return nil, err
	}
	a.Debug = named(r.debug)
	if a.Source, err = r.keepSource(); err != nil {
		return nil, err
	}
	if a.SBOM, err = r.bill(ctx, open, sealed); err != nil {
		return nil, err
	}
	if a.Wheelhouse, err = r.wheelhouse(ctx, sealed.Record); err != nil {
		return nil, err
	}
	if preparer, ok := r.b.d.Publisher.(Preparer); ok {
		return preparer.Prepare(ctx, a)
	}
	return unprepared{r.b.d.Publisher, a}, nil
}

// drop ends the packing and removes what it made. It is safe to call again.
func (p *packing) drop() error {
	p.cancel()
	<-p.done
	if p.ready == nil {
		return nil
	}
	ready := p.ready
	p.ready = nil
	return ready.Close()
}

// publish hands the artifact to the registry, once it is packed and the gate has passed its tree.
func (r *build) publish(ctx context.Context, p *packing, verdict *audit.Verdict) (_ string, err error) {
	task := progress.Start(ctx, progress.StagePublish, r.req.Recipe.Name)
	defer func() { task.End(err) }()
	told, err := json.MarshalIndent(verdict, "", "  ")
	if err != nil {
		return "", fmt.Errorf("writing the verdict: %w", err)
	}
	<-p.done
	if p.err != nil {
		return "", p.err
	}
	provenance, err := r.provenance()
	if err != nil {
		return "", err
	}
	return p.ready.Publish(ctx, told, provenance)
}

// judgeAndPublish has the gate judge the tree, while the artifact is packed, and publishes it if the
// gate passes it.
func (r *build) judgeAndPublish(ctx context.Context, open *layers.Opened, sealed *seal.Sealed) (_ *audit.Verdict, digest string, err error) {
	laid := make(chan struct{})
	p := r.pack(ctx, open, sealed, laid)
	defer func() {
		if dropped := p.drop(); dropped != nil {
			err = errors.Join(err, dropped)
		}
	}()
	verdict, err := r.gate(ctx, sealed, func() { close(laid) })
	if err != nil {
		return verdict, "", err
	}
	digest, err = r.publish(ctx, p, verdict)
	return verdict, digest, err
}
