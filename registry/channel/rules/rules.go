// Package rules reads, checks and signs channels.yaml: what must be so before a channel names a
// digest. It is read as strictly as a recipe, and signed by the root keys of a trust root.
package rules

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/registry/trust/keys"
	"ampoule/registry/trust/roots"
)

// maxFile bounds a channels.yaml, in bytes.
const maxFile = 256 << 10

// usualAge is how long ago an approval may be where the rule does not say.
const usualAge = 7 * 24 * time.Hour

//go:embed file.go
var source string

var form = recipes.Form{
	What: "a file of channel rules", Limit: maxFile, Source: source,
	Rules: map[string]recipes.Rule{
		"key name":     {Means: "a name of at most 64 letters, digits, -, _ and .", Pattern: regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`), Numbers: true, Example: "ann"},
		"caller":       {Means: "a name of at most 255 printed characters", Pattern: regexp.MustCompile(`^[!-~](?:[ -~]{0,253}[!-~])?$`), Numbers: true, Example: "ann"},
		"channel name": {Means: "a name of at most 32 lower-case letters, digits and dashes", Pattern: regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$`), Numbers: true, Example: "prod"},
		"name pattern": {Means: "a name of artifacts, with * for anything but a slash", Pattern: regexp.MustCompile(`^[a-z0-9*][a-z0-9*._/-]{0,127}$`), Numbers: true, Example: `"team/*"`},
		"registry":     {Means: "a registry as HOST[:PORT][/PREFIX]", Pattern: regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]{1,5})?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*$`), Example: "registry.example/team"},
		"count":        {Means: "a number from 1 to 999999", Pattern: regexp.MustCompile(`^[1-9][0-9]{0,5}$`), Numbers: true, Example: "2"},
		"day":          {Means: "a day as YYYY-MM-DD", Pattern: regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`), Example: "2026-12-20"},
		"age":          {Means: "an age as 12h or 90d", Pattern: regexp.MustCompile(`^[1-9][0-9]{0,4}[hd]$`), Example: "12h"},
		"hash":         {Means: "sha256: and 64 hexadecimal digits", Pattern: regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)},
		"key ID":       {Means: "sha256: and 64 hexadecimal digits", Pattern: regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)},
		"base64":       {Means: "base64", Pattern: regexp.MustCompile(`^[A-Za-z0-9+/]+={0,2}$`)},
	},
}

// Schema gives the JSON Schema of channels.yaml.
func Schema() ([]byte, error) {
	return form.Schema("Ampoule channel rules (channels.yaml)", reflect.TypeFor[File]())
}

// Rules are channel rules that were read, whether they are signed or not.
type Rules struct {
	File
	// Path is where they were read.
	Path    string
	version int
	// people has the person of each key, callers that of each caller of a service.
	people, callers map[string]string
}

// Read reads rules from a file, and checks nothing beyond their form.
func Read(file string) (*Rules, error) {
	text, err := keys.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, faults.New(faults.Input, "", "there is no file of channel rules %s", file)
	}
	if err != nil {
		return nil, fmt.Errorf("reading channel rules: %w", err)
	}
	return Parse(file, text)
}

// Parse reads rules from their text; file is its name in faults.
func Parse(file string, text []byte) (*Rules, error) {
	r := &Rules{Path: file, people: map[string]string{}, callers: map[string]string{}}
	places, all := form.Decode(file, text, &r.File)
	if len(all) == 0 {
		r.version, _ = strconv.Atoi(r.Version)
		all = append(r.readPeople(places), r.contradictions(places)...)
	}
	if err := all.Err(); err != nil {
		return nil, err
	}
	return r, nil
}

// readPeople finds the person of each key, and of each caller.
func (r *Rules) readPeople(places recipes.Places) recipes.Faults {
	var all recipes.Faults
	for _, name := range slices.Sorted(maps.Keys(r.People)) {
		tell := func(what, hint string, path ...string) {
			all = append(all, places.Fault(what, hint, append([]string{"people", name}, path...)...))
		}
		person := r.People[name]
		if len(person.Keys)+len(person.Callers) == 0 {
			tell(name+" holds no key, and is no caller of a service", "keys: [approve-"+name+"]")
		}
		for _, key := range person.Keys {
			if other, twice := r.people[key]; twice {
				tell(fmt.Sprintf("key %s is held by %s and by %s", key, other, name), "a key has one holder, so that nobody approves twice", "keys")
			}
			if slices.Contains(r.Services, key) {
				tell(fmt.Sprintf("key %s is held by %s and by a service", key, name), "whoever holds a service's key speaks for all of its callers", "keys")
			}
			r.people[key] = name
		}
		for _, caller := range person.Callers {
			if other, twice := r.callers[caller]; twice {
				tell(fmt.Sprintf("caller %s is %s and %s", caller, other, name), "a caller is one person, so that nobody approves twice", "callers")
			}
			r.callers[caller] = name
		}
	}
	return all
}

// contradictions tells of what cannot be meant.
func (r *Rules) contradictions(places recipes.Places) recipes.Faults {
	var all recipes.Faults
	for i, rule := range r.Channels {
		tell := func(what, hint string, path ...string) {
			all = append(all, places.Fault(what, hint, append([]string{"channels", strconv.Itoa(i)}, path...)...))
		}
		switch {
		case !artifact.IsChannel(rule.Name):
			tell(fmt.Sprintf("%q is no name of a channel", rule.Name), "it begins with none of key-, hold-, channel- and sha256-", "name")
		case rule.From == rule.Name:
			tell("a channel does not come from itself", "", "from")
		case rule.Soak != "" && rule.From == "":
			tell("soak is the time in another channel, and from is missing", "for example from: staging", "soak")
		}
		if j := r.shadowing(i); j >= 0 {
			tell(fmt.Sprintf("channels[%d] is for all of these already, and decides", j), "put the rule that is meant first, or remove one", "name")
		}
		if a := rule.Approvals; a != nil {
			if n, _ := strconv.Atoi(a.Count); n >= len(r.People) {
				tell(fmt.Sprintf("%s people other than the one who promotes must approve, and there are %d", a.Count, len(r.People)), "name them and their keys under people", "approvals", "count")
			}
		}
		for k, freeze := range rule.Freezes {
			from, errFrom := time.Parse(time.DateOnly, freeze.From)
			until, errUntil := time.Parse(time.DateOnly, freeze.Until)
			if errFrom != nil || errUntil != nil || until.Before(from) {
				tell(fmt.Sprintf("the freeze from %s until %s is no time", freeze.From, freeze.Until), "", "freezes", strconv.Itoa(k))
			}
		}
	}
	return all
}

// shadowing finds an earlier rule of the same channel that is for all names, or has all patterns
// of a rule.
func (r *Rules) shadowing(i int) int {
	rule := r.Channels[i]
	for j, earlier := range r.Channels[:i] {
		if earlier.Name != rule.Name {
			continue
		}
		missing := slices.ContainsFunc(rule.Match, func(p string) bool { return !slices.Contains(earlier.Match, p) })
		if earlier.Match == nil || rule.Match != nil && !missing {
			return j
		}
	}
	return -1
}

// Number is the version as a number.
func (r *Rules) Number() int { return r.version }

// Person is who holds a key; empty where nobody does.
func (r *Rules) Person(key string) string { return r.people[key] }

// IsService reports whether a key is a service's.
func (r *Rules) IsService(key string) bool { return slices.Contains(r.Services, key) }

// Speaker is the person for whom a signature of a key counts: who holds it, or, where it is a
// service's, whom the caller is that the service names. Otherwise it is an error of kind Refused
// that says why it counts for nobody.
func (r *Rules) Speaker(key, caller string) (string, error) {
	refused := func(hint, format string, args ...any) (string, error) {
		return "", faults.New(faults.Refused, hint, format, args...)
	}
	switch person := r.people[key]; {
	case r.IsService(key) && caller == "":
		return refused("a service signs for its callers: ask it with --server", "key %s is a service's, and no caller is named", key)
	case r.IsService(key) && r.callers[caller] == "":
		return refused("name it under people, as callers: ["+caller+"]", "caller %s of the service with key %s is nobody whom %s names", caller, key, r.Path)
	case r.IsService(key):
		return r.callers[caller], nil
	case person == "":
		return refused("name it under people", "key %s is held by nobody whom %s names", key, r.Path)
	case caller != "":
		return refused("name the key under services", "key %s is held by %s, and speaks for caller %s", key, person, caller)
	default:
		return person, nil
	}
}

// Rule finds the rule of a channel for an artifact's name.
func (r *Rules) Rule(channel, name string) (Rule, bool) {
	for _, rule := range r.Channels {
		if rule.Name == channel && (rule.Match == nil || slices.ContainsFunc(rule.Match, func(p string) bool { return matches(p, name) })) {
			return rule, true
		}
	}
	return Rule{}, false
}

// matches reports whether a text has a pattern, in which * stands for anything but a slash. The
// form admits no other sign with a meaning.
func matches(pattern, text string) bool {
	ok, err := path.Match(pattern, text)
	return ok && err == nil
}

// SoakTime is how long the other channel must have named a digest.
func (r Rule) SoakTime() time.Duration { return age(r.Soak) }

// FrozenAt says why nothing is promoted at a time; empty where nothing stops it.
func (r Rule) FrozenAt(now time.Time) string {
	today := now.UTC().Format(time.DateOnly)
	for _, f := range r.Freezes {
		if f.From <= today && today <= f.Until {
			return fmt.Sprintf("%s, from %s until %s", f.Why, f.From, f.Until)
		}
	}
	return ""
}

// Wanted is how many people must have approved, and how long ago they may have. None is 0.
func (a *Approvals) Wanted() (count int, most time.Duration) {
	if a == nil {
		return 0, 0
	}
	count, _ = strconv.Atoi(a.Count)
	most = age(a.MaxAge)
	if most == 0 {
		most = usualAge
	}
	return count, most
}

// age reads 12h or 90d; nothing is 0.
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

// PolicyFile is the path of a rule's policy. It reads the file, which must have the hash that the
// rule says.
func (r *Rules) PolicyFile(p Policy) (string, error) {
	file := p.File
	if !filepath.IsAbs(file) {
		file = filepath.Join(filepath.Dir(r.Path), file)
	}
	text, err := keys.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", faults.New(faults.Input, "", "there is no policy %s, which %s names", file, r.Path)
	}
	if err != nil {
		return "", fmt.Errorf("reading policy: %w", err)
	}
	if got := hashOf(text); got != p.SHA256 {
		return "", faults.New(faults.Refused, "root keys sign the hash: change both, raise the version, and have it signed", "policy %s has the hash %s, and %s says %s", file, got, r.Path, p.SHA256)
	}
	return file, nil
}

// payload is what is signed.
func (r *Rules) payload() []byte {
	f := r.File
	f.Signatures = nil
	// Maps are encoded in the order of their keys.
	data, err := json.Marshal(f)
	if err != nil {
		panic("rules: " + err.Error())
	}
	return data
}

// Hash names what the rules say, without their signatures: "sha256:" and a hash.
func (r *Rules) Hash() string { return hashOf(r.payload()) }

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Signature makes the signature of a root key, and the ID under which it stands in the file.
func (r *Rules) Signature(ctx context.Context, by keys.Signer) (id, signature string, err error) {
	sig, err := by.Sign(ctx, roots.Message(artifact.ChannelRulesType, r.payload()))
	if err != nil {
		return "", "", err
	}
	return by.Public().ID(), base64.StdEncoding.EncodeToString(sig), nil
}

// WithSignature is the text of a file of rules with one more signature in it. Signatures stand at
// the end of the file, and nothing else of it changes.
func WithSignature(text []byte, all map[string]string, id, signature string) []byte {
	var b strings.Builder
	inside := false
	for line := range strings.Lines(string(text)) {
		switch {
		case strings.HasPrefix(line, "signatures:"):
			inside = true
			continue
		case inside && (strings.HasPrefix(line, " ") || strings.TrimSpace(line) == ""):
			continue
		}
		inside = false
		b.WriteString(line)
	}
	kept := strings.TrimRight(b.String(), "\n") + "\nsignatures:\n"
	all = maps.Clone(all)
	if all == nil {
		all = map[string]string{}
	}
	all[id] = signature
	for _, id := range slices.Sorted(maps.Keys(all)) {
		kept += fmt.Sprintf("  %q: %q\n", id, all[id])
	}
	return []byte(kept)
}

// CheckSigned says that enough root keys of a trust root have signed the rules.
func (r *Rules) CheckSigned(root *roots.Root) error {
	if r.Trust != root.Name {
		return faults.New(faults.Refused, "", "%s is signed by the keys of trust root %s, and the policy names %s", r.Path, r.Trust, root.Name)
	}
	found := root.Signers(artifact.ChannelRulesType, r.payload(), r.Signatures)
	if want := root.Threshold(roots.RoleRoot); len(found) < want {
		return faults.New(faults.Refused, "each holder of a root key calls `ampoule channel rules sign`",
			"channel rules %s version %d need %d signatures of root keys, and have those of %s", r.Path, r.version, want, orNone(found))
	}
	return nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// memoryKind is the kind of the records: the highest version of rules that was seen, by a hash
// of the trust root's name.
const memoryKind = "channel-rules"

// seen is one record.
type seen struct {
	Trust   string `json:"trust"`
	Version int    `json:"version"`
	Hash    string `json:"hash"`
}

// Open reads rules and checks them: their signatures, and that they are no lower version and no
// other one than this memory has seen.
func Open(ctx context.Context, memory roots.Memory, file string, root *roots.Root) (*Rules, error) {
	r, err := Read(file)
	if err != nil {
		return nil, err
	}
	if err := r.CheckSigned(root); err != nil {
		return nil, err
	}
	key := strings.TrimPrefix(hashOf([]byte(r.Trust)), "sha256:")
	unlock, err := memory.Lock(ctx, memoryKind+"-"+key)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var known seen
	if _, err := memory.Lookup(memoryKind, key, &known); err != nil {
		return nil, fmt.Errorf("remembering channel rules: %w", err)
	}
	switch {
	case r.version < known.Version:
		return nil, faults.New(faults.Refused, "put the newest rules there", "channel rules %s are rolled back: version %d, and %d was seen here", file, r.version, known.Version)
	case r.version == known.Version && r.Hash() != known.Hash:
		return nil, faults.New(faults.Refused, "raise the version with each change", "channel rules %s are changed: version %d is another one than was seen here", file, r.version)
	case r.version > known.Version:
		if err := memory.RecordDurably(memoryKind, key, seen{r.Trust, r.version, r.Hash()}); err != nil {
			return nil, fmt.Errorf("remembering channel rules: %w", err)
		}
	}
	return r, nil
}
