package cli

import (
	"strings"
	"testing"
	"time"
)

// Nothing is kept for no time, and no log longer than its build.
func TestServeRetention(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for flags, want := range map[[2]string]retention{
		{"90d", ""}:      {90 * day, 0},
		{"90d", "12h"}:   {90 * day, 12 * time.Hour},
		{"ever", "30d"}:  {0, 30 * day},
		{"ever", "ever"}: {0, 0},
	} {
		if got, err := parseRetention(flags[0], flags[1]); got != want || err != nil {
			t.Errorf("%q: %+v, %v", flags, got, err)
		}
	}
	for _, flags := range [][]string{
		{"--keep-builds", "0d"}, {"--keep-builds", "x"}, {"--keep-logs", "0s"}, {"--keep-logs", "91d"}, {"--keep-logs", "ever"},
	} {
		if code, _, errs := run(t, append([]string{"serve"}, flags...)...); code != codeUsage || !strings.Contains(errs, flags[0]) {
			t.Errorf("%q: %d %s", flags, code, errs)
		}
	}
}
