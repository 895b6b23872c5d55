package builder

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ampoule/artifact"
	"ampoule/builder/fetch"
	"ampoule/recipes"
)

// sealedText says how it is known that no compiler had a network. The contract of
// [sandbox.Runner] is this, and its conformance suite holds engines to it.
const sealedText = "each sandbox is started without a network, inspected once it runs, and refused if it has one"

// provenance says how the artifact was built. Who publishes adds the builder's name.
func (r *build) provenance() (artifact.Provenance, error) {
	lock := sha256.Sum256(r.req.Lock.Alone().Encode())
	p := artifact.Provenance{BuildDefinition: artifact.BuildDefinition{
		BuildType: artifact.BuildType,
		ExternalParameters: artifact.ExternalParameters{
			Recipe: recipes.Canonical(r.req.Recipe), Platform: r.req.platform(),
			Lock: artifact.Resource{Name: filepath.Base(recipes.LockPath(r.req.Recipe.File())), Digest: sha256Of(hex.EncodeToString(lock[:]))},
		},
		InternalParameters: artifact.InternalParameters{
			Key: r.plan.Key, Builder: Version(), Network: artifact.NetworkState{Denied: true, Checked: sealedText},
		},
		ResolvedDependencies: dependencies(r.req.Lock, r.plan.Inputs),
	}}
	if w := r.req.Workspace; w != nil {
		p.BuildDefinition.ExternalParameters.Source = &artifact.ProvenanceSource{
			Repository: w.Origin.Repository, Ref: w.Origin.Ref, Commit: w.State.Commit, Dirty: w.State.Dirty, Hash: w.Hash(),
		}
	}
	p.RunDetails.Builder.Version = map[string]string{"ampoule": Version()}
	p.RunDetails.Metadata = artifact.ProvenanceMetadata{
		InvocationID: filepath.Base(r.logs), StartedOn: r.begun.UTC().Format(time.RFC3339), FinishedOn: r.b.d.Now().UTC().Format(time.RFC3339),
	}
	var err error
	p.RunDetails.Byproducts, err = byproducts(r.logs)
	return p, err
}

func sha256Of(sum string) map[string]string { return map[string]string{"sha256": sum} }

// dependencies lists all files that went into a build.
func dependencies(l *recipes.Lock, items []fetch.Item) []artifact.Resource {
	all := make([]artifact.Resource, 0, len(items))
	for _, i := range items {
		all = append(all, artifact.Resource{Name: i.File, URI: packageURL(i), Digest: sha256Of(i.SHA256)})
	}
	for _, d := range l.Dists {
		if d.Build == nil {
			continue
		}
		for _, p := range d.Build.Patches {
			all = append(all, artifact.Resource{Name: p.File, URI: "pkg:generic/patch-" + escape(d.Name) + "@" + escape(d.Version), Digest: sha256Of(p.SHA256)})
		}
	}
	for _, ref := range images(l) {
		// The host is where it was had from, and no part of what it is.
		repository, digest, _ := strings.Cut(ref, "@")
		name := repository[strings.LastIndexByte(repository, '/')+1:]
		all = append(all, artifact.Resource{Name: name, URI: imageURL(name, digest), Digest: sha256Of(strings.TrimPrefix(digest, "sha256:"))})
	}
	return all
}

// imageURL names an image as a package URL does.
func imageURL(name, digest string) string { return "pkg:oci/" + escape(name) + "@" + escape(digest) }

// packageURL names an input as a package URL does (github.com/package-url/purl-spec), without
// any host: where it was had from decides nothing.
func packageURL(i fetch.Item) string {
	version := "@" + escape(i.Version)
	switch i.Source {
	case fetch.CPython:
		return "pkg:generic/cpython" + version
	case fetch.Debian:
		return "pkg:deb/debian/" + escape(i.Name) + version
	case fetch.Crates:
		return "pkg:cargo/" + escape(i.Name) + version
	case fetch.PyPI:
		return "pkg:pypi/" + escape(i.Name) + version
	default:
		return "pkg:pypi/" + escape(i.Name) + version + "?source=" + escape(i.Source)
	}
}

// escape is percent-encoding as package URLs want it.
func escape(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }

// openLog is the log that is written to its end only after the publication.
const openLog = "toolchain.log"

// byproducts names what a build wrote beside the artifact: its logs, and the verdict.
func byproducts(logs string) ([]artifact.Resource, error) {
	entries, err := os.ReadDir(logs)
	if err != nil {
		return nil, fmt.Errorf("listing logs: %w", err)
	}
	var all []artifact.Resource
	for _, e := range entries {
		if !e.Type().IsRegular() || e.Name() != artifact.VerdictFile && (filepath.Ext(e.Name()) != ".log" || e.Name() == openLog) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(logs, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading log: %w", err)
		}
		sum := sha256.Sum256(text)
		all = append(all, artifact.Resource{Name: e.Name(), Digest: sha256Of(hex.EncodeToString(sum[:]))})
	}
	return all, nil
}
