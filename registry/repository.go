package registry

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"ampoule/artifact"
)

// briefBackoff tries three times within a second: for what can be done without.
var briefBackoff = remote.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.1, Steps: 3}

// Repository is a repository of any registry with files under tags.
type Repository struct {
	at location
	// way is how another registry than the store's own writes tags; empty while nobody knows.
	way Way
}

// OpenRepository returns the repository HOST[:PORT]/NAME. It makes no request. Credentials come from
// Docker's configuration; plain http is spoken to loopback addresses only. A registry that is
// silent for so long is given up.
func OpenRepository(ref string, silence time.Duration) (*Repository, error) {
	host, repo := splitHost(ref)
	if host == "" || !hostForm.MatchString(host) || !artifact.IsRepository(repo) {
		return nil, wrongRepository(ref)
	}
	reg, err := name.NewRegistry(host, name.StrictValidation)
	if err != nil {
		return nil, wrongRepository(ref)
	}
	a, err := foreignAccess(host, silence, briefBackoff)
	if err != nil {
		return nil, err
	}
	return &Repository{at: location{access: a, repo: reg.Repo(repo), base: ref, name: repo}}, nil
}

// Repository returns the repository of a name in this registry, or HOST/NAME in any. It makes no
// request.
func (r *Registry) Repository(name string) (*Repository, error) {
	at, err := r.locate(name, name)
	if err != nil {
		return nil, err
	}
	return &Repository{at: at}, nil
}

// Name is the repository's name, without host and prefix.
func (r *Repository) Name() string { return r.at.name }

// String is the repository's reference.
func (r *Repository) String() string { return r.at.base }

// Tagged describes the files under a tag. A tag that is not there is a [*NotFoundError].
func (r *Repository) Tagged(ctx context.Context, tag string) (ReferrerInfo, error) {
	ref := r.at.base + ":" + tag
	op := "reading " + tag
	root, err := r.at.get(ctx, r.at.repo.Tag(tag))
	if err != nil {
		return ReferrerInfo{}, r.at.convert(op, ref, err)
	}
	if !root.MediaType.IsImage() {
		return ReferrerInfo{}, &DamagedError{Ref: ref, What: "its manifest", Err: fmt.Errorf("its media type is %q", root.MediaType)}
	}
	info, err := r.at.describeFiles(ReferrerInfo{Digest: root.Digest.String()}, root.Manifest)
	if err != nil {
		return ReferrerInfo{}, &DamagedError{Ref: ref, What: "its manifest", Err: err}
	}
	return info, nil
}

// Open returns the content of a file. Content that is not what its digest says is an
// [ErrDigest] from Read, where io.EOF would be.
func (r *Repository) Open(ctx context.Context, f FileInfo) (io.ReadCloser, error) {
	op := "reading " + f.Digest
	content, err := r.at.openBlob(ctx, f.Digest)
	if err != nil {
		return nil, r.at.convert(op, r.at.at(f.Digest), err)
	}
	return converting{ReadCloser: content, location: r.at, op: op}, nil
}

// Put sends the files that the repository lacks, and then their manifest under a tag, in the place of what
// that named.
func (r *Repository) Put(ctx context.Context, tag, artifactType string, annotations map[string]string, files []artifact.File) error {
	op := "writing " + tag
	manifest, err := encodeFiles(artifactType, annotations, files)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return r.at.putFiles(ctx, op, tag, manifest, files)
}
