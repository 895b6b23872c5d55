package apt

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/builder/toolchain/debian"
	"ampoule/recipes"
	"ampoule/system"
)

// identity is what dpkg tells packages apart by.
type identity struct{ name, version, arch string }

// listed is one package of the lists.
type listed struct {
	deb    recipes.Deb
	stanza debian.Stanza
}

// index holds the packages of a suite's lists.
type index struct {
	packages map[identity]listed
	names    map[string]bool
	// provided maps virtual names to one package each that provides them.
	provided map[string]string
}

// listFields are the fields that are kept of each listed package: what apt needs
// to know of an installed one.
var listFields = []string{
	"Package", "Version", "Architecture", "Multi-Arch", "Essential", "Protected", "Important", "Priority", "Section",
	"Maintainer", "Installed-Size", "Pre-Depends", "Depends", "Conflicts", "Breaks", "Replaces", "Provides", "Source",
}

// index reads the lists that the root's sources name, and that apt has verified.
// Where two have one package, the earlier counts.
func (r root) index(ctx context.Context) (_ *index, err error) {
	out, err := r.run(ctx, "indextargets", "--format", "$(FILENAME)", "Created-By: Packages")
	if err != nil {
		return nil, err
	}
	// Nothing that apt's user wrote leads out of its directory.
	lists, err := os.OpenRoot(r.path("lists"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lists.Close()) }()
	x := newIndex()
	for file := range strings.FieldsSeq(string(out)) {
		name, ok := strings.CutPrefix(file, r.path("lists")+"/")
		if !ok {
			return nil, fmt.Errorf("reading package list %q: it is not among apt's", path.Base(file))
		}
		if err := x.read(lists, name); err != nil {
			return nil, fmt.Errorf("reading package list %s: %w", path.Base(file), err)
		}
	}
	return x, nil
}

func newIndex() *index {
	return &index{packages: map[identity]listed{}, names: map[string]bool{}, provided: map[string]string{}}
}

func (x *index) read(lists *os.Root, name string) error {
	f, err := lists.OpenFile(name, os.O_RDONLY|system.NonBlock, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is not a file")
	}
	return debian.Stanzas(io.LimitReader(f, maxFile), x.add)
}

func (x *index) add(s debian.Stanza) error {
	l, err := newListed(s)
	if err != nil {
		return err
	}
	id := identity{l.deb.Name, l.deb.Version, l.deb.Arch}
	x.names[id.name] = true
	if _, ok := x.packages[id]; !ok {
		x.packages[id] = l
	}
	for relation := range strings.SplitSeq(s.Get("Provides"), ",") {
		// A relation is "NAME" or "NAME (= VERSION)".
		name, _, _ := strings.Cut(strings.TrimSpace(relation), " ")
		if first, ok := x.provided[name]; name != "" && (!ok || id.name < first) {
			x.provided[name] = id.name
		}
	}
	return nil
}

// The forms of names and versions (Debian Policy, 5.6.1, 5.6.7 and 5.6.12; dpkg takes
// capitals, too).
var (
	packageName    = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9+.-]{0,254}$`)
	packageVersion = regexp.MustCompile(`^[0-9][a-zA-Z0-9.+~:-]{0,254}$`)
)

// newListed checks what a lock would hold of a package.
func newListed(s debian.Stanza) (listed, error) {
	deb := recipes.Deb{
		Name: s.Get("Package"), Version: s.Get("Version"), Arch: s.Get("Architecture"),
		File: s.Get("Filename"), SHA256: s.Get("SHA256"),
	}
	if !packageName.MatchString(deb.Name) || !packageVersion.MatchString(deb.Version) || !packageName.MatchString(deb.Arch) {
		return listed{}, fmt.Errorf("package %.100q: no sound name, version or architecture", deb.Name)
	}
	if sum, err := hex.DecodeString(deb.SHA256); err != nil || len(sum) != 32 || strings.ToLower(deb.SHA256) != deb.SHA256 {
		return listed{}, fmt.Errorf("package %s: %q is no sha256", deb.Name, deb.SHA256)
	}
	deb.File = strings.TrimPrefix(deb.File, "./")
	if deb.File == "" || path.Clean(deb.File) != deb.File || path.IsAbs(deb.File) || strings.HasPrefix(deb.File, "../") {
		return listed{}, fmt.Errorf("package %s: file name %q", deb.Name, deb.File)
	}
	kept := make(debian.Stanza, 0, len(listFields))
	for _, f := range s {
		if slices.Contains(listFields, f.Name) {
			kept = append(kept, f)
		}
	}
	return listed{deb: deb, stanza: kept}, nil
}

func (x *index) has(name string) bool { return x.names[name] }

func (x *index) find(id identity) (listed, bool) {
	l, ok := x.packages[id]
	return l, ok
}

// nearest returns the name that was most likely meant: a package that provides
// it, its development package, or one that differs in few letters; or "".
func (x *index) nearest(name string) string {
	if provider, ok := x.provided[name]; ok {
		return provider
	}
	for _, variant := range []string{name + "-dev", "lib" + name + "-dev", "lib" + name, strings.ToLower(name)} {
		if x.names[variant] {
			return variant
		}
	}
	best, least := "", 1+max(1, len(name)/4)
	for other := range x.names {
		if max(len(other)-len(name), len(name)-len(other)) >= least {
			continue
		}
		if d := distance(name, other); d < least || d == least && best != "" && other < best {
			best, least = other, d
		}
	}
	return best
}

// distance counts the letters to insert, delete or replace to turn a into b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
