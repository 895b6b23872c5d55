package recipes

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Key is what a build is addressed by: "sha256:" and the hash of the canonical
// recipe, the lock, the platform, the builder, a text that is another one when
// Ampoule itself builds other bytes from the same inputs, and the hash of first-party code,
// which is empty for a recipe without. Neither the form of the files nor the order of their
// keys changes it, and nothing of a dependency group does: neither its section nor what the
// recipe says of distributions that groups alone have.
func Key(r *Recipe, l *Lock, platform, builder, source string) string {
	r, l = withoutGroups(r, l)
	lock := sha256.Sum256(l.Encode())
	return "sha256:" + hashJSON(struct {
		Recipe   json.RawMessage `json:"recipe"`
		Lock     string          `json:"lock"`
		Platform string          `json:"platform"`
		Builder  string          `json:"builder"`
		Source   string          `json:"source,omitempty"`
	}{canonical(r), "sha256:" + hex.EncodeToString(lock[:]), platform, builder, source})
}

// hashJSON hashes a value that always encodes.
func hashJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic("recipes: encoding a key: " + err.Error())
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
