package foreign

import (
	"maps"

	"ampoule/packaging"
)

// poetryKeys are what of tool.poetry decides about a lock; the first of them are always in
// the hash, with null where they are not written.
var (
	poetryKeys       = []string{"dependencies", "source", "extras", "dev-dependencies"}
	poetryNewerKeys  = []string{"group"}
	poetryPEP621Keys = []string{"requires-python", "dependencies", "optional-dependencies"}
)

// poetryContentHashes gives the hashes that a fresh lock can have: that of Poetry 1, and
// that of Poetry 2, which reads the tables of PEP 621 and PEP 735 too.
func poetryContentHashes(whole map[string]any) []string {
	old, own := map[string]any{}, map[string]any{}
	content := table(whole, "tool", "poetry")
	for _, key := range poetryKeys {
		old[key] = content[key]
		if content[key] != nil {
			own[key] = content[key]
		}
	}
	for _, key := range poetryNewerKeys {
		if content[key] != nil {
			old[key], own[key] = content[key], content[key]
		}
	}
	hashes := []string{hashOf(old, ", ", ": ")}
	project := map[string]any{}
	for _, key := range poetryPEP621Keys {
		if v := table(whole, "project")[key]; v != nil {
			project[key] = v
		}
	}
	groups := table(whole, "dependency-groups")
	newer := map[string]any{"project": project, "tool": map[string]any{"poetry": own}}
	if len(groups) > 0 {
		newer["dependency-groups"] = groups
	}
	return append(hashes, hashOf(newer, ", ", ": "))
}

// pdmContentHashes gives the hashes that a fresh pdm.lock can have.
func pdmContentHashes(whole map[string]any) []string {
	project, settings := table(whole, "project"), table(whole, "tool", "pdm")
	or := func(v, other any) any {
		if v == nil {
			return other
		}
		return v
	}
	dev := map[string]any{}
	maps.Copy(dev, table(whole, "dependency-groups"))
	maps.Copy(dev, table(settings, "dev-dependencies"))
	dump := map[string]any{
		"sources":               or(settings["source"], []any{}),
		"dependencies":          or(project["dependencies"], []any{}),
		"dev-dependencies":      dev,
		"optional-dependencies": or(project["optional-dependencies"], map[string]any{}),
		"requires-python":       or(project["requires-python"], ""),
		"overrides":             or(or(settings["overrides"], table(settings, "resolution")["overrides"]), map[string]any{}),
	}
	hashes := []string{hashOf(dump, ", ", ": ")}
	delete(dump, "overrides")
	dump["resolution"] = or(settings["resolution"], map[string]any{})
	return append(hashes, hashOf(dump, ", ", ": "))
}

// pipfileTables are the tables of a Pipfile that are no categories of packages.
var pipfileTables = map[string]bool{"source": true, "packages": true, "dev-packages": true, "requires": true, "scripts": true, "pipfile": true, "pipenv": true}

// pipfileContentHashes gives the hashes that a fresh Pipfile.lock can have: older Pipenv
// takes names as they are written, and newer Pipenv normalises them (PEP 503). sources are
// what the lock has for a Pipfile that names none.
func pipfileContentHashes(whole map[string]any, sources any) []string {
	or := func(v any) any {
		if v == nil {
			return map[string]any{}
		}
		return v
	}
	if whole["source"] != nil {
		sources = whole["source"]
	}
	written := map[string]any{"default": or(whole["packages"]), "develop": or(whole["dev-packages"])}
	for key, value := range whole {
		if !pipfileTables[key] {
			written[key] = value
		}
	}
	normal := map[string]any{}
	for key, value := range written {
		normal[key] = normalKeyed(value)
	}
	var hashes []string
	for _, data := range []map[string]any{written, normal} {
		data["_meta"] = map[string]any{"sources": sources, "requires": or(whole["requires"])}
		hashes = append(hashes, hashOf(data, ",", ":"))
	}
	return hashes
}

// normalKeyed normalises the keys of a category; what is no table stays.
func normalKeyed(category any) any {
	packages, ok := category.(map[string]any)
	if !ok {
		return category
	}
	normal := map[string]any{}
	for name, value := range packages {
		normal[packaging.NormalName(name)] = value
	}
	return normal
}
