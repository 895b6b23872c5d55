package unpack

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/packaging"
	"ampoule/tree"
)

// splitData takes a member of NAME-VERSION.data apart: the scheme, and the path in it.
func splitData(member string) (scheme, rest string, ok bool) {
	dir, below, _ := strings.Cut(member, "/")
	if !strings.HasSuffix(dir, ".data") {
		return "", "", false
	}
	scheme, rest, _ = strings.Cut(below, "/")
	return scheme, rest, true
}

// place installs a member. Those of the wheel's root go to site-packages; those of
// NAME-VERSION.data to where their scheme says.
func (u *unpacking) place(member string) error {
	scheme, rest, isData := splitData(member)
	if !isData {
		scheme, rest = "purelib", member
	} else if err := u.checkData(member); err != nil {
		return err
	}
	if rest == "" {
		return u.refuse(member, "it has no scheme: NAME.data has directories of schemes alone", "")
	}
	m := u.members[member]
	mode := fs.FileMode(0o644)
	// A file that the zip says to be executable, as pip reads it; of what is in scripts the
	// specification wants it, whatever the zip says.
	if unix := m.ExternalAttrs >> 16; scheme == "scripts" || unix&0o170000 == 0o100000 && unix&0o111 != 0 {
		mode = 0o755
	}
	var to string
	switch scheme {
	case "purelib", "platlib":
		to = path.Join(u.site, rest)
	case "scripts":
		to = path.Join("bin", rest)
	case "headers":
		to = path.Join(u.in.Headers, u.project, rest)
	case "data":
		to = rest
	default:
		return u.refuse(member, fmt.Sprintf("%q is no scheme: there are purelib, platlib, scripts, headers and data", scheme), "")
	}
	e := entry(to, mode, m)
	if e.SHA256 == "" { // a signature of RECORD
		return u.addSignature(e, m)
	}
	if path.Dir(to) == "bin" {
		var err error
		if e, err = u.relocated(e, member, scheme == "scripts"); err != nil {
			return err
		}
	}
	return u.add(e, member)
}

// checkData refuses a .data directory that is not the wheel's own.
func (u *unpacking) checkData(member string) error {
	dir, _, _ := strings.Cut(member, "/")
	own := strings.TrimSuffix(u.info, ".dist-info")
	if packaging.NormalName(strings.TrimSuffix(dir, ".data")) != packaging.NormalName(own) {
		return u.refuse(member, fmt.Sprintf("it is in a .data directory of another name than %s.data", own), "")
	}
	return nil
}

// addSignature installs a signature of RECORD, which RECORD itself does not hash.
func (u *unpacking) addSignature(e tree.Entry, m audit.WheelMember) error {
	data, err := readAll(m, packaging.MaxRecord)
	if err != nil {
		return u.refuse(m.Name, err.Error(), "")
	}
	u.unhashed[e.Path] = true
	return u.add(e.Replace(data), m.Name)
}

// Targets below the prefix, but for site-packages.
var targets = []string{"bin", "include", "share", "etc", "man"}

// libraries matches what a wheel for one kind of machine may have beside these: libraries,
// what tells compilers of them, and opt, where nothing looks by itself. Some published ones
// do (intel-openmp, tbb, mkl).
var libraries = regexp.MustCompile(`^(lib/(lib[^/]+|(cmake|pkgconfig)/.+)|opt/.+)$`)

// reserved are the places of what the tree itself carries.
var reserved = []string{"share/zoneinfo", "share/terminfo", "share/ca-certificates", path.Dir(artifact.RecordFile)}

// programs are what the first line of every script calls beside the interpreter, which a
// tree in PATH would be asked for first.
var programs = []string{"sh", "env", "dirname", "realpath"}

// interpreters matches the names of the interpreter's own programs, of any version.
var interpreters = regexp.MustCompile(`^(pythonw?|pydoc|idle)\d*(\.\d+)?[a-z]*(-config)?$`)

// allowed refuses a place that no wheel has a say in.
func (u *unpacking) allowed(p, from string) error {
	if err := tree.CheckPath(p); err != nil {
		return u.refuse(from, err.Error(), "")
	}
	top, rest, below := strings.Cut(p, "/")
	if inSite, ok := strings.CutPrefix(p, u.site+"/"); ok {
		return u.allowedInSite(inSite, from)
	}
	switch {
	case libraries.MatchString(p) && !u.pure && !audit.IsLibpython(p):
		return nil
	case !below || !slices.Contains(targets, top):
		return u.refuse(from, fmt.Sprintf("it would be installed as %s: wheels bring files for site-packages and %s alone", p, strings.Join(targets, ", ")), "")
	case slices.ContainsFunc(reserved, func(dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }):
		return u.refuse(from, fmt.Sprintf("it would be installed as %s, where the tree has what it carries itself", p), "")
	}
	if name, _, _ := strings.Cut(rest, "/"); top == "bin" {
		return u.allowedProgram(name, from)
	}
	return nil
}

// allowedInSite keeps a wheel out of what others tell of themselves.
func (u *unpacking) allowedInSite(p, from string) error {
	top, _, _ := strings.Cut(p, "/")
	if strings.HasSuffix(strings.ToLower(top), ".dist-info") && top != u.info {
		return u.refuse(from, fmt.Sprintf("it would be installed into %s, which is not this wheel's", top), "")
	}
	return nil
}

func (u *unpacking) allowedProgram(name, from string) error {
	switch {
	case interpreters.MatchString(name):
		return u.refuse(from, "it would be installed as bin/"+name+", which is the interpreter's name", "")
	case slices.Contains(programs, name):
		return u.refuse(from, "it would be installed as bin/"+name+", which the first line of every script calls", "")
	}
	return nil
}

// clashes refuses paths that are one on file systems that do not tell case, or two forms
// of one character (Unicode's NFC and NFD), apart.
func (u *unpacking) clashes() error {
	seen := make(map[string]string, len(u.Entries))
	for _, p := range slices.Sorted(maps.Keys(u.Entries)) {
		folded := norm.NFC.String(strings.ToLower(strings.ToUpper(norm.NFC.String(p))))
		if other, ok := seen[folded]; ok {
			return u.refuse(u.from[p], fmt.Sprintf("its path and that of %q differ in case, or in how characters are written, alone", u.from[other]), "")
		}
		seen[folded] = p
	}
	return nil
}
