package audit

import (
	"context"
	"fmt"
	"path"
	"strings"

	"ampoule/packaging"
	"ampoule/tree"
)

func init() {
	register(check{
		name:   "record",
		reason: "every installed file is in one RECORD and hashes to it, and the other way round",
		needs:  aPlace,
		run:    checkRecord,
	})
}

// checkRecord compares site-packages with the RECORDs in it, both ways. What
// Python caches of a listed source (__pycache__) need not be listed (PEP 376);
// what the interpreter brought belongs to no distribution.
func checkRecord(_ context.Context, x *exam) (outcome, error) {
	out := outcome{}
	owners := map[string]string{}
	// unrecorded says that some distribution does not tell which files are its own.
	unrecorded, eggs := len(x.dists()) == 0 || x.systems(), eggsOf(x.Tree, x.home.site)
	for _, d := range x.dists() {
		if d.fault != nil {
			unrecorded = true
			out.add(Finding{
				// Distributions' own package managers keep no RECORD.
				Severity: x.travels(), File: d.record, Field: "RECORD", Value: printable(d.fault.Error()),
				Cause:  "The distribution's list of files cannot be read.",
				Remedy: "Install the wheel again.",
			})
			continue
		}
		unsure := map[string]bool{}
		for _, row := range d.rows {
			out.examined++
			if f, ok := hashFault(row.Hash); ok && !row.Hash.IsZero() && !unsure[row.Hash.Algorithm] {
				f.File, unsure[row.Hash.Algorithm] = d.record, true
				out.add(f)
			}
			if f, ok := x.rowFault(d, row, owners); ok {
				out.add(f)
			}
		}
	}
	for _, e := range x.Tree.Entries() {
		if f, ok := x.ownerFault(e, owners); ok && (!x.found || x.objects[e.Path] != nil) {
			if x.found && (unrecorded || eggs.mayOwn(x.home.site, e.Path)) {
				f.Severity = Warn
			}
			out.add(f)
		}
	}
	return out, nil
}

// rowFault judges one row of a RECORD and notes whose file it is.
func (x *exam) rowFault(d dist, row packaging.RecordRow, owners map[string]string) (Finding, bool) {
	f := Finding{
		Severity: Refuse, File: d.record, Field: fmt.Sprintf("line %d", row.Line), Value: printable(row.Path),
		Remedy: "Install the wheel again, or have the step that changed the file write RECORD too.",
	}
	p, ok := recorded(x.home.site, row.Path)
	if !ok {
		// pip's --target leaves the paths as they would be in a prefix.
		f.Severity = x.travels()
		f.Cause = "The path is absolute or leaves the tree."
		return f, true
	}
	if other, taken := owners[p]; taken {
		e, _ := x.Tree.Lookup(p)
		f.Severity = x.travels()
		f.Cause = "The file is listed already, by " + other + "."
		// Distributions that share a package have its __init__.py each.
		return f, !x.found || !x.hashesTo(e, row.Hash)
	}
	owners[p] = d.name
	e, ok := x.Tree.Lookup(p)
	switch {
	case !ok:
		f.Cause = "The listed file is not there."
		if path.Ext(p) != ".so" && !x.isHollow(p) {
			f.Severity = x.travels()
		}
		return f, !x.isCache(p)
	case e.Kind != tree.File:
		f.Cause = "What is listed is not a file."
	case row.Hash.IsZero():
		// As virtualenv lists what it adds to the wheels that it seeds environments with.
		f.Severity = x.travels()
		f.Cause = "The file is listed without a hash."
		return f, !x.unhashed(p, d.info)
	case !x.hashesTo(e, row.Hash):
		f.File, f.Field, f.Value = p, "sha256", e.SHA256
		f.Severity = x.changed(e)
		f.Cause = "The file is not the one that RECORD lists, " + row.Hash.String() + "."
	case row.Size >= 0 && row.Size != e.Size:
		f.File, f.Field, f.Value = p, "size", fmt.Sprint(e.Size)
		f.Cause = fmt.Sprintf("The file does not have the %d bytes that RECORD lists.", row.Size)
	default:
		return f, false
	}
	return f, true
}

// isHollow reports whether a file that is not there is what makes a package of a directory
// that is: without it, import finds an empty one (PEP 420).
func (x *exam) isHollow(p string) bool {
	dir, base := path.Split(p)
	if base != "__init__.py" {
		return false
	}
	if _, ok := x.Tree.Lookup(dir + "__init__.pyc"); ok {
		return false
	}
	_, ok := x.Tree.Lookup(path.Clean(dir))
	return ok
}

// hashesTo reports whether a file is the one that a row lists, as far as the row's algorithm is
// known here. A file that cannot be read is not.
func (x *exam) hashesTo(e tree.Entry, h packaging.RecordHash) bool {
	if h.Algorithm == packaging.SHA256 {
		return h.Sum == e.SHA256
	}
	sum, err := sumOf(h, e.Content.Open)
	return err == nil && sum == h.Sum
}

// systems reports whether the system's own packages bring what is in site-packages.
func (x *exam) systems() bool { return strings.HasPrefix(x.home.site, "usr/lib/") }

// changed is the severity of a file that is not the one that RECORD lists. Where files are
// judged as they are found, Python code that was changed is refused. Data that was is a
// warning (certificates often are), and so are ELF files, which people strip and conda
// gives other search paths, and what a system's own packages have.
func (x *exam) changed(e tree.Entry) Severity {
	if path.Ext(e.Path) == ".py" && !x.systems() {
		return Refuse
	}
	return x.travels()
}

// unhashed reports whether a file may be listed without a hash: RECORD itself, its
// signatures (PEP 427), and cached bytecode (PEP 376).
func (x *exam) unhashed(p, info string) bool { return x.isCache(p) || isRecordFile(p, info) }

// isCache reports whether a file is bytecode that Python caches: in __pycache__, or, as Python
// 2 does, beside its source (PEP 3147), which then is what Python 3 imports.
func (x *exam) isCache(p string) bool {
	if _, ok := sourceOf(p); ok {
		return true
	}
	if ext := path.Ext(p); ext != ".pyc" && ext != ".pyo" {
		return false
	}
	_, ok := x.Tree.Lookup(p[:len(p)-1])
	return ok
}

// isRecordFile reports whether a path is RECORD or one of its signatures.
func isRecordFile(p, info string) bool {
	dir, base := path.Split(p)
	return path.Clean(dir) == info && (base == "RECORD" || base == "RECORD.jws" || base == "RECORD.p7s")
}

// ownerFault judges whether a file of the tree has the owner that it needs.
func (x *exam) ownerFault(e tree.Entry, owners map[string]string) (Finding, bool) {
	if e.Kind == tree.Dir || !x.wantsOwner(e) {
		return Finding{}, false
	}
	if _, ok := owners[e.Path]; ok {
		return Finding{}, false
	}
	if source, ok := sourceOf(e.Path); ok && owners[source] != "" {
		return Finding{}, false
	}
	if isRecordFile(e.Path, path.Dir(e.Path)) && path.Base(e.Path) != "RECORD" {
		return Finding{}, false
	}
	f := Finding{
		Severity: Refuse, File: e.Path, Field: "owner", Value: printable(e.Owner),
		Cause:  "No RECORD lists the file.",
		Remedy: words(x.found, "Rebuild the wheel so that its RECORD lists every file.", "Find out what brought it; then remove it, or install what it belongs to as a distribution."),
	}
	if x.isLeftover(e.Path) {
		f.Severity = Warn
		f.Cause = "An interrupted upgrade of pip's left the file: no import finds it under that name."
		f.Remedy = "Remove the directories of site-packages whose names begin with ~."
	}
	if e.Kind == tree.Symlink {
		f.Field, f.Value = "link", printable(e.Link)
		f.Cause = "No wheel can hold a symbolic link."
	}
	return f, true
}

// wantsOwner reports whether a distribution must own a file: everything that a
// wheel brought, and in site-packages everything that the interpreter did not
// bring (its README.txt also where nobody knows who brought it).
func (x *exam) wantsOwner(e tree.Entry) bool {
	if strings.HasPrefix(e.Owner, OwnerWheel) {
		return true
	}
	below := strings.HasPrefix(e.Path, x.home.site+"/")
	return below && e.Owner == "" && e.Path != x.home.site+"/README.txt"
}
