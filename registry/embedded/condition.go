package embedded

import (
	"fmt"
	"net/http"

	"ampoule/artifact"
)

// unmetError is the answer to a write that is not done.
type unmetError struct {
	status  int
	message string
}

// unmet compares what a tag names with what a write of it is conditional on: If-Match with the
// digest that it must name, as an entity tag, or If-None-Match with *, where it must name
// nothing (RFC 9110, section 13.1). The OCI protocol has no such condition, and the registry
// library reads none. It is called while nobody else writes; nil has the write done.
//
// The log of a channel is written under a condition alone: it names all that there was.
func unmet(repo repository, tag string, header http.Header) *unmetError {
	match, none := header.Get("If-Match"), header.Get("If-None-Match")
	if match == "" && none == "" {
		if artifact.IsChannelTag(tag) {
			return &unmetError{http.StatusPreconditionRequired, tag + " is the log of a channel: it is written by `ampoule channel` alone"}
		}
		return nil
	}
	if match != "" && none != "" || match == "*" || none != "" && none != "*" {
		return &unmetError{http.StatusBadRequest, "want If-Match with one entity tag, or If-None-Match with *"}
	}
	named, err := repo.named(tag)
	if err != nil {
		return &unmetError{http.StatusInternalServerError, err.Error()}
	}
	if none == "*" && named == "" || match != "" && match == artifact.EntityTag(named) {
		return nil
	}
	return &unmetError{http.StatusPreconditionFailed, fmt.Sprintf("%s names %q now", tag, named)}
}
