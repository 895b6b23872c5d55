package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"ampoule/address"
	"ampoule/builder/progress"
	"ampoule/cmd/ampoule/display"
	"ampoule/config"
	"ampoule/faults"
	"ampoule/recipes"
)

// FailureSchema names the form of a failure as JSON.
const FailureSchema = "ampoule.failure/v1"

// Failure says as JSON why a verb has no result.
type Failure struct {
	Schema string `json:"schema"`
	// Kind is the name of the fault's kind, Code the exit code, see [faults.Kinds].
	Kind string `json:"kind"`
	Code int    `json:"code"`
	// What is the whole message.
	What string `json:"what"`
	// Where is the place of the first fault in a file, if a file is at fault.
	Where *recipes.Position `json:"where,omitempty"`
	// Hint says what to do; several hints stand one below the other.
	Hint string `json:"hint,omitempty"`
	// Faults are all faults of files, each with its own place and hint.
	Faults []FileFault `json:"faults,omitempty"`
}

// FileFault is one thing that is wrong in a file that a person wrote or keeps.
type FileFault struct {
	What  string            `json:"what"`
	Where *recipes.Position `json:"where,omitempty"`
	Hint  string            `json:"hint,omitempty"`
}

// failureOf says of an error what [report] says of it, uncut.
func failureOf(err error) Failure {
	kind := faults.Of(err)
	f := Failure{Schema: FailureSchema, Kind: kind.String(), Code: kind.Code(), What: address.Redact(err.Error())}
	if is[*InterruptedError](err) {
		return f
	}
	f.Hint = address.Redact(strings.Join(faults.Hints(err), "\n"))
	var wrong recipes.Faults
	var set *config.Error
	switch {
	case errors.As(err, &wrong):
		// The message of the list is cut, its parts are not.
		var all []string
		for _, one := range wrong {
			all = append(all, one.String())
			f.Faults = append(f.Faults, FileFault{address.Redact(one.What), placeOf(one.Position()), address.Redact(one.Hint)})
		}
		f.What, f.Where = address.Redact(strings.Join(all, "\n")), f.Faults[0].Where
	case errors.As(err, &set):
		f.Where = placeOf(parsePlace(set.Where))
	}
	return f
}

// placeOf is a place, or nil if no file is known.
func placeOf(p recipes.Position) *recipes.Position {
	if p.File == "" {
		return nil
	}
	p.File = address.Redact(p.File)
	return &p
}

var writtenPlace = regexp.MustCompile(`^(.+):(\d+):(\d+)$`)

// parsePlace reads FILE:LINE:COLUMN. Whatever else a setting comes from is no file.
func parsePlace(where string) recipes.Position {
	parts := writtenPlace.FindStringSubmatch(where)
	if parts == nil {
		return recipes.Position{}
	}
	line, lineErr := strconv.Atoi(parts[2])
	column, columnErr := strconv.Atoi(parts[3])
	if lineErr != nil || columnErr != nil {
		return recipes.Position{}
	}
	return recipes.Position{File: parts[1], Line: line, Column: column}
}

// fail tells an error in the forms that the session wants: on stderr, as text or as one
// line of JSON, and on stdout in the place of a result that is JSON. A verb that has
// printed its result, such as a refusing verdict, has told it there.
func (s *Session) fail(err error) {
	if err == nil || is[*ChildError](err) {
		return
	}
	switch {
	case is[*toldError](err):
	case s.Progress == display.JSON:
		// Nobody reads a failure of telling a failure.
		_ = writeJSON(s.Err, failureOf(err), "")
	default:
		report(s.Err, err)
	}
	if s.Output == JSON && !s.answered {
		_ = writeJSON(s.Out, failureOf(err), "  ")
	}
}

// writeJSON writes a value as JSON: in one line, or indented.
func writeJSON(w io.Writer, value any, indent string) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", indent)
	enc.SetEscapeHTML(false)
	return enc.Encode(value)
}

// assumeForms reads from arguments that were refused which forms they ask for.
func (s *Session) assumeForms(args []string) {
	if lastValue(args, "--output") == string(JSON) {
		s.Output = JSON
	}
	if lastValue(args, "--progress") == string(display.JSON) {
		s.Progress = display.JSON
	}
}

// lastValue is the value of a flag that is given last, before any --.
func lastValue(args []string, flag string) string {
	value := ""
	for i, arg := range args {
		switch {
		case arg == "--":
			return value
		case arg == flag && i+1 < len(args):
			value = args[i+1]
		case strings.HasPrefix(arg, flag+"="):
			value = arg[len(flag)+1:]
		}
	}
	return value
}

// events is the feed of everything that this call tells.
func (s *Session) events() *progress.Feed {
	if s.feed == nil {
		s.feed = progress.NewFeed()
	}
	return s.feed
}

// follow shows events until leave is called, which may be called again.
func (s *Session) follow(d *display.Display) (leave func()) {
	left := s.events().Follow(d)
	s.followers++
	return func() {
		if left != nil {
			left()
			s.followers--
			left = nil
		}
	}
}

// say tells a message to a person, with the word of its kind, if it has one.
func (s *Session) say(kind progress.Kind, word, message string) {
	if s.Progress != display.JSON {
		fmt.Fprintln(s.Err, display.Clean(address.Redact(word+message), true))
		return
	}
	if s.followers == 0 {
		d := display.New(s.Err, s.Progress)
		defer d.Close()
		defer s.follow(d)()
	}
	s.events().Tell(progress.Event{Kind: kind, Message: strings.TrimRight(message, "\n")})
}

// tell writes a message to stderr.
func (s *Session) tell(format string, args ...any) {
	s.say(progress.Told, "", fmt.Sprintf(format, args...))
}

// note tells what a person should know.
func (s *Session) note(format string, args ...any) {
	s.say(progress.Told, "note: ", fmt.Sprintf(format, args...))
}

// warn tells what a person should act on, some day.
func (s *Session) warn(format string, args ...any) {
	s.say(progress.Warned, "warning: ", fmt.Sprintf(format, args...))
}
