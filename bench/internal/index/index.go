// Package index asks the package index that pip uses what it has of a project, and reads
// what sdists declare that they are built with. It runs nothing of them.
package index

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"ampoule/bench/internal/drive"
	"ampoule/packaging"
)

// maxPage bounds what the index tells of a project, in bytes.
const maxPage = 64 << 20

// Index is a package index that answers in JSON (PEP 691).
type Index struct {
	root   *url.URL
	client *http.Client
}

// File is a file of a project.
type File struct {
	Name string
	// Yanked says that it is there for existing pins only (PEP 592).
	Yanked bool
	// RequiresPython is a version specifier, or empty.
	RequiresPython string
	url            *url.URL
}

var setting = regexp.MustCompile(`^(?:global|install|:env:)\.index-url='(.*)'$`)

// builtin prints the index that pip uses when it is told of no other.
const builtin = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"

// Find gives the index of pip: of the module pip of an interpreter.
func Find(ctx context.Context, python drive.Program) (*Index, error) {
	settings, err := python.Run(ctx, "-m", "pip", "config", "list")
	if err != nil {
		return nil, err
	}
	address := ""
	for line := range strings.Lines(settings.Out) {
		// A variable stands before the files in pip's list, and counts more.
		if m := setting.FindStringSubmatch(strings.TrimSpace(line)); m != nil && address == "" {
			address = m[1]
		}
	}
	if address == "" {
		run, err := python.Run(ctx, "-c", builtin)
		if err != nil {
			return nil, err
		}
		address = run.Out
	}
	root, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the address of pip's index is no URL")
	}
	return &Index{root: root, client: &http.Client{Timeout: 5 * time.Minute}}, nil
}

// Files lists the files of a project; none of one that the index does not have.
func (x *Index) Files(ctx context.Context, project string) ([]File, error) {
	at := x.root.JoinPath(packaging.NormalName(project), "/")
	answer, err := x.get(ctx, at)
	if err != nil {
		return nil, fmt.Errorf("asking the index for %s: %w", project, err)
	}
	defer answer.Body.Close()
	switch kind := answer.Header.Get("Content-Type"); {
	case answer.StatusCode == http.StatusNotFound:
		return nil, nil
	case answer.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("asking the index for %s: %s", project, answer.Status)
	case !strings.HasPrefix(kind, simpleJSON):
		return nil, fmt.Errorf("asking the index for %s: it answers with %s, not with JSON (PEP 691)", project, kind)
	}
	files, err := readPage(io.LimitReader(answer.Body, maxPage), answer.Request.URL)
	if err != nil {
		return nil, fmt.Errorf("reading what the index has of %s: %w", project, err)
	}
	return files, nil
}

const simpleJSON = "application/vnd.pypi.simple.v1+json"

func (x *Index) get(ctx context.Context, at *url.URL) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", simpleJSON+", */*;q=0.1")
	return x.client.Do(request)
}

// readPage reads what an index at an address tells of a project.
func readPage(r io.Reader, base *url.URL) ([]File, error) {
	var page struct {
		Files []struct {
			Name   string `json:"filename"`
			URL    string `json:"url"`
			Python string `json:"requires-python"`
			// Yanked is false, or true, or why (PEP 691).
			Yanked any `json:"yanked"`
		} `json:"files"`
	}
	if err := json.NewDecoder(r).Decode(&page); err != nil {
		return nil, err
	}
	files := make([]File, len(page.Files))
	for i, f := range page.Files {
		at, err := base.Parse(f.URL)
		if err != nil {
			return nil, fmt.Errorf("the address of %s is no URL", f.Name)
		}
		files[i] = File{Name: f.Name, Yanked: f.Yanked != nil && f.Yanked != false, RequiresPython: f.Python, url: at}
	}
	return files, nil
}
