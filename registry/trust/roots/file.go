package roots

// File is a trust.yaml: which keys count for what.
//
// Its comments are the text of the editors' schema.
type File struct {
	// APIVersion says which form the file has. It is ampoule/v1.
	APIVersion string `json:"apiVersion" yaml:"apiVersion" need:"yes" is:"API version"`
	// Name is the root's. Machines remember by it which version they have seen.
	Name string `json:"name" yaml:"name" need:"yes" is:"key name"`
	// Version counts from 1. Each version is signed by the root keys of the one before, and
	// by its own.
	Version string `json:"version" yaml:"version" need:"yes" is:"count"`
	// Expires is the last day on which the root counts, in UTC.
	Expires string `json:"expires" yaml:"expires" need:"yes" is:"day"`
	// Keys are all keys, by name.
	Keys map[string]Key `json:"keys" yaml:"keys" need:"yes" keys:"key name"`
	// Roles says which keys sign what. A key has one role.
	Roles map[string]Role `json:"roles" yaml:"roles" need:"yes" keys:"role"`
	// Revoked are keys that do not count any more, by name.
	Revoked map[string]Revoked `json:"revoked,omitempty" yaml:"revoked" keys:"key name"`
	// Signatures are those of root keys, by the key's ID.
	Signatures map[string]string `json:"signatures,omitempty" yaml:"signatures" keys:"key ID" is:"base64"`
}

// Key is one public key.
type Key struct {
	// Algorithm is ecdsa-p256-sha256.
	Algorithm string `json:"algorithm" yaml:"algorithm" need:"yes" is:"algorithm"`
	// Public is the public key: its DER form (RFC 5280, SubjectPublicKeyInfo) as base64.
	Public string `json:"public" yaml:"public" need:"yes" is:"base64"`
	// Expires is the last day on which the key counts, in UTC. Without it the key counts as
	// long as the root.
	Expires string `json:"expires,omitempty" yaml:"expires" is:"day"`
}

// Role is what keys sign.
type Role struct {
	// Keys are names of keys.
	Keys []string `json:"keys" yaml:"keys" need:"yes" is:"key name" set:"yes"`
	// Threshold is how many of them must have signed.
	Threshold string `json:"threshold" yaml:"threshold" need:"yes" is:"count"`
}

// Revoked is a key that does not count any more.
type Revoked struct {
	// ID is the key's: sha256: and the hash of its DER form.
	ID string `json:"id" yaml:"id" need:"yes" is:"key ID"`
	// Why says for people what happened.
	Why string `json:"why" yaml:"why" need:"yes" is:"text"`
}
