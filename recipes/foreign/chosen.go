package foreign

import (
	"cmp"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/packaging"
)

// choose takes a package of the lock for one that is installed.
func (r *reader) choose(p Package) {
	if len(r.lock.Packages) > maxPackages {
		return
	}
	if !packaging.IsName(p.Name) {
		r.add(p.Place, r.again(), "%q is no name of a distribution", shorten(p.Name))
		return
	}
	p.Name = packaging.NormalName(p.Name)
	if !packaging.IsVersion(p.Version) {
		r.add(p.Place, r.again(), "%s has the version %q, which is none", p.Name, shorten(p.Version))
		return
	}
	r.lock.Packages = append(r.lock.Packages, p)
}

// leaveOut takes a package for first-party code.
func (r *reader) leaveOut(p Package) {
	p.Name = packaging.NormalName(p.Name)
	if !slices.ContainsFunc(r.lock.FirstParty, func(o Package) bool { return o.Name == p.Name }) {
		r.lock.FirstParty = append(r.lock.FirstParty, p)
	}
}

// finish checks what is chosen as a whole.
func (r *reader) finish() {
	if len(r.lock.Packages) > maxPackages {
		r.add(r.start(), "", "%s has more than %d packages", path.Base(r.file), maxPackages)
		return
	}
	byName := func(a, b Package) int { return cmp.Compare(a.Name, b.Name) }
	slices.SortStableFunc(r.lock.Packages, byName)
	slices.SortStableFunc(r.lock.FirstParty, byName)
	r.merge()
	r.checkHashes()
	r.otherRegistries()
	slices.SortStableFunc(r.faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	r.faults = slices.Compact(r.faults)
}

// merge leaves one entry of each name. Two that say the same, such as those of a
// distribution with and without an extra, are one.
func (r *reader) merge() {
	var merged []Package
	for _, p := range r.lock.Packages {
		if len(merged) == 0 || merged[len(merged)-1].Name != p.Name {
			merged = append(merged, p)
			continue
		}
		first := &merged[len(merged)-1]
		switch {
		case !packaging.SameVersion(first.Version, p.Version):
			r.add(p.Place, r.again()+" with requirements that leave one of them", "%s is locked as %s (line %d) and %s, both for Python %s on linux/amd64",
				p.Name, first.Version, first.Line, p.Version, r.query.Python)
		case publicAddress(first.Registry) != publicAddress(p.Registry):
			r.add(p.Place, "let it come from one index, and "+r.again(), "%s comes from two indexes: %s (line %d) and %s",
				p.Name, publicAddress(first.Registry), first.Line, publicAddress(p.Registry))
		}
		first.Hashes = append(first.Hashes, p.Hashes...)
	}
	r.lock.Packages = merged
}

// strongHash is a hash that proves what a file is.
var strongHash = regexp.MustCompile(`^(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$`)

// anyHash is a hash of any kind.
var anyHash = regexp.MustCompile(`^[a-z0-9_]+:[0-9a-f]+$`)

// checkHashes holds all packages to hashes where one has some.
func (r *reader) checkHashes() {
	total := 0
	isStrong := func(h string) bool { return strings.HasPrefix(h, "sha256:") }
	withHashes := -1
	for i := range r.lock.Packages {
		p := &r.lock.Packages[i]
		total += len(p.Hashes)
		had := len(p.Hashes)
		for _, h := range p.Hashes {
			if !anyHash.MatchString(h) {
				r.add(p.Place, r.again(), "%s has the hash %q, which is none", p.Name, shorten(h))
			}
		}
		p.Hashes = slices.DeleteFunc(p.Hashes, func(h string) bool { return !strongHash.MatchString(h) })
		slices.Sort(p.Hashes)
		p.Hashes = slices.Compact(p.Hashes)
		if had > 0 && !slices.ContainsFunc(p.Hashes, isStrong) {
			r.add(p.Place, r.again(), "%s has no sha256 among its hashes", p.Name)
		}
		if len(p.Hashes) > 0 && withHashes < 0 {
			withHashes = i
		}
	}
	if total > maxHashes {
		r.add(r.start(), "", "%s has more than %d hashes", path.Base(r.file), maxHashes)
	}
	if withHashes < 0 {
		return
	}
	for _, p := range r.lock.Packages {
		if len(p.Hashes) == 0 {
			first := r.lock.Packages[withHashes]
			r.add(p.Place, r.again()+"; what its index has no hash of cannot be locked", "%s has no hashes, although %s has some (line %d)", p.Name, first.Name, first.Line)
		}
	}
}

// otherRegistries leaves the registry of those packages alone that come from another one
// than most. Which one most come from is the public index or what stands in its place: an
// address says nothing of that.
func (r *reader) otherRegistries() {
	count := map[string]int{}
	most := ""
	for _, p := range r.lock.Packages {
		registry := publicAddress(p.Registry)
		count[registry]++
		if count[registry] > count[most] {
			most = registry
		}
	}
	for i := range r.lock.Packages {
		p := &r.lock.Packages[i]
		switch registry := publicAddress(p.Registry); registry {
		case most:
			p.Registry = ""
		case "":
			p.Registry = "the default index"
		default:
			p.Registry = registry
		}
	}
}

// publicAddress gives an address without credentials, or a name as it is.
func publicAddress(registry string) string {
	if !strings.Contains(registry, "://") {
		return registry
	}
	u, err := url.Parse(registry)
	if err != nil {
		return "an index whose address is none"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return strings.TrimSuffix(u.String(), "/")
}
