package audit

import (
	"encoding/json"
	"net/url"
	"path"
	"strings"

	"ampoule/tree"
)

// editables looks for installations whose source is elsewhere, and gone: a distribution that is
// installed editable (PEP 610), or the .egg-link of an old one.
func (env *environment) editables(out *outcome) {
	for _, e := range env.Tree.Entries() {
		if e.Kind != tree.File || !strings.HasPrefix(e.Path, env.home.site+"/") {
			continue
		}
		source := ""
		switch dir := path.Dir(e.Path); {
		case path.Base(e.Path) == "direct_url.json" && path.Dir(dir) == env.home.site:
			source = EditableSource(configText(e))
		case path.Ext(e.Path) == ".egg-link" && dir == env.home.site:
			source, _, _ = strings.Cut(strings.TrimSpace(configText(e)), "\n")
			source = strings.TrimSpace(source)
		}
		if !path.IsAbs(source) {
			continue
		}
		out.examined++
		if !env.isGone(source) {
			continue
		}
		f := Finding{
			Severity: Refuse, File: e.Path, Field: "editable", Value: printable(source),
			Cause:  "The distribution is installed from a directory that is not there: it cannot be imported.",
			Remedy: "Put the source back where it was, or install the distribution again from where it is now.",
		}
		if env.mounts {
			f.Severity, f.Needs = Undecided, "the directory "+printable(source)+", which may be mounted when the image runs: audit a container's file system with --root"
		}
		out.add(f)
	}
}

func (env *environment) isGone(source string) bool {
	_, ok := env.runs[0].resolve(source)
	return !ok
}

// EditableSource is the directory that a direct_url.json names for an editable installation;
// empty for any other.
func EditableSource(text string) string {
	var direct struct {
		URL string `json:"url"`
		Dir struct {
			Editable bool `json:"editable"`
		} `json:"dir_info"`
	}
	if json.Unmarshal([]byte(text), &direct) != nil || !direct.Dir.Editable {
		return ""
	}
	at, err := url.Parse(direct.URL)
	if err != nil || at.Scheme != "file" {
		return ""
	}
	return at.Path
}
