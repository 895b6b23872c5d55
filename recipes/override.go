package recipes

import (
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"ampoule/packaging"
)

// Override is what is known of building one distribution that its sdists do not
// say: a system library, a build requirement, a setting. One that comes with Ampoule
// is a file of recipes/overrides.
type Override struct {
	APIVersion string `yaml:"apiVersion" need:"yes" is:"API version"`
	// Name is the distribution's.
	Name string `yaml:"name" need:"yes" is:"distribution"`
	// Revision is raised whenever what it says changes.
	Revision string `yaml:"revision" need:"yes" is:"revision"`
	// Rules apply, in this order, where all their conditions hold.
	Rules []OverrideRule `yaml:"rules" need:"yes"`
}

// OverrideRule is one thing that is known, and where it holds.
type OverrideRule struct {
	// Why is told to whoever locks a recipe that it applies to.
	Why string `yaml:"why" need:"yes" is:"text"`
	// Versions of the distribution that it holds for (PEP 440); all where it is empty.
	Versions string `yaml:"versions" is:"specifiers"`
	// Suites are the Debian suites of bases that it holds on; all where there is none.
	Suites []string `yaml:"suites" is:"suite" set:"yes"`
	// Pythons are the versions of CPython that it holds for; all where it is empty.
	Pythons string `yaml:"pythons" is:"specifiers"`
	// Binary says which published wheel builds take where the tree does not require the
	// distribution: [BuildTool] or [PureWheel].
	Binary string `yaml:"binary" is:"wheel kind"`
	// Limit are the versions that can be built there. Resolution chooses among them.
	Limit string `yaml:"limit" is:"specifiers"`
	// Runtime lists Debian packages with libraries that the distribution loads by name:
	// see [Runtime]. They hold for a published wheel, too.
	Runtime []string `yaml:"runtime" is:"Debian package" set:"yes"`
	Settings
}

// The kinds of published wheels that builds take.
const (
	// BuildTool is the wheel of a program that leaves nothing in a tree and loads into
	// no Python.
	BuildTool = "tool"
	// PureWheel is the pure wheel of a release that has others, too.
	PureWheel = "pure"
)

//go:embed overrides
var overrideFiles embed.FS

// ShippedOverrides gives the overrides that come with Ampoule, by distribution.
var ShippedOverrides = sync.OnceValue(func() map[string]*Override {
	names, err := fs.Glob(overrideFiles, "overrides/*.yaml")
	if err != nil {
		panic("recipes: " + err.Error())
	}
	all := map[string]*Override{}
	for _, name := range names {
		data, err := overrideFiles.ReadFile(name)
		if err != nil {
			panic("recipes: " + err.Error())
		}
		o, err := ParseOverride(name, data)
		if err != nil {
			panic("recipes: " + err.Error())
		}
		all[o.Name] = o
	}
	return all
})

// ParseOverride reads an override; file is the name that [Faults] give it.
func ParseOverride(file string, data []byte) (*Override, error) {
	root, faults := readYAML(file, data, maxRecipeBytes)
	if root == nil {
		return nil, faults.Err()
	}
	d := newDecoder("an override", file)
	o := &Override{}
	d.decode(root, reflect.ValueOf(o).Elem(), nil)
	faults = append(faults, d.faults...)
	if want := path.Base(file); o.Name != "" && o.Name+".yaml" != want {
		faults = append(faults, d.positions.find([]string{"name"}).fault(fmt.Sprintf("%s holds the override of %s", want, o.Name), "a file has its distribution's name"))
	}
	faults = append(faults, o.check(d.positions).without(faults)...)
	return o, faults.Err()
}

// check tells of rules that do nothing, and of what would not be honoured in one: a
// limit and a kind of wheel hold for all versions, and are told by themselves.
func (o *Override) check(at *positions) Faults {
	var faults Faults
	for i, rule := range o.Rules {
		place := at.find([]string{"rules", strconv.Itoa(i)})
		decides := rule.Limit != "" || rule.Binary != ""
		switch {
		case !decides && rule.empty() && len(rule.Runtime) == 0:
			faults = append(faults, place.fault(fmt.Sprintf("rules[%d] says nothing but why", i), "remove it, or say what it is for"))
		case decides && rule.Versions != "":
			faults = append(faults, place.fault(fmt.Sprintf("rules[%d] has versions, which decide nothing about limit and binary", i), "remove versions"))
		case rule.Limit != "" && rule.Binary != "", decides && (!rule.empty() || len(rule.Runtime) > 0):
			faults = append(faults, place.fault(fmt.Sprintf("rules[%d] says several things", i), "limit and binary stand in rules of their own"))
		}
	}
	return faults
}

// ShippedPatch gives a patch that comes with Ampoule, by the name that a lock gives it.
func ShippedPatch(file string) ([]byte, error) {
	data, err := overrideFiles.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading shipped patch: %w", err)
	}
	return data, nil
}

// Place is where something is built, as far as overrides depend on it.
type Place struct {
	// Suite is the Debian suite of the base.
	Suite string
	// Python is CPython's version.
	Python string
}

// holds reports whether a rule's conditions on the place hold.
func (p Place) holds(rule OverrideRule) bool {
	return (len(rule.Suites) == 0 || slices.Contains(rule.Suites, p.Suite)) && meets(p.Python, rule.Pythons)
}

// Building gives how one version of a distribution is built: what the overrides say,
// and over it what the recipe says. Patches of overrides begin with overrides/.
func (r *Recipe) Building(name, version string, at Place) (Settings, []Applied) {
	settings := Settings{Env: map[string]string{}, ConfigSettings: map[string]Setting{}}
	var applied []Applied
	for _, rule := range r.rules(name, at) {
		if !meets(version, rule.Versions) || rule.empty() {
			continue
		}
		applied = append(applied, Applied{name, ShippedOverrides()[name].Revision, rule.Why})
		for i, patch := range rule.Patches {
			rule.Patches = slices.Clone(rule.Patches)
			rule.Patches[i] = "overrides/" + patch
		}
		settings.lay(rule.Settings)
	}
	settings.lay(r.Packages[name].Settings)
	settings.Build, settings.Requires = set(settings.Build), set(settings.Requires)
	return settings, applied
}

// RuntimeLibraries gives the Debian packages whose libraries are loaded by name from a tree
// with these distributions: those that the recipe names, and those that overrides name,
// sorted. Applied are the rules that name one.
func (r *Recipe) RuntimeLibraries(installed []Dist, at Place) (names []string, applied []Applied) {
	names = slices.Clone(r.Runtime.Libraries)
	for _, d := range installed {
		for _, rule := range r.rules(d.Name, at) {
			if len(rule.Runtime) == 0 || !meets(d.Version, rule.Versions) {
				continue
			}
			names = append(names, rule.Runtime...)
			applied = append(applied, Applied{d.Name, ShippedOverrides()[d.Name].Revision, rule.Why})
		}
	}
	return set(names), applied
}

// rules gives the rules of a distribution's override that hold at a place.
func (r *Recipe) rules(name string, at Place) []OverrideRule {
	o, known := ShippedOverrides()[name]
	if !known || r.Packages[name].Overrides == "none" {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(o.Rules), func(rule OverrideRule) bool { return !at.holds(rule) })
}

// BuildWheel tells which published wheel of a distribution builds take: [BuildTool],
// [PureWheel], or none, which is empty.
func (r *Recipe) BuildWheel(name string, at Place) string {
	for _, rule := range r.rules(name, at) {
		if rule.Binary != "" {
			return rule.Binary
		}
	}
	return ""
}

// Limit is a bound that an override puts on versions: of its distribution, or of a build
// requirement that it adds.
type Limit struct {
	Applied
	// Spec is the constraint: NAME<2.
	Spec string
}

// Limits gives the bounds that overrides put on versions at a place, sorted by name.
// They say what can be built, so that an accepted distribution has none.
func (r *Recipe) Limits(at Place) []Limit {
	var limits []Limit
	for _, name := range slices.Sorted(maps.Keys(ShippedOverrides())) {
		if _, accepted := r.Accepted(name); accepted {
			continue
		}
		for _, rule := range r.rules(name, at) {
			if rule.Limit != "" {
				limits = append(limits, Limit{Applied{name, ShippedOverrides()[name].Revision, rule.Why}, name + rule.Limit})
			}
		}
	}
	return limits
}

// Added gives the build requirements that the override of a distribution adds for one
// version, and that the recipe does not replace.
func (r *Recipe) Added(name, version string, at Place) []Limit {
	var added []Limit
	for _, rule := range r.rules(name, at) {
		if !meets(version, rule.Versions) {
			continue
		}
		for _, spec := range rule.Requires {
			added = append(added, Limit{Applied{name, ShippedOverrides()[name].Revision, rule.Why}, spec})
		}
	}
	return slices.DeleteFunc(added, func(l Limit) bool {
		return slices.ContainsFunc(r.Packages[name].Requires, func(own string) bool {
			return packaging.RequiredName(own) == packaging.RequiredName(l.Spec)
		})
	})
}

// OnlyDropsOverride reports whether nothing is said of building but that an override is left
// out: that also lets a wheel in whose versions it limits.
func (p Packages) OnlyDropsOverride() bool { return p.Overrides == "none" && p.empty() }

// OnlyExcludes reports whether nothing is said of building: files of any wheel may be left out.
func (p Packages) OnlyExcludes() bool {
	return len(p.Exclude) > 0 && p.Overrides == "" && p.empty()
}

func (s Settings) empty() bool {
	return len(s.Build)+len(s.Requires)+len(s.Env)+len(s.ConfigSettings)+len(s.Patches)+len(s.Crates) == 0
}

// lay lays other settings over these: lists grow, those of config settings too, single
// values are replaced, and so is a requirement of a distribution that the others require.
func (s *Settings) lay(over Settings) {
	named := packaging.RequiredName
	s.Requires = slices.DeleteFunc(slices.Clone(s.Requires), func(was string) bool {
		return slices.ContainsFunc(over.Requires, func(is string) bool { return named(is) == named(was) })
	})
	s.Build = append(slices.Clone(s.Build), over.Build...)
	s.Requires = append(s.Requires, over.Requires...)
	s.Patches = append(slices.Clone(s.Patches), over.Patches...)
	s.Crates = append(slices.Clone(s.Crates), over.Crates...)
	maps.Copy(s.Env, over.Env)
	for name, value := range over.ConfigSettings {
		if was := s.ConfigSettings[name]; was.List != nil && value.List != nil {
			value.List = slices.Concat(was.List, value.List)
		}
		s.ConfigSettings[name] = value
	}
}

// Accepted tells which acceptance of the recipe lets the binary wheels of a
// distribution in.
func (r *Recipe) Accepted(name string) (Acceptance, bool) {
	for _, a := range r.Binary.Accept {
		for _, pattern := range a.Match {
			if ok, _ := path.Match(pattern, name); ok {
				return a, true
			}
		}
	}
	return Acceptance{}, false
}

// CheckAcceptances tells of acceptances that have expired on a day, given as
// YYYY-MM-DD, as [Faults].
func (r *Recipe) CheckAcceptances(today string) error {
	var faults Faults
	for i, a := range r.Binary.Accept {
		if a.Until < today {
			faults = append(faults, r.Fault(
				fmt.Sprintf("the acceptance of %s ended with %s", strings.Join(a.Match, ", "), a.Until),
				"look again whether it is still needed, and write a later day if it is", "binary", "accept", strconv.Itoa(i), "until"))
		}
	}
	return faults.Err()
}
