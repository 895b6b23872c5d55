// Package webtest is a build service in memory, with builds, artifacts, channels and hosts in every
// state, for tests of the pages and for pictures of them. Only tests import it.
package webtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"ampoule/audit"
	"ampoule/contents"
	"ampoule/faults"
	"ampoule/sbom"
	"ampoule/service/web"
)

// Now is the service's time.
var Now = time.Date(2026, 5, 4, 12, 30, 0, 0, time.UTC)

// Tokens of the example.
const (
	// TokenAll may do everything, TokenRead read everything, TokenShop everything for shop/* alone.
	TokenAll  = "example-all"
	TokenRead = "example-read"
	TokenShop = "example-shop"
)

// Digest is a digest that is made of a number.
func Digest(n int) string { return "sha256:" + sum(n) }

func sum(n int) string {
	return strings.Repeat(fmt.Sprintf("%08x", uint32(n)*2654435761+0x1f3d5b79), 8)
}

// Service is the example. Its methods may be called from several goroutines.
type Service struct {
	mu        sync.Mutex
	builds    []web.Build
	logs      map[string]string
	artifacts []web.Artifact
	channels  []web.Channel
	hosts     []web.Host
	workers   []web.Worker
	diff      *contents.Diff
	revoked   map[string]bool
	changed   chan struct{}
	// Asked are the changes that were asked for, in order.
	asked []string
	// Refuse is the error of every change; nil lets all pass.
	Refuse error
}

// Config gives what the pages of the example are made of.
func (s *Service) Config() web.Config {
	return web.Config{
		Builds: s, Logs: s, Artifacts: s, Channels: s, Fleet: s, Recipes: s, Access: s, Logins: s, Trail: s,
		Key: bytes.Repeat([]byte{7}, 32), Registry: "registry.example/", Version: "1.0.0",
		Now: func() time.Time { return Now },
	}
}

// Empty is a service in which nothing has happened.
func Empty() *Service {
	return &Service{logs: map[string]string{}, revoked: map[string]bool{}, changed: make(chan struct{})}
}

// Asked are the changes that were asked for.
func (s *Service) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Revoke has a token not count any more.
func (s *Service) Revoke(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked[token] = true
}

// Change does something to a build, and tells those who watch.
func (s *Service) Change(id string, do func(*web.Build)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.builds {
		if s.builds[i].ID == id {
			do(&s.builds[i])
		}
	}
	s.tell()
}

// Write adds to the log of a build.
func (s *Service) Write(id, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs[id] += text
	s.tell()
}

// tell wakes all that wait. The lock is held.
func (s *Service) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Service) change(by web.Identity, format string, args ...any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, by.Name+" "+fmt.Sprintf(format, args...))
	return s.Refuse
}

// Identify knows the example's tokens.
func (s *Service) Identify(_ *http.Request, token string) (web.Identity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	may := map[string]func(web.Scope, string, string) bool{
		TokenAll:  func(web.Scope, string, string) bool { return true },
		TokenRead: func(scope web.Scope, _, _ string) bool { return scope == web.Read },
		TokenShop: func(_ web.Scope, name, _ string) bool { return name == "" || strings.HasPrefix(name, "shop/") },
	}
	names := map[string]string{TokenAll: "ann", TokenRead: "ben", TokenShop: "cleo"}
	if may[token] == nil || s.revoked[token] {
		return web.Identity{}, web.ErrUnknown
	}
	return web.Identity{Name: names[token], Trusted: true, May: may[token]}, nil
}

// Builds lists the example's builds.
func (s *Service) Builds(_ context.Context, f web.Filter) (web.BuildPage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	page := web.BuildPage{}
	passed := f.Before == ""
	for _, b := range s.builds {
		fits := (f.State == "" || b.State == f.State) && (f.Recipe == "" || b.Recipe == f.Recipe) && (f.Caller == "" || b.Caller == f.Caller)
		if passed && fits {
			if f.Limit > 0 && len(page.Builds) == f.Limit {
				page.Next = page.Builds[f.Limit-1].ID
				break
			}
			page.Builds = append(page.Builds, b)
		}
		passed = passed || b.ID == f.Before
	}
	return page, nil
}

// Build finds one of the example's builds.
func (s *Service) Build(_ context.Context, id string) (web.Build, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.builds {
		if b.ID == id {
			return b, nil
		}
	}
	return web.Build{}, faults.New(faults.NotFound, "", "build %s: not found", id)
}

// Watch sends each change.
func (s *Service) Watch(ctx context.Context, _ string) <-chan struct{} {
	out := make(chan struct{}, 1)
	s.mu.Lock()
	next := s.changed
	s.mu.Unlock()
	go func() {
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case <-next:
			}
			s.mu.Lock()
			next = s.changed
			s.mu.Unlock()
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}()
	return out
}

// Cancel notes that somebody wants a build cancelled.
func (s *Service) Cancel(_ context.Context, by web.Identity, id string) error {
	return s.change(by, "cancel %s", id)
}

// Retry notes that somebody wants a build again.
func (s *Service) Retry(_ context.Context, by web.Identity, id string) (string, error) {
	return id, s.change(by, "retry %s", id)
}

// OpenLog opens an example's log.
func (s *Service) OpenLog(_ context.Context, id string) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, ok := s.logs[id]
	if !ok {
		return nil, faults.New(faults.NotFound, "", "the log of build %s: not found", id)
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

// FollowLog hands on an example's log.
func (s *Service) FollowLog(ctx context.Context, id string, offset int64, take func([]byte) error) error {
	for {
		s.mu.Lock()
		text, next := s.logs[id], s.changed
		ended := slices.ContainsFunc(s.builds, func(b web.Build) bool { return b.ID == id && b.State.Terminal() })
		s.mu.Unlock()
		if offset > int64(len(text)) {
			return faults.New(faults.Usage, "", "the log of build %s has %d bytes", id, len(text))
		}
		if more := text[offset:]; more != "" {
			offset += int64(len(more))
			if err := take([]byte(more)); err != nil {
				return err
			}
			continue
		}
		if ended {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-next:
		}
	}
}

// Artifacts lists the example's artifacts.
func (s *Service) Artifacts(_ context.Context, name string) ([]web.ArtifactSummary, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []web.ArtifactSummary
	for _, a := range s.artifacts {
		if name == "" || a.Name == name {
			all = append(all, a.ArtifactSummary)
		}
	}
	return all, nil
}

// Artifact finds one of the example's artifacts.
func (s *Service) Artifact(_ context.Context, ref string) (web.Artifact, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.artifacts {
		if a.Ref == ref {
			return a, nil
		}
	}
	return web.Artifact{}, faults.New(faults.NotFound, "", "artifact %s: not found", ref)
}

// Bill is a bill of materials that says little.
func (s *Service) Bill(ctx context.Context, ref string) ([]byte, error) {
	if _, err := s.Artifact(ctx, ref); err != nil {
		return nil, err
	}
	return json.Marshal(map[string]string{"bomFormat": "CycloneDX", "specVersion": "1.6"})
}

// Diff is the example's difference.
func (s *Service) Diff(ctx context.Context, a, b string) (*contents.Diff, error) {
	for _, ref := range []string{a, b} {
		if _, err := s.Artifact(ctx, ref); err != nil {
			return nil, err
		}
	}
	if a == b {
		return &contents.Diff{Same: true}, nil
	}
	return s.diff, nil
}

// Channels lists the example's channels.
func (s *Service) Channels(context.Context) ([]web.Channel, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.channels), nil
}

// Channel finds one of the example's channels.
func (s *Service) Channel(_ context.Context, repository, name string) (web.Channel, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.channels {
		if c.Repository == repository && c.Name == name {
			return c, nil
		}
	}
	return web.Channel{}, faults.New(faults.NotFound, "", "channel %s:%s: not found", repository, name)
}

// Promote notes a promotion.
func (s *Service) Promote(_ context.Context, by web.Identity, m web.Move) error {
	return s.change(by, "promote %s:%s %s %s", m.Repository, m.Channel, m.Digest, m.Reason)
}

// Rollback notes a rollback.
func (s *Service) Rollback(_ context.Context, by web.Identity, m web.Move) error {
	return s.change(by, "rollback %s:%s %s %s", m.Repository, m.Channel, m.Digest, m.Reason)
}

// Approve notes an approval.
func (s *Service) Approve(_ context.Context, by web.Identity, m web.Move) error {
	return s.change(by, "approve %s:%s %s", m.Repository, m.Channel, m.Digest)
}

// Hosts lists the example's hosts.
func (s *Service) Hosts(context.Context) ([]web.Host, error) { return s.hosts, nil }

// Workers lists the example's workers.
func (s *Service) Workers(context.Context) ([]web.Worker, error) { return s.workers, nil }

// Recipes lists the recipes of the example's builds.
func (s *Service) Recipes(ctx context.Context) ([]web.Recipe, error) {
	s.mu.Lock()
	names := []string{}
	for _, b := range s.builds {
		if !slices.Contains(names, b.Recipe) {
			names = append(names, b.Recipe)
		}
	}
	s.mu.Unlock()
	var all []web.Recipe
	for _, name := range names {
		r, err := s.Recipe(ctx, name)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// Recipe finds a recipe of the example's builds.
func (s *Service) Recipe(_ context.Context, name string) (web.Recipe, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := web.Recipe{Name: name}
	for _, b := range s.builds {
		if b.Recipe != name {
			continue
		}
		if r.Builds == 0 {
			r.Last = b
		}
		r.Builds++
		if b.State == web.Failed {
			r.Failed++
		}
	}
	if r.Builds == 0 {
		return r, faults.New(faults.NotFound, "", "recipe %s: not found", name)
	}
	for _, a := range s.artifacts {
		if a.Name == name && r.Published.Ref == "" {
			r.Published = a.ArtifactSummary
		}
	}
	for _, c := range s.channels {
		if c.Repository == name {
			r.Channels = append(r.Channels, c)
		}
	}
	return r, nil
}

// verdict is one of a tree that passes, with a warning and an exception.
func verdict() *audit.Verdict {
	return &audit.Verdict{
		Schema: audit.VerdictSchema, Passed: true, Tree: Digest(40), Time: "2026-05-04T10:41:12Z",
		Targets: []audit.VerdictTarget{{Name: "container", Glibc: "2.36"}, {Name: "vm", Glibc: "2.28"}},
		Checks: []audit.CheckResult{
			{Name: "libpython", Reason: "a module that links libpython finds another interpreter, or none", Examined: 214},
			{Name: "closure", Reason: "a library that is not there is missed at the first import", Examined: 232},
			{Name: "versions", Reason: "a symbol version that the target lacks is missed when the library is loaded", Examined: 232},
			{Name: "hardening", Reason: "what others can overwrite should not be executable", Examined: 232, Warned: 1},
			{Name: "isa", Reason: "an instruction that the processor lacks ends the process", Examined: 232, Excepted: 1},
			{Name: "load", Reason: "what cannot be imported does not work", Examined: 428},
		},
		Findings: []audit.Finding{
			{Check: "hardening", Severity: audit.Warn, File: "lib/python3.13/site-packages/greenlet/_greenlet.cpython-313-x86_64-linux-gnu.so", Field: "PT_GNU_RELRO", Value: "missing", Cause: "the module's relocations stay writable", Remedy: "build it with -Wl,-z,relro"},
			{Check: "isa", Severity: audit.Refuse, File: "lib/python3.13/site-packages/numpy/_core/_multiarray_umath.cpython-313-x86_64-linux-gnu.so", Field: ".note.gnu.property", Value: "x86-64-v3", Cause: "a part of it is compiled for x86-64-v3", Remedy: "choose it by the processor, or raise runtime.cpu", Excepted: "numpy chooses at run time"},
		},
	}
}

func bill() *web.Bill {
	return &web.Bill{
		Base:    []sbom.Package{{Name: "libc6", Version: "2.36-9+deb12u13", Arch: "amd64", Source: "glibc", SourceVersion: "2.36-9+deb12u13"}, {Name: "base-files", Version: "12.4+deb12u12", Arch: "amd64", Source: "base-files", SourceVersion: "12.4+deb12u12"}},
		Carried: []web.CarriedFile{{Path: "lib/libssl.so.3", Package: sbom.Package{Name: "libssl3", Version: "3.0.17-1~deb12u3"}}, {Path: "lib/libpq.so.5", Package: sbom.Package{Name: "libpq5", Version: "15.14-0+deb12u1"}}},
		Inputs:  []sbom.Ingredient{{Kind: sbom.KindPyPI, Name: "setuptools", Version: "84.2.1", SHA256: sum(70)}, {Kind: sbom.KindDebian, Name: "gcc-12", Version: "12.2.0-14+deb12u1", SHA256: sum(71)}, {Kind: sbom.KindCargo, Name: "pyo3", Version: "0.25.1", SHA256: sum(72)}},
	}
}
