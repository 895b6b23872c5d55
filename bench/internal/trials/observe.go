package trials

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/machine"
)

//go:embed environments.py
var importScript string

// thing is something to import, as environments.py lists it.
type thing struct {
	Name string `json:"name"`
	// Kind is "native", "package" or "program".
	Kind string `json:"kind"`
	// File is a native module's, below site-packages, and Dist its distribution, "NAME VERSION".
	File string `json:"file"`
	Dist string `json:"dist"`
}

const native = "native"

// showing is what came of importing a thing, or of starting a program.
type showing struct {
	Name string `json:"name"`
	// Word is one of these words.
	Word string `json:"word"`
	Why  string `json:"why"`
}

const (
	works = "works"
	// loads says that the loader takes a module whose import fails for another reason.
	loads = "loads"
	fails = "fails"
)

// observation is what a machine showed.
type observation struct {
	Things []thing `json:"things"`
	// Tags are the distributions' tags, Objects how many ELF files each has.
	Tags    map[string][]string `json:"tags"`
	Objects map[string]int      `json:"objects"`
	// Programs are those that distributions brought.
	Programs []string `json:"programs"`
	// Told has what came of each, by name; programs begin with "bin/".
	Told map[string]showing `json:"told"`
}

// stateFile is where an observation is kept with its machine.
const stateFile = "observed.json"

// remembered reads an observation that was made before.
func remembered(m *machine.Machine) (*observation, error) {
	data, err := os.ReadFile(m.State(stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	o := &observation{}
	if err := json.Unmarshal(data, o); err != nil {
		return nil, fmt.Errorf("reading %s: %w", m.State(stateFile), err)
	}
	return o, nil
}

func remember(m *machine.Machine, o *observation) error {
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return os.WriteFile(m.State(stateFile), data, 0o644)
}

// observed looks what works in a whole machine, which breaks later or does not.
func (t *Trials) observed(ctx context.Context, s subject, m *machine.Machine) (*observation, error) {
	if o, err := remembered(m); o != nil || err != nil {
		return o, err
	}
	var o *observation
	err := m.With(ctx, func() (err error) {
		if o, err = t.listed(ctx, s, m, s.at()+"/bin/python"); err != nil {
			return err
		}
		// Packages of Python are imported where a broken environment is held against them.
		if !s.breaks {
			o.Things = slices.DeleteFunc(o.Things, func(one thing) bool { return one.Kind != native })
		}
		return t.try(ctx, s, m, o)
	})
	if err != nil {
		return nil, err
	}
	return o, remember(m, o)
}

// observedBroken looks what works in a broken machine of what the whole one has, and of what it
// has beside.
func (t *Trials) observedBroken(ctx context.Context, s subject, m *machine.Machine, had *observation) (*observation, error) {
	if o, err := remembered(m); o != nil || err != nil {
		return o, err
	}
	o := &observation{Things: had.Things, Tags: had.Tags, Objects: had.Objects, Programs: had.Programs}
	err := m.With(ctx, func() error {
		prefixes, err := t.interpreters()
		if err != nil {
			return err
		}
		// The environment's own interpreter may not start any more; where none does, nothing is new.
		if more, err := t.listed(ctx, s, m, filepath.Join(prefixes[s.python], "bin", "python3")); err == nil {
			o.add(more)
		}
		return t.try(ctx, s, m, o)
	})
	if err != nil {
		return nil, err
	}
	return o, remember(m, o)
}

// add takes in things under new names, and what is known of distributions.
func (o *observation) add(more *observation) {
	known := map[string]int{}
	for i, thing := range o.Things {
		known[thing.Name] = i
	}
	things := append([]thing(nil), o.Things...)
	for _, thing := range more.Things {
		if i, ok := known[thing.Name]; ok {
			things[i] = thing
			continue
		}
		things = append(things, thing)
	}
	o.Things, o.Tags, o.Objects = things, more.Tags, more.Objects
	o.Programs = append(slices.Clone(o.Programs), more.Programs...)
	slices.Sort(o.Programs)
	o.Programs = slices.Compact(o.Programs)
}

// service is the account that environments are tried with: www-data, which owns nothing.
const service = "33:33"

func serving() machine.Way {
	return machine.Way{User: service, Env: []string{"PATH=" + systemPath, "HOME=/tmp", "LANG=C.UTF-8", "PYTHONPYCACHEPREFIX=/tmp/pyc"}}
}

// Files that a machine has while it is looked at.
const (
	scriptFile = "/srv/environments.py"
	thingsFile = "/srv/things.json"
	probeDir   = "/srv/probe"
)

// listed lists what a machine has to try.
func (t *Trials) listed(ctx context.Context, s subject, m *machine.Machine, python string) (*observation, error) {
	if err := m.Write(scriptFile, importScript); err != nil {
		return nil, err
	}
	run, err := m.Program(serving(), python).Run(ctx, scriptFile, "list", siteOf(s, m))
	if err != nil {
		return nil, err
	}
	o := &observation{}
	if err := json.Unmarshal([]byte(run.Out), o); err != nil {
		return nil, fmt.Errorf("reading what %s has: %w", s.name(), err)
	}
	return o, nil
}

// siteOf is the environment's site-packages, for whatever minor version that is.
func siteOf(s subject, m *machine.Machine) string {
	found, _ := filepath.Glob(m.File(s.at() + "/lib/python3.*/site-packages"))
	if len(found) == 0 {
		return site(s, s.at())
	}
	return strings.TrimPrefix(found[0], m.Root())
}

// try imports what is listed by the environment's own interpreter, and starts its programs.
func (t *Trials) try(ctx context.Context, s subject, m *machine.Machine, o *observation) error {
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	err = errors.Join(m.Write(scriptFile, importScript), m.Write(thingsFile, string(data)), m.Write(probeDir+"/sitecustomize.py", probe))
	if err != nil {
		return err
	}
	o.Told = map[string]showing{}
	python := m.Program(serving(), s.at()+"/bin/python")
	python.KillAfter = tryTime
	run, err := python.Run(ctx, scriptFile, "try", siteOf(s, m), thingsFile)
	var failure *drive.FailureError
	if err != nil && !errors.As(err, &failure) {
		return err
	}
	if err := o.hear(run.Out); err != nil {
		return err
	}
	for _, thing := range o.Things {
		if _, ok := o.Told[thing.Name]; !ok {
			why := "nothing was told"
			if failure != nil {
				why = "python: " + t.scrub(run.Complaint())
			}
			o.Told[thing.Name] = showing{Name: thing.Name, Word: fails, Why: why}
		}
	}
	if err := t.start(ctx, s, m, o); err != nil {
		return err
	}
	return m.Remove(scriptFile, thingsFile, probeDir, "/tmp/pyc")
}

// hear reads a line of JSON for each thing.
func (o *observation) hear(text string) error {
	for line := range strings.Lines(text) {
		var one showing
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			return fmt.Errorf("reading what importing told: %w", err)
		}
		o.Told[one.Name] = one
	}
	return nil
}

// probe ends a program of Python's when its interpreter has started: what it would do is not of
// interest, and its modules are imported beside.
const probe = "import os\nos._exit(42)\n"

// startScript starts programs one after another and writes a line for each: the exit code, the
// last line that it complained, and its name. Scripts end in the probe.
const startScript = `dir=$1; shift
for name in "$@"; do
  case $(head -c 2 "$dir/$name" 2>/dev/null) in
  '#!') PYTHONPATH=/srv/probe timeout 30 "$dir/$name" --version </dev/null >/dev/null 2>/tmp/said ;;
  *) timeout 30 "$dir/$name" --version </dev/null >/dev/null 2>/tmp/said ;;
  esac
  printf '%s\t%s\t%s\n' $? "$(tail -n 1 /tmp/said | tr '\t' ' ')" "$name"
done
rm -f /tmp/said
`

// What a shell says of a program that did not start.
const (
	shellNotExecutable = "126"
	shellNotFound      = "127"
)

// ofScript is what a shell complains of a line of a script, which it has started then.
var ofScript = regexp.MustCompile(`^\S+: \d+: `)

// start starts the programs that distributions brought.
func (t *Trials) start(ctx context.Context, s subject, m *machine.Machine, o *observation) error {
	run, err := m.Program(serving(), "sh").Run(ctx, append([]string{"-c", startScript, "sh", s.at() + "/bin"}, o.Programs...)...)
	if err != nil {
		return fmt.Errorf("starting programs of %s: %w", s.name(), err)
	}
	for line := range strings.Lines(run.Out) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
		if len(fields) != 3 {
			return fmt.Errorf("reading how programs of %s start: %q", s.name(), line)
		}
		one := showing{Name: "bin/" + fields[2], Word: works, Why: t.scrub(fields[1])}
		absent := (fields[0] == shellNotExecutable || fields[0] == shellNotFound) && !ofScript.MatchString(fields[1])
		if absent || strings.Contains(fields[1], "Fatal Python error") {
			one.Word = fails
		}
		o.Told[one.Name] = one
	}
	return nil
}
