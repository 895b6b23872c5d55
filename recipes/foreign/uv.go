package foreign

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"ampoule/packaging"
)

// uvVersion and uvRevision are the newest form of uv.lock that is known.
const (
	uvVersion  = 1
	uvRevision = 5
)

// uvLock is a uv.lock.
type uvLock struct {
	Version  int         `toml:"version"`
	Revision int         `toml:"revision"`
	Requires string      `toml:"requires-python"`
	Packages []uvPackage `toml:"package"`
	Manifest struct {
		Members []string `toml:"members"`
	} `toml:"manifest"`
}

type uvPackage struct {
	Name    string   `toml:"name"`
	Version string   `toml:"version"`
	Source  uvSource `toml:"source"`
	// Markers say in which forks of the resolution the package is.
	Markers      []string            `toml:"resolution-markers"`
	Dependencies []uvEdge            `toml:"dependencies"`
	Optional     map[string][]uvEdge `toml:"optional-dependencies"`
	Groups       map[string][]uvEdge `toml:"dev-dependencies"`
	Sdist        *uvFile             `toml:"sdist"`
	Wheels       []uvFile            `toml:"wheels"`
	Metadata     struct {
		Requires []uvRequirement            `toml:"requires-dist"`
		Extras   []string                   `toml:"provides-extras"`
		Groups   map[string][]uvRequirement `toml:"requires-dev"`
	} `toml:"metadata"`
}

// uvSource is where a package comes from: exactly one is set.
type uvSource struct {
	Registry  string `toml:"registry"`
	Git       string `toml:"git"`
	URL       string `toml:"url"`
	Path      string `toml:"path"`
	Directory string `toml:"directory"`
	Editable  string `toml:"editable"`
	Virtual   string `toml:"virtual"`
}

// uvEdge is a dependency that was resolved. Version and source are written where several
// packages have the name.
type uvEdge struct {
	Name    string    `toml:"name"`
	Version string    `toml:"version"`
	Source  *uvSource `toml:"source"`
	Marker  string    `toml:"marker"`
	Extra   []string  `toml:"extra"`
}

// uvRequirement is a dependency as the project required it.
type uvRequirement struct {
	Name      string   `toml:"name"`
	Extras    []string `toml:"extras"`
	Specifier string   `toml:"specifier"`
	Marker    string   `toml:"marker"`
	uvSource
}

type uvFile struct {
	Hash string `toml:"hash"`
}

// local gives the directory of a package whose source is one: "." is the project itself.
func (s uvSource) local() (dir string, ok bool) {
	for _, dir := range []string{s.Editable, s.Virtual, s.Directory} {
		if dir != "" {
			return dir, true
		}
	}
	return "", false
}

// uvReader walks a uv.lock from the project to all that it depends on here.
type uvReader struct {
	*reader
	lock *uvLock
	doc  *document
	// byName has the packages of each name.
	byName map[string][]int
	// active are the extras and groups that are on, as markers of conflicts name them.
	active []string
	// seen are packages with an extra, or a group, whose dependencies were followed.
	seen   map[uvNode]bool
	chosen map[int]bool
}

// uvNode is a package, with the extra or the group that asks for more.
type uvNode struct {
	index        int
	extra, group string
}

func (r *reader) uv(data []byte) error {
	u := &uvReader{reader: r, lock: &uvLock{}, byName: map[string][]int{}}
	var form struct {
		Version  int `toml:"version"`
		Revision int `toml:"revision"`
	}
	// What another version holds elsewhere is of no interest.
	doc, ok := r.toml(r.file, data, &form)
	if !ok {
		return nil
	}
	u.doc = doc
	if form.Version != uvVersion || form.Revision > uvRevision || form.Revision < 0 {
		wrong := "version"
		if form.Version == uvVersion {
			wrong = "revision"
		}
		r.unknownFormat(u.doc.find(wrong), "version", fmt.Sprintf("%d, revision %d", form.Version, form.Revision), fmt.Sprintf("version %d up to revision %d", uvVersion, uvRevision))
		return nil
	}
	if _, ok := r.toml(r.file, data, u.lock); !ok {
		return nil
	}
	r.forPython(u.doc.find("requires-python"), u.lock.Requires)
	for i, p := range u.lock.Packages {
		name := packaging.NormalName(p.Name)
		u.byName[name] = append(u.byName[name], i)
	}
	root, ok, err := u.root()
	if !ok || err != nil {
		return err
	}
	starts, ok := u.starts(root)
	if !ok {
		return nil
	}
	u.walkAll(starts)
	if len(r.faults) == 0 {
		if err := u.checkFresh(root); err != nil {
			return err
		}
	}
	u.take()
	return nil
}

// members are the packages of the workspace, by name.
func (u *uvReader) members() map[string]int {
	members := map[string]int{}
	for i, p := range u.lock.Packages {
		dir, ok := p.Source.local()
		if ok && (dir == "." || slices.Contains(u.lock.Manifest.Members, p.Name)) {
			members[packaging.NormalName(p.Name)] = i
		}
	}
	return members
}

// root finds the member whose requirements are meant.
func (u *uvReader) root() (index int, ok bool, err error) {
	members := u.members()
	names := slices.Sorted(maps.Keys(members))
	if name := u.query.Package; name != "" {
		index, ok = members[packaging.NormalName(name)]
		if !ok {
			u.unknown(u.start(), "package", name, names)
		}
		return index, ok, nil
	}
	for _, name := range names {
		if dir, _ := u.lock.Packages[members[name]].Source.local(); dir == "." {
			return members[name], true, nil
		}
	}
	if len(names) > 0 {
		u.add(u.start(), fmt.Sprintf("say which member is meant:\nrequirements: {file: %s, package: %s}\n%s", u.file, names[0], u.format.has("package", names)),
			"%s is of a workspace whose root is no project", path.Base(u.file))
		return 0, false, nil
	}
	p, err := u.project(u.beside("pyproject.toml"))
	if err != nil {
		return 0, false, err
	}
	what := "it has no package that is the project itself"
	if p != nil && p.Project.Name != "" {
		what = fmt.Sprintf("the project %s is not in it", p.Project.Name)
	}
	u.stale(u.start(), "its project", what)
	return 0, false, nil
}

// starts gives what is asked for: the root, its extras and its groups.
func (u *uvReader) starts(root int) (starts []uvNode, ok bool) {
	p := u.lock.Packages[root]
	at := u.doc.item("package", root)
	starts = []uvNode{{index: root}}
	extras := slices.Concat(slices.Collect(maps.Keys(p.Optional)), p.Metadata.Extras)
	for _, extra := range u.query.Extras {
		if !slices.Contains(extras, extra) {
			slices.Sort(extras)
			u.unknown(at, "extra", extra, slices.Compact(extras))
			return nil, false
		}
		starts = append(starts, uvNode{index: root, extra: extra})
	}
	groups := slices.Concat(slices.Collect(maps.Keys(p.Groups)), slices.Collect(maps.Keys(p.Metadata.Groups)))
	for _, group := range u.groups() {
		at := slices.IndexFunc(groups, func(g string) bool { return packaging.NormalName(g) == packaging.NormalName(group) })
		if at < 0 {
			slices.Sort(groups)
			u.unknown(u.doc.item("package", root), "group", group, slices.Compact(groups))
			return nil, false
		}
		starts = append(starts, uvNode{index: root, group: groups[at]})
	}
	return starts, true
}

// walkAll follows all dependencies. An extra that is met on the way can make markers of
// conflicts true: then it begins anew.
func (u *uvReader) walkAll(starts []uvNode) {
	for {
		before := len(u.active)
		u.seen, u.chosen = map[uvNode]bool{}, map[int]bool{}
		u.walk(slices.Clone(starts))
		if len(u.active) == before || len(u.faults) > 0 {
			return
		}
	}
}

func (u *uvReader) walk(nodes []uvNode) {
	for len(nodes) > 0 {
		node := nodes[len(nodes)-1]
		nodes = nodes[:len(nodes)-1]
		if u.seen[node] {
			continue
		}
		u.seen[node] = true
		u.chosen[node.index] = true
		p := u.lock.Packages[node.index]
		edges := p.Dependencies
		switch {
		case node.extra != "":
			edges = p.Optional[node.extra]
			u.activate("extra", p.Name, node.extra)
			nodes = append(nodes, uvNode{index: node.index})
		case node.group != "":
			edges = p.Groups[node.group]
			u.activate("group", p.Name, node.group)
		}
		for _, e := range edges {
			nodes = append(nodes, u.follow(node.index, e)...)
		}
	}
}

// activate turns an extra or a group on for markers of conflicts. uv spells its name
// KIND-LENGTH-PACKAGE-NAME, where the length is that of the package's name.
func (u *uvReader) activate(kind, name, what string) {
	full := packaging.NormalName(fmt.Sprintf("%s-%d-%s-%s", kind, len(name), name, what))
	if !slices.Contains(u.active, full) {
		u.active = append(u.active, full)
	}
}

// follow gives where a dependency leads to.
func (u *uvReader) follow(from int, e uvEdge) []uvNode {
	at := u.doc.item("package", from)
	if !u.holds(at, e.Marker, u.active, nil) {
		return nil
	}
	found := slices.DeleteFunc(slices.Clone(u.byName[packaging.NormalName(e.Name)]), func(i int) bool {
		p := u.lock.Packages[i]
		return e.Version != "" && p.Version != e.Version || e.Source != nil && p.Source != *e.Source
	})
	if len(found) > 1 {
		found = slices.DeleteFunc(found, func(i int) bool { return !u.isInFork(i) })
	}
	switch len(found) {
	case 0:
		u.add(at, u.again(), "%s depends on %s, which is not in the lock", u.lock.Packages[from].Name, shorten(e.Name))
		return nil
	case 1:
	default:
		second := u.lock.Packages[found[1]]
		u.add(u.doc.item("package", found[1]), u.again(), "%s is locked as %s and %s, and nothing says which is for Python %s on linux/amd64",
			e.Name, u.lock.Packages[found[0]].Version, second.Version, u.query.Python)
		return nil
	}
	nodes := []uvNode{{index: found[0]}}
	for _, extra := range e.Extra {
		nodes = append(nodes, uvNode{index: found[0], extra: extra})
	}
	return nodes
}

// isInFork reports whether a package is in the fork of the resolution that is for here.
func (u *uvReader) isInFork(i int) bool {
	markers := u.lock.Packages[i].Markers
	return len(markers) == 0 || slices.ContainsFunc(markers, func(m string) bool { return u.holds(u.doc.item("package", i), m, u.active, nil) })
}

// take chooses the packages that were reached.
func (u *uvReader) take() {
	members := u.members()
	for _, i := range slices.Sorted(maps.Keys(u.chosen)) {
		p := u.lock.Packages[i]
		at := u.doc.item("package", i)
		one := Package{Name: p.Name, Version: p.Version, Registry: p.Source.Registry, Place: at}
		for _, f := range p.Wheels {
			one.Hashes = append(one.Hashes, f.Hash)
		}
		if p.Sdist != nil {
			one.Hashes = append(one.Hashes, p.Sdist.Hash)
		}
		one.Hashes = slices.DeleteFunc(one.Hashes, func(h string) bool { return h == "" })
		if member, ok := members[packaging.NormalName(p.Name)]; ok && member == i {
			u.leaveOut(one)
			continue
		}
		if u.refuseSource(at, p) {
			continue
		}
		u.choose(one)
	}
}

// refuseSource tells of a package that no index has.
func (u *uvReader) refuseSource(at Place, p uvPackage) bool {
	dir, isLocal := p.Source.local()
	switch {
	case p.Source.Git != "":
		u.refuse(at, p.Name, "a git repository", hintRelease)
	case p.Source.URL != "":
		u.refuse(at, p.Name, "a URL", hintRelease)
	case p.Source.Path != "":
		u.refuse(at, p.Name, "the file "+shorten(p.Source.Path), hintRelease)
	case isLocal:
		u.refuse(at, p.Name, "the directory "+shorten(dir), hintMember)
	case p.Source.Registry == "":
		u.add(at, u.again(), "%s has no source", shorten(p.Name))
	default:
		return false
	}
	return true
}

// checkFresh compares what the members required when the lock was made with what they
// require now.
func (u *uvReader) checkFresh(root int) error {
	for name, i := range u.members() {
		if !u.chosen[i] {
			continue
		}
		dir, _ := u.lock.Packages[i].Source.local()
		file := path.Clean(u.beside(dir + "/pyproject.toml"))
		if !isBelow(file) {
			u.refuse(u.doc.item("package", i), name, "the directory "+shorten(dir)+", outside of the recipe's", "keep the recipe beside the workspace's root")
			continue
		}
		p, err := u.project(file)
		if err != nil {
			return err
		}
		if p == nil {
			continue
		}
		if why := u.compare(p, u.lock.Packages[i], i == root); why != "" {
			u.stale(u.doc.find("package", strconv.Itoa(i)), file, why)
		}
	}
	return nil
}

// isBelow reports whether a clean path stays below where it starts.
func isBelow(file string) bool {
	return !path.IsAbs(file) && file != ".." && !strings.HasPrefix(file, "../")
}

func (u *uvReader) compare(p *project, locked uvPackage, isRoot bool) string {
	if p.Project.Name == "" || slices.Contains(p.Project.Dynamic, "dependencies") || slices.Contains(p.Project.Dynamic, "optional-dependencies") {
		return ""
	}
	if name := packaging.NormalName(p.Project.Name); name != packaging.NormalName(locked.Name) {
		return fmt.Sprintf("it has the project %s, not %s", locked.Name, name)
	}
	own := p.Tool.UV.Sources
	if why := differ(u.wishes(p.Project.Dependencies, own), u.locked(locked.Metadata.Requires, "")); why != "" {
		return why
	}
	if !isRoot {
		return ""
	}
	for _, extra := range u.query.Extras {
		for name, texts := range p.Project.Optional {
			if packaging.NormalName(name) != extra || u.includesItself(p, texts) {
				continue
			}
			if why := differ(u.wishes(texts, own), u.locked(locked.Metadata.Requires, extra)); why != "" {
				return why
			}
		}
	}
	for _, group := range u.groups() {
		var requirements []uvRequirement
		for name, all := range locked.Metadata.Groups {
			if packaging.NormalName(name) == packaging.NormalName(group) {
				requirements = all
			}
		}
		if why := differ(u.wishes(p.group(group), own), u.locked(requirements, "")); why != "" {
			return why
		}
	}
	return ""
}

// includesItself reports whether an extra is made of others of the project: uv may have
// their requirements in its place.
func (u *uvReader) includesItself(p *project, texts []string) bool {
	return slices.ContainsFunc(texts, func(text string) bool {
		return packaging.NormalName(packaging.RequiredName(text)) == packaging.NormalName(p.Project.Name)
	})
}

// locked gives what a package required when the lock was made, for one extra or none.
func (u *uvReader) locked(all []uvRequirement, extra string) []wish {
	var wishes []wish
	for _, q := range all {
		m, err := packaging.ParseLockMarker(q.Marker)
		if q.Marker != "" && err != nil {
			continue
		}
		asks := err == nil && m.AsksForExtra()
		if asks != (extra != "") || err == nil && !m.HoldsIn(u.env, []string{extra}, nil) {
			continue
		}
		isOwn := q.uvSource != (uvSource{}) && q.Registry == ""
		wishes = append(wishes, newWish(q.Name, q.Extras, q.Specifier, isOwn))
	}
	return sortWishes(wishes)
}
