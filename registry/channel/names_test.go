package channel

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// tagged is a repository with tags.
type tagged []string

// Tags implements [Repository]'s.
func (t tagged) Tags(context.Context) ([]string, error) {
	if t == nil {
		return nil, errors.New("away")
	}
	return t, nil
}

func TestNames(t *testing.T) {
	t.Parallel()
	found, err := Names(t.Context(), tagged{
		"channel-prod", "prod", "latest", "channel-eu.000001", "channel-eu.000002", "channel-new.probe", "hold-" + strings.Repeat("a", 64) + ".old",
		"channel-", "channel-UPPER", "channel-x.1", "key-" + strings.Repeat("a", 64),
	})
	if err != nil || fmt.Sprint(found) != "[eu prod]" {
		t.Errorf("%v, %v", found, err)
	}
	if _, err := Names(t.Context(), tagged(nil)); err == nil {
		t.Error("a registry that is away has no channels")
	}
}

// A channel that is read with the registry's prefix in its name is another one by what is signed: how to name
// it is told.
func TestPrefixInAName(t *testing.T) {
	t.Parallel()
	l := &Log{Repository: "team/web", Channel: "prod", Entries: []Signed{{Entry: Entry{Sequence: 1, Repository: "web", Channel: "prod"}}}}
	var refused *LogError
	if err := l.checkChain(time.Time{}); !errors.As(err, &refused) || !strings.Contains(refused.Hint(), "--registry HOST/team") {
		t.Errorf("%v", err)
	}
	l.Entries[0].Repository = "eb"
	if err := l.checkChain(time.Time{}); !errors.As(err, &refused) || strings.Contains(refused.Hint(), "--registry") {
		t.Errorf("%v", err)
	}
}
