package trust

import (
	"ampoule/artifact"
	"ampoule/registry"
	"ampoule/registry/trust/evidence"
	"ampoule/registry/trust/keys"
	"ampoule/registry/trust/roots"
)

// Provenances are what build keys that count have signed of how the artifact of a digest was
// built, in the order in which it was found.
func (j *Judge) Provenances(digest string, found []registry.Evidence) []artifact.Provenance {
	var all []artifact.Provenance
	known := j.root.KeysOf(roots.RoleBuild, j.now())
	for _, raw := range found {
		if raw.Err != nil {
			continue
		}
		item, err := evidence.Parse(raw)
		if err != nil || item.PredicateType != evidence.ProvenanceType || !item.Subject(digest) || !signedByOne(item, known) {
			continue
		}
		var p artifact.Provenance
		if item.Statement.Read(&p) == nil && p.BuildDefinition.BuildType == artifact.BuildType && p.BuildDefinition.ExternalParameters.Group == "" {
			all = append(all, p)
		}
	}
	return all
}

func signedByOne(item evidence.Item, known map[string]keys.Public) bool {
	for _, key := range known {
		if item.Signed(key) {
			return true
		}
	}
	return false
}
