package index

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

const (
	// maxSdist bounds what is unpacked of an sdist, in bytes.
	maxSdist = 4 << 30
	// maxProject bounds a pyproject.toml, in bytes.
	maxProject = 4 << 20
)

// legacy is what a build without a table build-system needs (PEP 518).
var legacy = []string{"setuptools>=40.8.0"}

// BuildRequires reads what an sdist declares that it is built with: build-system.requires
// of its pyproject.toml (PEP 518). What its build backend would add stands in none of its files.
func (x *Index) BuildRequires(ctx context.Context, sdist File) ([]string, error) {
	answer, err := x.get(ctx, sdist.url)
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", sdist.Name, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching %s: %s", sdist.Name, answer.Status)
	}
	requires, err := buildRequires(answer.Body)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", sdist.Name, err)
	}
	return requires, nil
}

// buildRequires reads an sdist that is a compressed tar archive, as far as its pyproject.toml.
func buildRequires(r io.Reader) ([]string, error) {
	unzipped, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	members := tar.NewReader(io.LimitReader(unzipped, maxSdist))
	for {
		member, err := members.Next()
		if errors.Is(err, io.EOF) {
			return legacy, nil
		}
		if err != nil {
			return nil, err
		}
		if isProject(member.Name) {
			return readProject(members)
		}
	}
}

// isProject reports whether a member is the pyproject.toml in an sdist's only directory.
func isProject(member string) bool {
	dir, file, ok := strings.Cut(strings.TrimPrefix(member, "./"), "/")
	return ok && dir != "" && file == "pyproject.toml"
}

func readProject(r io.Reader) ([]string, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxProject+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxProject {
		return nil, fmt.Errorf("its pyproject.toml has more than %d bytes", maxProject)
	}
	var project struct {
		Build *struct {
			Requires *[]string `toml:"requires"`
		} `toml:"build-system"`
	}
	if err := toml.Unmarshal(data, &project); err != nil {
		return nil, fmt.Errorf("its pyproject.toml: %w", err)
	}
	switch {
	case project.Build == nil:
		return legacy, nil
	case project.Build.Requires == nil:
		return nil, errors.New("build-system of its pyproject.toml has no requires (PEP 518)")
	}
	return *project.Build.Requires, nil
}
