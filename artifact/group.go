package artifact

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Group is a dependency group (PEP 735) that passed the gate together with the artifact that
// it is laid over, ready to be published as a referrer of it.
type Group struct {
	// Repository is the artifact's, Digest its index's.
	Repository, Digest string
	Record             GroupRecord
	// Layers are what is laid over the image, in the order of the record's.
	Layers []Layer
	// Verdict is the gate's, as JSON.
	Verdict []byte
	// SBOM writes the bill of materials of the group with a digest, and Provenance says how it
	// was built, as an [Artifact]'s.
	SBOM       func(digest string) ([]byte, error)
	Provenance Provenance
}

// GroupSchema is the version of a [GroupRecord]'s JSON form.
const GroupSchema = "ampoule.group/v1"

// GroupRecord is what a published group says of itself: the file [GroupFile].
type GroupRecord struct {
	Schema string `json:"schema"`
	// Name is the group's.
	Name string `json:"name"`
	// Artifact is the digest of the artifact that it is laid over.
	Artifact string `json:"artifact"`
	// Key is "sha256:" and the hash of what decided it, in hexadecimal.
	Key string `json:"key"`
	// Platform is the image's, OS/ARCH, Prefix the absolute directory of the tree in it.
	Platform string `json:"platform"`
	Prefix   string `json:"prefix"`
	// Layers are laid over the image's, in this order.
	Layers []GroupLayer `json:"layers"`
	// Distributions are those that it lays over the artifact, sorted by name.
	Distributions []GroupDistribution `json:"distributions"`
	// Files are the paths of all its files in the tree, with what each holds: "sha256:" and
	// the hash of a file, "link:" and the target of a link.
	Files map[string]string `json:"files"`
}

// GroupLayer is one layer of a group.
type GroupLayer struct {
	// File is the name of the compressed tar beside the record.
	File string `json:"file"`
	// DiffID is as [Layer] has it.
	DiffID string `json:"diffID"`
}

// GroupDistribution is a distribution of a group.
type GroupDistribution struct {
	// Name is normalised (PEP 503).
	Name    string `json:"name"`
	Version string `json:"version"`
	// Wheel is the name of its wheel.
	Wheel string `json:"wheel"`
}

// ParseGroupRecord reads the record of a group. A form that this Ampoule does not know is an
// error.
func ParseGroupRecord(data []byte) (GroupRecord, error) {
	var r GroupRecord
	if err := json.Unmarshal(data, &r); err != nil {
		return GroupRecord{}, fmt.Errorf("reading the record of a group: %w", err)
	}
	switch {
	case r.Schema != GroupSchema:
		return GroupRecord{}, fmt.Errorf("reading the record of a group: its schema is %q, not %s", r.Schema, GroupSchema)
	case r.Name == "" || !IsDigest(r.Artifact) || !IsDigest(r.Key):
		return GroupRecord{}, errors.New("reading the record of a group: it does not say what it is laid over")
	}
	for _, l := range r.Layers {
		if l.File == "" || !IsDigest(l.DiffID) {
			return GroupRecord{}, fmt.Errorf("reading the record of a group: layer %q has no hash", l.File)
		}
	}
	return r, nil
}

// Collisions lists why two groups cannot be laid over one artifact together: distributions
// that both have in different versions, and files that both have with different contents.
func (r GroupRecord) Collisions(other GroupRecord) []string {
	var found []string
	versions := map[string]string{}
	for _, d := range r.Distributions {
		versions[d.Name] = d.Version
	}
	for _, d := range other.Distributions {
		if version, both := versions[d.Name]; both && version != d.Version {
			found = append(found, fmt.Sprintf("%s has %s %s, %s has %s", r.Name, d.Name, version, other.Name, d.Version))
		}
	}
	if len(found) > 0 {
		return found
	}
	for _, file := range slices.Sorted(maps.Keys(r.Files)) {
		if content, both := other.Files[file]; both && content != r.Files[file] {
			found = append(found, fmt.Sprintf("%s and %s both install %s, each a different one", r.Name, other.Name, file))
		}
	}
	return found
}
