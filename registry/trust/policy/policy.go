// Package policy decides by signed evidence whether an artifact may run on a machine, and
// explains each decision. A policy is a file that is read as strictly as a recipe.
//
// What a policy asks for must be there, and nothing that a trusted key has signed may say
// otherwise: of two statements that disagree, neither is chosen.
package policy

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/registry/trust/keys"
	"ampoule/registry/trust/roots"
)

// maxFile bounds a policy, in bytes.
const maxFile = 256 << 10

//go:embed file.go
var source string

var form = recipes.Form{
	What: "a policy", Limit: maxFile, Source: source,
	Rules: map[string]recipes.Rule{
		"root name":    {Means: "a name of at most 64 letters, digits, -, _ and .", Pattern: regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`), Numbers: true, Example: "acme"},
		"name pattern": {Means: "a name of artifacts, with * for anything but a slash", Pattern: regexp.MustCompile(`^[a-z0-9*][a-z0-9*._/-]{0,127}$`), Numbers: true, Example: `"team/*"`},
		"signing role": {Means: "a role whose keys sign artifacts", Enum: []string{roots.RoleBuild, roots.RoleTest, roots.RolePromote, roots.RoleApprove}},
		"age":          {Means: "an age as 12h or 90d", Pattern: regexp.MustCompile(`^[1-9][0-9]{0,4}[hd]$`), Example: "90d"},
		"network":      {Means: "the one thing that can be asked for", Enum: []string{"denied"}, Example: "denied"},
		"tree state":   {Means: "the one thing that can be asked for", Enum: []string{"clean"}, Example: "clean"},
	},
}

// Schema gives the JSON Schema of policies.
func Schema() ([]byte, error) { return form.Schema("Ampoule policy", reflect.TypeFor[File]()) }

// Policy is a policy that was read.
type Policy struct {
	File
	// Path is where it was read.
	Path string
}

// Read reads a policy. Its faults are [recipes.Faults], all in one go.
func Read(file string) (*Policy, error) {
	text, err := keys.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, faults.New(faults.Input, "", "there is no policy %s", file)
	}
	if err != nil {
		return nil, fmt.Errorf("reading policy: %w", err)
	}
	return Parse(file, text)
}

// Parse reads a policy from its text; file is its name in faults.
func Parse(file string, text []byte) (*Policy, error) {
	p := &Policy{Path: file}
	places, all := form.Decode(file, text, &p.File)
	if len(all) == 0 {
		all = p.contradictions(places)
	}
	if err := all.Err(); err != nil {
		return nil, err
	}
	return p, nil
}

// contradictions tells of what cannot be meant.
func (p *Policy) contradictions(places recipes.Places) recipes.Faults {
	var all recipes.Faults
	for i, rule := range p.Rules {
		at := []string{"rules", strconv.Itoa(i)}
		for _, pattern := range rule.Match {
			if j := p.shadowing(i, pattern); j >= 0 {
				all = append(all, places.Fault(fmt.Sprintf("%q is matched by rules[%d] already, which decides", pattern, j), "put the rule that is meant first, or remove it from one", append(at, "match")...))
			}
		}
		if rule.Signatures != nil && len(rule.Signatures) == 0 {
			all = append(all, places.Fault("signatures is empty: nobody would have to sign", "remove the key: then a build key must have signed", append(at, "signatures")...))
		}
		for _, list := range rule.lists() {
			if list.is != nil && len(list.is) == 0 {
				name := list.path[len(list.path)-1]
				all = append(all, places.Fault(name+" is empty: that asks for nothing", "name what is meant, or remove the key", append(slices.Clone(at), list.path...)...))
			}
		}
		if s := rule.Provenance; s != nil && s.Source != nil && s.Source.Repositories == nil && s.Source.Refs == nil && s.Source.Tree == "" {
			all = append(all, places.Fault("source asks for nothing", "for example source: {tree: clean}", append(at, "provenance", "source")...))
		}
	}
	return all
}

// listed is a list of a rule, which names what is asked for.
type listed struct {
	path []string
	is   []string
}

// lists are those of a rule that are about evidence.
func (r Rule) lists() []listed {
	all := []listed{{[]string{"match"}, r.Match}}
	if p := r.Provenance; p != nil {
		all = append(all, listed{[]string{"provenance", "builders"}, p.Builders})
		if s := p.Source; s != nil {
			all = append(all, listed{[]string{"provenance", "source", "repositories"}, s.Repositories}, listed{[]string{"provenance", "source", "refs"}, s.Refs})
		}
	}
	if v := r.Verdict; v != nil {
		all = append(all, listed{[]string{"verdict", "checks"}, v.Checks}, listed{[]string{"verdict", "targets"}, v.Targets})
	}
	if t := r.Tests; t != nil {
		all = append(all, listed{[]string{"tests", "passed"}, t.Passed}, listed{[]string{"tests", "groups"}, t.Groups})
	}
	return all
}

// shadowing finds an earlier rule that matches all that a pattern of a rule does.
func (p *Policy) shadowing(i int, pattern string) int {
	for j, earlier := range p.Rules[:i] {
		for _, other := range earlier.Match {
			if other == pattern || matches(other, strings.ReplaceAll(pattern, "*", "x")) && !strings.Contains(pattern, "*") {
				return j
			}
		}
	}
	return -1
}

// TrustFile is the path of the trust root's file.
func (p *Policy) TrustFile() string { return p.beside(p.Trust.File) }

// ChannelsFile is the path of the channels' rules; empty where the policy names none.
func (p *Policy) ChannelsFile() string {
	if p.Channels == "" {
		return ""
	}
	return p.beside(p.Channels)
}

// beside is a path that is relative to the policy.
func (p *Policy) beside(file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(filepath.Dir(p.Path), file)
}

// rule finds the rule for an artifact's name.
func (p *Policy) rule(name string) (Rule, bool) {
	for _, r := range p.Rules {
		if anyMatches(r.Match, name) {
			if len(r.Signatures) == 0 {
				r.Signatures = []string{roots.RoleBuild}
			}
			return r, true
		}
	}
	return Rule{}, false
}

// names are the patterns of all rules.
func (p *Policy) names() []string {
	var all []string
	for _, r := range p.Rules {
		all = append(all, r.Match...)
	}
	return all
}

// matches reports whether a text has a pattern, in which * stands for anything but a slash.
func matches(pattern, text string) bool {
	// Nothing but * has a meaning.
	quoted := strings.NewReplacer(`\`, `\\`, `?`, `\?`, `[`, `\[`).Replace(pattern)
	ok, err := path.Match(quoted, text)
	return ok && err == nil
}

func anyMatches(patterns []string, text string) bool {
	for _, p := range patterns {
		if matches(p, text) {
			return true
		}
	}
	return false
}

// age reads 12h or 90d; nothing is no bound.
func age(text string) time.Duration {
	if text == "" {
		return 0
	}
	n, _ := strconv.Atoi(text[:len(text)-1])
	if strings.HasSuffix(text, "d") {
		n *= 24
	}
	return time.Duration(n) * time.Hour
}
