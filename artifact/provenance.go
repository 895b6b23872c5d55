package artifact

import "encoding/json"

// BuildType names the form of what [Provenance] says of a build.
const BuildType = "https://ampoule.dev/build/v1"

// Provenance says how an artifact was built: the predicate of SLSA's provenance, version 1
// (slsa.dev/provenance/v1).
type Provenance struct {
	BuildDefinition BuildDefinition `json:"buildDefinition"`
	RunDetails      RunDetails      `json:"runDetails"`
}

// BuildDefinition is what determined the build.
type BuildDefinition struct {
	BuildType string `json:"buildType"`
	// ExternalParameters are all that people said.
	ExternalParameters ExternalParameters `json:"externalParameters"`
	// InternalParameters are what the builder added.
	InternalParameters InternalParameters `json:"internalParameters"`
	// ResolvedDependencies are all files that went into the build.
	ResolvedDependencies []Resource `json:"resolvedDependencies"`
}

// ExternalParameters are what was asked for.
type ExternalParameters struct {
	// Recipe has all values that a build depends on, in the form that the key has them in.
	Recipe json.RawMessage `json:"recipe"`
	// Lock names the lock: the hash of its canonical text.
	Lock     Resource `json:"lock"`
	Platform string   `json:"platform"`
	// Source is first-party code; nil without any.
	Source *ProvenanceSource `json:"source,omitempty"`
	// Group is the dependency group that was built, Artifact the artifact that it is laid over;
	// empty and nil for an artifact.
	Group    string    `json:"group,omitempty"`
	Artifact *Resource `json:"artifact,omitempty"`
}

// ProvenanceSource says what first-party code is of.
type ProvenanceSource struct {
	// Repository is the address that git has of its remote origin, without credentials; Ref is
	// the branch that is checked out, such as refs/heads/main. Each may be unknown.
	Repository string `json:"repository,omitempty"`
	Ref        string `json:"ref,omitempty"`
	// Commit is in hexadecimal. Dirty says that files are not what it has.
	Commit string `json:"commit,omitempty"`
	Dirty  bool   `json:"dirty"`
	// Hash is what the artifact's key has of the code.
	Hash string `json:"hash"`
}

// InternalParameters are what the builder decided.
type InternalParameters struct {
	// Key addresses the build, Builder is what of Ampoule itself enters it.
	Key     string `json:"key"`
	Builder string `json:"builder"`
	// Network says what the compilers could reach.
	Network NetworkState `json:"network"`
}

// NetworkState says whether the build had a network.
type NetworkState struct {
	Denied bool `json:"denied"`
	// Checked says how that is known.
	Checked string `json:"checked"`
}

// Resource is an in-toto resource descriptor.
type Resource struct {
	Name string `json:"name,omitempty"`
	// URI names it without any host, in the manner of a package URL.
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

// RunDetails are of the one run.
type RunDetails struct {
	Builder    ProvenanceBuilder  `json:"builder"`
	Metadata   ProvenanceMetadata `json:"metadata"`
	Byproducts []Resource         `json:"byproducts,omitempty"`
}

// ProvenanceBuilder names who built.
type ProvenanceBuilder struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version,omitempty"`
}

// ProvenanceMetadata says when, in RFC 3339.
type ProvenanceMetadata struct {
	InvocationID string `json:"invocationId,omitempty"`
	StartedOn    string `json:"startedOn,omitempty"`
	FinishedOn   string `json:"finishedOn,omitempty"`
}
