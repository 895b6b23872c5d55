package reports

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/registry/trust/keys"
	"ampoule/system"
)

//go:embed file.go
var source string

// maxFile bounds a hosts.yaml, in bytes.
const maxFile = 1 << 20

var hostName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`)

var form = recipes.Form{
	What: "a list of hosts", Limit: maxFile, Source: source,
	Rules: map[string]recipes.Rule{
		"host name": {Means: "a name of at most 64 letters, digits, -, _ and .", Pattern: hostName, Numbers: true, Example: "web-1"},
		"base64":    {Means: "base64", Pattern: regexp.MustCompile(`^[A-Za-z0-9+/]+={0,2}$`)},
	},
}

// Schema gives the JSON Schema of hosts.yaml.
func Schema() ([]byte, error) {
	return form.Schema("Ampoule hosts (hosts.yaml)", reflect.TypeFor[File]())
}

// ReadHosts reads a hosts.yaml. Its faults are [recipes.Faults].
func ReadHosts(file string) (Keys, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, faults.New(faults.Input, "`ampoule agent enroll` makes one", "there is no list of hosts %s", file)
	}
	if err != nil {
		return nil, fmt.Errorf("reading hosts: %w", err)
	}
	return ParseHosts(file, text)
}

// ParseHosts reads a hosts.yaml from its text; file is its name in faults. One key under two names
// would be two hosts.
func ParseHosts(file string, text []byte) (Keys, error) {
	var f File
	places, all := form.Decode(file, text, &f)
	known, names := Keys{}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(f.Hosts)) {
		key, err := keys.ParsePublicText(f.Hosts[name].Public)
		if err != nil {
			all = append(all, places.Fault(fmt.Sprintf("host %s: %v", name, err), "", "hosts", name, "public"))
			continue
		}
		if other, twice := names[key.ID()]; twice {
			all = append(all, places.Fault(fmt.Sprintf("hosts %s and %s have one key", other, name), "each host has a key of its own: `ampoule agent keygen`", "hosts", name))
		}
		names[key.ID()], known[name] = name, key
	}
	if err := all.Err(); err != nil {
		return nil, err
	}
	return known, nil
}

// Enroll adds a host to a hosts.yaml, which is made if it is missing. A host that is there under
// the name keeps its key, unless it is to be replaced.
func Enroll(file, name string, key keys.Public, replace bool) error {
	if !hostName.MatchString(name) {
		return faults.New(faults.Usage, "for example web-1", "%q is no name of a host: at most 64 letters, digits, -, _ and .", name)
	}
	known, err := ReadHosts(file)
	if _, missing := os.Stat(file); errors.Is(missing, fs.ErrNotExist) {
		known, err = Keys{}, nil
	}
	if err != nil {
		return err
	}
	if there, taken := known[name]; taken && there.ID() != key.ID() && !replace {
		return faults.New(faults.Usage, "with --replace it gets the new key, and what the old one has signed does not count any more", "host %s has another key, %s", name, there.ID())
	}
	known[name] = key
	text := encodeHosts(known)
	if _, err := ParseHosts(file, text); err != nil {
		return err
	}
	if err := system.WriteFile(file, text, 0o644); err != nil {
		return fmt.Errorf("writing hosts: %w", err)
	}
	return nil
}

func encodeHosts(known Keys) []byte {
	var b strings.Builder
	b.WriteString("apiVersion: ampoule/v1\nhosts:\n")
	for _, name := range slices.Sorted(maps.Keys(known)) {
		fmt.Fprintf(&b, "  %q: {public: %q}\n", name, known[name].Text())
	}
	return []byte(b.String())
}
