package audit

import (
	"archive/zip"
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"ampoule/audit/wheel"
	"ampoule/packaging"
	"ampoule/tree"
)

// CheckWheel runs the check "record" over a wheel file of size bytes before it
// is installed: every member is in RECORD and hashes to it, and the other way
// round; no link, device, duplicate, absolute path or one that leaves; name and
// version agree with METADATA; installers can read WHEEL; and the limits of
// [wheel.DefaultLimits]. Findings name members as NAME/MEMBER, sorted. Without one that
// refuses, the wheel may be installed.
func CheckWheel(r io.ReaderAt, size int64, name string) []Finding {
	w := newWheelExam(path.Base(name))
	w.run(r, size)
	return w.findings
}

// wheelExam is a wheel file with what was found in it.
type wheelExam struct {
	outcome
	// name is the file's; empty where a cache keeps it under a name of its own.
	name string
	// parsed is what the name says; nil where it says nothing, as in such a cache.
	parsed *packaging.WheelName
	// info is its .dist-info directory; empty without one.
	info string
	// members are the files by path.
	members map[string]*wheelMember
	// keep says that the content of ELF files is kept.
	keep bool
	unpacking
	// unsure are the algorithms of RECORD that were told of.
	unsure map[string]bool
	// told, if it is not nil, gets the hashes that RECORD has; the members are not read then.
	told map[string]string
}

// WheelMember is a file of a wheel, as the zip and RECORD tell of it.
type WheelMember struct {
	*zip.File
	// SHA256 is what RECORD says of the content, in hex; empty where it says nothing, which
	// only RECORD itself and its signatures may have.
	SHA256 string
}

// WheelMembers lists the files of a wheel by their paths in it. Its findings are those of
// [CheckWheel] that refuse, but for those of contents: whoever unpacks the members compares
// them with their hashes. With a finding there are no members.
func WheelMembers(r io.ReaderAt, size int64, name string) (map[string]WheelMember, []Finding) {
	w := newWheelExam(path.Base(name))
	w.told = map[string]string{}
	w.run(r, size)
	if refused := Refused(w.findings); len(refused) > 0 {
		return nil, refused
	}
	members := make(map[string]WheelMember, len(w.members))
	for p, m := range w.members {
		members[p] = WheelMember{m.File, w.told[p]}
	}
	return members, nil
}

// Refused are those of the findings that refuse.
func Refused(findings []Finding) []Finding {
	var refused []Finding
	for _, f := range findings {
		if f.Severity == Refuse {
			refused = append(refused, f)
		}
	}
	return refused
}

func newWheelExam(name string) *wheelExam {
	return &wheelExam{name: name, members: map[string]*wheelMember{}, unsure: map[string]bool{}}
}

// wheelMember is a file in a wheel. What it unpacks to is read once.
type wheelMember struct {
	*zip.File
	unpacked bool
	sum      string
	size     int64
	err      error
	// content is that of an ELF file, if it is kept.
	content tree.Content
}

func (w *wheelExam) refuse(member, field, value, cause string) {
	w.add(Finding{
		Severity: Refuse, File: strings.TrimSuffix(w.name+"/"+printable(member), "/"), Field: field, Value: printable(value),
		Cause: cause, Remedy: "Do not install the wheel; build it again, or take it from its index again.",
	})
}

func (w *wheelExam) run(r io.ReaderAt, size int64) {
	w.compare(r, size)
	w.findings = w.all()
	for i := range w.findings {
		w.findings[i].Check = cmp.Or(w.findings[i].Check, "record")
	}
	slices.SortFunc(w.findings, compareFindings)
}

func (w *wheelExam) compare(r io.ReaderAt, size int64) {
	if w.name != "" {
		if parsed, err := packaging.ParseWheelName(w.name); err != nil {
			w.refuse("", "name", err.Error(), "The file is not named as wheels are.")
		} else {
			w.parsed = &parsed
		}
	}
	z, err := wheel.Open(r, size, wheel.DefaultLimits)
	if err != nil {
		w.blame(err)
		w.refuse("", "zip", err.Error(), "The file is not a sound zip file within the limits.")
		return
	}
	for _, f := range z.File {
		w.member(f)
	}
	w.nested()
	if !w.distInfo() {
		return
	}
	w.metadata()
	if h, ok := w.header(); ok && w.parsed != nil {
		w.tags(h)
	}
	w.unpackAll()
	w.record(w.info)
}

// header reads WHEEL, without which, or in another version of the format, no installer takes
// a wheel ("Binary distribution format", PyPA).
func (w *wheelExam) header() (packaging.WheelFile, bool) {
	name := w.info + "/WHEEL"
	data, ok := w.read(name, maxWheelFile)
	if !ok {
		return packaging.WheelFile{}, false
	}
	h, err := packaging.ParseWheelFile(data)
	switch {
	case err != nil:
		w.refuse(name, "header", err.Error(), "WHEEL cannot be read: no installer takes the wheel.")
		return packaging.WheelFile{}, false
	case !utf8.Valid(data):
		w.refuse(name, "header", "no UTF-8", "WHEEL cannot be read: no installer takes the wheel.")
		return packaging.WheelFile{}, false
	case !versionOne.MatchString(h.Version):
		w.refuse(name, "Wheel-Version", strconv.Quote(h.Version), "Installers take wheels of version 1 of the format, and WHEEL does not say that this is one.")
		return packaging.WheelFile{}, false
	}
	return h, true
}

// versionOne matches the versions of the format that installers take, as Python's int reads
// the parts.
var versionOne = regexp.MustCompile(`^ *\+?[01](\. *\d+ *)*$`)

// tags compares the tags of the file's name, by which installers and caches choose it, with
// those that it was built with (PEP 427). Whoever repairs or renames a wheel leaves WHEEL as
// it was; the interpreter never looks.
func (w *wheelExam) tags(h packaging.WheelFile) {
	built, err := h.Tags()
	if err != nil || len(built) == 0 {
		return
	}
	for _, tag := range w.parsed.Tags() {
		if !slices.Contains(built, tag) {
			w.add(Finding{
				Check: "tags", Severity: Warn, File: path.Join(w.name, w.info, "WHEEL"), Field: "Tag", Value: printable(tag.String()),
				Cause:  "The file's name, by which installers choose it, has a tag that WHEEL does not have.",
				Remedy: "Nothing here; whoever makes the wheel should have `wheel tags` or auditwheel write both.",
			})
			return
		}
	}
}

// maxParts bounds the directories of a member's path.
const maxParts = 64

// member judges one member's name and kind.
func (w *wheelExam) member(f *zip.File) {
	name, isDir := strings.CutSuffix(f.Name, "/")
	switch mode := f.Mode(); {
	case strings.Count(name, "/") > maxParts:
		w.refuse(f.Name, "path", f.Name, "The path is deeper than any wheel's.")
	case tree.CheckPath(name) != nil || strings.ContainsAny(name, "\\\r\n"):
		w.refuse(f.Name, "path", f.Name, "The path is not clean, or leaves the wheel.")
	case f.Flags&1 != 0:
		w.refuse(f.Name, "flags", "encrypted", "The member is encrypted.")
	case isDir:
		return
	case mode.Type()&^fs.ModeDir != 0 || mode.IsDir(), !regularOnUnix(f):
		w.refuse(f.Name, "mode", mode.String(), "The member is not a file: no wheel can hold links or devices.")
	case w.members[name] != nil:
		w.refuse(f.Name, "path", f.Name, "Two members have this path.")
	default:
		w.members[name] = &wheelMember{File: f}
	}
}

// regularOnUnix reports whether what the attributes say to those who read them as Unix
// does, whatever made the zip (pip), is a file.
func regularOnUnix(f *zip.File) bool {
	const format, regular = 0o170000, 0o100000
	kind := f.ExternalAttrs >> 16 & format
	return kind == 0 || kind == regular
}

// nested refuses members below other members that are files.
func (w *wheelExam) nested() {
	for _, name := range slices.Sorted(maps.Keys(w.members)) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if w.members[dir] != nil {
				w.refuse(name, "path", dir, "The member is below another one that is a file.")
				delete(w.members, name)
				break
			}
		}
	}
}

// distInfo finds the one .dist-info directory, which must be the file name's.
func (w *wheelExam) distInfo() bool {
	found := map[string]bool{}
	for name := range w.members {
		if dir, _, ok := strings.Cut(name, "/"); ok && strings.HasSuffix(dir, ".dist-info") {
			found[dir] = true
		}
	}
	if len(found) != 1 {
		w.refuse("", "dist-info", fmt.Sprint(len(found)), "A wheel has exactly one .dist-info directory.")
		return false
	}
	for dir := range found {
		w.info = dir
		name, version, ok := packaging.ParseInfoDir(dir)
		if ok && (w.parsed == nil || packaging.NormalName(name) == packaging.NormalName(w.parsed.Distribution) && packaging.SameVersion(version, w.parsed.Version)) {
			return true
		}
		w.refuse(dir, "dist-info", dir, "The .dist-info directory is that of another distribution or version than the file's name.")
	}
	return false
}

// metadata compares METADATA's name and version with the file's name.
func (w *wheelExam) metadata() {
	data, ok := w.read(w.info+"/METADATA", maxMetadata)
	if !ok {
		return
	}
	h, err := packaging.ParseMetadata(data)
	if err != nil {
		w.refuse(w.info+"/METADATA", "header", err.Error(), "METADATA cannot be read.")
		return
	}
	if w.parsed == nil {
		return
	}
	// File names escape "-" in names and versions as "_" (PEP 427).
	name, version := h.Get("Name"), strings.ReplaceAll(h.Get("Version"), "-", "_")
	if packaging.NormalName(name) != packaging.NormalName(w.parsed.Distribution) || !packaging.SameVersion(version, w.parsed.Version) {
		w.refuse(w.info+"/METADATA", "Name, Version", h.Get("Name")+" "+h.Get("Version"), "METADATA names another distribution or version than the file's name.")
	}
}

// maxMetadata bounds METADATA, in bytes.
const maxMetadata = 8 << 20

// read returns a small member's bytes.
func (w *wheelExam) read(name string, limit int64) ([]byte, bool) {
	f := w.members[name]
	if f == nil {
		w.refuse(name, "path", name, "The wheel does not have the file.")
		return nil, false
	}
	if f.UncompressedSize64 > uint64(limit) {
		w.refuse(name, "size", fmt.Sprint(f.UncompressedSize64), "The file is larger than the limit.")
		return nil, false
	}
	r, err := f.Open()
	if err == nil {
		defer r.Close()
		var data []byte
		if data, err = io.ReadAll(io.LimitReader(r, limit)); err == nil {
			return data, true
		}
	}
	w.blame(err)
	w.refuse(name, "content", err.Error(), "The member cannot be unpacked.")
	return nil, false
}

// record compares RECORD with the members, both ways.
func (w *wheelExam) record(info string) {
	data, ok := w.read(info+"/RECORD", packaging.MaxRecord)
	if !ok {
		return
	}
	rows, err := packaging.ParseRecord(data)
	if err != nil {
		w.refuse(info+"/RECORD", "RECORD", err.Error(), "RECORD cannot be read.")
		return
	}
	listed := map[string]bool{}
	for _, row := range rows {
		if listed[row.Path] {
			w.refuse(info+"/RECORD", fmt.Sprintf("line %d", row.Line), row.Path, "The file is listed twice.")
			continue
		}
		listed[row.Path] = true
		w.row(info, row)
	}
	for _, name := range slices.Sorted(maps.Keys(w.members)) {
		if !listed[name] && (!isRecordFile(name, info) || path.Base(name) == "RECORD") {
			w.refuse(name, "path", name, "RECORD does not list the file.")
		}
	}
}

// row compares one row of RECORD with its member.
func (w *wheelExam) row(info string, row packaging.RecordRow) {
	f := w.members[row.Path]
	if f == nil {
		w.refuse(info+"/RECORD", fmt.Sprintf("line %d", row.Line), row.Path, "The listed file is not in the wheel.")
		return
	}
	if row.Hash.IsZero() {
		if !isRecordFile(row.Path, info) {
			w.refuse(row.Path, "sha256", "", "RECORD lists the file without a hash.")
		}
		return
	}
	is, err := w.hashed(f, row)
	switch {
	case f.err != nil:
		w.refuse(row.Path, "content", f.err.Error(), "The member cannot be unpacked.")
	case err != nil:
		w.refuse(row.Path, "content", err.Error(), "The member cannot be unpacked.")
	case is != row.Hash.Sum:
		w.refuse(row.Path, row.Hash.Algorithm, is, "The file is not the one that RECORD lists, "+row.Hash.String()+".")
	case row.Size >= 0 && row.Size != f.size:
		w.refuse(row.Path, "size", fmt.Sprint(f.size), fmt.Sprintf("The file does not have the %d bytes that RECORD lists.", row.Size))
	}
}

// hashed gives what a member hashes to, in the algorithm of its row, as far as it is known
// here; where the contents are compared later, what the row says.
func (w *wheelExam) hashed(m *wheelMember, row packaging.RecordRow) (string, error) {
	if row.Hash.Algorithm == packaging.SHA256 {
		if w.told != nil {
			w.told[row.Path], m.size = row.Hash.Sum, int64(m.UncompressedSize64)
			return row.Hash.Sum, nil
		}
		w.unpack(m)
		return m.sum, nil
	}
	if f, ok := hashFault(row.Hash); ok && !w.unsure[row.Hash.Algorithm] {
		f.File = path.Join(w.name, w.info, "RECORD")
		w.add(f)
		w.unsure[row.Hash.Algorithm] = true
	}
	w.unpack(m)
	if w.told != nil {
		w.told[row.Path] = m.sum
	}
	return sumOf(row.Hash, m.Open)
}

// hashFault warns about an algorithm that proves little, or nothing to this program.
func hashFault(h packaging.RecordHash) (Finding, bool) {
	f := Finding{
		Severity: Warn, Field: "hash", Value: printable(h.Algorithm),
		Cause:  "RECORD has hashes of a kind that is easily forged, and that PEP 427 forbids.",
		Remedy: "Nothing here: installers do not look. Whoever makes the wheel should have sha256 in RECORD.",
	}
	if h.New() == nil {
		f.Cause = "RECORD has hashes of a kind that is not known here: the files were not compared with them."
		return f, true
	}
	return f, h.Weak()
}

// sumOf reads a file and gives its hash in the algorithm of another one; of an algorithm that
// is not known, it is the other one's.
func sumOf(h packaging.RecordHash, open func() (io.ReadCloser, error)) (string, error) {
	made := h.New()
	if made == nil {
		return h.Sum, nil
	}
	r, err := open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	if _, err := io.Copy(made, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(made.Sum(nil)), nil
}

// unpack reads a member once: its hash, its size, and, if it is kept, its content.
func (w *wheelExam) unpack(m *wheelMember) {
	if m.unpacked {
		return
	}
	m.unpacked = true
	m.err = w.unpackInto(m)
	w.blame(m.err)
}

// WheelFile is a wheel file whose content can be judged as if it were installed. The
// file must remain readable until it is closed.
type WheelFile struct {
	// Name is the file's; of one that is not named as wheels are, as caches keep them, it is
	// the name that it would have.
	Name string
	// Findings are those of [CheckWheel], with paths in the wheel.
	Findings []Finding
	exam     *wheelExam
}

// OpenWheel reads a wheel file of size bytes. Its name may be empty: then what it is
// called inside counts. A file that is no sound wheel has findings that say so; an error
// means that it could not be read, or temporary files not be written.
func OpenWheel(r io.ReaderAt, size int64, name string) (*WheelFile, error) {
	x := newWheelExam(name)
	x.keep = true
	x.run(r, size)
	w := &WheelFile{Name: name, Findings: x.findings, exam: x}
	for i := range w.Findings {
		w.Findings[i].File = strings.TrimPrefix(strings.TrimPrefix(w.Findings[i].File, name), "/")
	}
	if x.parsed == nil && x.info != "" {
		w.Name = x.properName()
	}
	x.unpackAll()
	if x.fault != nil {
		return nil, errors.Join(fmt.Errorf("reading wheel %s: %w", w.Name, x.fault), w.Close())
	}
	return w, nil
}

// properName is what the wheel's file would be called.
func (w *wheelExam) properName() string {
	tag := "unknown"
	if data, ok := w.read(w.info+"/WHEEL", maxWheelFile); ok {
		if h, err := packaging.ParseWheelFile(data); err == nil && len(h.TagSets) > 0 {
			tag = h.TagSets[0]
		}
	}
	return printable(strings.TrimSuffix(w.info, ".dist-info") + "-" + tag + packaging.WheelSuffix)
}

// Installed lists the wheel's files as an installer would put them into a site-packages
// directory, whose path they get; scripts and data are left where the wheel has them.
// Members that cannot be unpacked, of which there are findings, are left out.
func (w *WheelFile) Installed(site string) (*tree.Tree, error) {
	x := w.exam
	// {name}-{version}.data/purelib and platlib go to the same place (PEP 427).
	data := strings.TrimSuffix(x.info, ".dist-info") + ".data/"
	entries := make([]tree.Entry, 0, len(x.members))
	seen := make(map[string]bool, len(x.members))
	for _, name := range slices.Sorted(maps.Keys(x.members)) {
		m := x.members[name]
		if m.err != nil {
			continue
		}
		content := m.content
		if content == nil {
			content = noELF{m.File}
		}
		e := tree.Entry{Path: installedPath(name, data), Kind: tree.File, Mode: 0o644, Size: m.size, SHA256: m.sum, Content: content}
		if name == x.info+"/RECORD" && m.size <= packaging.MaxRecord {
			if rows, err := e.ReadAll(); err == nil && bytes.Contains(rows, []byte(data)) {
				e = e.Replace([]byte(strings.NewReplacer(data+"purelib/", "", data+"platlib/", "").Replace(string(rows))))
			}
		}
		e.Path = path.Join(site, e.Path)
		if !seen[e.Path] {
			seen[e.Path] = true
			entries = append(entries, e)
		}
	}
	return tree.Adopt(entries)
}

// noELF is content of which it is known that it is not an ELF file's.
type noELF struct{ tree.Content }

func installedPath(name, data string) string {
	for _, scheme := range []string{"purelib/", "platlib/"} {
		if rest, ok := strings.CutPrefix(name, data+scheme); ok {
			return rest
		}
	}
	return name
}

// Close releases what was unpacked.
func (w *WheelFile) Close() error {
	if w.exam.spilled == nil {
		return nil
	}
	return w.exam.spilled.Close()
}
