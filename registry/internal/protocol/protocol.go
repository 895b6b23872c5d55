// Package protocol has what servers of the OCI protocol (distribution-spec) share here: the
// form of its errors, and the hosts that a server answers for.
package protocol

import (
	"encoding/json"
	"net/http"
)

// OnceHeader marks a write of a manifest whose tags must be new, or name that manifest already.
// A server in front of the store's registry sets it for tags that are immutable.
const OnceHeader = "Ampoule-Once"

// MaxManifest bounds a manifest, in bytes.
const MaxManifest = 8 << 20

// Refuse answers with an error in the protocol's form (distribution-spec, "Error Codes").
func Refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}})
}
