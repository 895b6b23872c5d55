package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// defaultKind is the kind of the store's records of what clients answered.
const defaultKind = "source-default"

// defaultLife is how long a client's answer is used without asking again. It is
// short, so that a change of the client's configuration is soon seen.
const defaultLife = time.Hour

// askTimeout is how long a client may take to answer.
const askTimeout = 30 * time.Second

// clients are asked for the default mirrors.
type clients interface {
	// index gives the root of pip's index.
	index(context.Context) (string, error)
	// archives gives the roots of apt's Debian archives.
	archives(context.Context) ([]string, error)
}

// defaultRecord is what a client answered.
type defaultRecord struct {
	Mirrors []string  `json:"mirrors"`
	When    time.Time `json:"when"`
}

// defaults finds a source's mirrors on this machine: said in the environment, else
// answered by the client lately, else asked of the client; and when asking fails, what the
// client answered before.
func (f *Fetcher) defaults(ctx context.Context, source string) ([]mirror, error) {
	if said := indexVariable(f.config.env); said != "" && source == PyPI {
		return parseMirrors([]string{said})
	}
	var before defaultRecord
	known, err := f.store.Lookup(defaultKind, source, &before)
	if err != nil {
		return nil, err
	}
	if age := time.Since(before.When); known && age >= 0 && age < defaultLife {
		return parseMirrors(before.Mirrors)
	}
	answer, err := f.askClient(ctx, source)
	if err != nil {
		if known && ctx.Err() == nil {
			return parseMirrors(before.Mirrors)
		}
		return nil, err
	}
	mirrors, err := parseMirrors(answer)
	if err != nil {
		return nil, &DefaultError{Source: source, Err: err, Advice: configure(source)}
	}
	// Secrets stay where the client keeps them.
	if slices.ContainsFunc(mirrors, func(m mirror) bool { return !m.isDir() && m.url.User != nil }) {
		return mirrors, f.store.Forget(defaultKind, source)
	}
	return mirrors, f.store.Record(defaultKind, source, defaultRecord{Mirrors: answer, When: time.Now().UTC()})
}

func (f *Fetcher) askClient(ctx context.Context, source string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if source == PyPI {
		index, err := f.clients.index(ctx)
		if err != nil {
			return nil, &DefaultError{Source: source, Err: scrubbed{err}, Advice: "install python3-pip, or " + configure(source)}
		}
		return []string{index}, nil
	}
	archives, err := f.clients.archives(ctx)
	if err != nil {
		return nil, &DefaultError{Source: source, Err: scrubbed{err}, Advice: configure(source)}
	}
	return archives, nil
}

func configure(source string) string {
	return fmt.Sprintf("name its mirrors in %s%s or in config.toml", variablePrefix, strings.ToUpper(source))
}

var indexName = regexp.MustCompile(`^[A-Za-z0-9_-]+=`)

// indexVariable is the index that pip's or uv's variables name. uv's may have a
// name before it: NAME=URL.
func indexVariable(env []string) string {
	for _, name := range []string{"PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"} {
		if value := lookup(env, name); value != "" {
			return indexName.ReplaceAllString(value, "")
		}
	}
	return ""
}

// machine asks the clients that are installed here.
type machine struct{ env []string }

// builtinIndex prints the index that pip uses when it is told of no other.
const builtinIndex = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"

func (m machine) index(ctx context.Context) (string, error) {
	var faults []error
	for _, python := range pythons() {
		builtin, err := m.run(ctx, python, "-c", builtinIndex)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		// pip ends with status 1 when the key is not set.
		if set, err := m.run(ctx, python, "-m", "pip", "config", "get", "global.index-url"); err == nil && set != "" {
			return set, nil
		}
		return builtin, nil
	}
	if len(faults) == 0 {
		return "", errors.New("there is no python3 to ask for pip's index")
	}
	return "", errors.Join(faults...)
}

// pythons lists the interpreters that may have pip.
func pythons() []string {
	var found []string
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if path, err := exec.LookPath(name); err == nil && !slices.Contains(found, path) {
			found = append(found, path)
		}
	}
	for _, name := range []string{"pip3", "pip"} {
		if path := shebang(name); path != "" && !slices.Contains(found, path) {
			found = append(found, path)
		}
	}
	return found
}

// shebang is the Python that runs a script of that name.
func shebang(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, 256)
	n, _ := f.Read(head)
	line, _, _ := bytes.Cut(head[:n], []byte("\n"))
	python, ok := strings.CutPrefix(string(line), "#!")
	python = strings.TrimSpace(python)
	if !ok || !strings.HasPrefix(filepath.Base(python), "python") {
		return ""
	}
	return python
}

// aptFormat asks for a target's repository, release and origin.
const aptFormat = "$(REPO_URI)|$(RELEASE)|$(ORIGIN)"

func (m machine) archives(ctx context.Context) ([]string, error) {
	targets, err := m.run(ctx, "apt-get", "indextargets", "--format", aptFormat)
	if err != nil {
		return nil, err
	}
	if roots := parseTargets(targets); len(roots) > 0 {
		return expand(roots)
	}
	// Before the first update apt knows no targets, but already what it would download.
	uris, err := m.run(ctx, "apt-get", "update", "--print-uris")
	if err != nil {
		return nil, err
	}
	if roots := parseURIs(uris); len(roots) > 0 {
		return expand(roots)
	}
	return nil, errors.New("apt has no archive of Debian among its sources")
}

// parseTargets reads apt's targets and gives Debian's archives, the main ones first.
func parseTargets(text string) []string {
	var roots aptRoots
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSpace(line), "|")
		if len(fields) == 3 && isDebian(fields[0], fields[2]) {
			roots.add(fields[0], fields[1])
		}
	}
	return roots.list()
}

var releaseURI = regexp.MustCompile(`^'([^']+)/dists/([^']+)/(?:In)?Release'`)

// parseURIs reads what apt would download.
func parseURIs(text string) []string {
	var roots aptRoots
	for line := range strings.Lines(text) {
		if m := releaseURI.FindStringSubmatch(line); m != nil && isDebian(m[1], "") {
			roots.add(m[1]+"/", m[2])
		}
	}
	return roots.list()
}

func isDebian(uri, origin string) bool {
	return origin == "Debian" || origin == "" && regexp.MustCompile(`/debian(-security)?/?$`).MatchString(uri)
}

// aptRoots tells main and security archives apart by their releases' names.
type aptRoots struct{ main, security []string }

func (a *aptRoots) add(uri, release string) {
	list := &a.main
	if strings.HasSuffix(strings.TrimSuffix(release, "/updates"), "-security") || strings.HasSuffix(release, "/updates") {
		list = &a.security
	}
	if !slices.Contains(*list, uri) {
		*list = append(*list, uri)
	}
}

func (a *aptRoots) list() []string {
	security := slices.DeleteFunc(a.security, func(uri string) bool { return slices.Contains(a.main, uri) })
	return slices.Concat(a.main, security)
}

// maxMirrorList is the largest list of mirrors in bytes.
const maxMirrorList = 1 << 20

// expand replaces apt's lists of mirrors (apt-transport-mirror(1)) by the mirrors,
// and drops methods that only apt has.
func expand(roots []string) ([]string, error) {
	var found, dropped []string
	for _, root := range roots {
		scheme, rest, _ := strings.Cut(root, ":")
		switch scheme {
		case "http", "https", "file":
			found = append(found, root)
		case "copy":
			found = append(found, "file:"+rest)
		case "mirror+file":
			listed, err := mirrorList(rest)
			if err != nil {
				return nil, err
			}
			found = append(found, listed...)
		default:
			dropped = append(dropped, root)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("apt reaches its archives in ways that only apt knows: %s", strings.Join(dropped, ", "))
	}
	return found, nil
}

func mirrorList(file string) ([]string, error) {
	file = strings.TrimSuffix(file, "/")
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("reading apt's list of mirrors: %w", err)
	}
	if info.Size() > maxMirrorList {
		return nil, fmt.Errorf("reading apt's list of mirrors: %s has %d bytes", file, info.Size())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading apt's list of mirrors: %w", err)
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 0 && strings.HasPrefix(fields[0], "http") {
			found = append(found, fields[0])
		}
	}
	return found, nil
}

// run gives what a client prints. It runs in the root directory, where no file
// of a project changes what it says.
func (m machine) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = "/"
	cmd.Env = append(slices.Clone(m.env), "LC_ALL=C")
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return "", fmt.Errorf("asking %s: %w: %s", filepath.Base(name), err, lines[len(lines)-1])
	}
	return strings.TrimSpace(stdout.String()), nil
}
