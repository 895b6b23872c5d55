package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// plainDownload is what cargo appends to a "dl" that has no marker.
const plainDownload = "/{crate}/{version}/download"

// registryConfig is the config.json at the root of a registry's index
// (The Cargo Book, "Registry Index").
type registryConfig struct {
	// Download is the URL of crates, with markers for what they are.
	Download string `json:"dl"`
	// AuthRequired says that the registry gives nothing without a token.
	AuthRequired bool `json:"auth-required"`
}

// parseRegistry reads a config.json and gives a template that has at least one marker.
func parseRegistry(text []byte) (string, error) {
	var config registryConfig
	if err := json.Unmarshal(text, &config); err != nil {
		return "", fmt.Errorf("reading the registry's config.json: %w", err)
	}
	if config.AuthRequired {
		return "", errors.New("the registry gives crates only to those who have a token")
	}
	u, err := url.Parse(config.Download)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("the registry's config.json has no http or https URL as its dl")
	}
	if !hasMarker(config.Download) {
		return config.Download + plainDownload, nil
	}
	return config.Download, nil
}

// markers lists the markers of a template and what they stand for in an item's URL.
func markers(item Item) []string {
	prefix := cratePrefix(item.Name)
	return []string{
		"{crate}", item.Name,
		"{version}", item.Version,
		"{prefix}", prefix,
		"{lowerprefix}", strings.ToLower(prefix),
		"{sha256-checksum}", item.SHA256,
	}
}

// cratePrefix is the directory of a crate's file in an index: two levels that
// keep the directories small.
func cratePrefix(name string) string {
	switch len(name) {
	case 0:
		return ""
	case 1, 2:
		return fmt.Sprint(len(name))
	case 3:
		return "3/" + name[:1]
	}
	return name[:2] + "/" + name[2:4]
}

func hasMarker(template string) bool {
	return strings.NewReplacer(markers(Item{})...).Replace(template) != template
}

// template is the URL with its markers as they were written: net/url escapes braces.
func (m mirror) template() string {
	return strings.NewReplacer("%7B", "{", "%7D", "}").Replace(m.url.String())
}

// inRegistry finds a crate's address in a registry, of which the mirror is the template
// or the sparse index.
func (f *Fetcher) inRegistry(ctx context.Context, registry mirror, item Item) ([]mirror, error) {
	template := registry.template()
	if !hasMarker(template) {
		var err error
		if template, err = f.download(ctx, registry); err != nil {
			return nil, err
		}
	}
	text := strings.NewReplacer(markers(item)...).Replace(template)
	address, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("the registry's template makes a URL that is none: %w", scrubbedError{err})
	}
	if address.User == nil && address.Host == registry.url.Host && address.Scheme == registry.url.Scheme {
		address.User = registry.url.User
	}
	return []mirror{{url: address}}, nil
}

// download gives the template that a sparse index tells.
func (f *Fetcher) download(ctx context.Context, index mirror) (string, error) {
	address := index.join("config.json")
	return ask(ctx, f, "registry "+address.String(), func() (string, error) {
		var template string
		err := f.persist(ctx, func() (int64, error) {
			var err error
			template, err = f.downloadOnce(ctx, address)
			return 0, err
		})
		if errors.Is(err, errNotThere) {
			// It may well have the crate: this is no answer to that question.
			return "", errors.New("it is no sparse index: it has no config.json")
		}
		return template, err
	})
}

func (f *Fetcher) downloadOnce(ctx context.Context, address mirror) (string, error) {
	answer, err := f.get(ctx, address, http.Header{"Accept": {"application/json"}})
	if err != nil {
		return "", err
	}
	defer answer.Close()
	if answer.StatusCode != http.StatusOK {
		return "", &StatusError{Code: answer.StatusCode, Status: answer.Status}
	}
	text, err := io.ReadAll(io.LimitReader(answer, f.limits.registry+1))
	if err != nil {
		return "", classify(ctx, err)
	}
	if int64(len(text)) > f.limits.registry {
		return "", fmt.Errorf("the registry's config.json has more than %d bytes", f.limits.registry)
	}
	return parseRegistry(text)
}
