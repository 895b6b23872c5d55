package recipes

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
)

// canonicalRecipe holds the values of a recipe that a build depends on, in one
// form: defaults filled in, lists sorted where their order means nothing, names
// of files left out. What the files and the list of requirements say is in the
// lock's answers. Its JSON is part of every key: a change of a field, or of the
// order of fields, changes them all.
type canonicalRecipe struct {
	APIVersion string                       `json:"apiVersion"`
	Name       string                       `json:"name"`
	Python     canonicalPython              `json:"python"`
	Base       canonicalBase                `json:"base"`
	Toolchain  []string                     `json:"toolchain"`
	Packages   map[string]canonicalPackages `json:"packages"`
	Accept     []canonicalAccept            `json:"accept"`
	Pure       []string                     `json:"pure"`
	Container  *canonicalBase               `json:"container"`
	VM         *canonicalVM                 `json:"vm"`
	Except     []canonicalExcept            `json:"except"`
	Providers  []canonicalProvider          `json:"providers,omitempty"`
	Imports    []string                     `json:"imports"`
	Commands   [][]string                   `json:"commands"`
}

type canonicalPython struct {
	Version string `json:"version"`
	// Configure keeps its order, which CPython records.
	Configure []string `json:"configure"`
	Optional  []string `json:"optional"`
}

type canonicalBase struct {
	Debian string `json:"debian"`
	Image  string `json:"image"`
}

type canonicalPackages struct {
	Build          []string           `json:"build"`
	Requires       []string           `json:"requires"`
	Env            map[string]string  `json:"env"`
	ConfigSettings map[string]Setting `json:"configSettings"`
	// Patches keep their order, in which they are applied.
	Patches   []string `json:"patches"`
	Overrides string   `json:"overrides"`
}

type canonicalAccept struct {
	Match []string `json:"match"`
	Why   string   `json:"why"`
	Until string   `json:"until"`
}

type canonicalVM struct {
	Glibc string   `json:"glibc"`
	CPU   string   `json:"cpu"`
	Host  []string `json:"host"`
}

type canonicalExcept struct {
	Check string   `json:"check"`
	Files []string `json:"files"`
	Why   string   `json:"why"`
	Until string   `json:"until"`
}

type canonicalProvider struct {
	Libraries []string `json:"libraries"`
	Files     []string `json:"files"`
	Why       string   `json:"why"`
}

// Key is what a build is addressed by: "sha256:" and the hash of the canonical
// recipe, the lock, the platform and the builder, a text that is another one when
// Ampoule itself builds other bytes from the same inputs. Neither the form
// of the files nor the order of their keys changes it.
func Key(r *Recipe, l *Lock, platform, builder string) string {
	lock := sha256.Sum256(l.Encode())
	return "sha256:" + hashJSON(struct {
		Recipe   canonicalRecipe `json:"recipe"`
		Lock     string          `json:"lock"`
		Platform string          `json:"platform"`
		Builder  string          `json:"builder"`
	}{canonical(r), "sha256:" + hex.EncodeToString(lock[:]), platform, builder})
}

// hashJSON hashes a value that always encodes.
func hashJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic("recipes: encoding a key: " + err.Error())
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// canonical gives the canonical form. No list in it is nil.
func canonical(r *Recipe) canonicalRecipe {
	c := canonicalRecipe{
		APIVersion: r.APIVersion,
		Name:       r.Name,
		Python:     canonicalPython{r.Python.Version, list(r.Python.Configure), set(r.Python.Optional)},
		Base:       canonicalBase(r.Base),
		Toolchain:  set(r.Toolchain.Packages),
		Packages:   map[string]canonicalPackages{},
		Accept:     []canonicalAccept{},
		Pure:       set(r.Pure),
		Except:     []canonicalExcept{},
		Imports:    set(r.Test.Imports),
		Commands:   [][]string{},
	}
	for name, p := range r.Packages {
		c.Packages[name] = canonicalPackages{set(p.Build), set(p.Requires), copied(p.Env), copied(p.ConfigSettings), list(p.Patches), p.Overrides}
	}
	for _, a := range r.Binary.Accept {
		c.Accept = append(c.Accept, canonicalAccept{set(a.Match), a.Why, a.Until})
	}
	if container := r.Runtime.Container; container != nil {
		base := canonicalBase(container.Base)
		c.Container = &base
	}
	if vm := r.Runtime.VM; vm != nil {
		filled := *vm
		filled.setDefaults()
		c.VM = &canonicalVM{filled.Glibc, filled.CPU, set(filled.Host)}
	}
	for _, e := range r.Gate.Except {
		c.Except = append(c.Except, canonicalExcept{e.Check, set(e.Files), e.Why, e.Until})
	}
	for _, p := range r.Gate.Providers {
		c.Providers = append(c.Providers, canonicalProvider{set(p.Libraries), set(p.Files), p.Why})
	}
	for _, command := range r.Test.Commands {
		c.Commands = append(c.Commands, list(command))
	}
	return c
}

func list(texts []string) []string { return append([]string{}, texts...) }

func copied[V any](m map[string]V) map[string]V {
	all := map[string]V{}
	maps.Copy(all, m)
	return all
}

func set(texts []string) []string {
	all := list(texts)
	slices.Sort(all)
	return slices.Compact(all)
}
