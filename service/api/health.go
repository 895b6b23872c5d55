package api

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"ampoule/service/access"
	"ampoule/service/journal"
	"ampoule/service/wire"
)

const healthTag = "health"

// Who restarts servers asks for these again and again.
const (
	livePath  = "/healthz"
	readyPath = "/readyz"
)

func (s *Server) addHealth() {
	add(s, public, get("version", "/v1/version", "Says what the server runs", healthTag), s.version)
	add(s, public, get("health", livePath, "Says that the process answers", healthTag), s.health)
	add(s, public, get("readiness", readyPath, "Says whether the server can do its work", healthTag), s.ready)
}

type versionOutput struct{ Body wire.Version }

func (s *Server) version(context.Context, access.Caller, *struct{}) (*versionOutput, error) {
	return &versionOutput{s.Version}, nil
}

type healthOutput struct {
	Status int
	Body   wire.Health
}

func (s *Server) health(context.Context, access.Caller, *struct{}) (*healthOutput, error) {
	return &healthOutput{http.StatusOK, wire.Health{Status: "ok"}}, nil
}

// checkTime bounds each of the checks of readiness.
const checkTime = 3 * time.Second

// ready says what is wrong by name alone: the log has the reasons.
func (s *Server) ready(ctx context.Context, _ access.Caller, _ *struct{}) (*healthOutput, error) {
	out := &healthOutput{http.StatusOK, wire.Health{Status: "ok", Checks: map[string]string{}}}
	fail := func(name string) {
		out.Status, out.Body.Status, out.Body.Checks[name] = http.StatusServiceUnavailable, "failing", "failing"
	}
	select {
	case <-s.Closing.Done():
		fail("running")
		return out, nil
	default:
	}
	for _, name := range slices.Sorted(maps.Keys(s.Ready)) {
		check, cancel := context.WithTimeout(ctx, checkTime)
		err := s.Ready[name](check)
		cancel()
		if err != nil {
			journal.Of(ctx).WithError(err).WithField("check", name).Warn("not ready")
			fail(name)
			continue
		}
		out.Body.Checks[name] = "ok"
	}
	return out, nil
}
