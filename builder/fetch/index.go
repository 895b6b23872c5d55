package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"ampoule/config"
	"ampoule/packaging"
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

	// metadata says that its metadata is beside it (PEP 658).
	metadata bool
	url      *url.URL
	// access is that of the index, for files on its own server.
	access *access
}

func (f IndexFile) address() mirror { return mirror{url: f.url, access: f.access} }

// Project lists the files of a project, from the first index of the source that has
// it; a source that owns the name is asked instead. The error is a
// [*NoProjectError] when no index has it. Directories among the mirrors are not
// asked: they hold some files of a release, and an incomplete list would be wrong.
// Answers are kept as long as the Fetcher lives.
func (f *Fetcher) Project(ctx context.Context, source, name string) ([]IndexFile, error) {
	source, err := f.sourceOf(Item{Source: source, Name: name})
	if err != nil {
		return nil, err
	}
	if kind, ok := f.config.Sources.Kind(source); ok && kind != config.Index {
		return nil, &config.Error{Where: "source " + source, Msg: fmt.Sprintf("its kind is %s: it has no projects", kind)}
	}
	mirrors, err := f.mirrors(ctx, source)
	if err != nil {
		return nil, err
	}
	var attempts []Attempt
	missing := true
	for _, m := range mirrors {
		if m.isDir() {
			continue
		}
		page, err := f.page(ctx, m, name)
		if err != nil && fatal(ctx, err) {
			return nil, err
		}
		if err == nil && page.known {
			return page.files, nil
		}
		if err == nil {
			err = errNotThere
		} else {
			missing = false
		}
		attempts = append(attempts, Attempt{pageAddress(m, name).redacted(), err})
	}
	if len(attempts) == 0 {
		return nil, noIndex(source)
	}
	if missing {
		return nil, &NoProjectError{Source: source, Name: name, Attempts: attempts}
	}
	return nil, &RemoteError{What: fmt.Sprintf("the project %s of source %s", name, source), Attempts: attempts}
}

// page is what an index says of a project; known is false when it has no such project.
type page struct {
	known bool
	files []IndexFile
}

// accept prefers JSON (PEP 691) and takes HTML (PEP 503).
const accept = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"

func pageAddress(index mirror, name string) mirror {
	return mirror{url: index.url.JoinPath(url.PathEscape(packaging.NormalName(name)), "/"), access: index.access}
}

func (f *Fetcher) page(ctx context.Context, index mirror, name string) (page, error) {
	address := pageAddress(index, name)
	return ask(ctx, f, "page "+address.String(), func() (page, error) {
		var files []IndexFile
		err := f.persist(ctx, func() (int64, error) {
			var err error
			files, err = f.pageOnce(ctx, address)
			return 0, err
		})
		if errors.Is(err, errNotThere) {
			return page{}, nil
		}
		return page{known: true, files: files}, err
	})
}

func (f *Fetcher) pageOnce(ctx context.Context, address mirror) ([]IndexFile, error) {
	answer, err := f.get(ctx, address, http.Header{"Accept": {accept}})
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, &StatusError{Code: answer.StatusCode, Status: answer.Status}
	}
	text, err := io.ReadAll(io.LimitReader(answer, f.limits.page+1))
	if err != nil {
		return nil, classify(ctx, err)
	}
	if int64(len(text)) > f.limits.page {
		return nil, fmt.Errorf("the page has more than %d bytes", f.limits.page)
	}
	files, err := parsePage(answer.Header.Get("Content-Type"), text, answer.Request.URL)
	if err != nil {
		return nil, fmt.Errorf("reading the page: %w", err)
	}
	lend(files, address)
	return files, nil
}

// lend gives the index's credentials to files on the index's own server.
func lend(files []IndexFile, index mirror) {
	for i, file := range files {
		if !sameOrigin(file.url, index.url) {
			continue
		}
		files[i].access = index.access
		if file.url.User == nil {
			file.url.User = index.url.User
		}
	}
}

func parsePage(contentType string, text []byte, base *url.URL) ([]IndexFile, error) {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, fmt.Errorf("its content type is %q", contentType)
	}
	switch media {
	case "application/vnd.pypi.simple.v1+json":
		return parseJSON(text, base)
	case "application/vnd.pypi.simple.v1+html", "text/html":
		return parseHTML(text, base)
	}
	return nil, fmt.Errorf("its content type is %q", contentType)
}

// inIndex finds an item's addresses in an index: files with the item's sha256, else files
// of its name of which the index tells no sha256.
func (f *Fetcher) inIndex(ctx context.Context, index mirror, item Item) ([]mirror, error) {
	page, err := f.page(ctx, index, item.Name)
	if err != nil {
		return nil, err
	}
	if !page.known {
		return nil, fmt.Errorf("it has no project %s: %w", item.Name, errNotThere)
	}
	var same, unhashed []mirror
	for _, file := range page.files {
		switch {
		case file.SHA256 == item.SHA256:
			same = append(same, file.address())
		case file.SHA256 == "" && strings.EqualFold(file.File, item.File):
			unhashed = append(unhashed, file.address())
		}
	}
	if found := append(same, unhashed...); len(found) > 0 {
		return found, nil
	}
	return nil, fmt.Errorf("its page of %s lists no file with this sha256: %w", item.Name, errNotThere)
}
