package fetch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"ampoule/store"
)

// maxFiles is how many files a project may have.
const maxFiles = 500_000

// jsonPage is PEP 691's project page.
type jsonPage struct {
	Meta struct {
		Version string `json:"api-version"`
	} `json:"meta"`
	Files []struct {
		Filename string `json:"filename"`
		URL      string `json:"url"`
		// Hashes are hexadecimal, by algorithm.
		Hashes         map[string]string `json:"hashes"`
		RequiresPython string            `json:"requires-python"`
		// Yanked is a boolean or a reason (PEP 592).
		Yanked any   `json:"yanked"`
		Size   int64 `json:"size"`
		// Metadata is a boolean or hashes (PEP 714), and has an older name (PEP 658).
		Metadata    any `json:"core-metadata"`
		OldMetadata any `json:"dist-info-metadata"`
	} `json:"files"`
}

func parseJSON(text []byte, base *url.URL) ([]IndexFile, error) {
	var parsed jsonPage
	if err := json.Unmarshal(text, &parsed); err != nil {
		return nil, err
	}
	if err := checkVersion(parsed.Meta.Version); err != nil {
		return nil, err
	}
	if len(parsed.Files) > maxFiles {
		return nil, fmt.Errorf("it lists %d files, more than the limit of %d", len(parsed.Files), maxFiles)
	}
	files := make([]IndexFile, 0, len(parsed.Files))
	for _, f := range parsed.Files {
		yanked := said(f.Yanked)
		file := IndexFile{File: f.Filename, SHA256: strings.ToLower(f.Hashes["sha256"]), Yanked: yanked, RequiresPython: f.RequiresPython, Size: max(f.Size, 0)}
		file.metadata = said(f.Metadata) || f.Metadata == nil && said(f.OldMetadata)
		if err := file.locate(f.URL, base); err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// said reports whether what may be a boolean or something that says more is there.
func said(v any) bool { return v != nil && v != false }

// checkVersion refuses a repository version whose meaning is not known (PEP 629).
func checkVersion(version string) error {
	if major, _, _ := strings.Cut(version, "."); major != "1" {
		return fmt.Errorf("its repository version is %q, not 1.x", version)
	}
	return nil
}

// locate resolves the file's URL and checks what foreign bytes said.
func (f *IndexFile) locate(text string, base *url.URL) error {
	u, err := base.Parse(strings.TrimSpace(text))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("file %q has no http or https URL", f.File)
	}
	f.url = u
	if f.File == "" {
		f.File = path.Base(u.Path)
	}
	if f.File == "." || f.File == ".." || strings.ContainsAny(f.File, "/\\\x00") {
		return fmt.Errorf("%q is no file name", f.File)
	}
	if f.SHA256 != "" {
		return store.CheckSum(f.SHA256)
	}
	return nil
}

// errForm says that a page is made for people: those who sign in get the index's behind it.
var errForm = errors.New("it lists no files and has a form, such as one to sign in with: no page of an index")

// parseHTML reads PEP 503's project page: every anchor is a file, the sha256 is in
// its URL's fragment.
func parseHTML(text []byte, base *url.URL) ([]IndexFile, error) {
	var files []IndexFile
	form := false
	tokens := html.NewTokenizer(bytes.NewReader(text))
	// More than the longest attribute that an index has reason to write.
	tokens.SetMaxBuf(1 << 20)
	for {
		kind := tokens.Next()
		if kind == html.ErrorToken {
			if err := tokens.Err(); !errors.Is(err, io.EOF) {
				return nil, err
			}
			if form && len(files) == 0 {
				return nil, errForm
			}
			return files, nil
		}
		if kind != html.StartTagToken && kind != html.SelfClosingTagToken {
			continue
		}
		token := tokens.Token()
		switch token.DataAtom {
		case atom.Meta:
			if attribute(token, "name") != "pypi:repository-version" {
				continue
			}
			if err := checkVersion(attribute(token, "content")); err != nil {
				return nil, err
			}
		case atom.Base:
			if u, err := base.Parse(attribute(token, "href")); err == nil {
				base = u
			}
		case atom.Form:
			form = true
		case atom.A:
			file, ok, err := anchor(token, base)
			if err != nil {
				return nil, err
			}
			if ok {
				files = append(files, file)
			}
		}
		if len(files) > maxFiles {
			return nil, fmt.Errorf("it lists more than the limit of %d files", maxFiles)
		}
	}
}

// anchor reads a file's anchor. Links that are no distributions, such as one to the
// directory above, are not files.
func anchor(token html.Token, base *url.URL) (IndexFile, bool, error) {
	href := attribute(token, "href")
	u, err := base.Parse(strings.TrimSpace(href))
	if err != nil {
		return IndexFile{}, false, fmt.Errorf("an anchor has no URL: %q", href)
	}
	if !isDist(path.Base(u.Path)) {
		return IndexFile{}, false, nil
	}
	file := IndexFile{RequiresPython: attribute(token, "data-requires-python")}
	for _, a := range token.Attr {
		file.Yanked = file.Yanked || a.Key == "data-yanked"
		file.metadata = file.metadata || (a.Key == "data-core-metadata" || a.Key == "data-dist-info-metadata") && a.Val != "false"
	}
	if sum, ok := strings.CutPrefix(u.Fragment, "sha256="); ok {
		sum, _, _ = strings.Cut(sum, "&")
		file.SHA256 = strings.ToLower(sum)
	}
	return file, true, file.locate(href, base)
}

// isDist reports whether a file's name ends as that of a wheel, a source distribution or
// one of their older forms does.
func isDist(name string) bool {
	for _, suffix := range []string{".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz", ".tar.Z", ".tar", ".egg", ".exe", ".msi", ".rpm", ".deb", ".dmg"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

func attribute(token html.Token, name string) string {
	for _, a := range token.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
