package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"ampoule/faults"
	"ampoule/registry/tokens"
	"ampoule/service/access"
	"ampoule/service/builds"
	"ampoule/service/journal"
	"ampoule/service/logs"
	"ampoule/service/problem"
	"ampoule/service/submission"
	"ampoule/service/wire"
)

// Queue has the builds.
type Queue interface {
	Submit(ctx context.Context, caller builds.Caller, s builds.Submission) (builds.Accepted, error)
	Get(ctx context.Context, id string) (builds.Build, error)
	List(ctx context.Context, f builds.Filter, after string, limit int) (builds.Page, error)
	Cancel(ctx context.Context, caller builds.Caller, id string) (builds.Build, error)
	Retry(ctx context.Context, caller builds.Caller, id string) (builds.Accepted, error)
	Published(ctx context.Context, key string) (builds.Publication, bool, error)
	Events(ctx context.Context, id string, after int64, limit int) ([]builds.Event, error)
	Follow(ctx context.Context, id string, after int64) iter.Seq2[builds.Event, error]
	ReadLog(ctx context.Context, id string, stream logs.Stream, offset int64, limit int) (logs.Chunk, error)
	FollowLog(ctx context.Context, id string, stream logs.Stream, offset int64) iter.Seq2[logs.Chunk, error]
	PutArchive(ctx context.Context, from io.Reader) (sum string, size int64, err error)
	OpenArchive(ctx context.Context, sum string) (io.ReadCloser, error)
	Workers(ctx context.Context) ([]builds.Worker, error)
	Stats(ctx context.Context) (builds.Stats, error)
}

// known gives the errors of the queue their status, where that is another one than the kind's.
func known(err error) error {
	var quota *builds.QuotaError
	var transition *builds.TransitionError
	var idempotency *builds.IdempotencyError
	switch {
	case errors.As(err, &quota):
		return problem.Later(http.StatusTooManyRequests, quota.RetryAfter, faults.Refused, quota.Hint(), "%w", err)
	case errors.As(err, &transition):
		return problem.New(http.StatusConflict, faults.Refused, "", "%w", err)
	case errors.As(err, &idempotency):
		return problem.New(http.StatusUnprocessableEntity, faults.Input, idempotency.Hint(), "%w", err)
	}
	return err
}

const buildsTag = "builds"

func (s *Server) addBuilds() {
	add(s, needs(tokens.Build), archiveOperation("submit-build", "/v1/builds", "Submits a build",
		"Builds what a recipe and its lock say. A published key is answered with its digest at once; identical running builds are one build that all callers follow."), s.submitBuild)
	add(s, needs(tokens.Build), archiveOperation("submit-lock", "/v1/locks", "Submits a lock",
		"Makes the lock of a recipe, as a job. The lock that the archive has keeps its pins, but for those that may move."), s.submitLock)
	add(s, needs(tokens.Read), archiveOperation("plan", "/v1/plans", "Says what a build would do",
		"Computes the key, and lists what a build would take and compile. Nothing is built."), s.plan)
	add(s, needs(tokens.Read), get("get-key", "/v1/keys/{key}", "Looks a key up", buildsTag), s.getKey)
	add(s, needs(tokens.Read), get("list-builds", "/v1/builds", "Lists builds, the newest first", buildsTag), s.listBuilds)
	add(s, needs(tokens.Read), get("get-build", "/v1/builds/{id}", "Gives one build", buildsTag), s.getBuild)
	add(s, needs(tokens.Read), get("get-lock", "/v1/builds/{id}/lock", "Gives the lock that a build of kind lock has made", buildsTag), s.getLock)
	add(s, needs(tokens.Build), post("cancel-build", "/v1/builds/{id}/cancel", "Withdraws the caller's submission; the last one cancels the build", buildsTag, http.StatusOK), s.cancelBuild)
	add(s, needs(tokens.Build), post("retry-build", "/v1/builds/{id}/retry", "Submits a build again that failed or was cancelled", buildsTag, http.StatusAccepted), s.retryBuild)
}

func get(id, path, summary, tag string) huma.Operation {
	return huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Summary: summary, Tags: []string{tag}, Errors: []int{http.StatusNotFound}}
}

func post(id, path, summary, tag string, status int) huma.Operation {
	return huma.Operation{OperationID: id, Method: http.MethodPost, Path: path, Summary: summary, Tags: []string{tag}, DefaultStatus: status, Errors: []int{http.StatusNotFound, http.StatusConflict}}
}

// archiveOperation is one whose body is an archive.
func archiveOperation(id, path, summary, text string) huma.Operation {
	content := map[string]*huma.MediaType{}
	for _, kind := range submission.MediaTypes()[:2] {
		content[kind] = &huma.MediaType{Schema: &huma.Schema{Type: "string", Format: "binary"}}
	}
	status := http.StatusAccepted
	if id == "plan" {
		status = http.StatusOK
	}
	return huma.Operation{
		OperationID: id, Method: http.MethodPost, Path: path, Summary: summary, Tags: []string{buildsTag}, DefaultStatus: status,
		Description: text + " The body is a tar, or one compressed by gzip, with ampoule.yaml at its top, the files that it names, and ampoule.lock.",
		RequestBody: &huma.RequestBody{Required: true, Content: content},
		Errors:      []int{http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity},
	}
}

// Asking is what submissions may say beside their archive.
type Asking struct {
	Label    []string `query:"label" maxItems:"16" doc:"What the worker must have"`
	Priority int      `query:"priority" minimum:"-10" maximum:"10" doc:"A greater one begins first"`
	Limit    int      `query:"limit" minimum:"0" maximum:"604800" doc:"How many seconds it may take; 0 is the server's own limit, which is also the most"`
	Key      string   `header:"Idempotency-Key" maxLength:"255" doc:"The caller's own name for the submission: a request that is sent again under it is the same submission, and another one is refused"`
}

type submitBuildInput struct {
	Asking
	Force bool     `query:"force" doc:"Build although the key is published, and compare"`
	Group []string `query:"group" maxItems:"64" doc:"Dependency groups to build beside the artifact; * is all of them"`
}

type submitLockInput struct {
	Asking
	Upgrade     bool     `query:"upgrade" doc:"Let every pin move"`
	UpgradeName []string `query:"upgrade-name" maxItems:"1000" doc:"Let the pins of these distributions and Debian packages move"`
	KeepGoing   bool     `query:"keep-going" doc:"After a release cannot be locked, lock the others too"`
}

type submitted struct {
	Status   int
	Location string `header:"Location" doc:"Where the build is"`
	Body     wire.Submitted
}

// printable is the form of an idempotency key.
var printable = regexp.MustCompile(`^[\x21-\x7e]*$`)

func (s *Server) submitBuild(ctx context.Context, caller access.Caller, in *submitBuildInput) (*submitted, error) {
	p, err := s.receiveFor(ctx, caller, in.Asking)
	if err != nil {
		return nil, err
	}
	if p.unbuildable != nil {
		return nil, p.unbuildable
	}
	groups := in.Group
	if slices.Equal(groups, []string{"*"}) {
		groups = p.groups
	}
	for _, group := range groups {
		if !slices.Contains(p.groups, group) {
			return nil, faults.New(faults.Input, "it has "+orNone(p.groups), "the recipe has no dependency group %q", short(group))
		}
	}
	return s.submit(ctx, caller, p, in.Asking, builds.Submission{Kind: builds.KindBuild, Key: p.plan.Key, Force: in.Force, Groups: groups})
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func (s *Server) submitLock(ctx context.Context, caller access.Caller, in *submitLockInput) (*submitted, error) {
	p, err := s.receiveFor(ctx, caller, in.Asking)
	if err != nil {
		return nil, err
	}
	return s.submit(ctx, caller, p, in.Asking, builds.Submission{
		Kind: builds.KindLock, Options: &builds.LockOptions{Upgrade: in.Upgrade, UpgradeNames: in.UpgradeName, KeepGoing: in.KeepGoing},
	})
}

// receiveFor takes the archive of who may build what is in it.
func (s *Server) receiveFor(ctx context.Context, caller access.Caller, in Asking) (*parsed, error) {
	if !printable.MatchString(in.Key) {
		return nil, problem.OfRequest(http.StatusUnprocessableEntity, "validation failed", problem.Field{Location: "header." + wire.IdempotencyHeader, What: "it takes visible characters of ASCII"})
	}
	p, err := s.receive(ctx)
	if err != nil {
		return nil, err
	}
	if err := caller.Require(tokens.Build, p.name, ""); err != nil {
		return nil, err
	}
	return p, s.requireImages(caller, p.images)
}

func (s *Server) submit(ctx context.Context, caller access.Caller, p *parsed, in Asking, sub builds.Submission) (*submitted, error) {
	sub.Recipe, sub.Platform, sub.Archive = p.name, p.platform, p.sum
	sub.Labels, sub.Priority, sub.Limit, sub.IdempotencyKey = in.Label, builds.Priority(in.Priority), time.Duration(in.Limit)*time.Second, in.Key
	accepted, err := s.Queue.Submit(ctx, s.callerOf(caller, p.name), sub)
	if err != nil {
		return nil, err
	}
	return s.accepted(ctx, accepted), nil
}

// callerOf is a caller as the queue knows it, for builds of a name.
func (s *Server) callerOf(c access.Caller, name string) builds.Caller {
	return builds.Caller{Name: c.Name, Trusted: c.Trusted, Admin: c.May(tokens.Admin, name, "")}
}

// accepted tells of a submission that counts. One that needs no waiting has the status 200.
func (s *Server) accepted(ctx context.Context, a builds.Accepted) *submitted {
	journal.Of(ctx).WithFields(journal.Fields{
		"build": a.Build.ID, "recipe": a.Build.Recipe, "key": a.Build.Key, "kind": string(a.Build.Kind), "published": a.Published, "joined": a.Joined, "repeated": a.Repeated,
	}).Info("accepted")
	out := &submitted{
		Status: http.StatusAccepted, Location: "/v1/builds/" + a.Build.ID,
		Body: wire.Submitted{Build: s.build(a.Build), Published: a.Published, Joined: a.Joined, Repeated: a.Repeated},
	}
	if out.Body.Build.Terminal() {
		out.Status = http.StatusOK
	}
	return out
}

type planned1 struct{ Body wire.Plan }

func (s *Server) plan(ctx context.Context, caller access.Caller, _ *struct{}) (*planned1, error) {
	p, err := s.receive(ctx)
	if err != nil {
		return nil, err
	}
	if err := caller.Require(tokens.Read, p.name, ""); err != nil {
		return nil, err
	}
	if p.unbuildable != nil {
		return nil, p.unbuildable
	}
	out := &planned1{p.plan}
	publication, found, err := s.Queue.Published(ctx, p.plan.Key)
	if found {
		out.Body.Published = publication.Digest
	}
	return out, err
}

type keyInput struct {
	Key string `path:"key" pattern:"^sha256:[0-9a-f]{64}$" doc:"A key, as ampoule plan prints it"`
}

type keyOutput struct{ Body wire.Key }

func (s *Server) getKey(ctx context.Context, caller access.Caller, in *keyInput) (*keyOutput, error) {
	p, found, err := s.Queue.Published(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	if !found || !caller.May(tokens.Read, p.Recipe, "") {
		return nil, faults.New(faults.NotFound, "submit the build", "nothing is published for key %s that token %s may read", in.Key, caller.Name)
	}
	return &keyOutput{wire.Key{Key: p.Key, Recipe: p.Recipe, Digest: p.Digest, Ref: s.shown(p.Recipe, p.Digest), Build: p.Build, Published: p.Time}}, nil
}

type listInput struct {
	State  []string  `query:"state" maxItems:"8" doc:"One of these states"`
	Kind   []string  `query:"kind" maxItems:"2" doc:"build or lock"`
	Recipe string    `query:"recipe" maxLength:"255"`
	Key    string    `query:"key" maxLength:"100"`
	Caller string    `query:"caller" maxLength:"255"`
	Digest string    `query:"digest" maxLength:"100"`
	Since  time.Time `query:"since" doc:"Submitted at this time or later"`
	Until  time.Time `query:"until" doc:"Submitted before this time"`
	Search string    `query:"search" maxLength:"100" doc:"A part of the recipe's name, the build's name, or the digest"`
	After  string    `query:"after" maxLength:"200" doc:"Continues a list: what its answer has as next"`
	Limit  int       `query:"limit" minimum:"1" maximum:"500" default:"50"`
}

type listOutput struct{ Body wire.Builds }

// maxPages bounds how many pages are looked through for what a caller may read.
const maxPages = 20

func (s *Server) listBuilds(ctx context.Context, caller access.Caller, in *listInput) (*listOutput, error) {
	f := builds.Filter{Recipe: in.Recipe, Key: in.Key, Caller: in.Caller, Digest: in.Digest, Since: in.Since, Until: in.Until, Search: in.Search}
	for _, text := range in.State {
		state := builds.State(text)
		if !state.Valid() {
			return nil, wrongParameter("state", text, "queued, fetching, building, gating, publishing, done, failed, cancelled")
		}
		f.States = append(f.States, state)
	}
	for _, text := range in.Kind {
		if !slices.Contains(builds.Kinds(), builds.Kind(text)) {
			return nil, wrongParameter("kind", text, "build, lock")
		}
		f.Kinds = append(f.Kinds, builds.Kind(text))
	}
	out := &listOutput{wire.Builds{Builds: []wire.Build{}, Next: in.After}}
	for range maxPages {
		page, err := s.Queue.List(ctx, f, out.Body.Next, in.Limit-len(out.Body.Builds))
		if err != nil {
			return nil, err
		}
		for _, b := range page.Builds {
			if caller.May(tokens.Read, b.Recipe, "") {
				out.Body.Builds = append(out.Body.Builds, s.build(b))
			}
		}
		out.Body.Next = page.Next
		if page.Next == "" || len(out.Body.Builds) >= in.Limit {
			break
		}
	}
	return out, nil
}

func wrongParameter(name, given, want string) error {
	return problem.OfRequest(http.StatusUnprocessableEntity, "validation failed", problem.Field{Location: "query." + name, What: fmt.Sprintf("%q is none of %s", short(given), want)})
}

// BuildInput names a build.
type BuildInput struct {
	ID string `path:"id" pattern:"^[a-z0-9]{1,64}$" doc:"The build"`
}

type buildOutput struct{ Body wire.Build }

// find gives a build that a caller may do something with. To who may not read it, it is not there.
func (s *Server) find(ctx context.Context, caller access.Caller, id string, verb tokens.Verb) (builds.Build, error) {
	b, err := s.Queue.Get(ctx, id)
	if err != nil {
		return builds.Build{}, err
	}
	if !caller.May(tokens.Read, b.Recipe, "") {
		return builds.Build{}, &builds.NotFoundError{ID: id}
	}
	return b, caller.Require(verb, b.Recipe, "")
}

func (s *Server) getBuild(ctx context.Context, caller access.Caller, in *BuildInput) (*buildOutput, error) {
	b, err := s.find(ctx, caller, in.ID, tokens.Read)
	if err != nil {
		return nil, err
	}
	return &buildOutput{s.build(b)}, nil
}

type fileOutput struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

// maxLock bounds a lock, in bytes.
const maxLock = 64 << 20

func (s *Server) getLock(ctx context.Context, caller access.Caller, in *BuildInput) (_ *fileOutput, err error) {
	b, err := s.find(ctx, caller, in.ID, tokens.Read)
	if err != nil {
		return nil, err
	}
	if b.Result == nil || b.Result.Lock == "" {
		return nil, faults.New(faults.NotFound, "", "build %s has no lock: it is a %s, and %s", b.ID, b.Kind, b.State)
	}
	f, err := s.Queue.OpenArchive(ctx, b.Result.Lock)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, maxLock))
	return &fileOutput{"application/yaml", data}, err
}

func (s *Server) cancelBuild(ctx context.Context, caller access.Caller, in *BuildInput) (*buildOutput, error) {
	b, err := s.find(ctx, caller, in.ID, tokens.Build)
	if err != nil {
		return nil, err
	}
	b, err = s.Queue.Cancel(ctx, s.callerOf(caller, b.Recipe), in.ID)
	if err != nil {
		return nil, err
	}
	s.audited(ctx, "cancel", journal.Fields{"build": b.ID, "recipe": b.Recipe})
	return &buildOutput{s.build(b)}, nil
}

func (s *Server) retryBuild(ctx context.Context, caller access.Caller, in *BuildInput) (*submitted, error) {
	b, err := s.find(ctx, caller, in.ID, tokens.Build)
	if err != nil {
		return nil, err
	}
	a, err := s.Queue.Retry(ctx, s.callerOf(caller, b.Recipe), in.ID)
	if err != nil {
		return nil, err
	}
	return s.accepted(ctx, a), nil
}

// build is a build as it goes over the wire.
func (s *Server) build(b builds.Build) wire.Build {
	w := wire.Build{
		ID: b.ID, Kind: string(b.Kind), State: string(b.State), Recipe: b.Recipe, Key: b.Key, Platform: b.Platform, Labels: b.Labels,
		Priority: int(b.Priority), Force: b.Force, Groups: b.Groups, Caller: b.Caller, Followers: b.Followers, Trusted: b.Trusted, RetryOf: b.RetryOf,
		LimitSeconds: int(b.Limit / time.Second), Attempt: b.Attempt, Worker: b.Worker, Cancelling: b.Cancelling,
		Created: b.Created, Started: b.Started, Ended: b.Ended,
	}
	if r := b.Result; r != nil {
		w.Result = &wire.Result{Digest: r.Digest, Reused: r.Reused, Lock: r.Lock != "", Same: r.Same, Second: r.Second, Groups: r.Groups}
		if r.Digest != "" {
			w.Result.Ref = s.shown(b.Recipe, r.Digest)
		}
	}
	if f := b.Failure; f != nil {
		w.Failure = &wire.Failure{
			Kind: f.Kind, ExitCode: f.FaultKind().Code(), Message: journal.Redact(f.Message), Stage: f.Stage, Task: f.Task,
		}
		for _, hint := range f.Hints {
			w.Failure.Hints = append(w.Failure.Hints, journal.Redact(hint))
		}
	}
	return w
}
