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

	"ampoule/config"
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
	archives(context.Context) (answer, error)
	// registry gives the template of the download URLs of cargo's public registry, and the
	// root of its index, if that is known.
	registry(context.Context) (template, index string, err error)
}

// answer is what a client says of a source.
type answer struct {
	Mirrors []string `json:"mirrors"`
	// Security lists the mirrors of Debian's security archive.
	Security []string `json:"security,omitempty"`
	// Index is the root of the sparse index of a registry of crates.
	Index string `json:"index,omitempty"`
}

func (a answer) parse() ([]mirror, error) {
	mirrors, err := parseMirrors(a.Mirrors)
	if err != nil {
		return nil, err
	}
	security, err := parseMirrors(a.Security)
	if err != nil {
		return nil, err
	}
	for i := range security {
		security[i].security = true
	}
	if a.Index != "" && len(mirrors) > 0 {
		index, err := parseMirror(a.Index)
		if err != nil {
			return nil, scrubbedError{err}
		}
		mirrors[0].index = index.url
	}
	return append(mirrors, security...), nil
}

// defaultRecord is what a client answered, and when.
type defaultRecord struct {
	Answer answer    `json:"answer"`
	When   time.Time `json:"when"`
	// Form is defaultForm for what was noted since a registry's index is asked for, too.
	Form int `json:"form,omitempty"`
}

const defaultForm = 1

// defaults finds a source's mirrors on this machine: said in the environment, else
// answered by the client lately, else asked of the client; and when asking fails, what the
// client answered before.
func (f *Fetcher) defaults(ctx context.Context, source string) ([]mirror, error) {
	if said := indexVariable(f.config.Environ); said != "" && source == PyPI {
		return parseMirrors([]string{said})
	}
	var before defaultRecord
	known, err := f.store.Lookup(defaultKind, source, &before)
	if err != nil {
		return nil, err
	}
	whole := source != Crates || before.Form == defaultForm
	if age := time.Since(before.When); known && whole && age >= 0 && age < defaultLife {
		return before.Answer.parse()
	}
	now, err := f.askClient(ctx, source)
	if err != nil {
		if known && ctx.Err() == nil {
			return before.Answer.parse()
		}
		return nil, err
	}
	mirrors, err := now.parse()
	if err != nil {
		return nil, &DefaultError{Source: source, Err: err, Advice: config.NameMirrors(source)}
	}
	// Secrets stay where the client keeps them.
	if slices.ContainsFunc(mirrors, func(m mirror) bool { return !m.isDir() && (m.url.User != nil || m.index != nil && m.index.User != nil) }) {
		return mirrors, f.store.Forget(defaultKind, source)
	}
	return mirrors, f.store.Record(defaultKind, source, defaultRecord{Answer: now, When: time.Now().UTC(), Form: defaultForm})
}

func (f *Fetcher) askClient(ctx context.Context, source string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	switch source {
	case PyPI:
		index, err := f.clients.index(ctx)
		if err != nil {
			return answer{}, &DefaultError{Source: source, Err: scrubbedError{err}, Advice: "install python3-pip, or " + config.NameMirrors(source)}
		}
		return answer{Mirrors: []string{index}}, nil
	case Crates:
		template, index, err := f.clients.registry(ctx)
		if err != nil {
			return answer{}, &DefaultError{Source: source, Err: scrubbedError{err}, Advice: "install cargo 1.68 or newer, or " + config.NameMirrors(source)}
		}
		return answer{Mirrors: []string{template}, Index: index}, nil
	}
	archives, err := f.clients.archives(ctx)
	if err != nil {
		return answer{}, &DefaultError{Source: source, Err: scrubbedError{err}, Advice: config.NameMirrors(source)}
	}
	return archives, nil
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
type machine struct {
	env []string
	// pythons are the names of interpreters that may have pip, before those that
	// run pip itself.
	pythons []string
	// cargos are the names of programs that may be cargo.
	cargos []string
}

// builtinIndex prints the index that pip uses when it is told of no other.
const builtinIndex = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"

func (m machine) index(ctx context.Context) (string, error) {
	var faults []error
	for _, python := range m.interpreters() {
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

// interpreters lists the paths of the interpreters that may have pip.
func (m machine) interpreters() []string {
	var found []string
	for _, name := range m.pythons {
		if path := m.look(name); path != "" && !slices.Contains(found, path) {
			found = append(found, path)
		}
	}
	for _, name := range []string{"pip3", "pip"} {
		if path := shebang(m.look(name)); path != "" && !slices.Contains(found, path) {
			found = append(found, path)
		}
	}
	return found
}

// look finds a program as a shell in the machine's environment does; it gives
// nothing where there is none.
func (m machine) look(name string) string {
	candidates := []string{name}
	if !filepath.IsAbs(name) {
		candidates = nil
		for _, dir := range filepath.SplitList(lookup(m.env, "PATH")) {
			if filepath.IsAbs(dir) {
				candidates = append(candidates, filepath.Join(dir, name))
			}
		}
	}
	for _, path := range candidates {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	return ""
}

// shebang is the Python that runs a script.
func shebang(path string) string {
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

func (m machine) archives(ctx context.Context) (answer, error) {
	targets, err := m.run(ctx, "apt-get", "indextargets", "--format", aptFormat)
	if err != nil {
		return answer{}, err
	}
	if roots := parseTargets(targets); len(roots.Mirrors) > 0 {
		return roots.expand()
	}
	// Before the first update apt knows no targets, but already what it would download.
	uris, err := m.run(ctx, "apt-get", "update", "--print-uris")
	if err != nil {
		return answer{}, err
	}
	if roots := parseURIs(uris); len(roots.Mirrors) > 0 {
		return roots.expand()
	}
	return answer{}, errors.New("apt has no archive of Debian among its sources")
}

// parseTargets reads apt's targets and gives Debian's archives.
func parseTargets(text string) answer {
	var roots answer
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSpace(line), "|")
		if len(fields) == 3 && isDebian(fields[0], fields[2]) {
			roots.add(fields[0], fields[1])
		}
	}
	return roots
}

var releaseURI = regexp.MustCompile(`^'([^']+)/dists/([^']+)/(?:In)?Release'`)

// parseURIs reads what apt would download.
func parseURIs(text string) answer {
	var roots answer
	for line := range strings.Lines(text) {
		if m := releaseURI.FindStringSubmatch(line); m != nil && isDebian(m[1], "") {
			roots.add(m[1]+"/", m[2])
		}
	}
	return roots
}

var debianPath = regexp.MustCompile(`/debian(-security)?/?$`)

func isDebian(uri, origin string) bool {
	return origin == "Debian" || origin == "" && debianPath.MatchString(uri)
}

// add tells main and security archives apart by the release's name: SUITE-security,
// until Debian 10 SUITE/updates.
func (a *answer) add(uri, release string) {
	list := &a.Mirrors
	if strings.HasSuffix(release, "-security") || strings.HasSuffix(release, "/updates") {
		list = &a.Security
	}
	if !slices.Contains(*list, uri) {
		*list = append(*list, uri)
	}
}

// maxMirrorList is the largest list of mirrors in bytes.
const maxMirrorList = 1 << 20

func (a *answer) expand() (answer, error) {
	mirrors, err := expand(a.Mirrors)
	if err != nil {
		return answer{}, err
	}
	if len(a.Security) == 0 {
		return answer{Mirrors: mirrors}, nil
	}
	security, err := expand(a.Security)
	return answer{Mirrors: mirrors, Security: security}, err
}

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
	path := m.look(name)
	if path == "" {
		return "", fmt.Errorf("asking %s: %w", name, exec.ErrNotFound)
	}
	cmd := exec.CommandContext(ctx, path, args...)
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
