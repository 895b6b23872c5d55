package survey

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/audit"
	"ampoule/tree"
)

// The wheels that pip built and keeps, what uv keeps, and of that what it built.
var (
	builtByPip = regexp.MustCompile(`/wheels/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{2}/`)
	cachedByUv = regexp.MustCompile(`/(?:archive|wheels|sdists|built-wheels)-v\d+/`)
	builtByUv  = regexp.MustCompile(`/(?:sdists|built-wheels)-v\d+/`)
)

// What may stand in a command that a person copies: a distribution, with its version or
// without, and a requirement, in quotes.
var (
	pinned   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+!-]*(==[A-Za-z0-9][A-Za-z0-9._+!-]*)?$`)
	required = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9 ,.*+!<>=~-]*$`)
)

// inDownloads reports whether a unit is in pip's cache of downloads.
func (u *Unit) inDownloads() bool { return downloads.MatchString(u.Path) }

// fromCache reports whether a unit is in a cache: it is there for whatever interpreter.
func (u *Unit) fromCache() bool {
	return u.inDownloads() || builtByPip.MatchString(u.Path) || cachedByUv.MatchString(u.Path+"/")
}

// remedy is what helps against some of what is refused.
type remedy struct {
	// checks are those that found it, distributions those that it is in, NAME VERSION.
	checks, distributions []string
	cure
	// requirements are those that are not there.
	requirements []string
	// file is the first one.
	file string
}

// cure is a way to get rid of what is refused.
type cure int

// The cures, in the order in which they are told.
const (
	// reinstall brings the files back that the distribution's wheel has.
	reinstall cure = iota
	// reinstallUvs is that where uv, whose cache may have the same files by hard links, installed.
	reinstallUvs
	// require installs what a distribution requires and what is not there.
	require
	// rechoose lets pip choose the wheel that is for this interpreter.
	rechoose
	// recompile compiles anew what was compiled elsewhere.
	recompile
	// replace takes other bytes than the published ones, which would come again.
	replace
	// uninstall removes what takes part in the start.
	uninstall
	// renew makes the environment again, in which nothing starts.
	renew
	// disown removes what no distribution answers for, reinstallSystems what a system's package brought.
	disown
	reinstallSystems
	// These are for caches, loose wheels and files.
	cleanPip
	cleanUv
	removeDownload
	replaceDownload
	refuse
	// repack is for what is in an archive that is a program.
	repack
	rebuild
)

// texts say what a cure is. No cure is to install the same bytes again.
var texts = map[cure]string{
	reinstall:        "Install it again: its files are no longer those of its wheel.",
	reinstallUvs:     "Install it again: its files are no longer those of its wheel. They may be one with those in uv's cache, which is cleaned first.",
	require:          "Install what it requires and what is not there.",
	rechoose:         "Install it again with the pip of this interpreter, which takes the wheel that is for it.",
	recompile:        "It was compiled for another interpreter or machine, and pip's cache may have it still: compile it anew here, not from that cache.",
	replace:          "The same release brings the same file: take another release, or one of another index, or compile this one here.",
	uninstall:        "Remove the distribution that brings it, unless you know why it does.",
	disown:           "No distribution answers for it: find out what brought it; then remove it, or build it again for this interpreter.",
	reinstallSystems: "A package of the system brought it: find it, and install that again.",
	cleanPip:         "Take it out of pip's cache, which hands it to every interpreter of its version, then install it again where it was installed from there.",
	cleanUv:          "Take it out of uv's cache, then install it again where it was installed from there.",
	removeDownload:   "Take it out of pip's cache of downloads: remove that file; then install it again where it was installed from there.",
	replaceDownload:  "It is a published wheel, and comes again when it is removed from the cache: take another release, or one of another index, or compile this one for its interpreter.",
	refuse:           "Do not install it.",
	renew:            "Make the environment again where it is to be, and install into it what is installed here.",
	repack:           "Build the archive again, of what this audit passes.",
	rebuild:          "Build what brought it again, or install it again from a wheel that this audit passes.",
}

// remedies says what helps against refused findings of a unit: a finding's own cure, told
// once for all that it cures.
func (u *Unit) remedies(refused []audit.Finding) []remedy {
	var list []remedy
	for _, f := range refused {
		if f.Severity != audit.Refuse {
			continue
		}
		c := u.cureOf(f)
		i := slices.IndexFunc(list, func(r remedy) bool { return r.cure == c })
		if i < 0 {
			i, list = len(list), append(list, remedy{cure: c, file: f.File})
		}
		r := &list[i]
		r.checks = insert(r.checks, f.Check)
		if f.Distribution != "" {
			r.distributions = insert(r.distributions, f.Distribution)
		}
		if c == require {
			for _, name := range u.lacks(f.Distribution) {
				r.requirements = insert(r.requirements, name)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b remedy) int { return cmp.Compare(a.cure, b.cure) })
	return list
}

// insert adds a text to a list that does not have it.
func insert(list []string, text string) []string {
	if slices.Contains(list, text) {
		return list
	}
	return append(list, text)
}

// cureOf is what helps against a finding where it is.
func (u *Unit) cureOf(f audit.Finding) cure {
	damaged := f.Check == "record" || f.Check == "parse"
	switch {
	case builtByPip.MatchString(u.Path):
		return cleanPip
	case cachedByUv.MatchString(u.Path + "/"):
		if damaged || builtByUv.MatchString(u.Path+"/") || slices.Contains(u.compiled, f.Distribution) {
			return cleanUv
		}
		return replaceDownload
	case u.inDownloads() && damaged:
		return removeDownload
	case u.inDownloads():
		return replaceDownload
	case u.Kind.inArchive():
		return repack
	case u.Kind == KindFile:
		return rebuild
	case u.Kind == KindWheel:
		return refuse
	}
	return u.installedCure(f)
}

// installedCure is what helps against a finding in a directory of distributions.
func (u *Unit) installedCure(f audit.Finding) cure {
	switch needs := f.Check == "closure" || f.Check == "symbols"; {
	case f.OfEnvironment():
		return renew
	case f.Distribution == "" && strings.Contains(u.Path, "/dist-packages"):
		return reinstallSystems
	case f.Distribution == "":
		return disown
	case (f.Check == "record" || u.changed(f.File)) && u.byUv:
		return reinstallUvs
	case f.Check == "record", u.changed(f.File):
		return reinstall
	case f.Check == "startup":
		return uninstall
	case f.Check == "tags" && f.Field != "ELF", f.Field == "e_machine":
		return rechoose
	case needs && len(u.lacks(f.Distribution)) > 0:
		return require
	case slices.Contains(u.compiled, f.Distribution):
		return recompile
	}
	return replace
}

// changed reports whether a file is not the one that its distribution's RECORD lists, however
// severe that is.
func (u *Unit) changed(file string) bool {
	return slices.ContainsFunc(u.Findings, func(f audit.Finding) bool {
		return f.Check == "record" && f.File == file && (f.Field == "sha256" || f.Field == "size")
	})
}

// lacks lists what a distribution requires and what is not there, or in another version.
func (u *Unit) lacks(distribution string) []string {
	var list []string
	for _, f := range u.Findings {
		if f.Check == "metadata" && f.Field == "Requires-Dist" && f.Distribution == distribution && required.MatchString(f.Value) {
			list = insert(list, f.Value)
		}
	}
	return list
}

// command is what to run; empty where nothing is known to help.
func (r remedy) command(u *Unit) string {
	var pins, names []string
	for _, d := range r.distributions {
		name, version, _ := strings.Cut(d, " ")
		if pin := name + "==" + version; pinned.MatchString(pin) {
			pins, names = append(pins, pin), append(names, name)
		}
	}
	again := func(flags string) string {
		if len(pins) == 0 {
			return ""
		}
		return u.pip("install") + " --force-reinstall --no-deps" + flags + " " + strings.Join(pins, " ")
	}
	switch r.cure {
	case reinstall:
		return again("")
	case reinstallUvs:
		if len(names) == 0 {
			return ""
		}
		return "uv cache clean " + strings.Join(names, " ") + " && " + again("")
	case rechoose:
		return again(" --no-cache-dir")
	case recompile:
		return again(" --no-cache-dir --no-binary " + strings.Join(names, ","))
	case require:
		return u.pip("install") + " '" + strings.Join(r.requirements, "' '") + "'"
	case uninstall:
		if len(names) == 0 {
			return ""
		}
		return u.pip("uninstall") + " " + strings.Join(names, " ")
	case reinstallSystems:
		if !plainPath.MatchString(r.file) {
			return ""
		}
		return "dpkg -S " + r.file
	case cleanPip:
		return "pip cache remove " + u.cached(names)
	case cleanUv:
		return "uv cache clean " + u.cached(names)
	default:
		return "" // no one command does it
	}
}

// pip begins a command of pip's for the unit's own environment, which need not be the one whose
// pip a shell finds. One that uv made has none; uv's understands the same flags.
func (u *Unit) pip(verb string) string {
	switch {
	case !plainPath.MatchString(u.python):
		return "pip " + verb
	case u.byUv:
		return "uv pip " + verb + " --python " + u.python
	}
	return u.python + " -m pip " + verb
}

// pythonOf finds the executable by which people call the interpreter of a directory of
// distributions: the environment's, or the one that imports from there; empty without any.
func pythonOf(files Files, site string, at interpreter) string {
	if m := siteOf.FindStringSubmatch(site); m != nil {
		own := path.Join("/", m[1], "bin", "python"+m[2])
		if _, ok := audit.Follow(files, own); ok {
			return own
		}
	}
	if at.exe == "" || at.files != files {
		return ""
	}
	return show(at.exe)
}

// isUvs reports whether uv installs what is in a directory of distributions: no pip is there,
// and uv says that it was the installer (recorded projects specification, INSTALLER).
func isUvs(t *tree.Tree, site string) bool {
	byUv := false
	for _, e := range t.Entries() {
		switch rest, ok := strings.CutPrefix(e.Path, site+"/"); {
		case !ok || e.Kind != tree.File || path.Base(e.Path) != "INSTALLER" || e.Size > maxInstaller:
		case strings.HasPrefix(rest, "pip-"):
			return false
		case !byUv:
			text, err := e.ReadAll()
			byUv = err == nil && strings.TrimSpace(string(text)) == "uv"
		}
	}
	return byUv
}

// maxInstaller bounds an INSTALLER file, in bytes.
const maxInstaller = 64

// plainPath matches paths that a shell takes as they are.
var plainPath = regexp.MustCompile(`^/[A-Za-z0-9._/+-]+$`)

// cached names what is to be removed from a cache: the distribution that was refused, or that
// of the wheel.
func (u *Unit) cached(names []string) string {
	if len(names) > 0 {
		return names[len(names)-1]
	}
	name, _, _ := strings.Cut(path.Base(cmp.Or(u.Wheel, u.Path)), "-")
	if !pinned.MatchString(name) {
		return "NAME"
	}
	return name
}

// sentence says what the remedy is, and of several what it is for.
func (r remedy) sentence(several bool) string {
	text := texts[r.cure]
	if several {
		return "For " + strings.Join(r.checks, ", ") + ": " + text
	}
	return text
}

// inOne is all of some remedies: their sentences, and their commands, a line each.
func inOne(u *Unit, list []remedy) (text, commands string) {
	var sentences, lines []string
	for _, r := range list {
		sentences = append(sentences, r.sentence(len(list) > 1))
		if c := r.command(u); c != "" {
			lines = append(lines, c)
		}
	}
	return strings.Join(sentences, " "), strings.Join(lines, "\n")
}
