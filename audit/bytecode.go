package audit

import (
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"ampoule/tree"
)

// magics are the numbers that begin bytecode, by the minor version of Python 3 whose releases
// write it (Lib/importlib/_bootstrap_external.py of CPython); python2 is that of 2.7.
var magics = map[int]uint16{6: 3379, 7: 3394, 8: 3413, 9: 3425, 10: 3439, 11: 3495, 12: 3531, 13: 3571, 14: 3627}

const python2 = 62211

// pycHeader is the size in bytes of what stands before the code (PEP 552); Python 3.6 has 12.
const pycHeader = 16

// bytecode is what a file of bytecode says of itself.
type bytecode struct {
	// magic is 0 of what is no bytecode.
	magic uint16
	// cut says that it ends before the code.
	cut bool
}

func readBytecode(e tree.Entry) (bytecode, error) {
	start, err := startOf(e, pycHeader)
	if err != nil || len(start) < 4 || string(start[2:4]) != "\r\n" {
		return bytecode{}, err
	}
	magic := binary.LittleEndian.Uint16(start)
	size := pycHeader
	if magic == magics[6] || magic == python2 {
		size = 12
	}
	return bytecode{magic, len(start) < size}, nil
}

// String names what wrote it.
func (b bytecode) String() string {
	switch b.magic {
	case 0:
		return "no bytecode"
	case python2:
		return "bytecode of Python 2.7"
	}
	for minor, magic := range magics {
		if magic == b.magic {
			return fmt.Sprintf("bytecode of Python 3.%d", minor)
		}
	}
	return fmt.Sprintf("bytecode of a Python with the magic number %d", b.magic)
}

// bytecodeFault judges bytecode: where there is no source, import loads it from the source's
// place, and a source's from __pycache__, both of its own version alone.
func (x *exam) bytecodeFault(e tree.Entry) (Finding, bool, error) {
	f := Finding{Severity: Refuse, File: e.Path, Field: "magic number", Remedy: "Take a release for this Python, or have the bytecode made by it."}
	if source, ok := sourceOf(e.Path); ok {
		if !x.home.known() || !x.hasFile(source) || !strings.Contains(path.Base(e.Path), fmt.Sprintf(".cpython-3%d.", x.minor())) {
			return f, false, nil
		}
		is, err := readBytecode(e)
		wanted, known := magics[x.minor()]
		if err != nil || !known || is.magic == wanted && !is.cut {
			return f, false, err
		}
		f.Severity, f.Value = Warn, is.String()
		f.Cause = "Python does not take what it finds here as the bytecode of its source, and compiles that each time that it cannot write here."
		f.Remedy = "Remove it, or compile it again: python -m compileall."
		return f, true, nil
	}
	m, ok := x.moduleAt(e)
	if !ok || m.suffix != ".pyc" || x.hidesBytecode(m) {
		return f, false, nil
	}
	is, err := readBytecode(e)
	if err != nil {
		return f, false, err
	}
	f.Value = is.String()
	return f, x.sourceless(&f, m, is), nil
}

// hidesBytecode reports whether import finds something else than bytecode for a module: its
// source, a native module, or a package of its name.
func (x *exam) hidesBytecode(m namedModule) bool {
	stem := strings.TrimSuffix(m.entry.Path, ".pyc")
	endings := []string{".py"}
	if suffixes := x.suffixes(); len(suffixes) > 0 {
		endings = append(endings, suffixes...)
	} else {
		endings = append(endings, ".so", ".abi3.so")
	}
	for _, ending := range endings {
		if x.hasFile(stem+ending) || m.stem != "__init__" && x.hasFile(stem+"/__init__"+ending) {
			return true
		}
	}
	return m.stem != "__init__" && x.hasFile(stem+"/__init__.pyc")
}

// sourceless judges bytecode that has no source, and reports whether there is anything to say.
func (x *exam) sourceless(f *Finding, m namedModule, is bytecode) bool {
	minors := x.promisedMinors(m.entry)
	if x.home.known() {
		minors = []int{x.minor()}
	}
	f.Cause = "The module has no source, and its bytecode is not of this Python: importing it fails."
	switch {
	case is.magic == 0 || is.cut:
		f.Cause = "The module has no source, and what is in the place of its bytecode is none: importing it fails."
		if is.magic != 0 {
			f.Value = "cut"
		}
	case len(minors) == 0:
		f.Severity = Undecided
		f.Cause = "The module has no source, and bytecode runs under one version of Python alone, while the wheel promises any."
		f.Needs = "the interpreter: --against"
	default:
		fits := func(minor int) bool { wanted, known := magics[minor]; return !known || wanted == is.magic }
		if all := !slices.ContainsFunc(minors, func(minor int) bool { return !fits(minor) }); all {
			return x.promisesMore(f, m.entry)
		}
	}
	if f.Severity == Refuse && m.stem != "__init__" && !x.isTop(m) && !x.isImported(m) {
		f.Severity = Warn
		f.Cause += " Nothing that lies with it imports it."
	}
	return true
}

// promisesMore warns about bytecode that runs here, in a wheel for any Python.
func (x *exam) promisesMore(f *Finding, e tree.Entry) bool {
	if !strings.HasPrefix(e.Owner, OwnerWheel) || len(x.promisedMinors(e)) > 0 {
		return false
	}
	f.Severity = Warn
	f.Cause = "The module has no source, and bytecode runs under one version of Python alone, while the wheel promises any."
	f.Remedy = "Tag the wheel for that version, or bring the source."
	return true
}

// promisedMinors are the minor versions of Python 3 that a file's distribution is tagged for;
// none where it is for any, or nobody knows.
func (x *exam) promisedMinors(e tree.Entry) []int {
	var minors []int
	for _, d := range x.dists() {
		if OwnerWheel+d.name != e.Owner {
			continue
		}
		tags, f := x.tagsOf(d)
		if f != nil {
			return nil
		}
		for _, t := range tags {
			minor, ok := strings.CutPrefix(t.Python, "cp3")
			n, err := strconv.Atoi(minor)
			if !ok || err != nil || t.ABI == "abi3" {
				return nil
			}
			if !slices.Contains(minors, n) {
				minors = append(minors, n)
			}
		}
	}
	return minors
}
