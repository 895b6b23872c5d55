package agent

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"ampoule/artifact"
	"ampoule/config"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/system"
)

//go:embed file.go
var source string

// maxFile bounds an agent.yaml, in bytes.
const maxFile = 64 << 10

var form = recipes.Form{
	What: "an agent's configuration", Limit: maxFile, Source: source,
	Rules: map[string]recipes.Rule{
		"channel":            {Means: "NAME:CHANNEL or HOST/NAME:CHANNEL", Pattern: regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._:/\[\]-]{0,255}:[a-z0-9][a-z0-9-]{0,31}$`), Example: "registry.example/web:prod"},
		"absolute path":      {Means: "an absolute path", Pattern: regexp.MustCompile(`^/[^\x00-\x1f]*$`), Example: "/opt/web"},
		"duration":           {Means: "a time span as 30s, 5m, 12h or 2d", Pattern: regexp.MustCompile(`^[1-9][0-9]{0,5}(ms|s|m|h|d)$`), Example: "30s"},
		"count":              {Means: "a number from 1 to 999", Pattern: regexp.MustCompile(`^[1-9][0-9]{0,2}$`), Numbers: true, Example: "3"},
		"number of releases": {Means: "a number from 2 to 999: one runs, and one is gone back to", Pattern: regexp.MustCompile(`^([2-9]|[1-9][0-9]{1,2})$`), Numbers: true, Example: "3"},
		"module":             {Means: "the name of a module to import", Pattern: regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`), Example: "flask"},
		"web address":        {Means: "an address that begins with http:// or https://", Pattern: regexp.MustCompile(`^https?://[^\s/]+(/\S*)?$`), Example: "http://127.0.0.1:8000/health"},
		"host name":          {Means: "a name of at most 64 letters, digits, -, _ and .", Pattern: regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`), Numbers: true, Example: "web-1"},
	},
}

// Schema gives the JSON Schema of agent.yaml.
func Schema() ([]byte, error) {
	return form.Schema("Ampoule agent (agent.yaml)", reflect.TypeFor[File]())
}

// Settings are what an agent is told to do.
type Settings struct {
	// Repository and Channel are what is followed: [HOST/]NAME, and the channel's name.
	Repository, Channel string
	Root                string
	// Policy is the policy's file; empty is the machine's.
	Policy string
	// Poll is how often the channel is looked at. Delay is how late promotions are followed.
	// MaxStale is how old the last entry may be; 0 is any age.
	Poll, Delay, MaxStale time.Duration
	// Keep is how many releases stay.
	Keep    int
	Smoke   SmokeSettings
	Restart RestartSettings
	Watch   WatchSettings
	Report  ReportSettings
}

// SmokeSettings are those of the smoke test.
type SmokeSettings struct {
	Tests
	Timeout time.Duration
	User    string
}

// Tests are what is tried of a release: modules to import, and commands to run.
type Tests struct {
	Imports  []string   `json:"imports,omitempty"`
	Commands [][]string `json:"commands,omitempty"`
}

// RestartSettings are those of the restart; without a command nothing is restarted.
type RestartSettings struct {
	Command []string
	Timeout time.Duration
}

// WatchSettings are those of the watch; where For is 0, nothing is watched.
type WatchSettings struct {
	For, Every, Timeout time.Duration
	Failures            int
	URL                 string
	Command             []string
}

// ReportSettings are those of reports; without a directory and a service none is made.
type ReportSettings struct {
	Host, Directory, Key, PassphraseFile string
	// Service is the address of a service, TokenFile the file with its token.
	Service, TokenFile string
	Every              time.Duration
}

// ReadSettings reads an agent.yaml. Its faults are [recipes.Faults], all in one go.
func ReadSettings(file string) (Settings, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Settings{}, faults.New(faults.Input, "docs/agent.md has one to begin with", "there is no agent's configuration %s", file)
	}
	if err != nil {
		return Settings{}, fmt.Errorf("reading agent's configuration: %w", err)
	}
	defer f.Close()
	if err := checkOwner(f); err != nil {
		return Settings{}, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Settings{}, fmt.Errorf("reading agent's configuration %s: %w", file, err)
	}
	return ParseSettings(file, text)
}

// checkOwner refuses, for root, a file that others may change: it names commands that are run as root.
func checkOwner(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("reading agent's configuration: %w", err)
	}
	stat, ok := system.StatOf(info)
	if os.Geteuid() != 0 || ok && stat.Owner == 0 && info.Mode().Perm()&0o022 == 0 {
		return nil
	}
	return faults.New(faults.Refused, "chown root "+f.Name()+" && chmod go-w "+f.Name(),
		"others than root may change %s, whose commands are run as root", f.Name())
}

// ParseSettings reads an agent.yaml from its text; file is its name, and what paths in it are
// relative to.
func ParseSettings(file string, text []byte) (Settings, error) {
	var f File
	places, all := form.Decode(file, text, &f)
	if len(all) == 0 {
		all = f.contradictions(places)
	}
	if err := all.Err(); err != nil {
		return Settings{}, err
	}
	return f.settings(filepath.Dir(file)), nil
}

// contradictions tells of what cannot be meant.
func (f *File) contradictions(places recipes.Places) recipes.Faults {
	var all recipes.Faults
	tell := func(what, hint string, path ...string) { all = append(all, places.Fault(what, hint, path...)) }
	repository, channel := splitChannel(f.Channel)
	_, name, hosted := strings.Cut(repository, "/")
	if !artifact.IsChannel(channel) || !artifact.IsRepository(repository) && (!hosted || !artifact.IsRepository(name)) {
		tell(fmt.Sprintf("%q is not NAME:CHANNEL or HOST/NAME:CHANNEL", f.Channel), "for example channel: registry.example/web:prod", "channel")
	}
	if filepath.Clean(f.Root) != f.Root || f.Root == "/" {
		tell(fmt.Sprintf("root %q is not a clean path below /", f.Root), "root: "+filepath.Join(f.Root, "opt"), "root")
	}
	f.checkWatch(tell)
	f.checkReport(tell)
	for i, c := range f.commands() {
		if len(c.args) == 0 || c.args[0] == "" {
			tell(fmt.Sprintf("command %d has no program", i+1), "for example [systemctl, restart, web]", c.path...)
		}
	}
	return all
}

// checkWatch tells of a watch that would see nothing.
func (f *File) checkWatch(tell func(what, hint string, path ...string)) {
	w := f.Watch
	if w == nil {
		return
	}
	if w.URL == "" && w.Command == nil {
		tell("watch looks at nothing", "url: http://127.0.0.1:8000/health", "watch")
	}
	if w.URL != "" && w.Command != nil {
		tell("watch has a url and a command", "keep one of them", "watch", "command")
	}
	if address, err := url.Parse(w.URL); w.URL != "" && (err != nil || address.Host == "" || address.User != nil) {
		tell("url is no address, or has credentials in it", "url: http://127.0.0.1:8000/health", "watch", "url")
	}
	if whole, every := spanOf(w.For, 0), spanOf(w.Every, defaultEvery); whole < every {
		tell(fmt.Sprintf("it watches for %s, and looks every %s", whole, every), "for: 5m", "watch", "for")
	}
}

// checkReport tells of reports that would go nowhere, or by which a token would.
func (f *File) checkReport(tell func(what, hint string, path ...string)) {
	r := f.Report
	if r == nil {
		return
	}
	if r.Directory == "" && r.Service == nil {
		tell("reports go nowhere", "directory: /srv/reports, or service: {url: …, token-file: …}", "report")
	}
	if r.Service == nil {
		return
	}
	address, err := url.Parse(r.Service.URL)
	switch {
	case err != nil || address.Host == "" || address.User != nil || address.RawQuery != "":
		tell("url is no address of a service, or has credentials in it", "url: https://ampoule.example", "report", "service", "url")
	case address.Scheme != "https" && address.Hostname() != "localhost" && !net.ParseIP(address.Hostname()).IsLoopback():
		tell("the token would cross the network in plain http", "use https", "report", "service", "url")
	}
}

// command is one that the file has, and where.
type command struct {
	args []string
	path []string
}

func (f *File) commands() []command {
	var all []command
	if f.Smoke != nil {
		for i, args := range f.Smoke.Commands {
			all = append(all, command{args, []string{"smoke", "commands", strconv.Itoa(i)}})
		}
	}
	if f.Restart != nil {
		all = append(all, command{f.Restart.Command, []string{"restart", "command"}})
	}
	if f.Watch != nil && f.Watch.Command != nil {
		all = append(all, command{f.Watch.Command, []string{"watch", "command"}})
	}
	return all
}

// splitChannel parts [HOST/]NAME:CHANNEL.
func splitChannel(text string) (repository, channel string) {
	i := strings.LastIndexByte(text, ':')
	return text[:max(i, 0)], text[i+1:]
}

// What counts where nothing is written.
const (
	defaultPoll    = 30 * time.Second
	defaultKeep    = 3
	defaultSmoke   = 2 * time.Minute
	defaultRestart = time.Minute
	defaultEvery   = 10 * time.Second
	defaultLook    = 5 * time.Second
	defaultFails   = 3
	defaultReport  = time.Hour
	defaultUser    = "nobody"
)

// settings are what the file says; paths are relative to a directory.
func (f *File) settings(dir string) Settings {
	s := Settings{
		Root: f.Root, Policy: beside(dir, f.Policy), Poll: spanOf(f.Poll, defaultPoll), Delay: spanOf(f.Delay, 0), MaxStale: spanOf(f.MaxStale, 0),
		Keep:  numberOf(f.Keep, defaultKeep),
		Smoke: SmokeSettings{Timeout: defaultSmoke, User: defaultUser},
	}
	s.Repository, s.Channel = splitChannel(f.Channel)
	if o := f.Smoke; o != nil {
		s.Smoke = SmokeSettings{Tests{o.Imports, o.Commands}, spanOf(o.Timeout, defaultSmoke), cmp.Or(o.User, defaultUser)}
	}
	if o := f.Restart; o != nil {
		s.Restart = RestartSettings{o.Command, spanOf(o.Timeout, defaultRestart)}
	}
	if o := f.Watch; o != nil {
		s.Watch = WatchSettings{
			spanOf(o.For, 0), spanOf(o.Every, defaultEvery), spanOf(o.Timeout, defaultLook), numberOf(o.Failures, defaultFails), o.URL, o.Command,
		}
	}
	if o := f.Report; o != nil {
		s.Report = ReportSettings{
			Host: o.Host, Directory: beside(dir, o.Directory), Key: beside(dir, o.Key), PassphraseFile: beside(dir, o.PassphraseFile), Every: spanOf(o.Every, defaultReport),
		}
		if o.Service != nil {
			s.Report.Service, s.Report.TokenFile = o.Service.URL, beside(dir, o.Service.TokenFile)
		}
	}
	return s
}

// beside is a path that is relative to a directory; empty stays empty.
func beside(dir, file string) string {
	if file == "" || filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(dir, file)
}

// spanOf reads a time span that has its form; one that is not written is another one.
func spanOf(text string, fallback time.Duration) time.Duration {
	d, err := config.ParseDuration(text)
	if text == "" || err != nil {
		return fallback
	}
	return d
}

// numberOf reads a number that has its form; one that is not written is another one.
func numberOf(text string, fallback int) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return fallback
	}
	return n
}

// Follows is the channel for people: [HOST/]NAME:CHANNEL.
func (s Settings) Follows() string { return s.Repository + ":" + s.Channel }
