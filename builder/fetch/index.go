package fetch

import (
	"context"
	"net/url"
)

// IndexFile is a file of a project, as an index tells it (PEP 503, PEP 691).
type IndexFile struct {
	// File is the file's name.
	File string
	// SHA256 is empty when the index does not tell it.
	SHA256 string
	// Yanked says that the file is there for existing pins only (PEP 592).
	Yanked bool
	// RequiresPython is a version specifier, or empty.
	RequiresPython string
	// Size is in bytes; 0 when the index does not tell it.
	Size int64

	url *url.URL
}

// Project lists the files of a project, from the first index of the source that has
// it. The error is a [*NoProjectError] when none has. Answers are kept as long as
// the Fetcher lives.
func (f *Fetcher) Project(ctx context.Context, source, name string) ([]IndexFile, error) {
	return f.project(ctx, source, name)
}
