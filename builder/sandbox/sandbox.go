// Package sandbox says what a sealed environment is: where foreign code
// compiles, tests and installs, with no network, few rights and bounded means.
//
// A [Runner] has no way to give a sandbox a network: the type says it. [Online]
// is another type, which locking alone uses, and which no stage that compiles can
// be handed.
package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/docker/go-units"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/system"
)

// UID and GID stand for the user and the group that an [Unprivileged] sandbox runs as, in
// all that is imported and exported. The real ones are the sandbox's own: what the kernel
// counts for each user, nobody else uses up. Neither has a name in /etc/passwd.
const (
	UID = 1000
	GID = 1000
)

// FirstUser to LastUser are the real ones, those from [ApartUser] on of sandboxes whose
// [Guise] is apart. They are below 65,536, since an engine that maps users maps no
// more, and below what Debian keeps for itself (Debian Policy, 9.2.2).
const (
	FirstUser = 20000
	ApartUser = 40000
	LastUser  = 59999
)

// ID names an image that is loaded: "sha256:" and the hash of its configuration.
type ID string

// Profile says with which rights a sandbox runs.
type Profile int

// The profiles.
const (
	// Unprivileged is for everything that compiles, tests or runs foreign code: a
	// user that is not root, no capability, no new privileges.
	Unprivileged Profile = iota
	// InstallPackages is for dpkg, and for tar that reads what it changed: root with CHOWN, DAC_OVERRIDE, FOWNER,
	// FSETID, SETUID and SETGID, no new privileges.
	InstallPackages
)

// Spec says what a sandbox is. It has no network, no mounts of the host, and
// nothing that could give it one.
type Spec struct {
	Image ID
	// Name says what it is for, for people who look at the running containers.
	Name    string
	Profile Profile
	Limits  Limits
	// Guise is what the sandbox calls itself; every build has the zero value.
	Guise Guise
}

// Guise is what a sandbox calls itself and its user. Another one than the zero value
// finds out what depends on it.
type Guise struct {
	// Hostname is its host name; empty is the runner's own.
	Hostname string
	// Apart says that its user is one that no sandbox has without this. Only the
	// [Unprivileged] profile takes it.
	Apart bool
}

// Check refuses a profile that is not known, and a guise that its profile does not take.
func (s Spec) Check() error {
	switch {
	case s.Profile != Unprivileged && s.Profile != InstallPackages:
		return fmt.Errorf("unknown profile %d", s.Profile)
	case s.Profile == InstallPackages && s.Guise.Apart:
		return errors.New("packages are installed as root, and as no other user")
	}
	return nil
}

// Limits bound what a sandbox may use. A zero field takes the runner's default.
type Limits struct {
	// Memory is in bytes, swap included.
	Memory int64
	// PIDs is the largest number of processes and threads.
	PIDs int64
	// CPUs is how many processors may be busy at a time.
	CPUs int64
	// Disk is how much may be written, in bytes, files with holes by their whole length.
	// One file may have a quarter of it. Half of it may be exported of an [Unprivileged]
	// sandbox at a time, and all of it of another one.
	Disk int64
}

// Or takes what is zero from others.
func (l Limits) Or(others Limits) Limits {
	return Limits{
		Memory: cmp.Or(l.Memory, others.Memory), PIDs: cmp.Or(l.PIDs, others.PIDs),
		CPUs: cmp.Or(l.CPUs, others.CPUs), Disk: cmp.Or(l.Disk, others.Disk),
	}
}

// File is how long one file may be, in bytes.
func (l Limits) File() int64 { return l.Disk / 4 }

// Export is how much may be exported of an [Unprivileged] sandbox at a time, in bytes.
func (l Limits) Export() int64 { return l.Disk / 2 }

// Step is one command run in a sandbox.
type Step struct {
	// Args is the command with its arguments; Args[0] is found in the PATH of Env,
	// without one in /bin and /usr/bin, and has no "=".
	Args []string
	// Env is the whole environment, as KEY=value; nothing is inherited.
	Env []string
	// Secrets are further variables, without line breaks, that nobody but the step gets to
	// see: not who lists processes, not who asks the engine. A step with a
	// terminal has none. What hands them over may add variables of a shell (PWD, SHLVL).
	Secrets []string
	// Dir is the working directory, absolute; empty is the root directory.
	Dir string
	// Stdin is passed on as it is read, to its end. It may be nil: the step reads
	// nothing then. An error of it, other than io.EOF, is one of the step. It is not
	// read any more when the step has ended; a Read that has begun by then is left to
	// itself, and what it gives is dropped.
	Stdin io.Reader
	// Stdout and Stderr may be nil, or one and the same writer: that gets what is
	// written in the order in which it is written.
	Stdout, Stderr io.Writer
	// Terminal gives the step a terminal; nil is none.
	Terminal *Terminal
	// Parallel is for a step that can use several processors, which Args and Env tell it
	// already. Nil is a step that uses one.
	Parallel *Parallel
	// Memory is what the step is expected to hold at most, in bytes; 0 is not known.
	Memory int64
	// AtOnce is for a step that is timed, or without which another one does not go on: where
	// steps wait for their share of the machine, it does not.
	AtOnce bool
}

// Parallel says how many processors a step can use, and how it is told of fewer.
type Parallel struct {
	// Most is how many it can use, and is told of.
	Most int
	// Told is the same step with another number of processors.
	Told func(processors int) Step
}

// InParallel makes a step that can use several processors, of what makes it for a number of them.
func InParallel(most int, told func(processors int) Step) Step {
	s := told(most)
	s.Parallel = &Parallel{Most: most, Told: told}
	return s
}

// With is the step with a number of processors, 1 at least: it can use so many then, and is told of
// them.
func (s Step) With(processors int) Step {
	if s.Parallel == nil || processors == s.Parallel.Most {
		return s
	}
	told := InParallel(processors, s.Parallel.Told)
	s.Args, s.Env, s.Parallel = told.Args, told.Env, told.Parallel
	return s
}

// Terminal is a step's terminal: its standard input, output and error are one, and
// all that it writes goes to Stdout. A line ends in "\r\n" there, input is echoed
// until the step says otherwise, and the end of Stdin reaches the step as the
// character Ctrl-D. The TERM of the step's Env says of which kind it is.
type Terminal struct {
	// Sizes gives the terminal's size, first and whenever it changes; may be nil. The
	// step may have begun when the first size reaches it.
	Sizes <-chan Size
}

// Size is the size of a terminal, in characters.
type Size struct{ Rows, Columns uint }

// Runner starts sandboxes without a network.
type Runner interface {
	// Start returns a running sandbox that was inspected and found to be as the
	// Spec says; anything else is an error wrapping [ErrNotSealed]. Cancelling ctx
	// later does not end the sandbox; Close does.
	Start(ctx context.Context, spec Spec) (Sandbox, error)
}

// Sandbox is one running sandbox. Its methods may be called concurrently, except Close.
type Sandbox interface {
	// Exec runs a step and waits for it. A step that ends with another code than 0,
	// or by a signal, is an [*ExitError]; one whose command is not found has code
	// 127. After any other error of a step that began (ctx is cancelled, a writer or
	// Stdin fails, the engine goes away) the whole sandbox is removed, so that nothing
	// in it runs on; when ctx is cancelled the error wraps its cause. Nothing that Exec
	// began goes on after it, but for one Read of Stdin.
	Exec(ctx context.Context, step Step) error
	// Import unpacks a tar stream below dir, an absolute path, which it makes if it
	// is missing, for the sandbox's user with mode 0755. Owners and modes are the
	// tar's; of an unprivileged sandbox [UID] and [GID] are its user and group. It reads the stream to its end, padding included. A stream that is cut,
	// sparse, or leaves dir is an error; part of it may have been unpacked then.
	Import(ctx context.Context, dir string, tar io.Reader) error
	// Export returns the tar of what is below dir: paths relative to dir, dir
	// itself left out. A dir of "/" is the whole file system, without /proc,
	// /sys and /dev. What the engine puts into every sandbox is left out, together
	// with what the image has there: /etc/hostname, hosts, mtab and resolv.conf. The
	// caller closes it; a short stream is an error from Read, and so is one that holds more
	// than [Limits] allow, an [*ExceededError]. A dir that does not exist is an error wrapping fs.ErrNotExist.
	Export(ctx context.Context, dir string) (io.ReadCloser, error)
	// Changes lists what became different in the file system since the sandbox was
	// started, as far as Export has it: what is there, with all directories above,
	// and what is gone. What is there may be more than what changed; below what is
	// gone there may be something new. A file that was written anew with the size,
	// mode, owner and time that it had may be missing. Paths are relative to the root
	// and sorted.
	Changes(ctx context.Context) (there, gone []string, err error)
	// Close removes the sandbox with everything in it. It is safe to call again.
	Close() error
}

// Wrapper is a [Sandbox] around another one.
type Wrapper interface{ Unwrap() Sandbox }

// Peak is the most memory that the processes of a sandbox were seen to hold together, in bytes:
// what the kernel cannot take back without killing. It is false where nobody looks.
func Peak(s Sandbox) (bytes int64, known bool) {
	if m, ok := able[interface{ Peak() int64 }](s); ok {
		bytes = m.Peak()
	}
	return bytes, bytes > 0
}

// Waited is how long the steps of a sandbox have waited for their share of the machine.
func Waited(s Sandbox) time.Duration {
	if w, ok := able[interface{ Waited() time.Duration }](s); ok {
		return w.Waited()
	}
	return 0
}

// able finds the sandbox that has an ability, among those around it and itself.
func able[T any](s Sandbox) (T, bool) {
	for {
		if found, ok := s.(T); ok {
			return found, true
		}
		w, ok := s.(Wrapper)
		if !ok {
			var none T
			return none, false
		}
		s = w.Unwrap()
	}
}

// Layer is one layer of an image.
type Layer = artifact.Layer

// Config is what an image says beside its layers. It is part of its ID.
type Config = artifact.Config

// Images holds images for a runner.
type Images interface {
	// Load makes the image of these layers, the lowest first, available. The same
	// arguments give the same ID. Layers that are there already are not sent again.
	// A layer that is not what its DiffID says is an error.
	Load(ctx context.Context, config Config, layers ...Layer) (ID, error)
}

// OnlineSpec says what an online container is.
type OnlineSpec struct {
	Image  ID
	Name   string
	Limits Limits
}

// Online starts containers that do reach the network: unprivileged ones that hold
// nothing secret but what the caller puts into a step's environment. It is what
// resolution runs in, and it must never run code of an sdist. It is not a [Runner].
type Online interface {
	StartOnline(ctx context.Context, spec OnlineSpec) (Sandbox, error)
}

// ErrNotSealed is wrapped by errors about a started sandbox that has more rights,
// or more network, than its Spec allows.
var ErrNotSealed = faults.New(faults.Machine, "", "sandbox is not sealed")

// ErrUnavailable is wrapped by errors that say that this machine cannot run
// sandboxes: the engine is missing, does not answer, or is too old.
var ErrUnavailable = faults.New(faults.Machine, "", "sandbox engine is unavailable")

// ErrClosed is wrapped by errors of a sandbox that is used after it was removed.
var ErrClosed = errors.New("sandbox was removed")

// ExitError says that a step ended with another code than 0.
type ExitError struct {
	Args []string
	// Code is the exit code; 128+n after signal n.
	Code int
	// OutOfMemory says that the kernel killed a process for exceeding [Limits].
	OutOfMemory bool
}

// maxArgs is how many arguments an error repeats: a step may have hundreds of files.
const maxArgs = 20

func (e *ExitError) Error() string {
	cause := fmt.Sprintf("exit code %d", e.Code)
	if name := system.SignalName(syscall.Signal(e.Code - 128)); name != "" {
		cause += ", " + name
	}
	if e.OutOfMemory {
		cause += ", out of memory"
	}
	args := e.Args
	if len(args) > maxArgs {
		args = append(slices.Clone(args[:maxArgs]), "…")
	}
	return fmt.Sprintf("running %s: %s", strings.Join(args, " "), cause)
}

// Kind says whose fault it is.
func (*ExitError) Kind() faults.Kind { return faults.Build }

// Hint says what helps a step that had too little memory.
func (e *ExitError) Hint() string {
	if !e.OutOfMemory {
		return ""
	}
	return "build with more memory (--step-memory), or with fewer jobs (--jobs)"
}

// Resource is something that [Limits] bound.
type Resource string

// The resources whose bounds end a sandbox. Those of a single one's memory and processes
// only make its steps fail.
const (
	Disk      Resource = "disk"
	Exported  Resource = "exported"
	Memory    Resource = "memory"
	Processes Resource = "processes"
)

// ExceededError says that a sandbox used more than it may, and was removed, unless it is
// what was to be exported.
type ExceededError struct {
	// Name is the sandbox's.
	Name     string
	Resource Resource
	// Limit is in bytes, or a number of processes.
	Limit int64
	// Together says that the limit is that of all sandboxes, of which this one used most.
	Together bool
}

func (e *ExceededError) Error() string {
	size := units.BytesSize(float64(e.Limit))
	what := map[Resource]string{
		Disk:      "wrote more than " + size,
		Exported:  "left more than " + size + " to keep",
		Memory:    "used more memory than " + size,
		Processes: fmt.Sprintf("had more than %d processes", e.Limit),
	}[e.Resource]
	if e.Together {
		return fmt.Sprintf("the sandboxes together %s; %s, which had the most, was ended", what, e.Name)
	}
	return fmt.Sprintf("%s %s", e.Name, what)
}

// Kind says whose fault it is.
func (*ExceededError) Kind() faults.Kind { return faults.Build }

// Hint says what allows it more.
func (e *ExceededError) Hint() string {
	switch {
	case e.Resource == Disk || e.Resource == Exported:
		return "a build that needs more gets it with --step-disk"
	case e.Together:
		return "build with fewer jobs (--jobs), so that fewer run at a time"
	}
	return ""
}

// Image is what a sandbox starts from, before it is loaded.
type Image struct {
	Config Config
	// Layers are in order, the lowest first.
	Layers []Layer
}

// With returns the image with layers laid on top.
func (i Image) With(layers ...Layer) Image {
	return Image{Config: i.Config, Layers: append(slices.Clone(i.Layers), layers...)}
}
