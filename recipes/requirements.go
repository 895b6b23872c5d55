package recipes

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits on requirements files, over all that a recipe reads.
const (
	maxRequirementFiles = 100
	maxRequirementBytes = 16 << 20
	maxRequirements     = 10_000
)

// RequirementSet is what a recipe requires.
type RequirementSet struct {
	// Requirements are the requirements and constraints, in the order of reading.
	Requirements []Requirement
	// RequireHashes is set when a file asks for hashes, or any requirement has some:
	// then each has, and everything that is installed must meet one of its own.
	RequireHashes bool
	// File is the requirements file that the recipe names, relative to the recipe's
	// directory, with slashes; empty when the recipe has a list or nothing.
	File string
	// Relock is the command that writes File anew, where it is the lock of another tool:
	// then nothing but what it pins may be installed. It is empty otherwise.
	Relock string
	// FirstParty are the project itself and other code of the same repository that File
	// names. They are no requirements: no index has them.
	FirstParty []FirstParty
	// Files are the bytes of each file read, File and those that it includes, by
	// path relative to the recipe's directory, with slashes.
	Files map[string][]byte
	// Patches are the bytes of the patches that the recipe names, by path as it is
	// written there.
	Patches map[string][]byte
	// Projects are what the source directories of the recipe's app say of themselves, the
	// application's first, the members' in the order of their directories. What they
	// require is among Requirements.
	Projects []Project
	// Groups are what each dependency group requires, by name; nil without one. They have
	// the recipe's patches, and no groups.
	Groups map[string]*RequirementSet
}

// Names reports whether a requirement has a normalised name; constraints require nothing.
func (s *RequirementSet) Names(name string) bool {
	return slices.ContainsFunc(s.Requirements, func(r Requirement) bool { return r.Name == name && !r.Constraint })
}

// ReadRequirements reads what the recipe requires: its list, or the requirements
// file that it names with everything that this includes, or the lock of another tool, and
// its patches. Files are in pip's format; what would decide in the recipe's place, such as
// --no-binary, is refused. So are options that name an index, unless hashes say what is
// installed. Whatever is wrong is told at once, as [Faults]; every
// other error is of reading files.
func ReadRequirements(r *Recipe) (*RequirementSet, error) {
	reader := &requirementsReader{recipe: r, own: ownLines{recipe: r}, set: &RequirementSet{Files: map[string][]byte{}, Patches: map[string][]byte{}}, read: map[inclusion]bool{}}
	if r.namesFiles() {
		sources, err := openSources(r)
		if err != nil {
			return nil, fmt.Errorf("opening the recipe's directory: %w", err)
		}
		defer sources.close()
		reader.root = sources
	}
	reader.patches()
	reader.requirements(r.Requirements, "requirements")
	reader.projects()
	reader.checkHashes()
	reader.checkIndexes()
	for _, name := range slices.Sorted(maps.Keys(r.DependencyGroups)) {
		reader.group(name)
	}
	if err := reader.faults.Err(); err != nil {
		return nil, err
	}
	return reader.set, nil
}

// requirements reads what stands at a path of the recipe.
func (r *requirementsReader) requirements(what Requirements, keys ...string) {
	if what.File != "" {
		r.set.File = path.Clean(what.File)
		r.begin(what, r.recipe.At(child(keys, "file")...))
	}
	r.list(what.List, keys)
	r.faults = append(r.faults, r.own.told()...)
}

// group reads what a dependency group requires.
func (r *requirementsReader) group(name string) {
	own := &requirementsReader{
		recipe: r.recipe, own: ownLines{recipe: r.recipe}, root: r.root, bytes: r.bytes, read: map[inclusion]bool{},
		set: &RequirementSet{Files: map[string][]byte{}, Patches: r.set.Patches},
	}
	own.groupRequirements(name, nil)
	own.checkHashes()
	own.checkIndexes()
	r.bytes, r.faults = own.bytes, append(r.faults, own.faults...)
	if r.set.Groups == nil {
		r.set.Groups = map[string]*RequirementSet{}
	}
	r.set.Groups[name] = own.set
}

// groupRequirements reads what a group of the recipe requires, with the groups that it includes.
// Path are the groups that led here.
func (r *requirementsReader) groupRequirements(name string, path []string) {
	group := r.recipe.DependencyGroups[name]
	path = append(slices.Clip(path), name)
	file := r.set.File
	if isGroupsFile(group.File) {
		r.groupsFile(name, group)
	} else {
		r.requirements(group, groupsKey, name)
	}
	if len(path) > 1 {
		r.set.File = file // it is the including group's own
	}
	for i, include := range group.Include {
		_, known := r.recipe.DependencyGroups[include]
		at := r.recipe.At(groupsKey, name, includeKey, strconv.Itoa(i))
		switch {
		case slices.Contains(path, include):
			r.add(at, fmt.Sprintf("%s includes itself: %s", include, strings.Join(append(path, include), " → ")), "remove one of the includes")
		case !known:
			r.add(at, "there is no dependency group "+include+" to include", suggestion(include, slices.Sorted(maps.Keys(r.recipe.DependencyGroups)), "the groups"))
		default:
			r.groupRequirements(include, path)
		}
	}
}

// namesFiles reports whether there are files to read beside the recipe.
func (r *Recipe) namesFiles() bool {
	inGroup := func(q Requirements) bool { return q.File != "" }
	return r.Requirements.File != "" || slices.ContainsFunc(slices.Collect(maps.Values(r.DependencyGroups)), inGroup) ||
		slices.ContainsFunc(slices.Collect(maps.Values(r.Packages)), func(p Packages) bool { return len(p.Patches) > 0 })
}

// patches reads the patches of every wheel.
func (r *requirementsReader) patches() {
	for _, name := range slices.Sorted(maps.Keys(r.recipe.Packages)) {
		for i, file := range r.recipe.Packages[name].Patches {
			if data, ok := r.text(file, r.recipe.At("packages", name, "patches", strconv.Itoa(i))); ok {
				r.set.Patches[file] = data
			}
		}
	}
}

// inclusion is a file in one of its roles.
type inclusion struct {
	file       string
	constraint bool
}

type requirementsReader struct {
	recipe *Recipe
	root   fs.FS
	set    *RequirementSet
	read   map[inclusion]bool
	bytes  int
	faults Faults
	// own are lines that require first-party code by its path.
	own ownLines
	// indexes are the options that say where files come from.
	indexes Faults
}

func (r *requirementsReader) add(pos Position, what, hint string) {
	r.faults = append(r.faults, pos.fault(what, hint))
}

func (r *requirementsReader) list(texts, keys []string) {
	for i, text := range texts {
		pos := r.recipe.At(child(keys, strconv.Itoa(i))...)
		requirement, err := parseRequirement(text)
		if err != nil {
			if !r.own.take(text, pos) {
				r.add(pos, err.what, err.hint)
			}
			continue
		}
		requirement.Position = pos
		r.set.Requirements = append(r.set.Requirements, requirement)
	}
}

// file reads one file; from is where it is named and stack the files that led here.
func (r *requirementsReader) file(in inclusion, from Position, stack []string) {
	switch {
	case slices.Contains(stack, in.file):
		r.add(from, fmt.Sprintf("%s includes itself: %s", in.file, strings.Join(append(stack, in.file), " → ")), "remove one of the includes")
		return
	case r.read[in]:
		return
	case len(r.read) == maxRequirementFiles:
		r.add(from, fmt.Sprintf("more than %d requirements files", maxRequirementFiles), "")
		return
	}
	r.read[in] = true
	data, ok := r.text(in.file, from)
	if !ok {
		return
	}
	r.set.Files[in.file] = data
	shown := filepath.Join(filepath.Dir(r.recipe.File()), filepath.FromSlash(in.file))
	for _, line := range logicalLines(strings.TrimPrefix(string(data), "\ufeff")) {
		r.line(in, line.text, Position{File: shown, Line: line.number, Column: line.column}, append(slices.Clip(stack), in.file))
	}
}

// text gives a file's bytes, or tells why it cannot be used.
func (r *requirementsReader) text(file string, from Position) (data []byte, ok bool) {
	data, err := r.content(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.add(from, file+" does not exist", "names are relative to the file that they stand in")
		return nil, false
	case err != nil:
		r.add(from, fmt.Sprintf("%s cannot be read: %v", file, err), "a recipe reads files of its own directory only")
		return nil, false
	}
	r.bytes += len(data)
	if r.bytes > maxRequirementBytes {
		r.add(from, fmt.Sprintf("the requirements files have more than %d bytes", maxRequirementBytes), "")
		return nil, false
	}
	if !utf8.Valid(data) {
		r.add(from, file+" is not UTF-8 text", "")
		return nil, false
	}
	return data, true
}

func (r *requirementsReader) content(file string) ([]byte, error) {
	if data, ok := r.set.Files[file]; ok {
		return data, nil
	}
	f, err := r.root.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("not a regular file"))
	}
	return io.ReadAll(io.LimitReader(f, maxRequirementBytes+1))
}

type logicalLine struct {
	text string
	// number and column are where its first word stands, last is the line that it ends in.
	number, column, last int
}

var comment = regexp.MustCompile(`(^|\s)#.*$`)

// logicalLines joins continued lines and drops comments and empty lines, as pip
// does: a backslash at the end continues a line, unless the line is a comment.
func logicalLines(text string) []logicalLine {
	var lines []logicalLine
	var joined strings.Builder
	start, column := 0, 0
	number := 0
	for physical := range strings.SplitSeq(text, "\n") {
		number++
		physical = strings.TrimSuffix(physical, "\r")
		words := strings.TrimLeft(physical, " \t\f")
		if start == 0 && words != "" {
			start, column = number, utf8.RuneCountInString(physical)-utf8.RuneCountInString(words)+1
		}
		body, continued := strings.CutSuffix(physical, `\`)
		if isComment := comment.MatchString(physical); isComment || !continued {
			if strings.HasPrefix(physical, "#") {
				physical = " " + physical
			}
			joined.WriteString(physical)
			if whole := strings.TrimSpace(comment.ReplaceAllString(joined.String(), "")); whole != "" {
				lines = append(lines, logicalLine{whole, start, column, number})
			}
			joined.Reset()
			start = 0
			continue
		}
		joined.WriteString(body)
	}
	if whole := strings.TrimSpace(joined.String()); whole != "" {
		lines = append(lines, logicalLine{whole, start, column, number})
	}
	return lines
}

func (r *requirementsReader) line(in inclusion, text string, pos Position, stack []string) {
	if r.own.take(text, pos) {
		return
	}
	if strings.HasPrefix(text, "-") {
		r.option(in, text, pos, stack)
		return
	}
	spec, hashes, err := splitHashes(text)
	if err == nil {
		var requirement Requirement
		if requirement, err = parseRequirement(spec); err == nil {
			requirement.Hashes, requirement.Constraint, requirement.Position = hashes, in.constraint, pos
			err = r.requirement(requirement)
		}
	}
	if err != nil {
		r.add(pos, err.what, err.hint)
	}
}

func (r *requirementsReader) requirement(requirement Requirement) *specError {
	if requirement.Constraint && strings.HasPrefix(requirement.Spec, requirement.Name+"[") {
		return &specError{"a constraint has extras", "constraints limit versions only; require the extra instead"}
	}
	if len(r.set.Requirements) == maxRequirements {
		return &specError{fmt.Sprintf("more than %d requirements", maxRequirements), ""}
	}
	if !slices.ContainsFunc(r.set.Requirements, func(other Requirement) bool {
		return other.Spec == requirement.Spec && other.Constraint == requirement.Constraint && slices.Equal(other.Hashes, requirement.Hashes)
	}) {
		r.set.Requirements = append(r.set.Requirements, requirement)
	}
	return nil
}

// option reads a line that begins with a dash.
func (r *requirementsReader) option(in inclusion, text string, pos Position, stack []string) {
	name, value := cutOption(text)
	switch name {
	case "-r", "--requirement", "-c", "--constraint":
		r.include(in, name, value, pos, stack)
	case "--require-hashes":
		if value != "" {
			r.add(pos, "--require-hashes takes no value", "")
		}
		r.set.RequireHashes = true
	case "-i", "--index-url", "--extra-index-url", "--no-index", "-f", "--find-links", "--trusted-host":
		what, hint := refusedOption(name)
		r.indexes = append(r.indexes, pos.fault(what, hint+"; with hashes for all requirements, such a line decides nothing and may stay"))
	default:
		what, hint := refusedOption(name)
		r.add(pos, what, hint)
	}
}

// cutOption splits "-rFILE", "-r FILE", "--name=VALUE" and "--name VALUE".
func cutOption(text string) (name, value string) {
	end := strings.IndexAny(text, " \t=")
	if !strings.HasPrefix(text, "--") && (end < 0 || end > 2) {
		end = min(2, len(text))
	}
	if end < 0 {
		return text, ""
	}
	value = text[end:]
	if strings.HasPrefix(text, "--") {
		value = strings.TrimPrefix(value, "=")
	}
	value = strings.TrimSpace(value)
	if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		value = value[1 : n-1]
	}
	return text[:end], value
}

func (r *requirementsReader) include(in inclusion, option, value string, pos Position, stack []string) {
	target := path.Join(path.Dir(in.file), value)
	constraint := option == "-c" || option == "--constraint"
	switch {
	case value == "":
		r.add(pos, option+" names no file", "")
	case urlStart.MatchString(value):
		r.add(pos, option+" names a URL", "keep a copy of the file beside the recipe")
	case strings.Contains(value, "${"):
		r.add(pos, option+" takes a value from the environment", "write the file's name")
	case !localPath(value) && path.IsAbs(value), !r.recipe.reaches(target):
		r.add(pos, value+" is outside of the recipe's directory", "a recipe reads files of its own directory only")
	case in.constraint && !constraint:
		r.add(pos, "a constraints file includes requirements", "include constraints with -c, or move the line into a requirements file")
	default:
		r.file(inclusion{target, constraint}, pos, stack)
	}
}

// refusedOption tells why pip's option is not honoured, and where its choice is made.
func refusedOption(name string) (what, hint string) {
	what = name + " is not honoured"
	switch name {
	case "-i", "--index-url", "--extra-index-url", "--no-index", "-f", "--find-links", "--trusted-host":
		return what, "remove it; which hosts serve an index is configuration of Ampoule, never of a recipe"
	case "--no-binary", "--only-binary", "--prefer-binary":
		return what, "remove it; native code is always compiled, and the recipe's `pure` names the exceptions"
	case "--pre":
		return what, "write the pre-release into the requirement's version: NAME>=2.0rc1"
	case "-e", "--editable":
		return what, "require the distribution by name and version"
	case "--use-feature", "--config-settings", "--global-option", "--install-option":
		return what, "remove it; a recipe says how its wheels are built"
	}
	return name + " is no option that requirements may have", "in a file there are -r, -c, --require-hashes and, after a requirement, --hash"
}

var (
	requirementOption = regexp.MustCompile(`\s--?[a-z]`)
	hashOption        = regexp.MustCompile(`^--hash(?:=|\s+)(\S+)\s*`)
	hashText          = regexp.MustCompile(`^(sha256|sha384|sha512):([0-9a-f]+)$`)
)

// hashDigits are the hexadecimal digits of each algorithm that is strong enough.
var hashDigits = map[string]int{"sha256": 64, "sha384": 96, "sha512": 128}

// splitHashes takes the --hash options off a requirement.
func splitHashes(text string) (spec string, hashes []string, err *specError) {
	at := requirementOption.FindStringIndex(text)
	if at == nil {
		return text, nil, nil
	}
	rest := strings.TrimSpace(text[at[0]:])
	for rest != "" {
		m := hashOption.FindStringSubmatch(rest)
		if m == nil {
			name, _ := cutOption(rest)
			what, hint := refusedOption(name)
			return "", nil, &specError{what, hint}
		}
		parts := hashText.FindStringSubmatch(m[1])
		if parts == nil || len(parts[2]) != hashDigits[parts[1]] {
			return "", nil, &specError{fmt.Sprintf("%q is no sha256", shorten(m[1])), "write --hash=sha256:… with 64 lower-case digits; weaker hashes prove nothing"}
		}
		hashes = append(hashes, m[1])
		rest = rest[len(m[0]):]
	}
	if !slices.ContainsFunc(hashes, func(h string) bool { return strings.HasPrefix(h, "sha256:") }) {
		return "", nil, &specError{"none of the hashes is a sha256", "add the files' sha256: `pip hash FILE` prints it"}
	}
	slices.Sort(hashes)
	return strings.TrimSpace(text[:at[0]]), slices.Compact(hashes), nil
}

// checkHashes holds every requirement to hashes once any has some (pip's
// hash-checking mode).
func (r *requirementsReader) checkHashes() {
	first := slices.IndexFunc(r.set.Requirements, func(q Requirement) bool { return len(q.Hashes) > 0 })
	if first < 0 && !r.set.RequireHashes {
		return
	}
	r.set.RequireHashes = true
	hint := "a file asks for them with --require-hashes"
	if first >= 0 {
		hint = fmt.Sprintf("%s has some (%s); give them to all or to none", r.set.Requirements[first].Name, r.set.Requirements[first].Position)
	}
	for _, q := range r.set.Requirements {
		// What first-party code requires has its hashes on a line of its name, which locking
		// looks for.
		if len(q.Hashes) == 0 && !q.Constraint && q.Project == "" {
			r.add(q.Position, q.Name+" has no hashes", hint)
		}
	}
}
