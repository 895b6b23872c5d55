package foreign

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"ampoule/packaging"
)

// pipfileSpec is the form of Pipfile.lock that is known.
const pipfileSpec = 6

// pipfileMeta is the part of a Pipfile.lock that speaks of itself.
type pipfileMeta struct {
	Hash struct {
		SHA256 string `json:"sha256"`
	} `json:"hash"`
	Spec     int `json:"pipfile-spec"`
	Requires struct {
		Python string `json:"python_version"`
		Full   string `json:"python_full_version"`
	} `json:"requires"`
	Sources any `json:"sources"`
}

// first is the name of the source of what names none.
func (m pipfileMeta) first() string {
	all, _ := m.Sources.([]any)
	if len(all) == 0 {
		return ""
	}
	source, _ := all[0].(map[string]any)
	name, _ := source["name"].(string)
	return name
}

// pipfilePackage is an entry of a category.
type pipfilePackage struct {
	Version  string   `json:"version"`
	Hashes   []string `json:"hashes"`
	Index    string   `json:"index"`
	Markers  string   `json:"markers"`
	Git      string   `json:"git"`
	Hg       string   `json:"hg"`
	Svn      string   `json:"svn"`
	Bzr      string   `json:"bzr"`
	URL      string   `json:"url"`
	File     string   `json:"file"`
	Path     string   `json:"path"`
	Editable bool     `json:"editable"`
}

func (r *reader) pipenv(data []byte) error {
	doc, ok := r.json(data)
	if !ok {
		return nil
	}
	var form struct {
		Meta pipfileMeta `json:"_meta"`
	}
	if !r.decodeJSON(doc, data, &form) {
		return nil
	}
	if form.Meta.Spec != pipfileSpec {
		r.unknownFormat(doc.find("_meta", "pipfile-spec"), "pipfile-spec", fmt.Sprint(form.Meta.Spec), fmt.Sprintf("pipfile-spec %d", pipfileSpec))
		return nil
	}
	var parts map[string]json.RawMessage
	if !r.decodeJSON(doc, data, &parts) {
		return nil
	}
	delete(parts, "_meta")
	r.pipenvPython(doc, form.Meta)
	if err := r.pipenvFresh(doc, form.Meta); err != nil {
		return err
	}
	for _, category := range r.pipenvCategories(parts) {
		var packages map[string]pipfilePackage
		if !r.decodeJSON(doc, parts[category], &packages) {
			return nil
		}
		for name, p := range packages {
			if p.Index == "" {
				p.Index = form.Meta.first()
			}
			r.pipenvPackage(doc.find(category, name), name, p)
		}
	}
	return nil
}

// pipenvPython checks for which Python the lock is: the one of its Pipfile alone.
func (r *reader) pipenvPython(doc *document, meta pipfileMeta) {
	at := doc.find("_meta", "requires")
	switch wanted := meta.Requires; {
	case wanted.Full != "" && wanted.Full != r.query.Python:
		r.otherPython(at, wanted.Full)
	case wanted.Full == "" && wanted.Python != "" && wanted.Python != r.env["python_version"] && wanted.Python != strings.SplitN(r.query.Python, ".", 2)[0]:
		r.otherPython(at, wanted.Python)
	}
}

// pipenvFresh compares the lock's hash of the Pipfile with the Pipfile.
func (r *reader) pipenvFresh(doc *document, meta pipfileMeta) error {
	file := r.beside("Pipfile")
	data, ok, err := r.optional(file)
	if err != nil || !ok {
		return err
	}
	var whole map[string]any
	if _, ok := r.toml(file, data, &whole); !ok {
		return nil
	}
	if !slices.Contains(pipfileContentHashes(whole, meta.Sources), meta.Hash.SHA256) {
		r.stale(doc.find("_meta", "hash"), file, "its hash is of other requirements")
	}
	return nil
}

// pipenvCategories gives the categories that are asked for; what the tool calls develop and
// dev-packages is one.
func (r *reader) pipenvCategories(parts map[string]json.RawMessage) []string {
	if r.query.Package != "" {
		r.add(r.start(), "remove `package`", "%s has no workspace with packages of its own", path.Base(r.file))
	}
	for _, extra := range r.query.Extras {
		r.add(r.start(), "name a category under `groups`: "+strings.Join(normalKeys(parts), ", "), "%s has no extras, such as %q", path.Base(r.file), extra)
	}
	categories := []string{"default"}
	for _, group := range r.groups() {
		switch group {
		case "dev", "dev-packages":
			group = "develop"
		}
		if parts[group] == nil {
			r.unknown(r.start(), "group", group, normalKeys(parts))
			continue
		}
		categories = append(categories, group)
	}
	return slices.DeleteFunc(categories, func(c string) bool { return parts[c] == nil })
}

// pipenvPackage chooses one package, or says why it cannot be had.
func (r *reader) pipenvPackage(at Place, name string, p pipfilePackage) {
	if !r.holds(at, p.Markers, nil, nil) {
		return
	}
	version, isExact := strings.CutPrefix(p.Version, "==")
	one := Package{Name: name, Version: version, Hashes: p.Hashes, Registry: p.Index, Place: at}
	switch {
	case p.Path == "." || p.Path == "./":
		r.leaveOut(one)
	case p.Git+p.Hg+p.Svn+p.Bzr != "":
		r.refuse(at, name, "a repository", hintRelease)
	case p.URL+p.File != "":
		r.refuse(at, name, "a URL", hintRelease)
	case p.Path != "" || p.Editable:
		r.refuse(at, name, "the path "+shorten(p.Path), hintRelease)
	case !isExact || strings.HasPrefix(version, "="):
		r.add(at, r.again(), "%s has no exact version, but %q", packaging.NormalName(name), shorten(p.Version))
	default:
		r.choose(one)
	}
}

// json finds the places of a JSON file's keys. ok is false after a fault was told.
func (r *reader) json(data []byte) (doc *document, ok bool) {
	w := jsonWalker{document: newDocument(r.file), lines: newLines(data), decoder: json.NewDecoder(bytes.NewReader(data))}
	w.decoder.UseNumber()
	what := "it is not UTF-8 text"
	if utf8.Valid(data) {
		what = w.value(nil)
	}
	if what == "" {
		if _, err := w.decoder.Token(); err == nil {
			what = "something follows its end"
		}
	}
	if what != "" {
		r.add(w.here(), r.again(), "%s: %s", path.Base(r.file), what)
		return nil, false
	}
	return w.document, true
}

// decodeJSON decodes JSON whose syntax was checked.
func (r *reader) decodeJSON(doc *document, data []byte, v any) bool {
	if err := json.Unmarshal(data, v); err != nil {
		r.add(doc.find(), r.again(), "%s is not of the form that it should have: %v", path.Base(r.file), err)
		return false
	}
	return true
}

// jsonWalker walks JSON for the places of keys, and refuses keys that are written twice.
type jsonWalker struct {
	*document
	*lines
	decoder *json.Decoder
}

// value walks one value; it returns what is wrong.
func (w *jsonWalker) value(path []string) string {
	token, err := w.decoder.Token()
	if err != nil {
		return "this is not JSON: " + err.Error()
	}
	open, isDelim := token.(json.Delim)
	if !isDelim {
		return ""
	}
	if len(path) > maxNesting || len(w.at) > maxPlaces {
		return "it is nested too deeply, or has too many keys"
	}
	for n := 0; w.decoder.More(); n++ {
		name := fmt.Sprint(n)
		if open == '{' {
			key, err := w.decoder.Token()
			if err != nil {
				return "this is not JSON: " + err.Error()
			}
			name, _ = key.(string)
		}
		below := append(path[:len(path):len(path)], name)
		if open == '{' {
			if _, isTwice := w.at[joinPath(below...)]; isTwice {
				return fmt.Sprintf("%q is written twice", shorten(name))
			}
			w.at[joinPath(below...)] = w.here()
		}
		if what := w.value(below); what != "" {
			return what
		}
	}
	if _, err := w.decoder.Token(); err != nil {
		return "this is not JSON: " + err.Error()
	}
	return ""
}

// here gives the place of what was read last.
func (w *jsonWalker) here() Place { return w.lines.here(w.file, int(w.decoder.InputOffset())) }
