package audit

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"ampoule/audit/wheel"
	"ampoule/tree"
)

// CheckWheel runs the check "record" over a wheel file of size bytes before it
// is installed: every member is in RECORD and hashes to it, and the other way
// round; no link, device, duplicate, absolute path or one that leaves; name and
// version agree with METADATA; and the limits of [wheel.DefaultLimits]. Findings
// name members as NAME/MEMBER, sorted. None means that the wheel may be installed.
func CheckWheel(r io.ReaderAt, size int64, name string) []Finding {
	w := &wheelExam{name: path.Base(name), members: map[string]*zip.File{}}
	w.run(r, size)
	for i := range w.findings {
		w.findings[i].Check = "record"
	}
	slices.SortFunc(w.findings, compareFindings)
	return w.findings
}

// wheelExam is a wheel file with what was found in it.
type wheelExam struct {
	outcome
	name string
	// members are the files by path.
	members map[string]*zip.File
}

func (w *wheelExam) refuse(member, field, value, cause string) {
	w.add(Finding{
		Severity: Refuse, File: strings.TrimSuffix(w.name+"/"+printable(member), "/"), Field: field, Value: printable(value),
		Cause: cause, Remedy: "Do not install the wheel; build it again, or take it from its index again.",
	})
}

func (w *wheelExam) run(r io.ReaderAt, size int64) {
	parsed, err := wheel.ParseName(w.name)
	if err != nil {
		w.refuse("", "name", err.Error(), "The file is not named as wheels are.")
		return
	}
	z, err := wheel.Open(r, size, wheel.DefaultLimits)
	if err != nil {
		w.refuse("", "zip", err.Error(), "The file is not a sound zip file within the limits.")
		return
	}
	for _, f := range z.File {
		w.member(f)
	}
	info, ok := w.distInfo(parsed)
	if !ok {
		return
	}
	w.metadata(info, parsed)
	w.record(info)
}

// member judges one member's name and kind.
func (w *wheelExam) member(f *zip.File) {
	name, isDir := strings.CutSuffix(f.Name, "/")
	switch mode := f.Mode(); {
	case tree.CheckPath(name) != nil || strings.ContainsAny(name, "\\\r\n"):
		w.refuse(f.Name, "path", f.Name, "The path is not clean, or leaves the wheel.")
	case f.Flags&1 != 0:
		w.refuse(f.Name, "flags", "encrypted", "The member is encrypted.")
	case isDir:
		return
	case mode.Type()&^fs.ModeDir != 0 || mode.IsDir():
		w.refuse(f.Name, "mode", mode.String(), "The member is not a file: no wheel can hold links or devices.")
	case w.members[name] != nil:
		w.refuse(f.Name, "path", f.Name, "Two members have this path.")
	default:
		w.members[name] = f
	}
}

// distInfo finds the one .dist-info directory, which must be the file name's.
func (w *wheelExam) distInfo(n wheel.Name) (string, bool) {
	found := map[string]bool{}
	for name := range w.members {
		if dir, _, ok := strings.Cut(name, "/"); ok && strings.HasSuffix(dir, ".dist-info") {
			found[dir] = true
		}
	}
	if len(found) != 1 {
		w.refuse("", "dist-info", fmt.Sprint(len(found)), "A wheel has exactly one .dist-info directory.")
		return "", false
	}
	for dir := range found {
		name, version, ok := wheel.DistInfo(dir)
		if ok && wheel.Normalize(name) == wheel.Normalize(n.Distribution) && version == n.Version {
			return dir, true
		}
		w.refuse(dir, "dist-info", dir, "The .dist-info directory is that of another distribution or version than the file's name.")
	}
	return "", false
}

// metadata compares METADATA's name and version with the file's name.
func (w *wheelExam) metadata(info string, n wheel.Name) {
	data, ok := w.read(info+"/METADATA", maxMetadata)
	if !ok {
		return
	}
	h, err := wheel.ParseHeader(data)
	if err != nil {
		w.refuse(info+"/METADATA", "header", err.Error(), "METADATA cannot be read.")
		return
	}
	// File names escape "-" in names and versions as "_" (PEP 427).
	name, version := h.Get("Name"), strings.ReplaceAll(h.Get("Version"), "-", "_")
	if wheel.Normalize(name) != wheel.Normalize(n.Distribution) || version != n.Version {
		w.refuse(info+"/METADATA", "Name, Version", h.Get("Name")+" "+h.Get("Version"), "METADATA names another distribution or version than the file's name.")
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
	w.refuse(name, "content", err.Error(), "The member cannot be unpacked.")
	return nil, false
}

// record compares RECORD with the members, both ways.
func (w *wheelExam) record(info string) {
	data, ok := w.read(info+"/RECORD", wheel.MaxRecord)
	if !ok {
		return
	}
	rows, err := wheel.ParseRecord(data)
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
func (w *wheelExam) row(info string, row wheel.Row) {
	f := w.members[row.Path]
	if f == nil {
		w.refuse(info+"/RECORD", fmt.Sprintf("line %d", row.Line), row.Path, "The listed file is not in the wheel.")
		return
	}
	if row.SHA256 == "" {
		if !isRecordFile(row.Path, info) {
			w.refuse(row.Path, "sha256", "", "RECORD lists the file without a hash.")
		}
		return
	}
	sum, n, err := hashMember(f)
	switch {
	case err != nil:
		w.refuse(row.Path, "content", err.Error(), "The member cannot be unpacked.")
	case sum != row.SHA256:
		w.refuse(row.Path, "sha256", sum, "The file is not the one that RECORD lists, sha256 "+row.SHA256+".")
	case row.Size >= 0 && row.Size != n:
		w.refuse(row.Path, "size", fmt.Sprint(n), fmt.Sprintf("The file does not have the %d bytes that RECORD lists.", row.Size))
	}
}

func hashMember(f *zip.File) (sum string, n int64, err error) {
	r, err := f.Open()
	if err != nil {
		return "", 0, err
	}
	defer r.Close()
	h := sha256.New()
	if n, err = io.Copy(h, r); err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(h.Sum(nil)), n, nil
}
