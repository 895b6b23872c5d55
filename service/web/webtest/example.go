package webtest

import (
	"fmt"
	"strings"
	"time"

	"ampoule/contents"
	"ampoule/service/web"
)

// IDs of the example's builds, one in each state.
const (
	Running  = "k3vq6mzt2xha"
	Waiting  = "p7dn4sw3ohcy"
	Finished = "b5xw2rj6tqle"
	Broken   = "m4hc7yz3aguk"
	Stopped  = "z2ol5vn7epdi"
)

func before(d time.Duration) time.Time { return Now.Add(-d) }

// Example is a service in which much has happened.
func Example() *Service {
	s := Empty()
	s.builds = builds()
	s.logs = logs()
	s.artifacts = artifacts()
	s.channels = channels()
	s.hosts = hosts()
	s.workers = []web.Worker{
		{Name: "worker-1", Host: "build-a", Platform: "linux/amd64", Version: "1.0.0", Labels: []string{"large"}, State: web.WorkerBusy, Builds: []string{Running}, Slots: 2, Started: before(31 * time.Hour), Heartbeat: before(3 * time.Second)},
		{Name: "worker-2", Host: "build-b", Platform: "linux/amd64", Version: "1.0.0", State: web.WorkerIdle, Slots: 2, Started: before(31 * time.Hour), Heartbeat: before(8 * time.Second)},
		{Name: "worker-3", Host: "build-c", Platform: "linux/arm64", Version: "0.9.4", State: web.WorkerDraining, Builds: []string{"d6fs3kq2wbny"}, Slots: 1, Started: before(9 * 24 * time.Hour), Heartbeat: before(5 * time.Second)},
		{Name: "worker-0", Host: "build-old", Platform: "linux/amd64", Version: "0.9.4", State: web.WorkerLost, Slots: 1, Started: before(20 * 24 * time.Hour), Heartbeat: before(26 * time.Minute)},
	}
	s.diff = diff()
	return s
}

func builds() []web.Build {
	all := []web.Build{
		{ID: Waiting, Recipe: "shop/search", Kind: web.KindBuild, State: web.Queued, Key: Digest(1), Caller: "ci@shop", Trusted: true, Attempt: 1, Platform: "linux/amd64", Submitted: before(40 * time.Second)},
		{ID: Running, Recipe: "web", Kind: web.KindBuild, State: web.Building, Key: Digest(2), Caller: "ann", Trusted: true, Followers: 2, Attempt: 1, Worker: "worker-1", Platform: "linux/amd64", Submitted: before(4*time.Minute + 10*time.Second), Started: before(4 * time.Minute), Steps: runningSteps(), Inputs: inputs()},
		{ID: "d6fs3kq2wbny", Recipe: "shop/prices", Kind: web.KindLock, State: web.Fetching, Caller: "cleo", Trusted: false, Attempt: 2, Worker: "worker-3", Platform: "linux/arm64", Submitted: before(9 * time.Minute), Started: before(50 * time.Second), Steps: []web.Step{{Stage: "lock", State: web.StepRunning, Started: before(50 * time.Second)}}},
		{ID: Broken, Recipe: "payments/api", Kind: web.KindBuild, State: web.Failed, Key: Digest(3), Caller: "ci@payments", Trusted: true, Attempt: 1, Worker: "worker-2", Platform: "linux/amd64", Submitted: before(33 * time.Minute), Started: before(33 * time.Minute), Finished: before(29 * time.Minute), Inputs: inputs(),
			Failure: &web.Failure{Text: "building wheel psycopg2==2.9.13: a build step ended with code 1\n  pg_config is missing", Hints: []string{"add the Debian package that has it:\n\npackages:\n  psycopg2: {build: [libpq-dev]}"}, Step: "wheel psycopg2==2.9.13"}, Steps: brokenSteps()},
		{ID: Finished, Recipe: "web", Kind: web.KindBuild, State: web.Done, Key: Digest(4), Caller: "ci@web", Trusted: true, Attempt: 1, Worker: "worker-1", Platform: "linux/amd64", Submitted: before(2 * time.Hour), Started: before(2 * time.Hour), Finished: before(2*time.Hour - 9*time.Minute), Ref: "web@" + Digest(20), Steps: doneSteps(), Inputs: inputs()},
		{ID: Stopped, Recipe: "shop/search", Kind: web.KindBuild, State: web.Cancelled, Key: Digest(5), Caller: "cleo", Trusted: false, Attempt: 1, Platform: "linux/amd64", Submitted: before(3 * time.Hour), Started: before(3 * time.Hour), Finished: before(3*time.Hour - 20*time.Second)},
		{ID: "r6ta3ub5ysfw", Recipe: "payments/api", Kind: web.KindBuild, State: web.Done, Key: Digest(6), Caller: "ci@payments", Trusted: true, Attempt: 1, Worker: "worker-2", Platform: "linux/amd64", Submitted: before(5 * time.Hour), Started: before(5 * time.Hour), Finished: before(5*time.Hour - 2*time.Second), Ref: "payments/api@" + Digest(23)},
	}
	for i := range 40 {
		at := before(time.Duration(26+i) * time.Hour)
		all = append(all, web.Build{ID: fmt.Sprintf("old%09d", i), Recipe: "web", Kind: web.KindBuild, State: web.Done, Key: Digest(100 + i), Caller: "ci@web", Trusted: true, Attempt: 1, Worker: "worker-1", Platform: "linux/amd64", Submitted: at, Started: at, Finished: at.Add(time.Duration(3+i%7) * time.Minute), Ref: "web@" + Digest(20+i%3)})
	}
	return all
}

func step(stage, task string, state web.StepState, from, to time.Duration) web.Step {
	s := web.Step{Stage: stage, Task: task, State: state, Started: before(from)}
	if state == web.StepDone || state == web.StepFailed {
		s.Finished = before(to)
	}
	return s
}

func runningSteps() []web.Step {
	const m, s = time.Minute, time.Second
	all := []web.Step{
		step("fetch", "", web.StepDone, 4*m, 3*m+41*s),
		step("toolchain", "", web.StepDone, 3*m+41*s, 3*m+40*s),
		step("interpreter", "3.13.5", web.StepDone, 3*m+40*s, 3*m+38*s),
		step("wheel", "psycopg2==2.9.13", web.StepDone, 3*m+38*s, 3*m+2*s),
		step("wheel", "numpy==2.3.1", web.StepRunning, 3*m+38*s, 0),
		step("wheel", "lxml==6.0.0", web.StepRunning, 3*m+2*s, 0),
		step("wheel", "gevent==25.5.1", web.StepWaiting, 2*m, 0),
	}
	all[1].Reused, all[2].Reused = true, true
	all[2].Cache = "registry.example/cache"
	all[4].Amount, all[4].Total, all[4].Unit = 211, 388, "items"
	all[6].Message = "waits for processors: numpy==2.3.1 has most of them"
	return all
}

func doneSteps() []web.Step {
	const h, m, s = time.Hour, time.Minute, time.Second
	all := []web.Step{
		step("fetch", "", web.StepDone, 2*h, 2*h-20*s),
		step("toolchain", "", web.StepDone, 2*h-20*s, 2*h-25*s),
		step("interpreter", "3.13.5", web.StepDone, 2*h-25*s, 2*h-4*m),
		step("wheel", "psycopg2==2.9.13", web.StepDone, 2*h-4*m, 2*h-5*m),
		step("wheel", "numpy==2.3.1", web.StepDone, 2*h-4*m, 2*h-7*m),
		step("seal", "", web.StepDone, 2*h-7*m, 2*h-7*m-30*s),
		step("gate", "", web.StepDone, 2*h-7*m-30*s, 2*h-8*m-40*s),
		step("publish", "", web.StepDone, 2*h-8*m-40*s, 2*h-9*m),
	}
	all[1].Reused = true
	return all
}

func brokenSteps() []web.Step {
	const m, s = time.Minute, time.Second
	all := []web.Step{
		step("fetch", "", web.StepDone, 33*m, 32*m+20*s),
		step("interpreter", "3.13.5", web.StepDone, 32*m+20*s, 32*m+19*s),
		step("wheel", "psycopg2==2.9.13", web.StepFailed, 32*m, 29*m),
	}
	all[1].Reused = true
	all[2].Message = "a build step ended with code 1"
	return all
}

func inputs() []web.Input {
	return []web.Input{
		{Kind: "source", Name: "Python-3.13.5.tar.xz", Version: "3.13.5", SHA256: sum(60)},
		{Kind: "sdist", Name: "numpy", Version: "2.3.1", SHA256: sum(61)},
		{Kind: "sdist", Name: "psycopg2", Version: "2.9.13", SHA256: sum(62)},
		{Kind: "build requirement", Name: "setuptools", Version: "84.2.1", SHA256: sum(63)},
		{Kind: "Debian package", Name: "libpq-dev", Version: "15.14-0+deb12u1", SHA256: sum(64)},
	}
}

func logs() map[string]string {
	var long strings.Builder
	for i := range 2400 {
		fmt.Fprintf(&long, "wheel numpy==2.3.1 | [%d/388] Compiling C object numpy/_core/lib_multiarray.a.p/meson-generated_arraytypes_%d.c.o\n", i%388, i)
	}
	broken := `wheel psycopg2==2.9.13 | running build_ext
wheel psycopg2==2.9.13 | building 'psycopg2._psycopg' extension
wheel psycopg2==2.9.13 | gcc -fPIC -O2 -Wall -c psycopg/psycopgmodule.c
wheel psycopg2==2.9.13 | ` + "\x1b[33mwarning: \x1b[0munused variable 'i'" + `
wheel psycopg2==2.9.13 | Error: pg_config executable not found.
wheel psycopg2==2.9.13 | 
wheel psycopg2==2.9.13 | pg_config is required to build psycopg2 from source.
wheel psycopg2==2.9.13 | error: subprocess-exited-with-error
`
	return map[string]string{Running: long.String(), Broken: broken, Finished: "fetch | 61 files, 41.2 MiB\ngate | passed\n"}
}

func artifacts() []web.Artifact {
	base := func(n int, name string, age time.Duration, channels ...string) web.Artifact {
		return web.Artifact{
			ArtifactSummary: web.ArtifactSummary{Ref: name + "@" + Digest(n), Name: name, Digest: Digest(n), Python: "3.13.5", Published: before(age), Bytes: 63_400_000, Channels: channels},
			Key:             Digest(n + 100), Fingerprint: Digest(50), Tree: Digest(40), Prefix: "/opt/web", Repeatable: "true",
		}
	}
	whole := base(20, "web", 110*time.Minute, "staging")
	whole.Images = []web.Image{{Platform: "linux/amd64", Digest: Digest(81), Layers: []web.Layer{
		{Name: "base", Base: true, Bytes: 28_300_000, Digest: Digest(82)}, {Name: "native", Bytes: 4_100_000, Digest: Digest(83)},
		{Name: "interpreter", Bytes: 15_800_000, Digest: Digest(84)}, {Name: "wheel-numpy", Bytes: 9_700_000, Digest: Digest(85)}, {Name: "tail-3", Bytes: 5_400_000, Digest: Digest(86)}, {Name: "metadata", Bytes: 81_000, Digest: Digest(87)},
	}}}
	whole.Parts = []web.Part{
		{Kind: "interpreter", Name: "CPython", Version: "3.13.5", Bytes: 58_200_000, Files: 3204}, {Kind: "distribution", Name: "numpy", Version: "2.3.1", Bytes: 31_900_000, Files: 1302},
		{Kind: "distribution", Name: "gevent", Version: "25.5.1", Bytes: 12_700_000, Files: 402}, {Kind: "native", Name: "carried libraries", Bytes: 9_300_000, Files: 18},
		{Kind: "distribution", Name: "lxml", Version: "6.0.0", Bytes: 7_400_000, Files: 211}, {Kind: "distribution", Name: "psycopg2", Version: "2.9.13", Bytes: 610_000, Files: 28}, {Kind: "metadata", Name: "what tells of the artifact", Bytes: 92_000, Files: 6},
	}
	for _, p := range whole.Parts {
		whole.TreeBytes += p.Bytes
	}
	whole.Verdict, whole.Bill, whole.Groups = verdict(), bill(), []string{"test"}
	whole.Evidence = []web.Evidence{
		{Type: "signature", By: []string{"ci-build"}, Time: before(109 * time.Minute)},
		{Type: "provenance", Predicate: "https://slsa.dev/provenance/v1", By: []string{"ci-build"}, Time: before(109 * time.Minute), Statement: "{\n  \"buildDefinition\": {\n    \"buildType\": \"https://ampoule.dev/build/v1\"\n  }\n}"},
		{Type: "test result", Predicate: "https://in-toto.io/attestation/test-result/v0.1", By: []string{"ci-test"}, Time: before(95 * time.Minute), Statement: "{\n  \"result\": \"PASSED\"\n}"},
		{Type: "statement", Wrong: "its envelope is no JSON"},
	}
	bare := base(23, "payments/api", 5*time.Hour)
	bare.Repeatable = "false"
	bare.Unknown = []string{"layer " + Digest(88) + ": it has not the digest that it should have"}
	return []web.Artifact{whole, base(21, "web", 27*time.Hour, "prod"), base(22, "web", 50*time.Hour), bare}
}

func channels() []web.Channel {
	entries := []web.Entry{
		{Sequence: 4, Time: before(3 * time.Hour), Action: "promote", Digest: Digest(21), By: "promote-1", From: "staging", Reason: "release 41", ApprovedBy: []string{"ben", "cleo"}, RuleVersion: 3},
		{Sequence: 3, Time: before(20 * time.Hour), Action: "rollback", Digest: Digest(22), By: "promote-1", Reason: "it leaks memory"},
		{Sequence: 2, Time: before(26 * time.Hour), Action: "promote", Digest: Digest(24), By: "promote-2", Reason: "the fair begins", BreakGlass: true, PassedOver: []string{"channel staging names it since an hour, and must for 24h"}, RuleVersion: 3},
		{Sequence: 1, Time: before(200 * time.Hour), Action: "promote", Digest: Digest(22), By: "promote-1", From: "staging", RuleVersion: 2},
	}
	return []web.Channel{
		{Repository: "web", Name: "staging", Digest: Digest(20), Since: before(100 * time.Minute), By: "ci", Hosts: 2, Current: 2, Writable: true, Back: Digest(21)},
		{Repository: "web", Name: "prod", Digest: Digest(21), Since: before(3 * time.Hour), By: "promote-1", Hosts: 6, Current: 3, Writable: true, Back: Digest(22), Entries: entries, Candidates: []web.Candidate{{
			Digest: Digest(20), From: "staging", Approvals: true, Conditions: []web.Condition{
				{Text: "staging names it", Met: true}, {Text: "for 24 h", Why: "it does for 1 h 40 min, since 2026-05-04 10:50:00 UTC"},
				{Text: "two people approve", Why: "ben has; one more is missing"}, {Text: "nothing is frozen", Met: true},
			},
		}}},
		{Repository: "payments/api", Name: "prod", Digest: Digest(23), Since: before(4 * time.Hour), By: "promote-1", Frozen: "the audit is on until Friday", Writable: true},
		{Repository: "shop/search", Name: "prod", Digest: Digest(25), Since: before(90 * time.Hour), By: "promote-2", Revoked: "CVE in a carried library", Writable: true, Back: Digest(26)},
		{Repository: "shop/search", Name: "next", Writable: true},
		{Repository: "shop/prices", Name: "prod", Refused: "entry 3: its signature does not count: key promote-9 is none of the root's"},
	}
}

func hosts() []web.Host {
	host := func(name string, state web.HostState, digest int, message string) web.Host {
		return web.Host{Name: name, Channel: "web:prod", Digest: Digest(digest), Wanted: Digest(21), State: state, Since: before(3 * time.Hour), Reported: before(40 * time.Second), Message: message, Version: "1.0.0"}
	}
	silent := host("web-eu-5", web.HostSilent, 22, "nothing was heard for 3 h; it should report every minute")
	silent.Reported = before(3 * time.Hour)
	return []web.Host{
		host("web-eu-1", web.HostCurrent, 21, ""), host("web-eu-2", web.HostCurrent, 21, ""), host("web-eu-3", web.HostWatching, 21, "watches the new release for 4 more minutes"),
		host("web-eu-4", web.HostFellBack, 22, "the health check ended with code 1: connection refused"), silent, host("web-us-1", web.HostBehind, 22, ""),
		{Name: "web-test-1", Channel: "web:staging", Digest: Digest(20), Wanted: Digest(20), State: web.HostStale, Since: before(time.Hour), Reported: before(20 * time.Second), Message: "the channel's last entry is older than max-stale: nothing is activated", Version: "1.0.0"},
		{Name: "web-test-2", Channel: "web:staging", State: web.HostFailed, Reported: before(20 * time.Second), Message: "installing: no space left on device", Version: "1.0.0"},
	}
}

func diff() *contents.Diff {
	return &contents.Diff{
		A: contents.Side{Ref: "web@" + Digest(21), Digest: Digest(21), Python: "3.13.5", Bytes: 118_100_000, Compressed: 34_900_000}, B: contents.Side{Ref: "web@" + Digest(20), Digest: Digest(20), Python: "3.13.5", Bytes: 120_202_000, Compressed: 35_100_000},
		Inputs: []contents.Change{{What: "key", From: Digest(121), To: Digest(120)}, {What: "pypi numpy", From: "2.3.0", To: "2.3.1"}}, Distributions: []contents.Change{{What: "numpy", From: "2.3.0", To: "2.3.1"}, {What: "gevent", To: "25.5.1"}, {What: "eventlet", From: "0.40.0"}},
		Libraries: []contents.Change{{What: "lib/libssl.so.3", From: "libssl3 3.0.16-1~deb12u1", To: "libssl3 3.0.17-1~deb12u3"}},
		Files:     contents.Files{Added: []string{"lib/python3.13/site-packages/gevent/__init__.py"}, Removed: []string{"lib/python3.13/site-packages/eventlet/__init__.py"}, Changed: []string{"lib/libssl.so.3"}},
		Sizes:     []contents.Size{{Of: "numpy", From: 31_700_000, To: 31_900_000}, {Of: "eventlet", From: 1_900_000}, {Of: "gevent", To: 12_700_000}},
		Symbols:   []contents.Symbols{{File: "lib/libssl.so.3", DefinedAdded: []string{"SSL_get0_group_name@OPENSSL_3.2.0"}, UndefinedRemoved: []string{"memcpy@GLIBC_2.14"}}},
	}
}
