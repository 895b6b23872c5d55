package cli

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/config"
	"ampoule/faults"
	"ampoule/system"
)

// venue says where a verb works.
type venue struct {
	// here are the systems on which this machine does it.
	here systems
	// there says of what a service does, where one is named; empty where none does it.
	there string
}

// systems are those on which something works.
type systems int

const (
	// nowhere: only services do it.
	nowhere systems = iota
	// everywhere: files and the network are enough.
	everywhere
	// posix: it takes the locks of a store.
	posix
	// linux: it starts sandboxes, or changes what is installed.
	linux
)

// What services do of verbs.
const (
	// all is what they do of most.
	all = "yes"
	// pulled is done here, with artifacts of the service's registry.
	pulled = "here, with artifacts of its registry"
	// builtThere is as pulled, and what is to be built is built by the service.
	builtThere = "it builds, and commands run here"
)

// venues are the venues of verbs, and of all verbs below one that have no row of their own.
var venues = map[string]venue{
	"add":            {linux, all},
	"admin":          {posix, ""},
	"agent":          {linux, ""},
	"agent enroll":   {everywhere, ""},
	"agent keygen":   {everywhere, ""},
	"audit":          {everywhere, "a wheel, where `--server` names the service"},
	"build":          {linux, all},
	"cache":          {everywhere, ""},
	"cancel":         {nowhere, all},
	"channel":        {posix, all},
	"channel mirror": {posix, ""},
	"channel probe":  {posix, ""},
	"channel rules":  {posix, ""},
	"ci attest":      {posix, ""},
	"ci build":       {linux, all},
	"ci check":       {posix, ""},
	"ci run":         {linux, builtThere},
	"copy":           {posix, pulled},
	"deployments":    {posix, all},
	"diff":           {posix, "artifacts of the service"},
	"exec":           {linux, ""},
	"explain":        {everywhere, ""},
	"export":         {posix, pulled},
	"fetch":          {posix, ""},
	"host":           {linux, ""},
	"host install":   {linux, pulled},
	"init":           {everywhere, ""},
	"inspect":        {posix, "artifacts of the service"},
	"install":        {linux, pulled},
	"keys":           {everywhere, ""},
	"list":           {posix, all},
	"lock":           {linux, all},
	"logs":           {posix, all},
	"outdated":       {posix, ""},
	"pgo-profile":    {linux, ""},
	"plan":           {everywhere, all},
	"preflight":      {linux, ""},
	"registry":       {posix, ""},
	"remove":         {linux, all},
	"retry":          {nowhere, all},
	"run":            {linux, pulled},
	"save":           {posix, pulled},
	"sbom":           {posix, "artifacts of the service"},
	"serve":          {linux, ""},
	"shell":          {linux, ""},
	"sign":           {posix, pulled},
	"store":          {posix, ""},
	"token":          {posix, ""},
	"tree":           {everywhere, ""},
	"trust":          {everywhere, ""},
	"verify":         {posix, pulled},
	"version":        {everywhere, ""},
	"whoami":         {nowhere, all},
	"why":            {posix, ""},
}

// venueOf is the venue of a verb, by the row of the nearest one above; false where there is none.
func venueOf(cmd *cobra.Command) (venue, bool) {
	path := strings.Fields(cmd.CommandPath())[1:]
	for n := len(path); n > 0; n-- {
		if p, ok := venues[strings.Join(path[:n], " ")]; ok {
			return p, true
		}
	}
	return venue{}, false
}

// checkVenue refuses a verb where neither this machine nor the service that is named can do it.
func (s *Session) checkVenue(cmd *cobra.Command) error {
	v, ok := venueOf(cmd)
	if !ok || cmd.HasSubCommands() {
		return nil
	}
	if v.there == "" && cmd.Flags().Changed("server") && s.Server != config.NoService {
		return &UsageError{Verb: cmd.CommandPath(), Err: fmt.Errorf("%s works on this machine alone: leave --server out", cmd.CommandPath())}
	}
	if !s.canHere(cmd, v) {
		return s.needsService(cmd, v)
	}
	if v.there == pulled || v.there == builtThere {
		return s.takeRegistry(cmd)
	}
	return nil
}

// canHere reports whether this machine does a verb as it is called.
func (s *Session) canHere(cmd *cobra.Command, v venue) bool {
	// What only edits a recipe locks nothing.
	edits := cmd.Flags().Lookup("no-lock")
	return v.here.has(s.goos()) || edits != nil && edits.Changed
}

// needsService refuses a verb that this machine cannot do, unless a service that is named does it.
func (s *Session) needsService(cmd *cobra.Command, v venue) error {
	if v.there == "" || v.there == pulled || v.there == builtThere {
		return unfit(cmd.CommandPath(), v.here, s.goos(), "run it on a machine that has it")
	}
	c, err := s.service()
	if c != nil || err != nil {
		return err
	}
	if v.here == nowhere {
		return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("only a service does it: name one with --server")}
	}
	return unfit(cmd.CommandPath(), v.here, s.goos(), "a service does it: name it with --server or AMPOULE_SERVER")
}

// takeRegistry makes the registry of the service that is named the usual one, unless another one is
// named, or the store's own is meant.
func (s *Session) takeRegistry(cmd *cobra.Command) error {
	own := cmd.Flags().Lookup("all")
	if own != nil && own.Changed {
		return nil
	}
	c, token, err := s.serviceAndToken()
	if c == nil || err != nil {
		return err
	}
	if s.Registry != "" {
		if cmd.Flags().Changed("server") {
			return &UsageError{Verb: cmd.CommandPath(), Err: fmt.Errorf("--registry %s leads elsewhere than --server: leave one of them out", s.Registry)}
		}
		return nil
	}
	host, err := c.RegistryHost()
	if err != nil {
		return err
	}
	s.Registry, s.registryToken = host, token
	return nil
}

// unfit says that something does not work on a system.
func unfit(what string, on systems, goos, hint string) error {
	return faults.New(faults.Machine, hint, "%s needs %s, and this is %s", what, on, system.Name(goos))
}

// has reports whether a system, as runtime.GOOS names it, is among them.
func (y systems) has(goos string) bool {
	switch y {
	case everywhere:
		return true
	case posix:
		return goos != "windows"
	case linux:
		return goos == "linux"
	case nowhere:
	}
	return false
}

// String lists them for people.
func (y systems) String() string {
	switch y {
	case everywhere:
		return "Linux, macOS or Windows"
	case posix:
		return "Linux or macOS"
	case linux:
		return "Linux"
	case nowhere:
	}
	return "no machine"
}

// goos is the system that the session runs on.
func (s *Session) goos() string {
	if s.GOOS != "" {
		return s.GOOS
	}
	return runtime.GOOS
}
