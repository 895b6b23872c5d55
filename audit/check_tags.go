package audit

import (
	"context"
	"path"
	"slices"
	"strconv"
	"strings"

	"ampoule/audit/elf"
	"ampoule/packaging"
	"ampoule/tree"
)

func init() {
	register(check{
		name:   "tags",
		reason: "every wheel is for this interpreter, and holds what its tags promise",
		run:    checkTags,
	})
}

// checkTags compares what each distribution's WHEEL promises (PEP 427, PEP 425) with the
// interpreter and with what was installed.
func checkTags(_ context.Context, x *exam) (outcome, error) {
	out := outcome{}
	suffixes := x.suffixes()
	for _, d := range x.dists() {
		tags, f := x.tagsOf(d)
		if f != nil {
			f.Severity = x.travels()
			out.add(*f)
			continue
		}
		out.examined++
		if f, ok := x.unsupported(d, tags); ok {
			out.add(f)
		}
		x.natives(&out, d, tags)
	}
	for _, o := range x.extensions() {
		out.examined++
		if f, ok := x.suffixFault(o, suffixes); ok {
			x.excuse(&f, o)
			out.add(f)
		}
	}
	return out, nil
}

// tagsOf are the tags by which installers choose a distribution's wheel: those of its file's
// name, or, where that is not known, those of its WHEEL.
func (x *exam) tagsOf(d dist) ([]packaging.Tag, *Finding) {
	if len(x.named) > 0 {
		return x.named, nil
	}
	return x.promised(d)
}

// unsupported judges a distribution whose tags are for another Python or machine. Installers
// take a wheel by its file's name; what is installed already works unless it has a module whose
// name does not tell which Python it is for, or is for another system.
func (x *exam) unsupported(d dist, tags []packaging.Tag) (Finding, bool) {
	python := x.python()
	if !x.home.known() || slices.ContainsFunc(tags, python.Supports) {
		return Finding{}, false
	}
	texts := make([]string, len(tags))
	for i, t := range tags {
		texts[i] = t.String()
	}
	f := Finding{
		Severity: Refuse, File: d.info + "/WHEEL", Field: "Tag", Value: printable(strings.Join(texts, " ")),
		Cause:  "The wheel is for another Python or machine: what is in it says so.",
		Remedy: "Build it with this interpreter, or take the release's wheel for it.",
	}
	if len(x.named) > 0 {
		f.Cause = "The wheel is for another Python or machine: its name says so, and no installer takes it."
	}
	if x.found && len(x.named) == 0 && !x.alone && slices.ContainsFunc(tags, python.SupportsPlatform) && !x.hasUntold(d) {
		f.Severity = Warn
		f.Cause = "The wheel was made for another Python, and is installed: nothing in it depends on which."
	}
	return f, true
}

// hasUntold reports whether a distribution has a module for one Python whose name does not
// tell which: import takes it, whichever it was compiled for.
func (x *exam) hasUntold(d dist) bool {
	for _, row := range d.rows {
		p, ok := recorded(x.home.site, row.Path)
		if !ok || x.objects[p] == nil {
			continue
		}
		if m, ok := x.nativeModule(x.objects[p].entry); ok && !m.tagged && x.objects[p].isExtension() {
			return true
		}
	}
	return d.fault != nil
}

// python is the tree's interpreter as tags see it.
func (x *exam) python() packaging.CPython {
	_, minor, _ := strings.Cut(x.home.version, ".")
	n, _ := strconv.Atoi(minor) // the executable's name has digits there
	p := packaging.CPython{Minor: n, Flags: x.home.flags, Machine: "x86_64"}
	if exe := x.objects[x.home.exe]; exe != nil && exe.Machine == elf.AArch64 {
		p.Machine = "aarch64"
	}
	if exe := x.objects[x.home.exe]; exe != nil && strings.HasPrefix(path.Base(exe.Interp), "ld-musl-") {
		p.Musl = true
	}
	return p
}

// maxWheelFile bounds WHEEL, in bytes.
const maxWheelFile = 64 << 10

// promised reads the tags of a distribution's WHEEL.
func (x *exam) promised(d dist) ([]packaging.Tag, *Finding) {
	f := &Finding{
		Severity: Refuse, File: d.info + "/WHEEL", Field: "Tag",
		Cause: "What the wheel is for cannot be read.", Remedy: "Install the wheel again, with an installer that keeps its WHEEL.",
	}
	e, ok := x.Tree.Lookup(f.File)
	if !ok || e.Kind != tree.File || e.Size > maxWheelFile {
		f.Value = "no such file, or too large a one"
		return nil, f
	}
	data, err := e.ReadAll()
	var w packaging.WheelFile
	if err == nil {
		w, err = packaging.ParseWheelFile(data)
	}
	var tags []packaging.Tag
	if err == nil {
		tags, err = w.Tags()
	}
	switch {
	case err != nil:
		f.Value = printable(err.Error())
		return nil, f
	case len(tags) == 0:
		f.Value = "none"
		return nil, f
	}
	return tags, nil
}

// natives judges native code of a distribution that promised to have none: by its tags, or
// by Root-Is-Purelib. Where it is installed it works.
func (x *exam) natives(out *outcome, d dist, tags []packaging.Tag) {
	pure := !slices.ContainsFunc(tags, func(t packaging.Tag) bool { return !t.Pure() })
	lib := !pure && x.isPurelib(d)
	if !pure && !lib {
		return
	}
	for _, row := range d.rows {
		p, ok := recorded(x.home.site, row.Path)
		if !ok || x.objects[p] == nil {
			continue
		}
		f := Finding{
			Severity: x.travels(), File: p, Field: "ELF", Value: "in a wheel for any platform",
			Cause:  "Installers and caches take the wheel for one that runs everywhere, and hand it to interpreters that the module was not built for.",
			Remedy: "Have its build make a wheel with the tags of its platform.",
		}
		if !x.objects[p].isExtension() {
			f.Severity = Warn
			f.Cause = "The wheel promises to run everywhere; the program or library in it runs on one kind of machine."
		}
		if lib {
			f.Severity, f.Value = Warn, "Root-Is-Purelib: true"
			f.Cause = "The wheel says that it has no native code: where Python has a directory for that and one for the rest, it goes into the wrong one."
			f.Remedy = "Have its build say Root-Is-Purelib: false."
		}
		out.add(f)
		if lib {
			return // one file shows it
		}
	}
}

// isPurelib reports whether a distribution's WHEEL says that it has nothing for one machine.
func (x *exam) isPurelib(d dist) bool {
	e, ok := x.Tree.Lookup(d.info + "/WHEEL")
	if !ok || e.Kind != tree.File || e.Size > maxWheelFile {
		return false
	}
	data, err := e.ReadAll()
	if err != nil {
		return false
	}
	w, err := packaging.ParseWheelFile(data)
	return err == nil && w.Purelib
}

// suffixes are the ends of the names by which import finds extension modules, the most
// special first (importlib.machinery.EXTENSION_SUFFIXES); none where the check
// interpreter refuses what tells.
func (x *exam) suffixes() []string {
	if x.ends == nil {
		x.ends = []string{}
		if config, err := x.facts.config(); err == nil {
			x.ends = config.suffixes()
		}
	}
	return x.ends
}

// idle reports whether a file is a module that import does not look for, beside one that it
// does: what it needs matters to nobody here.
func (x *exam) idle(o *object) bool {
	if o != nil && x.isLeftover(o.entry.Path) {
		return true
	}
	if !x.found || o == nil || !o.isExtension() {
		return false
	}
	f, ok := x.suffixFault(o, x.suffixes())
	return ok && f.Severity == Warn
}

// suffixFault judges the name of an extension module: one that import does not find by is
// for another Python, and was perhaps renamed. Beside one that it does find, it is idle.
func (x *exam) suffixFault(o *object, suffixes []string) (Finding, bool) {
	dir, base := path.Split(o.entry.Path)
	stem, rest, ok := strings.Cut(base, ".")
	suffix := "." + rest
	if !ok || moduleName(x.home, o.entry.Path) == "" {
		return Finding{}, false
	}
	foreign := x.python().Threaded() && suffix == ".abi3.so"
	if len(suffixes) == 0 || slices.Contains(suffixes, suffix) && !foreign {
		return Finding{}, false
	}
	f := Finding{
		Severity: Refuse, File: o.entry.Path, Field: "suffix", Value: printable(suffix),
		Cause:  "The interpreter does not look for modules of this name, only for " + strings.Join(suffixes, ", ") + ": the file is for another Python.",
		Remedy: "Build it with this interpreter.",
	}
	if foreign {
		f.Cause = "The interpreter has no GIL, and the stable ABI abi3 is of those that have one: objects are laid out in another way."
		f.Remedy = "Build it with this interpreter; of Python 3.15 on, for abi3t."
	}
	for _, s := range suffixes {
		if _, found := x.Tree.Lookup(dir + stem + s); found && s != suffix {
			f.Severity = Warn
			f.Cause = "The interpreter does not look for modules of this name; it finds " + stem + s + " beside it."
			f.Remedy = "Nothing, or leave it out."
		}
	}
	return f, true
}
