package survey

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/tree"
)

// Kind says what a unit is.
type Kind string

// The kinds of units.
const (
	// KindWheel is a wheel file, or one that pip's cache of downloads keeps.
	KindWheel Kind = "wheel"
	// KindSite is a directory that distributions are installed or unpacked in.
	KindSite Kind = "installed"
	// KindFile is one ELF file: a module, a library.
	KindFile Kind = "file"
	// KindTree is a tree that a gate has judged.
	KindTree Kind = "tree"
)

// found is what a search found: a wheel file or a directory of distributions.
type found struct {
	kind Kind
	// path is without a leading slash; links are followed.
	path string
	// cached says that the file is not named as a wheel: as a cache of downloads, or whoever
	// renamed it, keeps it.
	cached bool
	// of is the directory of distributions that says that modules are imported from this one,
	// too; linked says that it says so. Else it is what leads to this one, through a link.
	of     string
	linked bool
}

// search looks for everything below a directory that can be judged.
type search struct {
	files Files
	*effort
	found []found
	// unread are the files and directories that could not be read; left is what is not looked
	// at, by the reason.
	unread unreadList
	left   map[string]*Unlooked
	// loose are modules outside every directory of distributions.
	loose []string
	// seen are the directories, and the files that were found, by their paths without links.
	seen pathSet
	// trail is the way to the directory that is searched.
	trail trail
	// searched and named are how many directories and names were looked at; passed are the
	// bounds that were reached, each of which is told once.
	searched, named int
	passed          map[string]bool
}

func newSearch(files Files, e *effort) *search {
	return &search{files: files, effort: e, unread: unreadList{most: e.unread}, seen: pathSet{}, passed: map[string]bool{}, trail: trail{files: files}}
}

// maxDepth bounds how deep directories are searched.
const maxDepth = 64

var errDeep = fmt.Errorf("more than %d directories deep", maxDepth)

// downloads are the directories in which pip's cache keeps what it downloads.
var downloads = regexp.MustCompile(`(^|/)http(-v2)?/([0-9a-f]/){5}`)

// dir searches a directory, whose path is without links. Inside a directory of
// distributions only what is no part of it is looked for: wheel files, environments.
func (s *search) dir(ctx context.Context, dir string, inSite bool) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if s.seen.has(dir) {
		return nil
	}
	if isKernels(s.files, dir) {
		s.leave(show(dir), whyKernels)
		return nil
	}
	if strings.Count(dir, "/") > maxDepth {
		s.unread.add(dir, errDeep.Error())
		return nil
	}
	s.seen.add(dir)
	if !s.trail.enter(dir) {
		return nil
	}
	defer s.trail.leave()
	names, err := s.files.List(dir)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		s.unread.add(dir, reason(err))
		return nil
	}
	if isVenv(s.files, dir) {
		inSite = false
	}
	s.grafted(dir, names)
	if s.isSite(dir, names, inSite) {
		s.unit(found{kind: KindSite, path: dir})
		if err := s.linked(ctx, dir, names); err != nil {
			return err
		}
		s.editables(dir, names)
		inSite = true
	}
	below, err := s.entries(ctx, dir, names, inSite)
	if err != nil {
		return err
	}
	for _, real := range below {
		if err := s.dir(ctx, real, inSite); err != nil {
			return err
		}
	}
	return nil
}

// entries looks at what is in a directory, of distributions or not, and gives the directories in it.
func (s *search) entries(ctx context.Context, dir string, names []string, inSite bool) (below []string, err error) {
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		p := path.Join(dir, name)
		if !s.mayName(p) {
			return below, nil
		}
		e, real, err := lookup(s.files, p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			s.absent(p)
		case err != nil:
			s.unread.add(p, reason(err))
		case e.Kind == tree.Dir && !s.seen.has(real):
			if !s.maySearch(real) {
				return below, nil
			}
			below = append(below, real)
		case e.Kind != tree.Dir:
			if !s.file(e, real) && !inSite {
				s.besides(e, real)
			}
		}
	}
	return below, nil
}

// maySearch reports whether one more directory may be searched.
func (s *search) maySearch(dir string) bool {
	s.searched++
	return s.within(s.searched, s.dirs, dir, "an audit searches %d directories at most: not looked at, and others neither")
}

// mayName reports whether one more name may be looked at.
func (s *search) mayName(p string) bool {
	s.named++
	return s.within(s.named, s.names, p, "an audit looks at %d files at most: not looked at, and nothing that comes after it")
}

// unit notes what is to be judged, unless there is too much of it.
func (s *search) unit(f found) {
	if s.within(len(s.found)+1, s.units, f.path, "an audit judges %d wheels and directories at most: not judged, and others neither") {
		s.found = append(s.found, f)
	}
}

// within reports whether a number is within its bound. The first path for which it is not
// is told.
func (s *search) within(n, most int, p, why string) bool {
	if n > most && !s.passed[why] {
		s.passed[why] = true
		s.unread.add(p, fmt.Sprintf(why, most))
	}
	return n <= most
}

// linked adds the directories that a directory of distributions adds to where modules are
// imported from: by .pth files (package site), and by the .egg-link files of old editable
// installations. Lines of code are not understood.
func (s *search) linked(ctx context.Context, site string, names []string) error {
	looked := 0
	for _, name := range names {
		for line := range s.pthLines(site, name) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			looked++
			if looked > maxPthLines {
				s.unread.add(path.Join(site, name), fmt.Sprintf("with the others it has more than %d lines", maxPthLines))
				return nil
			}
			s.link(site, line)
		}
	}
	return nil
}

// pthLines gives the directories that a file names, if it is one that names any.
func (s *search) pthLines(site, name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !strings.HasSuffix(name, ".pth") && !strings.HasSuffix(name, ".egg-link") {
			return
		}
		e, _, err := lookup(s.files, path.Join(site, name))
		if err != nil || e.Kind != tree.File || e.Size > maxPth {
			return
		}
		if e, err = hashed(e); err != nil {
			return
		}
		data, err := e.ReadAll()
		if err != nil {
			return
		}
		for line := range strings.Lines(string(data)) {
			line = strings.TrimSpace(line)
			if line == "" || line == "." || line[0] == '#' || strings.HasPrefix(line, "import ") {
				continue
			}
			if !yield(line) || strings.HasSuffix(name, ".egg-link") {
				return // what follows in an .egg-link leads from there to its setup.py
			}
		}
	}
}

// link adds one directory that a directory of distributions names.
func (s *search) link(site, line string) {
	abs := line
	if !path.IsAbs(line) {
		abs = "/" + path.Join(site, line)
	}
	at, ok := audit.Follow(s.files, abs)
	if ok && at.Kind == tree.Dir && !s.seen.has(at.Path) && !strings.HasPrefix(at.Path, site+"/") {
		s.seen.add(at.Path)
		s.unit(found{kind: KindSite, path: at.Path, of: site, linked: true})
	}
}

// maxPthLines bounds the lines of all such files of a directory.
const maxPthLines = 10_000

// maxPth bounds .pth and .egg-link files, in bytes.
const maxPth = 64 << 10

// file notes a file that is a wheel, or a program in an archive, by the first path that leads
// to it, and reports whether it may be one.
func (s *search) file(e tree.Entry, real string) bool {
	isWheel := strings.HasSuffix(e.Path, ".whl")
	isDownload := strings.Contains(e.Path, "http") && e.Size > 0 && downloads.MatchString(e.Path)
	isProgram := s.isProgram(e)
	if !isWheel && !isDownload && !isProgram {
		return false
	}
	if s.seen.has(real) {
		return true
	}
	s.seen.add(real)
	if isProgram {
		s.unit(found{kind: KindZip, path: e.Path})
		return true
	}
	if isWheel {
		s.unit(found{kind: KindWheel, path: e.Path})
		return true
	}
	switch holds, err := holdsWheel(e); {
	case err != nil:
		s.unread.add(e.Path, reason(err))
	case holds:
		s.unit(found{kind: KindWheel, path: e.Path, cached: true})
	}
	return true
}

// isSite reports whether distributions are installed in a directory, by its name or by what
// is in it: what pip installs with --target, or uv's cache unpacks, has any name.
func (s *search) isSite(dir string, names []string, inSite bool) bool {
	if isSitesName(path.Base(dir)) {
		return true
	}
	return !inSite && slices.ContainsFunc(names, func(name string) bool {
		if !strings.HasSuffix(name, ".dist-info") {
			return false
		}
		_, ok := s.files.Lookup(path.Join(dir, name, "METADATA"))
		return ok
	})
}

// interpreter is one that files are for.
type interpreter struct {
	files Files
	// exe is the executable's path, links followed.
	exe string
	// why says why there is none, if there is a reason to expect one.
	why string
}

// siteOf takes the path of a directory of distributions apart.
var siteOf = regexp.MustCompile(`^(.*?)/?lib(?:64)?/python(\d+(?:\.\d+t?)?)/(?:site|dist)-packages$`)

// venvHome reads where a virtual environment has its interpreter from (PEP 405).
func venvHome(files Files, prefix string) (home string, ok bool) {
	e, ok := files.Lookup(path.Join(prefix, "pyvenv.cfg"))
	if !ok || e.Kind != tree.File || e.Size > 64<<10 {
		return "", false
	}
	if e, err := hashed(e); err == nil {
		data, err := e.ReadAll()
		if err != nil {
			return "", true
		}
		for line := range strings.Lines(string(data)) {
			key, value, _ := strings.Cut(line, "=")
			if strings.EqualFold(strings.TrimSpace(key), "home") {
				return strings.TrimPrefix(path.Clean(strings.TrimSpace(value)), "/"), true
			}
		}
	}
	return "", true
}

// interpreterAt finds the interpreter that a path names: an executable, an environment,
// or a prefix.
func interpreterAt(files Files, abs string) (interpreter, error) {
	e, ok := audit.Follow(files, abs)
	if !ok {
		return interpreter{}, missing(files, abs)
	}
	if e.Kind == tree.File {
		// A script that starts one, as pyenv's shims are, is none.
		if !isInterpreter(e) {
			return interpreter{}, &NoInterpreterError{Path: abs}
		}
		return interpreter{files: files, exe: flagged(files, e)}, nil
	}
	// Of several, the one that python3 leads to, or the highest version.
	names, _ := files.List(path.Join(e.Path, "bin"))
	names = slices.DeleteFunc(names, func(name string) bool { return !pythonName.MatchString(name) })
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(minorOf(b), minorOf(a)) })
	for _, name := range append([]string{"python3", "python"}, names...) {
		if at, ok := audit.Follow(files, "/"+path.Join(e.Path, "bin", name)); ok && isInterpreter(at) {
			return interpreter{files: files, exe: flagged(files, at)}, nil
		}
	}
	return interpreter{}, &NoInterpreterError{Path: abs}
}

// pythonName matches the names of interpreters of Python 3.
var pythonName = regexp.MustCompile(`^python3\.(\d+)[a-z]*$`)

func minorOf(name string) int {
	n, _ := strconv.Atoi(pythonName.FindStringSubmatch(name)[1])
	return n
}

func isInterpreter(e tree.Entry) bool {
	if e.Kind != tree.File || !isELF(e) {
		return false
	}
	_, err := audit.InterpreterFiles(e.Path, false)
	return err == nil
}

// flagged returns the name with the ABI flags of an executable, which a debug build and one
// without the GIL install under both names.
func flagged(files Files, exe tree.Entry) string {
	for _, flags := range []string{"td", "t", "d"} {
		e, ok := files.Lookup(exe.Path + flags)
		if !ok || e.Kind != tree.File || e.Size != exe.Size {
			continue
		}
		own, err := hashed(exe)
		if err != nil {
			break
		}
		if e, err = hashed(e); err == nil && e.SHA256 == own.SHA256 {
			return e.Path
		}
	}
	return exe.Path
}

// show is how a path is told.
func show(p string) string { return "/" + p }

// FirstInterpreter finds the interpreter that a user of a whole file system gets: an
// artifact's, or the first of the usual prefixes, in the order of PATH.
func FirstInterpreter(files Files) (string, error) {
	if at, err := interpreterAt(files, "/"+artifact.Prefix); err == nil {
		return show(at.exe), nil
	}
	for _, prefix := range []string{"/usr/local", "/usr", "/opt/python", "/opt/venv", "/"} {
		if at, err := interpreterAt(files, prefix); err == nil {
			return show(at.exe), nil
		}
	}
	return "", &NoInterpreterError{Path: "/"}
}
