package cli

import (
	"errors"
	"fmt"
	"time"

	"ampoule/config"
)

// retention is how long a service keeps what is over; 0 is for ever.
type retention struct{ builds, logs time.Duration }

// parseRetention reads --keep-builds and --keep-logs. Logs that have no time of their own stay as
// long as their builds, and none stays longer.
func parseRetention(builds, logs string) (r retention, err error) {
	if r.builds, err = keepFor(builds); err != nil {
		return r, fmt.Errorf("--keep-builds: %w", err)
	}
	if logs == "" {
		return r, nil
	}
	if r.logs, err = keepFor(logs); err != nil {
		return r, fmt.Errorf("--keep-logs: %w", err)
	}
	if r.builds != 0 && (r.logs == 0 || r.logs > r.builds) {
		err = errors.New("--keep-logs: logs go with their builds; keep builds longer")
	}
	return r, err
}

// keepFor reads a time of more than nothing, or "ever", which is 0.
func keepFor(text string) (time.Duration, error) {
	if text == "ever" {
		return 0, nil
	}
	d, err := config.ParseDuration(text)
	if err == nil && d == 0 {
		err = fmt.Errorf("%q is no time: want more, such as 90d, or ever", text)
	}
	return d, err
}
