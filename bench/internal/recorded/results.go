package recorded

import (
	"slices"
	"strings"
)

// The files of results, below the directory of all of them.
const (
	RecipesFile  = "catalogue.json"
	PackagesFile = "packages.json"
	// OverridesFile holds [Package]s, too.
	OverridesFile = "overrides.json"
	LoopFile      = "loop.json"
	BenchFile     = "bench.json"
	KillsFile     = "kills.json"
	// PowerLossFile and KilledFile are written by tests of the program itself.
	PowerLossFile = "powerloss.json"
	KilledFile    = "killed.json"
	ChecksFile    = "checks.json"
	VerdictsFile  = "verdicts.json"
	AuditsFile    = "audits.json"
	ServicesFile  = "services.json"
	StartsFile    = "init.json"
	SuiteFile     = "suite.json"
	PeersFile     = "peers.json"
	// RegistryFile holds [Pushes].
	RegistryFile    = "registry.json"
	ConformanceFile = "conformance.json"
	ReleasesFile    = "releases.json"
	ClientsFile     = "clients.json"
	// HostsFile holds [Figure]s.
	HostsFile = "hosts.json"
	LoadFile  = "service.json"
	// GrowthFile and SoakFile are written by tests of the program itself.
	GrowthFile = "growth.json"
	SoakFile   = "soak.json"
)

// Outcome is how it ended, and where and when that was.
type Outcome struct {
	// When is the day, in UTC, as YYYY-MM-DD, and Cores the machine's processors.
	When  string `json:"when"`
	Cores int    `json:"cores"`
	// Shared says that other work ran on the machine meanwhile: times are bounds.
	Shared bool `json:"shared,omitempty"`
	// Passed says that it was locked, built and gated.
	Passed bool `json:"passed"`
	// Stage is where it failed and Error the first line of why; empty if it passed.
	Stage string `json:"stage,omitempty"`
	Error string `json:"error,omitempty"`
}

// Spelled shows a time of this outcome: as a bound where the machine had other work.
func (o Outcome) Spelled(time string) string {
	if o.Shared && strings.ContainsAny(time, "0123456789") {
		return "≤ " + time
	}
	return time
}

// Recipe is one recipe of the catalogue, built.
type Recipe struct {
	Name string `json:"name"`
	Outcome
	// Of is the hash of the recipe that was built: see [RecipeHash].
	Of string `json:"of,omitempty"`
	// Relocked says that the lock that ships could not be used any more, so that
	// other versions may have been built.
	Relocked bool `json:"relocked,omitempty"`
	// LockSeconds is 0 if the lock that ships was built.
	LockSeconds  float64 `json:"lock_seconds"`
	BuildSeconds float64 `json:"build_seconds"`
	// InterpreterSeconds is the part of them that compiling CPython took; 0 if the
	// store had it.
	InterpreterSeconds float64 `json:"interpreter_seconds"`
	// Wheels is how many sdists the lock has compiled, those for building others
	// too; the store had Reused of the wheels.
	Wheels int `json:"wheels"`
	Reused int `json:"reused"`
	// Digest is the artifact's.
	Digest string `json:"digest,omitempty"`
	// Published says that the registry had the artifact already: BuildSeconds is
	// what finding it took.
	Published bool `json:"published,omitempty"`
	// Compiled says what compiling each sdist took that was compiled.
	Compiled Compiled `json:"compiled_seconds,omitempty"`
	Sizes
}

// Compiled says what compiling sdists took, in seconds, by NAME==VERSION. Several may
// have been compiled at once.
type Compiled map[string]float64

// Sizes are in bytes.
type Sizes struct {
	// Tree is the installed tree, Layers its layers as they are transferred
	// (compressed), both with the interpreter and without the base.
	Tree   int64 `json:"tree_bytes"`
	Layers int64 `json:"layer_bytes"`
	// Own is what the requirements take of the tree: their files and the libraries
	// that are carried for them. Bytecode is left out.
	Own int64 `json:"own_bytes"`
	// Beside is what the same versions take when they are installed from published
	// wheels, bytecode left out; Unpublished are those that have none for it, and
	// OwnBeside is Own without them.
	Beside      int64    `json:"published_bytes"`
	OwnBeside   int64    `json:"own_beside_bytes"`
	Unpublished []string `json:"unpublished,omitempty"`
}

// Key implements [Result].
func (r Recipe) Key() string { return r.Name }

// Package is one distribution, required alone and with no further entry of a recipe.
type Package struct {
	Name string `json:"name"`
	// Version is the locked one; empty if locking failed.
	Version string `json:"version,omitempty"`
	Outcome
	Locked bool `json:"locked"`
	Built  bool `json:"built"`
	Gated  bool `json:"gated"`
	// InterpreterSeconds is the part of the others that compiling CPython took.
	LockSeconds        float64 `json:"lock_seconds"`
	BuildSeconds       float64 `json:"build_seconds"`
	InterpreterSeconds float64 `json:"interpreter_seconds"`
	// Compiled says what compiling each sdist took that was compiled, for locking too.
	Compiled Compiled `json:"compiled_seconds,omitempty"`
	// Overrides are the rules that ship with Ampoule and applied, as "NAME: why".
	Overrides []string `json:"overrides,omitempty"`
}

// Key implements [Result].
func (p Package) Key() string { return p.Name }

// Step is one turn of the loop: a requirement was added, until its tests had passed
// and the digest was published.
type Step struct {
	// Kind is what kind of requirement it is.
	Kind        string `json:"kind"`
	Requirement string `json:"requirement"`
	When        string `json:"when"`
	Cores       int    `json:"cores"`
	// LockSeconds and BuildSeconds are the whole turn, CompileSeconds the part of
	// them in which code ran of its sdist and of those that only that needs: they
	// were asked for their requirements and compiled.
	LockSeconds    float64 `json:"lock_seconds"`
	BuildSeconds   float64 `json:"build_seconds"`
	CompileSeconds float64 `json:"compile_seconds"`
	// LimitSeconds is what the rest may take.
	LimitSeconds float64 `json:"limit_seconds"`
}

// Key implements [Result].
func (s Step) Key() string { return s.Kind }

// Overhead is the turn without the compilation, in seconds.
func (s Step) Overhead() float64 { return s.LockSeconds + s.BuildSeconds - s.CompileSeconds }

// Holds reports whether the step is within its limit.
func (s Step) Holds() bool { return s.Overhead() <= s.LimitSeconds }

// Figure is one number of the benchmark beside its limit.
type Figure struct {
	Name string `json:"name"`
	// Value and Limit are in Unit: "s", "MiB", or "" for a ratio.
	Value float64 `json:"value"`
	Limit float64 `json:"limit"`
	Unit  string  `json:"unit,omitempty"`
	// Of says what the value was made of.
	Of    string `json:"of"`
	When  string `json:"when"`
	Cores int    `json:"cores"`
}

// Key implements [Result].
func (f Figure) Key() string { return f.Name }

// Holds reports whether the figure is within its limit.
func (f Figure) Holds() bool { return f.Value <= f.Limit }

// Kill is one build that was killed, and the one after it.
type Kill struct {
	// Name is the kind with a number: stored-017.
	Name string `json:"name"`
	Outcome
	// AfterSeconds is when it was killed, of WholeSeconds that it takes undisturbed.
	AfterSeconds float64 `json:"after_seconds"`
	WholeSeconds float64 `json:"whole_seconds"`
	// During is the stage and the task that it was last seen in.
	During string `json:"during"`
	// Digest is what the build after it gave.
	Digest string `json:"digest"`
	// Left is what is there after that build and would not be without the kill.
	Left []string `json:"left,omitempty"`
}

// Key implements [Result].
func (k Kill) Key() string { return k.Name }

// PowerLoss is what came of one deed during which the power went, or its process was killed.
type PowerLoss struct {
	// Name is the deed.
	Name string `json:"name"`
	When string `json:"when"`
	// Calls are those of the deed that change files or put them on disk; Losses is how often the power went between
	// them, Kills how often its process was killed, Failed how often something was gone or there by halves.
	Calls  int `json:"calls,omitempty"`
	Losses int `json:"losses,omitempty"`
	Kills  int `json:"kills,omitempty"`
	Failed int `json:"failed"`
}

// Key implements [Result].
func (p PowerLoss) Key() string { return p.Name }

// Rollout is one change of what several services share, until all of them were published.
type Rollout struct {
	// Name is what changed.
	Name string `json:"name"`
	Outcome
	// Services is how many there are, Edits how many lines a person changed, and Commands how
	// many commands were typed.
	Services int `json:"services"`
	Edits    int `json:"edits"`
	Commands int `json:"commands"`
	// InterpreterSeconds is the part of the others that compiling CPython took; 0 if the store
	// had it.
	LockSeconds        float64 `json:"lock_seconds"`
	BuildSeconds       float64 `json:"build_seconds"`
	InterpreterSeconds float64 `json:"interpreter_seconds"`
	// Interpreters and Wheels are how many were compiled.
	Interpreters int `json:"interpreters"`
	Wheels       int `json:"wheels"`
	// Python and Libssl are the versions that all services have then.
	Python string `json:"python"`
	Libssl string `json:"libssl"`
	// Digests are the services'.
	Digests []string `json:"digests"`
}

// Key implements [Result].
func (r Rollout) Key() string { return r.Name }

// Check is one recipe that was built twice, the second time in another environment.
type Check struct {
	Name string `json:"name"`
	Outcome
	// Of is the hash of the recipe that was built: see [RecipeHash].
	Of string `json:"of,omitempty"`
	// Seconds is what the second build took.
	Seconds float64 `json:"seconds"`
	// Digest is the first build's, Second the other one's.
	Digest string `json:"digest"`
	Second string `json:"second"`
	// Differences are the places that were found, each with its likely cause.
	Differences []string `json:"differences,omitempty"`
}

// Key implements [Result].
func (c Check) Key() string { return c.Name }

// Verdict is one environment of the corpus: what works in it, and what an audit says of it.
type Verdict struct {
	// Name is NAME/PYTHON, with the breakage behind another slash.
	Name string `json:"name"`
	Outcome
	// What says what the environment is for, or what was broken.
	What string `json:"what"`
	// Seconds is what the audit took.
	Seconds float64 `json:"seconds"`
	// Packages, Modules and Programs count what was tried: names at the top that import
	// finds, extension modules, and programs. A broken environment is held against what it
	// had when it was whole.
	Packages int `json:"packages"`
	Modules  int `json:"modules"`
	Programs int `json:"programs"`
	// Frozen is what freezing tells and Installer pip or uv; a broken environment has neither.
	Frozen    []string `json:"frozen,omitempty"`
	Installer string   `json:"installer,omitempty"`
	// Failing is what does not work, each with why, and FailingCount how many those are:
	// of a broken environment what worked when it was whole.
	Failing      []string `json:"failing,omitempty"`
	FailingCount int      `json:"failing_count"`
	// Wheels are the distributions with native code. Of a broken environment they are those
	// that the audit refuses or in which something does not work.
	Wheels []Wheel `json:"wheels,omitempty"`
	// Code is the audit's exit code.
	Code int `json:"code"`
	// Refused and Undecided are findings, as "CHECK FILE", without doubles, and Warned how many
	// warnings each check has. A broken environment's are those that the whole one has not.
	Refused   []string       `json:"refused,omitempty"`
	Undecided []string       `json:"undecided,omitempty"`
	Warned    map[string]int `json:"warned,omitempty"`
}

// Key implements [Result].
func (v Verdict) Key() string { return v.Name }

// Wheel is one distribution with native code, as it was installed.
type Wheel struct {
	// Name is "NAME VERSION", Tag the first of its WHEEL file.
	Name string `json:"name"`
	Tag  string `json:"tag,omitempty"`
	// Modules counts the extension modules.
	Modules int `json:"modules"`
	// Failing is how many of them do not work, and Reason why the first does not.
	Failing int    `json:"failing,omitempty"`
	Reason  string `json:"reason,omitempty"`
	// Refused and Undecided are the checks with such findings about it.
	Refused   []string `json:"refused,omitempty"`
	Undecided []string `json:"undecided,omitempty"`
}

// Client is one thing that a program of others did with what Ampoule had published, or that
// Ampoule did in a registry of others.
type Client struct {
	// Name is "CLIENT: DOES, REGISTRY".
	Name string `json:"name"`
	Outcome
	Client  string `json:"client"`
	Version string `json:"version"`
	Does    string `json:"does"`
	// Registry is where.
	Registry string `json:"registry"`
	// Found says what came of it.
	Found string `json:"found,omitempty"`
}

// Key implements [Result].
func (c Client) Key() string { return c.Name }

// Start is what `ampoule init` wrote for a public project, and what it took until that was
// locked. A person records it: what is to be changed is a person's decision.
type Start struct {
	// Name is OWNER/NAME of the repository, and Revision the commit that was read.
	Name     string `json:"name"`
	Revision string `json:"revision"`
	// When is the day, in UTC, as YYYY-MM-DD.
	When string `json:"when"`
	// From is the file that has the requirements, and Python the version that the recipe
	// has in the end.
	From   string `json:"from"`
	Python string `json:"python"`
	Locked bool   `json:"locked"`
	// Unfinished says that the last lock was cut short, so that nobody knows whether it locks.
	Unfinished bool `json:"unfinished,omitempty"`
	// Lines counts lines of the recipe and of the project that a person wrote, changed or
	// removed. Release counts those of them that another release of CPython took, because
	// the machine's mirrors do not have the one that the files want.
	Lines   int `json:"lines"`
	Release int `json:"release_lines,omitempty"`
	// Why says what the lines were for, or why it is not locked.
	Why string `json:"why,omitempty"`
}

// Key implements [Result].
func (s Start) Key() string { return s.Name }

// SuiteTest is one module of CPython's own tests, run over an artifact and over the same source
// compiled as it comes.
type SuiteTest struct {
	// Name is the link mode, a slash, and the module.
	Name string `json:"name"`
	// Passed says that the artifact fails nothing that the raw build does not fail.
	Outcome
	Ours *SuiteRun `json:"ours,omitempty"`
	Raw  *SuiteRun `json:"raw,omitempty"`
}

// Key implements [Result].
func (s SuiteTest) Key() string { return s.Name }

// Worse lists what fails over the artifact and not over the raw build.
func (s SuiteTest) Worse() []string {
	if s.Ours == nil || s.Raw == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.Ours.Failed), func(name string) bool { return slices.Contains(s.Raw.Failed, name) })
}

// The results of a module of tests.
const (
	SuitePassed  = "passed"
	SuiteFailed  = "failed"
	SuiteSkipped = "skipped"
)

// SuiteRun is what came of one module.
type SuiteRun struct {
	Result string `json:"result"`
	// Failed are the tests that failed, or what the module said at its end.
	Failed []string `json:"failed,omitempty"`
	// Skipped counts the tests that were skipped for each reason.
	Skipped map[string]int `json:"skipped,omitempty"`
	Seconds float64        `json:"seconds"`
}

// PeerBase is the name of the interpreter that the others are divided by, Debian's own, and
// PeerOurs begins the names of those that Ampoule builds.
const (
	PeerBase = "debian"
	PeerOurs = "ampoule "
)

// PeerStarts is the benchmark that starts interpreters.
const PeerStarts = "starts"

// Peer is one benchmark by one interpreter. Its Passed says that it could be run.
type Peer struct {
	Benchmark string `json:"benchmark"`
	Peer      string `json:"peer"`
	Outcome
	// Set is how many benchmarks the set has that this one belongs to.
	Set int `json:"set,omitempty"`
	// Executable is the SHA-256 hash of what ran, if Ampoule built it: the executable, and its libpython
	// if it has one. Another interpreter of that name has not run the benchmark.
	Executable string `json:"executable,omitempty"`
	// Together says that all peers ran at once, on one processor, and that its time is what values are.
	Together bool `json:"together,omitempty"`
	// Values are by what was measured: a benchmark may have several parts. Each is of one process,
	// in seconds, or in MiB where the name says so.
	Values map[string][]float64 `json:"values,omitempty"`
}

// Key implements [Result].
func (p Peer) Key() string { return p.Benchmark + "/" + p.Peer }

// Pushes is how fast manifests come into one repository of the store's registry, which is
// served with tokens.
type Pushes struct {
	Name string `json:"name"`
	// When is the day, in UTC, as YYYY-MM-DD, and Cores the machine's processors. Shared says
	// that other work ran on the machine meanwhile.
	When   string `json:"when"`
	Cores  int    `json:"cores"`
	Shared bool   `json:"shared,omitempty"`
	// Manifests is how many the repository has, Writers how many push at once.
	Manifests int `json:"manifests"`
	Writers   int `json:"writers"`
	// PerSecond is how many were pushed in a second, ListBytes the size of the repository's list,
	// which is written for each.
	PerSecond float64 `json:"per_second"`
	ListBytes int64   `json:"list_bytes"`
}

// Key implements [Result].
func (p Pushes) Key() string { return p.Name }

// Conformance is what the OCI conformance program says of a served registry.
type Conformance struct {
	// Name is the program with its version.
	Name string `json:"name"`
	When string `json:"when"`
	// Passed, Failed and Skipped count tests.
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
	// Left are the names of tests that were skipped or switched off.
	Left []string `json:"left"`
}

// Key implements [Result].
func (c Conformance) Key() string { return c.Name }

// Fit is how the override of one distribution goes with releases of that.
type Fit struct {
	Name string `json:"name"`
	// When is the day, in UTC, as YYYY-MM-DD.
	When string `json:"when"`
	// Releases are those that were looked at, oldest first.
	Releases []Release `json:"releases,omitempty"`
	// Conflicts say where the override contradicts itself or a release.
	Conflicts []string `json:"conflicts,omitempty"`
}

// Key implements [Result].
func (f Fit) Key() string { return f.Name }

// Release is one release of a distribution.
type Release struct {
	Version string `json:"version"`
	// Requires are the build requirements that its sdist declares (PEP 518).
	Requires []string `json:"requires,omitempty"`
	// Held are the Debian suites on which a limit of the override leaves it out.
	Held []string `json:"held,omitempty"`
}
