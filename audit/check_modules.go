package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"ampoule/packaging"
	"ampoule/tree"
)

func init() {
	register(check{
		name:   "modules",
		reason: "every file that import takes for a module, by its name, is one",
		run:    checkModules,
	})
}

// checkModules looks at the files by whose names import takes them for modules: native ones
// must be shared objects that have the function which import calls (PEP 489), and bytecode
// without a source must be of the interpreter's own version (PEP 3147).
func checkModules(ctx context.Context, x *exam) (outcome, error) {
	out := outcome{}
	for _, e := range x.Tree.Entries() {
		if ctx.Err() != nil {
			return out, context.Cause(ctx)
		}
		if e.Kind != tree.File || x.found && e.Owner == OwnerInterpreter {
			continue
		}
		var f Finding
		var faulty bool
		var err error
		switch path.Ext(e.Path) {
		case ".so":
			m, ok := x.nativeModule(e)
			if !ok || x.forOthers(e.Owner) {
				continue
			}
			f, faulty, err = x.nativeFault(m)
		case ".pyc":
			if x.forOthers(e.Owner) {
				continue
			}
			f, faulty, err = x.bytecodeFault(e)
		default:
			continue
		}
		if err != nil {
			return out, err
		}
		out.examined++
		if faulty {
			out.add(f)
		}
	}
	return out, nil
}

// forOthers reports whether the distribution of a file is for another interpreter or system,
// which the check tags tells: what import would find of it is that one's business.
func (x *exam) forOthers(owner string) bool {
	name, ok := strings.CutPrefix(owner, OwnerWheel)
	if !ok {
		return false
	}
	if is, ok := x.others[name]; ok {
		return is
	}
	is := false
	for _, d := range x.dists() {
		if d.name != name {
			continue
		}
		if tags, f := x.tagsOf(d); f == nil {
			is = !slices.ContainsFunc(tags, x.takes)
		}
	}
	if x.others == nil {
		x.others = map[string]bool{}
	}
	x.others[name] = is
	return is
}

// takes reports whether an installer would take a wheel with that tag for the interpreter, or,
// where that is not known, for some system that has Linux.
func (x *exam) takes(t packaging.Tag) bool {
	if x.home.known() {
		return x.python().Supports(t)
	}
	return t.Platform == "any" || strings.Contains(t.Platform, "linux")
}

// nativeFault says what is wrong with a file that import would load as a module.
func (x *exam) nativeFault(m namedModule) (Finding, bool, error) {
	f := Finding{Severity: Refuse, File: m.entry.Path, Remedy: "Build it again, or take it from its index again."}
	o := x.objects[m.entry.Path]
	switch {
	case o == nil:
		is, err := contentOf(m.entry)
		if err != nil {
			return f, false, err
		}
		if is == linkerScript && strings.HasPrefix(m.stem, "lib") && !x.isImported(m) {
			return f, false, nil
		}
		f.Field, f.Value = "content", is
		f.Cause = "Import takes the file for a module, by its name, and it is none: " + is + "."
		f.Severity = x.brokenSeverity(m)
	case o.fault != nil:
		return f, false, nil // parse tells
	case !o.loads():
		f.Field, f.Value = "e_type", fmt.Sprint(uint16(o.Type))
		f.Cause = "Import takes the file for a module, by its name, and it is no shared object."
		f.Severity = x.brokenSeverity(m)
	default:
		return x.initFault(m, o)
	}
	return x.unlessShadowed(m, f), true, nil
}

// brokenSeverity judges a file that nothing can load as code. One with the suffix of a
// module of any Python, below a package that does not import it, may be of another system:
// wheels for all of them have such files.
func (x *exam) brokenSeverity(m namedModule) Severity {
	if m.tagged || x.isTop(m) || x.isImported(m) {
		return Refuse
	}
	return Warn
}

// isTop reports whether a module is imported without a package's help: it is what somebody
// installs the distribution for. Of a file that is judged alone nobody knows where it will be.
func (x *exam) isTop(m namedModule) bool {
	return !strings.Contains(m.name, ".") && !(x.alone && len(x.dists()) == 0)
}

func (x *exam) isImported(m namedModule) bool { return x.usesOf(m.entry).imported[m.name] }

// unlessShadowed makes a warning of a finding about a module that import does not get to.
func (x *exam) unlessShadowed(m namedModule, f Finding) Finding {
	if other := x.shadowed(m); other != "" {
		f.Severity = Warn
		f.Cause += " It finds " + path.Base(other) + " before it."
		f.Remedy = "Nothing, or leave it out."
	}
	return f
}

// initFault judges whether a module has the function that import calls. What has none and
// uses nothing of Python's is a library, whatever its name: ctypes may load it.
func (x *exam) initFault(m namedModule, o *object) (Finding, bool, error) {
	wanted := m.inits(x.minor())
	if slices.ContainsFunc(wanted, func(name string) bool { return slices.Contains(o.inits, name) }) {
		return Finding{}, false, nil
	}
	if code := len(o.inits) > 0 || o.asks; !code && !m.tagged && strings.HasPrefix(m.stem, "lib") {
		return Finding{}, false, nil // nobody imports a library, and to learn that takes long
	}
	f := Finding{
		Severity: Refuse, File: m.entry.Path, Field: "symbol", Value: printable(wanted[0]),
		Cause:  "The file does not export the function that import calls for a module of this name.",
		Remedy: "Build it under the name that it is imported by, with that function exported (PyMODINIT_FUNC).",
	}
	if len(o.inits) > 0 {
		f.Cause += " It has " + strings.Join(o.inits[:min(len(o.inits), maxNamed)], ", ") + "."
	}
	uses := x.usesOf(m.entry)
	imported, code := uses.imported[m.name], len(o.inits) > 0 || o.asks
	switch {
	case uses.loads(m.stem):
		if !m.tagged && len(o.inits) == 0 {
			return f, false, nil
		}
		f.Severity = Warn
		f.Cause += " It can be loaded by its path alone, which its distribution seems to do."
	case imported, code && (m.tagged || x.isTop(m) && !strings.HasPrefix(m.stem, "lib")):
	case m.tagged, code && !strings.HasPrefix(m.stem, "lib"):
		f.Severity = Warn
		f.Cause += " Nothing that lies with it imports it."
	default:
		return f, false, nil
	}
	return x.unlessShadowed(m, f), true, nil
}

// minor is that of the interpreter's version 3.MINOR; 0 where it is not known.
func (x *exam) minor() int {
	if !x.home.known() {
		return 0
	}
	return x.python().Minor
}

// used reports whether a file is one that import loads here: it fails to, whatever is wrong
// with it.
func (x *exam) used(e tree.Entry) bool {
	m, ok := x.nativeModule(e)
	if !ok || x.shadowed(m) != "" {
		return false
	}
	o := x.objects[e.Path]
	own := o != nil && slices.ContainsFunc(m.inits(x.minor()), func(name string) bool { return slices.Contains(o.inits, name) })
	return own || x.brokenSeverity(m) == Refuse
}

// asData makes a warning of a finding about a file for another kind of machine that nothing
// loads here: wheels for several have a program or a library for each. What the loader passes
// over in its search, closure misses.
func (x *exam) asData(f *Finding, e tree.Entry) {
	if x.found && !x.used(e) && !x.isProgram(e) {
		f.Severity = Warn
		f.Remedy = "Nothing, if what is for this machine lies beside it."
	}
}

// isProgram reports whether a file is where an installer puts programs.
func (x *exam) isProgram(e tree.Entry) bool {
	dir := path.Dir(e.Path)
	return dir == path.Join(x.home.site, "../../../bin") || strings.HasSuffix(dir, ".data/scripts")
}

// maxNameless is as much of a file that is no ELF file as is looked at, in bytes.
const maxNameless = 512

const linkerScript = "a linker script"

// beginnings are those of files that are found under names of modules.
var beginnings = []struct{ start, is string }{
	{"version https://git-lfs.github.com/", "a pointer of Git LFS, in place of the file"},
	{"\xcf\xfa\xed\xfe", "a Mach-O file, for macOS"},
	{"\xce\xfa\xed\xfe", "a Mach-O file, for macOS"},
	{"\xca\xfe\xba\xbe", "a Mach-O file, for macOS"},
	{"MZ", "a PE file, for Windows"},
	{"!<arch>\n", "an archive of objects (ar)"},
	{"!<thin>\n", "an archive of objects (ar)"},
	{"PK\x03\x04", "a zip file"},
	{"\x1f\x8b", "a gzip file"},
	{"BC\xc0\xde", "LLVM bitcode"},
	{"/* GNU ld script", linkerScript},
	{"INPUT", linkerScript},
	{"GROUP", linkerScript},
	{"OUTPUT_FORMAT", linkerScript},
	{"#!", "a script"},
}

// contentOf says what a file is that is no ELF file.
func contentOf(e tree.Entry) (string, error) {
	start, err := startOf(e, maxNameless)
	if err != nil {
		return "", err
	}
	if len(start) == 0 {
		return "an empty file", nil
	}
	for _, b := range beginnings {
		if bytes.HasPrefix(start, []byte(b.start)) {
			return b.is, nil
		}
	}
	lower := bytes.ToLower(bytes.TrimSpace(start))
	switch {
	case IsELF(start):
		return "an ELF file that is cut", nil
	case bytes.HasPrefix(lower, []byte("<!doctype html")), bytes.HasPrefix(lower, []byte("<html")):
		return "an HTML page", nil
	case bytes.Trim(start, "\x00") == nil || len(bytes.Trim(start, "\x00")) == 0:
		return "zeros", nil
	case isText(start):
		return "text", nil
	}
	return "no ELF file", nil
}

func isText(data []byte) bool {
	return !bytes.ContainsFunc(data, func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' })
}

// startOf reads the first bytes of a file.
func startOf(e tree.Entry, n int64) ([]byte, error) {
	r, err := e.Content.Open()
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", e.Path, err)
	}
	defer r.Close()
	start := make([]byte, min(n, e.Size))
	read, err := io.ReadFull(r, start)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	return start[:read], nil
}
