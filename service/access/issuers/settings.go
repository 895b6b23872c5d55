// Package issuers knows callers by ID tokens that others sign (OpenID Connect): machines that send one
// as Bearer, and people who log in. Rules say what their claims allow. Whom no rule knows may do
// nothing.
package issuers

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/registry/tokens"
)

// maxFile bounds an access.yaml, and maxSecret a client's secret and its certificates, in bytes.
const (
	maxFile   = 256 << 10
	maxSecret = 256 << 10
)

// What a file that is silent means.
const (
	usualSession = 12 * time.Hour
	usualSkew    = time.Minute
)

// trusted is what a rule says of builds that may be promoted.
const trusted = "trusted"

//go:embed file.go
var source string

var form = recipes.Form{
	What: "an access file", Limit: maxFile, Source: source,
	Rules: map[string]recipes.Rule{
		"issuer name": {Means: "a name of at most 32 lower-case letters, digits and dashes", Pattern: regexp.MustCompile(`^[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?$`), Example: "github"},
		"issuer URL": {
			Means: "an https address without query, fragment and user; http on this machine alone", Example: "https://token.actions.githubusercontent.com",
			Pattern: regexp.MustCompile(`^https?://[A-Za-z0-9.\[\]:_-]+(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?$`),
		},
		"audience":       {Means: "one line of text", Pattern: regexp.MustCompile(`^[\x21-\x7e]{1,255}$`), Numbers: true, Example: "https://ampoule.example"},
		"host":           {Means: "a host, with its port if it has one", Pattern: regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?$`), Example: "keys.example"},
		"claim":          {Means: "the name of a claim", Pattern: regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.:/-]{0,127}$`), Example: "repository_id"},
		"claim pattern":  {Means: "one line of text", Pattern: regexp.MustCompile(`^[^\x00-\x1f\x7f]{1,512}$`), Numbers: true, Example: `"refs/heads/*"`},
		"title":          {Means: "one line of at most 40 characters", Pattern: regexp.MustCompile(`^[^\x00-\x1f\x7f]{1,40}$`), Example: "Example SSO"},
		"client":         {Means: "a client's ID", Pattern: regexp.MustCompile(`^[\x21-\x7e]{1,255}$`), Numbers: true, Example: "ampoule"},
		"issuer's scope": {Means: "a scope of OAuth 2.0 (RFC 6749, 3.3)", Pattern: regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]{1,128}$`), Example: "groups"},
		"scope":          {Means: "one line of text", Pattern: regexp.MustCompile(`^[^\x00-\x1f\x7f]{1,512}$`), Example: `"build:team/*"`},
		"trust":          {Means: "trusted or untrusted", Enum: []string{trusted, "untrusted"}, Example: trusted},
		"session":        {Means: "a time from 1m to 168h", Pattern: regexp.MustCompile(`^(?:[1-9]|[1-9][0-9]|1[0-5][0-9]|16[0-8])h$|^[1-9][0-9]{0,3}m$`), Example: "12h"},
		"skew":           {Means: "a time from 0s to 300s", Pattern: regexp.MustCompile(`^(?:0|[1-9][0-9]?|[12][0-9][0-9]|300)s$`), Example: "60s"},
	},
}

// Schema gives the JSON Schema of access.yaml.
func Schema() ([]byte, error) {
	return form.Schema("Ampoule access (access.yaml)", reflect.TypeFor[File]())
}

// Settings are an access file that was read.
type Settings struct {
	File
	// Session is how long people stay logged in, Skew how far clocks may be apart.
	Session, Skew time.Duration
	// scopes are those of each rule; secrets and authorities are the files that issuers name.
	scopes               [][]tokens.Scope
	secrets, authorities map[string]string
}

// Read reads an access file, and the files that it names. What is wrong is told all at once.
func Read(file string) (*Settings, error) {
	text, err := readFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, faults.New(faults.Input, "", "there is no access file %s", file)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the access file: %w", err)
	}
	return Parse(file, text)
}

func readFile(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err == nil && len(text) > max(maxFile, maxSecret) {
		return nil, faults.New(faults.Input, "", "%s is larger than such a file is", file)
	}
	return text, err
}

// Parse reads an access file from its text; file is its name in faults, and where the files are that
// it names.
func Parse(file string, text []byte) (*Settings, error) {
	s := &Settings{Session: usualSession, Skew: usualSkew, secrets: map[string]string{}, authorities: map[string]string{}}
	places, all := form.Decode(file, text, &s.File)
	if len(all) == 0 {
		if s.File.Session != "" {
			s.Session, _ = time.ParseDuration(s.File.Session) // its form is that of a duration
		}
		if s.File.Skew != "" {
			s.Skew, _ = time.ParseDuration(s.File.Skew)
		}
		c := &checking{s: s, places: places, dir: filepath.Dir(file)}
		c.issuers()
		c.rules()
		all = c.all
	}
	if err := all.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

// checking looks for what cannot be meant.
type checking struct {
	s      *Settings
	places recipes.Places
	dir    string
	all    recipes.Faults
}

func (c *checking) tell(what, hint string, path ...string) {
	c.all = append(c.all, c.places.Fault(what, hint, path...))
}

func (c *checking) issuers() {
	names, urls := map[string]bool{}, map[string]bool{}
	for n, i := range c.s.Issuers {
		at := func(key ...string) []string { return append([]string{"issuers", strconv.Itoa(n)}, key...) }
		if names[i.Name] {
			c.tell("there is another issuer "+i.Name, "rules name issuers: give each a name of its own", at("name")...)
		}
		if urls[i.URL] {
			c.tell("there is another issuer with this URL", "its rules are those of both: keep one", at("url")...)
		}
		names[i.Name], urls[i.URL] = true, true
		if what := wrongURL(i.URL); what != "" {
			c.tell(what, "tokens and keys would cross a network in the clear: write https", at("url")...)
		}
		if i.Audience == "" && i.Login == nil {
			c.tell("nobody is known by issuer "+i.Name, "give audience for tokens that machines send, or login for people", at("name")...)
		}
		if i.CA != "" {
			c.s.authorities[i.Name] = c.file(i.CA, at("ca")...)
		}
		if i.Login != nil && i.Login.SecretFile != "" {
			c.s.secrets[i.Name] = strings.TrimSpace(c.file(i.Login.SecretFile, at("login", "secret-file")...))
		}
		if !slices.ContainsFunc(c.s.Rules, func(r Rule) bool { return r.Issuer == i.Name }) {
			c.tell("no rule is for issuer "+i.Name, "whom it knows may do nothing: write a rule, or remove it", at("name")...)
		}
	}
}

// wrongURL says what is wrong with an issuer's address; empty for nothing.
func wrongURL(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "":
		return fmt.Sprintf("%q is no address", text)
	case u.Scheme == "http" && u.Hostname() != "localhost" && !net.ParseIP(u.Hostname()).IsLoopback():
		return "plain http leads to another machine"
	}
	return ""
}

// file reads a file that the access file names.
func (c *checking) file(name string, path ...string) string {
	at := name
	if !filepath.IsAbs(at) {
		at = filepath.Join(c.dir, at)
	}
	text, err := readFile(at)
	switch {
	case err != nil:
		c.tell(fmt.Sprintf("%s cannot be read: %v", name, errors.Unwrap(err)), "", path...)
	case strings.TrimSpace(string(text)) == "":
		c.tell(name+" is empty", "", path...)
	}
	return string(text)
}

// qualifiers are claims that say how something was run, and not whose it is: any repository that the
// issuer knows has such values.
var qualifiers = []string{
	"actor", "aud", "base_ref", "email_verified", "environment", "environment_protected", "event_name", "exp", "groups_direct", "head_ref", "iat", "iss",
	"nbf", "pipeline_source", "ref", "ref_path", "ref_protected", "ref_type", "repository_visibility", "project_visibility", "runner_environment",
	"user_access_level", "user_login", "workflow",
}

// renamable has for claims that name something by a name that can become somebody else's the claims
// that do not.
var renamable = map[string][]string{
	"repository": {"repository_id"}, "repository_owner": {"repository_owner_id", "repository_id"},
	"project_path": {"project_id"}, "namespace_path": {"namespace_id", "project_id"},
}

func (c *checking) rules() {
	for n, r := range c.s.Rules {
		at := func(key ...string) []string { return append([]string{"rules", strconv.Itoa(n)}, key...) }
		if !slices.ContainsFunc(c.s.Issuers, func(i Issuer) bool { return i.Name == r.Issuer }) {
			c.tell("there is no issuer "+r.Issuer, "issuers are "+orNone(c.s.Issuers), at("issuer")...)
		}
		c.match(r, at)
		var scopes []tokens.Scope
		for k, text := range r.Scopes {
			scope, err := tokens.ParseScope(text)
			if err != nil {
				c.tell(err.Error(), strings.Join(faults.Hints(err), "; "), at("scopes", strconv.Itoa(k))...)
				continue
			}
			scopes = append(scopes, scope)
		}
		c.s.scopes = append(c.s.scopes, scopes)
	}
}

// match refuses rules that are for everybody.
func (c *checking) match(r Rule, at func(...string) []string) {
	naming := func(claim string) bool { return !slices.Contains(qualifiers, claim) }
	if !slices.ContainsFunc(slices.Collect(maps.Keys(r.Match)), naming) {
		c.tell("this is so for everybody whom the issuer knows", "name whose it is: repository_id, project_id, sub, groups or email; "+`sub: "*" is for everybody`, at("match")...)
	}
}

func orNone(all []Issuer) string {
	names := make([]string, len(all))
	for i, one := range all {
		names[i] = one.Name
	}
	return strings.Join(names, ", ")
}

// Warnings tell of rules that are as written, and may be meant otherwise.
func (s *Settings) Warnings() []string {
	var all []string
	for n, r := range s.Rules {
		for _, name := range slices.Sorted(maps.Keys(r.Match)) {
			steady, ok := renamable[name]
			if ok && !slices.ContainsFunc(steady, func(claim string) bool { _, has := r.Match[claim]; return has }) {
				all = append(all, fmt.Sprintf("rules[%d] knows somebody by %s, which can become somebody else's: match %s too", n, name, steady[0]))
			}
		}
	}
	return all
}
