package install

import (
	"bufio"
	"cmp"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"ampoule/packaging"
	"ampoule/tree"
)

// drift tells how a tree that was read from a release differs from the record's listing, which is
// that of the tree that must be there; nil where it is not.
func (s *site) drift(r record, found *tree.Tree) *Drift {
	if digestOf([]byte(r.Files)) != r.Tree {
		return nil
	}
	want, is := lines(r.Files), lines(string(found.Listing()))
	d := &Drift{Changed: []string{}, Missing: []string{}, Extra: []string{}, Distributions: []DriftedDistribution{}}
	for p, line := range want {
		switch other, there := is[p]; {
		case !there:
			d.Missing = append(d.Missing, p)
		case other != line:
			d.Changed = append(d.Changed, p)
		}
	}
	for p := range is {
		if _, known := want[p]; !known {
			d.Extra = append(d.Extra, p)
		}
	}
	for _, list := range [][]string{d.Changed, d.Missing, d.Extra} {
		slices.Sort(list)
	}
	d.Distributions = s.drifted(r, d)
	return d
}

// infoSuffix ends the name of the directory of a distribution's metadata (PyPA, "Recording
// installed projects").
const infoSuffix = ".dist-info"

// dist is one distribution by its directory's name.
type dist struct{ dir, name, version string }

// distOf finds the metadata directory that a path is in.
func distOf(p string) (dist, bool) {
	for dir := p; dir != "."; dir = path.Dir(dir) {
		base := path.Base(dir)
		if name, version, ok := strings.Cut(strings.TrimSuffix(base, infoSuffix), "-"); ok && strings.HasSuffix(base, infoSuffix) {
			return dist{dir, packaging.NormalName(name), version}, true
		}
	}
	return dist{}, false
}

// drifted names the distributions behind a drift. One whose metadata is not the artifact's was
// installed, replaced or removed; one of whose files one differs is changed.
func (s *site) drifted(r record, d *Drift) []DriftedDistribution {
	was, gone := map[string]dist{}, map[string]dist{}
	for p := range lines(r.Files) {
		if x, ok := distOf(p); ok && x.dir == p {
			was[x.name] = x
		}
	}
	for _, p := range d.Missing {
		if x, ok := distOf(p); ok {
			gone[x.name] = x
		}
	}
	found := map[string]DriftedDistribution{}
	for _, p := range d.Extra {
		x, ok := distOf(p)
		if !ok || x.dir != p {
			continue
		}
		n := DriftedDistribution{Name: x.name, Version: x.version, How: "installed", Installer: s.installerOf(r, x)}
		if old, had := was[x.name]; had {
			n.How, n.Was = "replaced", old.version
		}
		found[x.name] = n
	}
	for _, p := range d.Changed {
		// An installer that puts the same version again changes RECORD or INSTALLER.
		if x, ok := distOf(p); ok && found[x.name].Name == "" {
			found[x.name] = DriftedDistribution{Name: x.name, Version: x.version, Was: x.version, How: "changed", Installer: s.installerOf(r, x)}
		}
	}
	for name, x := range gone {
		if found[name].Name == "" && slices.Contains(d.Missing, x.dir) {
			found[name] = DriftedDistribution{Name: name, Was: x.version, How: "removed"}
		}
	}
	s.owners(r, d, found)
	return slices.SortedFunc(maps.Values(found), func(a, b DriftedDistribution) int { return cmp.Compare(a.Name, b.Name) })
}

// owners finds, by the RECORD files of a release, whose files are changed or missing.
func (s *site) owners(r record, d *Drift, found map[string]DriftedDistribution) {
	differs := map[string]bool{}
	for _, p := range slices.Concat(d.Changed, d.Missing) {
		differs[p] = true
	}
	if len(differs) == 0 {
		return
	}
	for p := range lines(r.Files) {
		x, ok := distOf(p)
		if !ok || path.Base(p) != "RECORD" || found[x.name].Name != "" {
			continue
		}
		site := path.Dir(x.dir)
		for _, name := range recorded(s.openFile(r, p)) {
			if differs[path.Join(site, name)] {
				found[x.name] = DriftedDistribution{Name: x.name, Version: x.version, Was: x.version, How: "changed"}
				break
			}
		}
	}
}

// maxMetadata bounds what is read of a file that anybody may have put there, in bytes.
const maxMetadata = 16 << 20

// openFile reads a file of a release; nothing where it cannot be read.
func (s *site) openFile(r record, p string) io.Reader {
	name := path.Join(r.release(), p)
	info, err := s.releases.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxMetadata {
		return strings.NewReader("")
	}
	raw, err := readSame(s.releases, name, info)
	if err != nil {
		return strings.NewReader("")
	}
	return strings.NewReader(string(raw))
}

// recorded lists the paths of a RECORD.
func recorded(r io.Reader) []string {
	var paths []string
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, _, _ := strings.Cut(lines.Text(), ",")
		if rest, quoted := strings.CutPrefix(lines.Text(), `"`); quoted {
			name, _, _ = strings.Cut(rest, `"`)
		}
		paths = append(paths, name)
	}
	return paths
}

// installerOf is what a distribution's INSTALLER file says.
func (s *site) installerOf(r record, x dist) string {
	raw, err := io.ReadAll(io.LimitReader(s.openFile(r, path.Join(x.dir, "INSTALLER")), 100))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}
