// Package webhooks tells receivers what happens at a service, by the Standard Webhooks specification
// (github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md).
//
// What is to be sent is a row, written in the transaction of what happened where that is the
// database's. Several processes send: each row is leased, and sent by one of them at a time. So an
// event comes at least once, and may come twice; webhook-id is the same then.
package webhooks

import (
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/registry/tokens"
	"ampoule/registry/trust/keys"
)

// Type says what happened.
type Type string

// What is told.
const (
	// BuildEnded says that a build, or a lock, is done, has failed, or was cancelled.
	BuildEnded Type = "build.ended"
	// VerdictRefused says that the gate has refused what a build made.
	VerdictRefused Type = "verdict.refused"
	// ChannelMoved says that a channel has another entry: a promotion, a rollback, a revocation, a
	// freeze.
	ChannelMoved Type = "channel.moved"
	// ApprovalWanted says that a digest could come into a channel, and people have to approve first.
	ApprovalWanted Type = "approval.wanted"
	// HostFellBack says that a host has gone back to the release before.
	HostFellBack Type = "host.fell-back"
)

// Types lists all types.
func Types() []Type {
	return []Type{BuildEnded, VerdictRefused, ChannelMoved, ApprovalWanted, HostFellBack}
}

//go:embed file.go
var source string

const (
	// maxFile bounds a webhooks.yaml, in bytes.
	maxFile = 256 << 10
	// maxHooks bounds how many receivers there are.
	maxHooks = 100
	// minSecret and maxSecret bound a secret, in bytes: "Signature scheme" of the specification.
	minSecret = 24
	maxSecret = 64
	// secretPrefix marks a secret.
	secretPrefix = "whsec_"
)

var form = recipes.Form{
	What: "a file of webhooks", Limit: maxFile, Source: source,
	Rules: map[string]recipes.Rule{
		"webhook name": {Means: "a name of at most 64 lower-case letters, digits and dashes", Pattern: regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`), Numbers: true, Example: "chat"},
		"web address":  {Means: "an address that begins with https://", Pattern: regexp.MustCompile(`^https?://[^\s/]+(/\S*)?$`), Example: "https://chat.example/hooks/ampoule"},
		"event":        {Means: "something that is told", Enum: typeNames()},
		"name pattern": {Means: "a name of recipes, with * for any text", Pattern: regexp.MustCompile(`^[a-z0-9*][a-z0-9*._/-]{0,254}$`), Numbers: true, Example: `"team/*"`},
	},
}

func typeNames() []string {
	names := make([]string, 0, len(Types()))
	for _, t := range Types() {
		names = append(names, string(t))
	}
	return names
}

// Schema gives the JSON Schema of webhooks.yaml.
func Schema() ([]byte, error) {
	return form.Schema("Ampoule webhooks (webhooks.yaml)", reflect.TypeFor[File]())
}

// Hook is a receiver.
type Hook struct {
	Name, URL string
	Events    []Type
	Match     []string
	// secrets sign what is sent, each by itself.
	secrets [][]byte
}

// Wants reports whether a receiver is told of something about a name.
func (h Hook) Wants(t Type, name string) bool {
	return slices.Contains(h.Events, t) && (h.Match == nil || slices.ContainsFunc(h.Match, func(p string) bool { return tokens.Match(p, name) }))
}

// Read reads a webhooks.yaml with the secrets that it names. Its faults are [recipes.Faults], all in
// one go.
func Read(file string) ([]Hook, error) {
	text, err := keys.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, faults.New(faults.Input, "docs/service.md has one to begin with", "there is no file of webhooks %s", file)
	}
	if err != nil {
		return nil, fmt.Errorf("reading webhooks: %w", err)
	}
	return Parse(file, text)
}

// Parse reads a webhooks.yaml from its text; file is its name, and what paths in it are relative to.
func Parse(file string, text []byte) ([]Hook, error) {
	var f File
	places, all := form.Decode(file, text, &f)
	if len(all) == 0 && len(f.Webhooks) > maxHooks {
		all = append(all, places.Fault(fmt.Sprintf("there are %d webhooks, more than %d", len(f.Webhooks), maxHooks), "", "webhooks"))
	}
	if err := all.Err(); err != nil {
		return nil, err
	}
	var hooks []Hook
	for _, name := range slices.Sorted(maps.Keys(f.Webhooks)) {
		w := f.Webhooks[name]
		h := Hook{Name: name, URL: w.URL, Match: w.Match}
		for _, event := range w.Events {
			h.Events = append(h.Events, Type(event))
		}
		if what, hint := wrongURL(w.URL); what != "" {
			all = append(all, places.Fault(what, hint, "webhooks", name, "url"))
		}
		var err error
		if h.secrets, err = readSecrets(filepath.Dir(file), w.SecretFile); err != nil {
			all = append(all, places.Fault(err.Error(), secretHint, "webhooks", name, "secret-file"))
		}
		hooks = append(hooks, h)
	}
	return hooks, all.Err()
}

const secretHint = "printf 'whsec_%s\\n' \"$(head -c 32 /dev/urandom | base64)\" makes one" //nolint:gosec // it has none

// wrongURL says what is wrong with an address: what is sent says what a company builds and runs.
func wrongURL(text string) (what, hint string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "":
		return "url is no address", "url: https://chat.example/hooks/ampoule"
	case u.User != nil:
		return "url has credentials in it", "receivers know Ampoule by its signature"
	case u.Scheme != "https" && !isLoopback(u.Hostname()):
		return "url is plain http to another machine", "use https"
	}
	return "", ""
}

func isLoopback(host string) bool { return host == "localhost" || net.ParseIP(host).IsLoopback() }

// readSecrets reads secrets, one a line. Errors repeat nothing of them.
func readSecrets(dir, file string) ([][]byte, error) {
	if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	text, err := keys.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the secret: %w", err)
	}
	var all [][]byte
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		coded, marked := strings.CutPrefix(line, secretPrefix)
		secret, err := base64.StdEncoding.DecodeString(coded)
		if !marked || err != nil || len(secret) < minSecret || len(secret) > maxSecret {
			return nil, fmt.Errorf("line %d of %s is no secret: %s and the base64 of %d to %d bytes", len(all)+1, file, secretPrefix, minSecret, maxSecret)
		}
		all = append(all, secret)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no secret", file)
	}
	return all, nil
}
