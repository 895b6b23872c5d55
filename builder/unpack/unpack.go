// Package unpack lays out what a wheel installs, by the wheel's own description and
// without running anything of it ("Binary distribution format", "Recording installed
// projects" and "Entry points specification", PyPA).
//
// What it gives is what pip gives in an empty prefix, with scripts that run wherever the
// tree stands; docs/decisions lists where it differs.
package unpack

import (
	"archive/zip"
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"ampoule/audit"
	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/tree"
)

// Interpreter is what wheels are unpacked for. Paths are relative to its prefix.
type Interpreter struct {
	// Prefix is where it was built, without a leading slash: opt/ampoule.
	Prefix string
	// Executable is the name of its program in bin: python3.13.
	Executable string
	// Version is the X.Y of its version; Tags says which wheels are for it.
	Version string
	Tags    packaging.CPython
	// Site is its site-packages directory, Headers the one that has Python.h.
	Site, Headers string
}

// RefusedError says that a wheel is not unpacked.
type RefusedError struct {
	// Wheel is the wheel's file name; Member is a path in it, or the name of an entry
	// point; empty when the wheel as a whole is meant.
	Wheel, Member string
	// Why is a clause, Advice a sentence about what can be done.
	Why, Advice string
}

func (e *RefusedError) Error() string {
	if e.Member == "" {
		return fmt.Sprintf("unpacking %s: %s", e.Wheel, e.Why)
	}
	return fmt.Sprintf("unpacking %s: %q: %s", e.Wheel, e.Member, e.Why)
}

// Kind says whose fault it is.
func (*RefusedError) Kind() faults.Kind { return faults.Refused }

// Hint says what can be done.
func (e *RefusedError) Hint() string {
	return cmp.Or(e.Advice, "choose another version of it, or patch its sdist so that the wheel is another one (packages.NAME.patches)")
}

// Limits of members that are read as a whole, in bytes.
const (
	// maxText is for entry_points.txt, WHEEL and METADATA.
	maxText = 8 << 20
	// maxScript is for scripts whose first line is rewritten.
	maxScript = 16 << 20
)

// Wheel is a wheel, unpacked. Its contents stay in the file that it was read from.
type Wheel struct {
	// Entries are what it installs, by their paths below the prefix: without RECORD,
	// without bytecode.
	Entries map[string]tree.Entry
	name    string
	info    string
	site    string
	// unhashed are the signatures that RECORD may not hash.
	unhashed map[string]bool
}

// Open unpacks the wheel of size bytes that is called name. The contents are compared with
// RECORD when they are read: what they must hash to stands in the entries. The reader must
// stay open as long as they are used.
func Open(r io.ReaderAt, size int64, name string, in Interpreter) (*Wheel, error) {
	members, findings := audit.WheelMembers(r, size, name)
	if len(findings) > 0 {
		return nil, refusedBy(name, findings)
	}
	u := &unpacking{in: in, members: members, Wheel: Wheel{
		Entries: map[string]tree.Entry{}, name: name, site: in.Site, unhashed: map[string]bool{},
	}}
	if err := u.run(); err != nil {
		return nil, err
	}
	return &u.Wheel, nil
}

// maxTold is how many findings an error tells of.
const maxTold = 5

// refusedBy makes an error of what the audit found.
func refusedBy(name string, findings []audit.Finding) error {
	member := func(f audit.Finding) string { return strings.TrimPrefix(strings.TrimPrefix(f.File, name), "/") }
	var told []string
	for i, f := range findings[:min(len(findings), maxTold)] {
		text := fmt.Sprintf("%s %s: %s", f.Field, f.Value, f.Cause)
		if i > 0 {
			text = member(f) + ": " + text
		}
		told = append(told, strings.TrimSuffix(text, "."))
	}
	if more := len(findings) - maxTold; more > 0 {
		told = append(told, fmt.Sprintf("and %d more", more))
	}
	return &RefusedError{Wheel: name, Member: member(findings[0]), Why: strings.Join(told, "; "), Advice: findings[0].Remedy}
}

// Check compares the contents of a wheel with its RECORD. It is for telling which member is
// at fault after reading the entries of [Open] failed.
func Check(r io.ReaderAt, size int64, name string) error {
	if findings := audit.Refused(audit.CheckWheel(r, size, name)); len(findings) > 0 {
		return refusedBy(name, findings)
	}
	return nil
}

// unpacking is a wheel that is being unpacked.
type unpacking struct {
	Wheel
	in      Interpreter
	members map[string]audit.WheelMember
	// pure says that its tags promise that nothing in it is for one kind of machine.
	pure bool
	// project is the distribution's name as METADATA spells it.
	project string
	// from says which member, or entry point, each entry came of.
	from map[string]string
}

func (u *unpacking) refuse(member, why, advice string) error {
	return &RefusedError{Wheel: u.name, Member: member, Why: why, Advice: advice}
}

func (u *unpacking) run() error {
	u.from = map[string]string{}
	if err := u.readInfo(); err != nil {
		return err
	}
	points, err := u.entryPoints()
	if err != nil {
		return err
	}
	scripts := scriptsOf(points, u.in.Version)
	for _, member := range slices.Sorted(maps.Keys(u.members)) {
		if u.leftOut(member, scripts) {
			continue
		}
		if err := u.place(member); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(scripts)) {
		e := tree.FileEntry("bin/"+name, 0o755, scripts[name].text(u.in))
		if err := u.add(e, name); err != nil {
			return err
		}
	}
	// They say who installed it, and that somebody asked for it: a tree has what its lock names.
	for name, text := range map[string]string{"INSTALLER": "pip\n", "REQUESTED": ""} {
		e := tree.FileEntry(path.Join(u.site, u.info, name), 0o644, []byte(text))
		u.Entries[e.Path] = e
	}
	return u.clashes()
}

// readInfo reads what the wheel says of itself.
func (u *unpacking) readInfo() error {
	for member := range u.members {
		if dir, _, ok := strings.Cut(member, "/"); ok && strings.HasSuffix(dir, ".dist-info") {
			u.info = dir // there is one: the audit saw to it
		}
	}
	if err := u.checkTags(); err != nil {
		return err
	}
	member := u.info + "/METADATA"
	data, err := u.read(member, maxText)
	if err != nil {
		return err
	}
	h, err := packaging.ParseMetadata(data)
	if err != nil {
		return u.refuse(member, err.Error(), "")
	}
	u.project = h.Get("Name")
	parsed, err := packaging.ParseWheelName(u.name)
	if err != nil {
		return u.refuse("", err.Error(), "")
	}
	tags := parsed.Tags()
	u.pure = !slices.ContainsFunc(tags, func(t packaging.Tag) bool { return !t.Pure() })
	if !slices.ContainsFunc(tags, u.in.Tags.Supports) {
		return u.refuse("", fmt.Sprintf("it is for %s-%s-%s, and not for %s", parsed.Python, parsed.ABI, parsed.Platform, u.in.Executable), "choose a version of it with a wheel for this interpreter, or with an sdist")
	}
	return nil
}

// checkTags refuses a wheel that says inside that it is for others, whatever its name says:
// installed, it would be refused by what is inside.
func (u *unpacking) checkTags() error {
	member := u.info + "/WHEEL"
	data, err := u.read(member, maxText)
	if err != nil {
		return err
	}
	inside, err := packaging.ParseWheelFile(data)
	if err != nil {
		return u.refuse(member, err.Error(), "")
	}
	tags, err := inside.Tags()
	if err != nil {
		return u.refuse(member, err.Error(), "")
	}
	if len(tags) > 0 && !slices.ContainsFunc(tags, u.in.Tags.Supports) {
		return u.refuse(member, fmt.Sprintf("it is for %s, and not for %s", strings.Join(inside.TagSets, " "), u.in.Executable), "")
	}
	return nil
}

// read returns a member's bytes, compared with RECORD.
func (u *unpacking) read(member string, limit int64) ([]byte, error) {
	m, ok := u.members[member]
	if !ok {
		return nil, u.refuse(member, "the wheel does not have it", "")
	}
	if m.UncompressedSize64 > uint64(limit) {
		return nil, u.refuse(member, fmt.Sprintf("%d bytes are more than %d", m.UncompressedSize64, limit), "")
	}
	data, err := entry(member, 0o644, m).ReadAll()
	if err != nil {
		return nil, u.refuse(member, err.Error(), "")
	}
	return data, nil
}

// entry makes an entry of a member.
func entry(p string, mode fs.FileMode, m audit.WheelMember) tree.Entry {
	return tree.Entry{
		Path: p, Kind: tree.File, Mode: mode, Size: int64(m.UncompressedSize64), SHA256: m.SHA256, Content: content{m.File},
	}
}

// content is a member's content.
type content struct{ *zip.File }

// leftOut reports whether a member is not installed: RECORD, which is written anew; what
// tells where a wheel lay (PEP 610); caches, which are made here; and scripts that
// generated ones take the place of, as pip has it for the wrappers of setuptools.
func (u *unpacking) leftOut(member string, scripts map[string]script) bool {
	switch path.Base(member) {
	case "RECORD", "INSTALLER", "REQUESTED", "direct_url.json":
		if path.Dir(member) == u.info {
			return true
		}
	}
	if slices.Contains(strings.Split(member, "/"), "__pycache__") {
		return true
	}
	scheme, rest, ok := splitData(member)
	if !ok || scheme != "scripts" {
		return false
	}
	name := path.Base(rest)
	for _, suffix := range []string{".exe", "-script.py", ".pya"} {
		if n := len(name) - len(suffix); n >= 0 && strings.EqualFold(name[n:], suffix) {
			name = name[:n]
			break
		}
	}
	_, generated := scripts[name]
	return generated
}

// add adds an entry that no other one has the place of.
func (u *unpacking) add(e tree.Entry, from string) error {
	if other, taken := u.from[e.Path]; taken {
		return u.refuse(from, fmt.Sprintf("%s is the place of %q, too", e.Path, other), "")
	}
	if err := u.allowed(e.Path, from); err != nil {
		return err
	}
	u.Entries[e.Path], u.from[e.Path] = e, from
	return nil
}

// Tree makes the tree of what the wheel installs, with bytecode and with entries that were
// changed in place of those with their paths, and a RECORD that tells the files as they
// are. RECORD leaves bytecode out.
func (w *Wheel) Tree(changed []tree.Entry) (*tree.Tree, error) {
	files := maps.Clone(w.Entries)
	for _, e := range changed {
		files[e.Path] = e
	}
	record := tree.FileEntry(path.Join(w.site, w.info, "RECORD"), 0o644, nil)
	files[record.Path] = record
	files[record.Path] = record.Replace(w.record(files, record.Path))
	t, err := tree.New(slices.Collect(maps.Values(files)))
	if err != nil {
		return nil, &RefusedError{Wheel: w.name, Why: err.Error()}
	}
	return t, nil
}
