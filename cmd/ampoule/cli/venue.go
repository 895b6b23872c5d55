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

// all is what a service does of most verbs that it does.
const all = "yes"

// venues are the venues of verbs, and of all verbs below one that have no row of their own.
var venues = map[string]venue{
	"add":          {linux, all},
	"agent":        {linux, ""},
	"agent enroll": {everywhere, ""},
	"agent keygen": {everywhere, ""},
	"audit":        {everywhere, "a wheel, where `--server` names the service"},
	"build":        {linux, all},
	"cache":        {everywhere, ""},
	"cancel":       {nowhere, all},
	"channel":      {posix, ""},
	"ci attest":    {posix, ""},
	"ci build":     {linux, all},
	"ci check":     {posix, ""},
	"ci run":       {linux, ""},
	"copy":         {posix, ""},
	"deployments":  {posix, ""},
	"diff":         {posix, "artifacts of the service"},
	"exec":         {linux, ""},
	"explain":      {everywhere, ""},
	"export":       {posix, ""},
	"fetch":        {posix, ""},
	"host":         {linux, ""},
	"init":         {everywhere, ""},
	"inspect":      {posix, "artifacts of the service"},
	"install":      {linux, ""},
	"keys":         {everywhere, ""},
	"list":         {posix, all},
	"lock":         {linux, all},
	"logs":         {posix, all},
	"outdated":     {posix, ""},
	"pgo-profile":  {linux, ""},
	"plan":         {everywhere, all},
	"preflight":    {linux, ""},
	"registry":     {posix, ""},
	"remove":       {linux, all},
	"run":          {linux, ""},
	"save":         {posix, ""},
	"sbom":         {posix, "artifacts of the service"},
	"serve":        {linux, ""},
	"shell":        {linux, ""},
	"sign":         {posix, ""},
	"store":        {posix, ""},
	"token":        {posix, ""},
	"tree":         {everywhere, ""},
	"trust":        {everywhere, ""},
	"verify":       {posix, ""},
	"version":      {everywhere, ""},
	"why":          {posix, ""},
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
	p, ok := venueOf(cmd)
	if !ok || cmd.HasSubCommands() {
		return nil
	}
	if p.there == "" && cmd.Flags().Changed("server") && s.Server != config.NoService {
		return &UsageError{Verb: cmd.CommandPath(), Err: fmt.Errorf("%s works on this machine alone: leave --server out", cmd.CommandPath())}
	}
	// What only edits a recipe locks nothing.
	edits := cmd.Flags().Lookup("no-lock")
	if p.here.has(s.goos()) || edits != nil && edits.Changed {
		return nil
	}
	if p.there == "" {
		return unfit(cmd, p.here, s.goos(), "run it on a machine that has it")
	}
	c, err := s.service()
	if c != nil || err != nil {
		return err
	}
	if p.here == nowhere {
		return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("builds of this machine end with their program: name a service with --server")}
	}
	return unfit(cmd, p.here, s.goos(), "a service does it: name it with --server or AMPOULE_SERVER")
}

// unfit says that a verb does not work on a system.
func unfit(cmd *cobra.Command, on systems, goos, hint string) error {
	return faults.New(faults.Machine, hint, "%s needs %s, and this is %s", cmd.CommandPath(), on, system.Name(goos))
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
