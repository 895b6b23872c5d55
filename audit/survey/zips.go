package survey

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/audit"
	"ampoule/audit/wheel"
	"ampoule/packaging"
	"ampoule/tree"
)

// The kinds of units that are in an archive which is not a wheel: each is a directory of
// distributions in it.
const (
	// KindPex is one of a program that pex made.
	KindPex Kind = "pex"
	// KindShiv is one of a program that shiv made.
	KindShiv Kind = "shiv"
	// KindZipapp is one of a program that package zipapp made, or who writes what it writes:
	// Python imports from the archive itself (package zipimport).
	KindZipapp Kind = "zipapp"
	// KindZip is one of an archive that is unpacked before it is used, as functions and layers of
	// AWS Lambda are.
	KindZip Kind = "zip"
)

// inArchive reports whether units of the kind are in an archive that is not a wheel.
func (k Kind) inArchive() bool {
	return k == KindPex || k == KindShiv || k == KindZipapp || k == KindZip
}

// program matches the names of programs in archives, which a search opens.
var program = regexp.MustCompile(`(?i)\.(pex|pyzw?|shiv)$`)

// kindOf tells what an archive is, by its members; empty for one that Python has no use for.
func kindOf(z *zip.Reader) Kind {
	has := map[string]bool{}
	code := false
	for _, f := range z.File {
		top, _, below := strings.Cut(f.Name, "/")
		has[f.Name] = true
		if below {
			has[top+"/"] = true
		}
		code = code || path.Ext(f.Name) == ".py" || path.Ext(f.Name) == ".so"
	}
	switch {
	case has["PEX-INFO"]:
		return KindPex
	case has["environment.json"] && has["site-packages/"]:
		return KindShiv
	case isWholeWheel(z):
		return KindWheel
	case has["__main__.py"]:
		return KindZipapp
	case code:
		return KindZip
	}
	return ""
}

// isWholeWheel reports whether an archive is a wheel under another name: it has one distribution,
// whose RECORD lists every member.
func isWholeWheel(z *zip.Reader) bool {
	var record *zip.File
	for _, f := range z.File {
		dir, ok := strings.CutSuffix(f.Name, ".dist-info/RECORD")
		switch {
		case !ok || strings.Contains(dir, "/"):
		case record != nil:
			return false
		default:
			record = f
		}
	}
	if record == nil || record.UncompressedSize64 > packaging.MaxRecord {
		return false
	}
	r, err := record.Open()
	if err != nil {
		return true // it says so when it is judged
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, packaging.MaxRecord))
	if err != nil {
		return true
	}
	rows, err := packaging.ParseRecord(data)
	if err != nil {
		return true
	}
	listed := map[string]bool{}
	for _, row := range rows {
		listed[row.Path] = true
	}
	return !slices.ContainsFunc(z.File, func(f *zip.File) bool { return !strings.HasSuffix(f.Name, "/") && !listed[f.Name] })
}

// startsArchive reports whether a file may be an archive with or without a program before it, by
// its first bytes.
func startsArchive(e tree.Entry) bool {
	r, err := e.Content.Open()
	if err != nil {
		return false
	}
	defer r.Close()
	start := make([]byte, 4)
	n, _ := io.ReadFull(r, start)
	return strings.HasPrefix(string(start[:n]), "#!") || string(start[:n]) == "PK\x03\x04"
}

// archiveKind tells what a file is that is named as the target, if it is an archive.
func archiveKind(e tree.Entry) (Kind, error) {
	if !startsArchive(e) {
		return "", nil
	}
	z, done, err := openZip(e)
	if err != nil {
		return "", err
	}
	return kindOf(z), done()
}

// openZip opens an archive; done closes it.
func openZip(e tree.Entry) (z *zip.Reader, done func() error, err error) {
	a, err := openArchive(e, false)
	if err != nil {
		return nil, nil, err
	}
	if z, err = wheel.OpenProgram(a.section(), a.size, wheel.DefaultLimits); err != nil {
		return nil, nil, errors.Join(err, a.Close())
	}
	return z, a.Close, nil
}

// unzipped is an archive as a file system.
type unzipped struct {
	files *Image
	kind  Kind
	// natives has the native files one behind the other.
	natives *os.File
	size    int64
	done    func() error
	// left are members that no file system has.
	left int
}

// unzip lays out an archive: native files are unpacked to a temporary file, the others read
// where they are.
func unzip(ctx context.Context, e tree.Entry) (_ *unzipped, err error) {
	z, done, err := openZip(e)
	if err != nil {
		return nil, err
	}
	u := &unzipped{kind: kindOf(z), done: done}
	defer func() {
		if err != nil {
			err = errors.Join(err, u.close())
		}
	}()
	if u.natives, err = os.CreateTemp("", "ampoule-zip-*"); err == nil {
		err = os.Remove(u.natives.Name())
	}
	if err != nil {
		return nil, err
	}
	var entries []tree.Entry
	seen := map[string]bool{}
	for _, f := range z.File {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		name := strings.TrimSuffix(f.Name, "/")
		if f.Mode().IsDir() && tree.CheckPath(name) == nil {
			continue
		}
		if !f.Mode().IsRegular() || tree.CheckPath(name) != nil || seen[name] {
			u.left++
			continue
		}
		seen[name] = true
		one, err := u.member(ctx, f, name)
		if err != nil {
			return nil, fmt.Errorf("unpacking %s: %w", f.Name, err)
		}
		entries = append(entries, one)
	}
	entries = slices.DeleteFunc(entries, func(e tree.Entry) bool {
		below := slices.ContainsFunc(parents(e.Path), func(dir string) bool { return seen[dir] })
		if below {
			u.left++
		}
		return below
	})
	t, err := tree.New(entries)
	if err != nil {
		return nil, err
	}
	u.files = NewImage(t)
	return u, nil
}

// parents are the directories above a path.
func parents(p string) []string {
	var dirs []string
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		dirs = append(dirs, dir)
	}
	return dirs
}

// member makes an entry of a member.
func (u *unzipped) member(ctx context.Context, f *zip.File, name string) (tree.Entry, error) {
	e := tree.Entry{Path: name, Kind: tree.File, Mode: 0o755, Size: int64(f.UncompressedSize64), Content: f}
	r, err := f.Open()
	if err != nil {
		return e, err
	}
	defer r.Close()
	start := make([]byte, 4)
	if n, _ := io.ReadFull(r, start); !audit.IsELF(start[:n]) {
		return e, nil
	}
	h := sha256.New()
	into := io.MultiWriter(h, u.natives)
	if _, err := into.Write(start); err != nil {
		return e, err
	}
	n, err := io.Copy(into, tree.ReaderWhile(ctx, r))
	if err != nil {
		return e, err
	}
	e.Size, e.SHA256 = n+int64(len(start)), hex.EncodeToString(h.Sum(nil))
	e.Content = tree.Section(u.natives, u.size, e.Size)
	u.size += e.Size
	return e, nil
}

func (u *unzipped) close() error {
	errs := []error{u.done()}
	if u.natives != nil {
		errs = append(errs, u.natives.Close())
	}
	return errors.Join(errs...)
}

// archives judges what is in archives that are no wheels, and adds it to the report.
func (v *survey) archives(ctx context.Context, r *Report, list []found) error {
	for _, f := range list {
		report, err := v.archive(ctx, f)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			r.Unread = append(r.Unread, Unread{show(f.path), reason(err)})
			continue
		}
		in := func(p string) string { return show(path.Join(f.path, p)) }
		for _, u := range report.Units {
			for i, found := range u.Findings {
				if u.Kind != KindWheel && found.File != "" {
					u.Findings[i].File = in(found.File)
				}
			}
			u.Path = in(u.Path)
			r.Units = append(r.Units, u)
		}
		for _, u := range report.Unread {
			r.Unread = append(r.Unread, Unread{in(u.Path), u.Why})
		}
		for _, u := range report.Unlooked {
			r.Unlooked = append(r.Unlooked, Unlooked{in(u.Path), u.Why, u.Count})
		}
	}
	return nil
}

// archive judges what is in an archive as if it were unpacked.
func (v *survey) archive(ctx context.Context, f found) (_ *Report, err error) {
	e, ok := v.Files.Lookup(f.path)
	if !ok {
		return nil, os.ErrNotExist
	}
	u, err := unzip(ctx, e)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, u.close()) }()
	in := &survey{
		Target: Target{Files: u.files, Path: "/", CPU: v.CPU}, effort: v.effort, kind: u.kind,
		against: v.against, inspectors: v.inspectors, memory: v.memory,
	}
	report, err := in.run(ctx)
	if err != nil {
		return nil, err
	}
	if u.left > 0 {
		report.Unlooked = append(report.Unlooked, Unlooked{"/", "a member of an archive that is no file, has a path that no file can have, or one that another has", u.left})
	}
	in.variants(report)
	report.decide()
	return report, nil
}

// inDeps is the normalised name of the distribution of a directory in a program that pex made,
// which has the name of its wheel.
func inDeps(dir string) (project string, ok bool) {
	file, ok := strings.CutPrefix(dir, "/.deps/")
	name, err := packaging.ParseWheelName(file)
	return packaging.NormalName(name.Distribution), ok && err == nil
}

// variants makes warnings of what only says that a distribution is for another interpreter, where
// the program has one of the same project that is for this one: it takes that.
func (v *survey) variants(r *Report) {
	fits := map[string]bool{}
	for i := range r.Units {
		if project, ok := inDeps(r.Units[i].Path); ok && !r.Units[i].has(audit.Refuse) {
			fits[project] = true
		}
	}
	for i := range r.Units {
		u := &r.Units[i]
		if project, ok := inDeps(u.Path); ok && fits[project] {
			u.forOthers()
			if !u.has(audit.Refuse) {
				u.Remedy, u.Command = "", ""
			}
		}
	}
}

// zipimported says of native modules in an archive from which Python imports that it cannot
// import them there.
func (v *survey) zipimported(u *Unit) {
	if u.Kind != KindZipapp || u.Objects == 0 {
		return
	}
	u.Findings = append(u.Findings, audit.Finding{
		Check: "tags", Severity: audit.Undecided, Field: "native files", Value: fmt.Sprint(u.Objects),
		Cause:  "Python imports no extension module from an archive (package zipimport): the program has to unpack itself, or do without.",
		Needs:  "whether the program unpacks itself, or does without its native modules: unpack the archive and audit the directory",
		Remedy: "Make a program of it that unpacks itself, as pex and shiv do, or install it.",
	})
}

// isProgram reports whether a file that a search finds is a program in an archive, or a part of one
// that pex laid out in a directory: that has the contents of wheels under the names of wheels.
func (s *search) isProgram(e tree.Entry) bool {
	if program.MatchString(e.Path) {
		kind, err := archiveKind(e)
		return err != nil || kind.inArchive()
	}
	dir := path.Dir(e.Path)
	if path.Base(dir) != ".deps" || !strings.HasSuffix(e.Path, ".whl") {
		return false
	}
	_, ok := s.files.Lookup(path.Join(path.Dir(dir), "PEX-INFO"))
	return ok
}

// archive adds a file that is named as the target, if it is an archive.
func (s *search) archive(e tree.Entry) error {
	kind, err := archiveKind(e)
	switch {
	case err != nil && program.MatchString(e.Path):
		return err
	case err != nil && isArchive(e) || kind == KindWheel:
		// A wheel may have any name; what is unsound is told when it is judged.
		s.found = append(s.found, found{kind: KindWheel, path: e.Path, cached: true})
	case kind != "":
		s.found = append(s.found, found{kind: KindZip, path: e.Path})
	case isArchive(e):
		s.leave(show(e.Path), whyArchive)
	}
	return nil
}

// takeArchives takes the archives that are no wheels out of what was found.
func (s *search) takeArchives() []found {
	var list []found
	s.found = slices.DeleteFunc(s.found, func(f found) bool {
		if f.kind == KindZip {
			list = append(list, f)
		}
		return f.kind == KindZip
	})
	return list
}

// kindOf is the kind of unit that something is.
func (v *survey) kindOf(f found) Kind {
	if f.kind == KindSite && v.kind != "" {
		return v.kind
	}
	return f.kind
}
