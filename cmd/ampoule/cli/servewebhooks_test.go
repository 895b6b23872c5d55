package cli

import (
	"context"
	"slices"
	"testing"
	"time"

	"ampoule/faults"
	"ampoule/service/builds"
	"ampoule/service/database"
	"ampoule/service/database/databasetest"
	"ampoule/service/webhooks"
)

// Receivers are told of each build, and of a tree that the gate has refused, once.
func TestBuildEvents(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, database.Options{Dir: t.TempDir()})
	out := webhooks.NewOutbox(db, []webhooks.Hook{{Name: "chat", URL: "https://chat.example", Events: webhooks.Types()}})
	failed := func(kind faults.Kind, stage string) *builds.Failure {
		return &builds.Failure{Kind: kind.String(), Message: "it does not fit", Stage: stage}
	}
	for _, b := range []builds.Build{
		{ID: "done", State: builds.Done, Result: &builds.Result{Digest: "sha256:1"}},
		{ID: "refused", State: builds.Failed, Failure: failed(faults.Refused, "gate")},
		{ID: "beyond", State: builds.Failed, Failure: failed(faults.Refused, "toolchain")},
		{ID: "broken", State: builds.Failed, Failure: failed(faults.Build, "gate")},
	} {
		b.Recipe, b.Ended = "web", time.Unix(1, 0)
		for range 2 {
			if err := db.Write(t.Context(), func(ctx context.Context, tx database.Tx) error { return buildEnded(out)(ctx, tx, b) }); err != nil {
				t.Fatal(err)
			}
		}
	}
	all, err := out.Last(t.Context(), "chat", 100)
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, d := range all {
		types = append(types, string(d.Type))
	}
	slices.Sort(types)
	if want := []string{"build.ended", "build.ended", "build.ended", "build.ended", "verdict.refused"}; !slices.Equal(types, want) {
		t.Errorf("%q, want %q", types, want)
	}
}
