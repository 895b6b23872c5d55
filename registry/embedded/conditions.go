package embedded

import (
	"encoding/json"
	"net/http"
	"path"
	"slices"
	"strings"

	"ampoule/artifact"
)

// holds reports whether the conditions of a write hold, where a tag or digest names that digest,
// or nothing (RFC 9110, sections 13.1.1 and 13.1.2).
func holds(r *http.Request, names string) bool {
	if match := r.Header.Values("If-Match"); len(match) > 0 && !matches(match, names) {
		return false
	}
	none := r.Header.Values("If-None-Match")
	return len(none) == 0 || !matches(none, names)
}

// matches reports whether one of the entity tags is that of a digest; * is that of any. Weak
// ones are no digest's.
func matches(values []string, digest string) bool {
	if digest == "" {
		return false
	}
	tags := strings.FieldsFunc(strings.Join(values, ","), func(c rune) bool { return c == ',' || c == ' ' || c == '\t' })
	return slices.Contains(tags, "*") || slices.Contains(tags, artifact.EntityTag(digest))
}

// logCondition looks at the condition of a write of a channel's log, which names all that there
// was: the log is written where it still is one digest, or is new, and under no other condition.
// Zero is one that will do; else it is the status of the answer.
func logCondition(header http.Header) (status int, message string) {
	match, none := header.Get("If-Match"), header.Get("If-None-Match")
	switch {
	case match == "" && none == "":
		return http.StatusPreconditionRequired, "the log of a channel is written by `ampoule channel` alone"
	case match != "" && none != "" || match == "*" || none != "" && none != "*":
		return http.StatusBadRequest, "want If-Match with one entity tag, or If-None-Match with *"
	}
	return 0, ""
}

// withETag answers a manifest with its entity tag. The registry may give an image out of an
// index instead, to who takes no index: that has its own, and a condition about the index does
// not count.
func withETag(w http.ResponseWriter, r *http.Request, digest, mediaType string) http.ResponseWriter {
	accepted := strings.Join(r.Header.Values("Accept"), ",")
	if accepted != "" && !strings.Contains(accepted, "*/*") && !strings.Contains(accepted, mediaType) {
		r.Header.Del("If-None-Match")
		r.Header.Del("If-Match")
	}
	w.Header().Set("ETag", artifact.EntityTag(digest))
	return &etagged{w}
}

// etagged corrects the entity tag by what is answered.
type etagged struct{ http.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (e *etagged) WriteHeader(status int) {
	switch given := e.Header().Get(artifact.DigestHeader); {
	case given != "":
		e.Header().Set("ETag", artifact.EntityTag(given))
	case status != http.StatusNotModified:
		e.Header().Del("ETag")
	}
	e.ResponseWriter.WriteHeader(status)
}

// Unwrap serves [http.ResponseController].
func (e *etagged) Unwrap() http.ResponseWriter { return e.ResponseWriter }

// usesOtherHash reports whether a request names a hash that this registry does not know: lists
// and tools would take such content for damaged.
func usesOtherHash(r *http.Request) bool {
	query := r.URL.Query()
	if algorithm := query.Get("digest-algorithm"); algorithm != "" && algorithm != hashName {
		return true
	}
	digest := query.Get("digest")
	if m := apiPath.FindStringSubmatch(path.Clean("/" + r.URL.Path)); m != nil && r.Method == http.MethodPut && strings.Contains(m[3], ":") {
		digest = m[3]
	}
	return digest != "" && !artifact.IsDigest(digest)
}

// discoverPath ends the path at which a registry says what it can do beyond the protocol
// (distribution-spec, "OCI Distribution Extensions": _oci).
const discoverPath = "/_oci/ext/discover"

func discovers(r *http.Request) bool {
	name := path.Clean("/" + r.URL.Path)
	return strings.HasPrefix(name, "/v2/") && strings.HasSuffix(name, discoverPath) && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// extension is what a registry can do beyond the protocol.
type extension struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	URL         string   `json:"url"`
	Endpoints   []string `json:"endpoints"`
}

// discover lists the extensions.
func discover(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodHead {
		return
	}
	_ = json.NewEncoder(w).Encode(map[string][]extension{"extensions": {
		{"_oci", "what this registry can do beyond the protocol", "urn:ampoule:docs:registry", []string{"_oci/ext/discover"}},
		{
			"_ampoule", "a manifest's ETag is its digest; If-Match and If-None-Match are obeyed when a manifest is put", "urn:ampoule:docs:registry",
			[]string{"manifests/<reference>"},
		},
	}})
}
