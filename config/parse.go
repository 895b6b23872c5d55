package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
)

// ParseSize reads a size as people write it, such as 50GiB, in bytes.
func ParseSize(text string) (int64, error) {
	n, err := units.RAMInBytes(text)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%q is no size such as 50GiB", text)
	}
	return n, nil
}

// ParseDuration reads a time span, which may be in days: 12h, 30d.
func ParseDuration(text string) (time.Duration, error) {
	days, isDays := strings.CutSuffix(text, "d")
	if n, err := strconv.ParseUint(days, 10, 16); isDays && err == nil {
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no duration such as 12h or 30d", text)
	}
	return d, nil
}

// ParsePublished reads how long published artifacts stay: a time span of more than nothing.
func ParsePublished(text string) (time.Duration, error) {
	d, err := ParseDuration(text)
	if err == nil && d == 0 {
		err = fmt.Errorf("%q is no time that artifacts stay: want more, such as 180d", text)
	}
	return d, err
}
