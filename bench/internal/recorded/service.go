package recorded

// Load is what the build service did under one kind of load.
type Load struct {
	// Name is "DATABASE: WHAT".
	Name string `json:"name"`
	// When is the day, in UTC, as YYYY-MM-DD, and Cores the machine's processors. Shared says
	// that other work ran on the machine meanwhile.
	When   string `json:"when"`
	Cores  int    `json:"cores"`
	Shared bool   `json:"shared,omitempty"`
	// Database is sqlite or postgresql. What is submissions, followers or keys, Count how many.
	Database string `json:"database"`
	What     string `json:"what"`
	Count    int    `json:"count"`
	// PerSecond is how many were answered in a second, P99Seconds what 99 in 100 took at most.
	PerSecond  float64 `json:"per_second,omitempty"`
	P99Seconds float64 `json:"p99_seconds,omitempty"`
	// Builds is how many builds came of the submissions, Reads how often an archive was read.
	Builds int `json:"builds,omitempty"`
	Reads  int `json:"reads,omitempty"`
	// LogBytes is how long the log was, Lost how many followers lack something of it.
	LogBytes int64 `json:"log_bytes,omitempty"`
	Lost     int   `json:"lost,omitempty"`
	// ServerSeconds and LoaderSeconds are what the service and the program that loads it took of
	// processors. PeakMiB is the largest resident set of the service.
	ServerSeconds float64 `json:"server_seconds"`
	LoaderSeconds float64 `json:"loader_seconds"`
	PeakMiB       int     `json:"peak_mib"`
	// Found says it for people. Passed says that all limits hold.
	Found  string `json:"found"`
	Passed bool   `json:"passed"`
}

// Key implements [Result].
func (l Load) Key() string { return l.Name }

// Growth is the service's queue with so many builds in its database.
type Growth struct {
	Name   string `json:"name"`
	When   string `json:"when"`
	Cores  int    `json:"cores"`
	Shared bool   `json:"shared,omitempty"`
	// Workers share the queue; Recipes is how many names the builds have.
	Workers int `json:"workers"`
	Recipes int `json:"recipes"`
	// Before is how many builds the database has at first, Builds how many were played.
	Before int `json:"before"`
	Builds int `json:"builds"`
	// PerSecond is how many builds were submitted, run and ended in a second.
	PerSecond float64 `json:"per_second"`
	// DatabaseBytes is what tables and indexes take at the end.
	DatabaseBytes int64 `json:"database_bytes"`
	// Queries are what took most of the server's time, the first most.
	Queries []Query `json:"queries"`
}

// Key implements [Result].
func (g Growth) Key() string { return g.Name }

// Query is one kind of query, as pg_stat_statements counts it.
type Query struct {
	// Text is its beginning.
	Text  string `json:"text"`
	Calls int64  `json:"calls"`
	// MeanMillis is what one took, Share its part of the time of all.
	MeanMillis float64 `json:"mean_ms"`
	Share      float64 `json:"share"`
}

// Soak is one round in which processes of a service were killed and frozen around real builds.
type Soak struct {
	// Name is "round NNN".
	Name   string `json:"name"`
	When   string `json:"when"`
	Cores  int    `json:"cores"`
	Shared bool   `json:"shared,omitempty"`
	// Seconds is how long it took.
	Seconds float64 `json:"seconds"`
	// Builds were accepted; Lost leases is how often one had to begin again.
	Builds int `json:"builds"`
	Lost   int `json:"lost_leases"`
	// What was done to processes.
	Killed    int `json:"killed"`
	Frozen    int `json:"frozen"`
	Restarted int `json:"restarted"`
	// Faults are what the checker of histories, or a comparison of digests, found.
	Faults []string `json:"faults,omitempty"`
}

// Key implements [Result].
func (s Soak) Key() string { return s.Name }
