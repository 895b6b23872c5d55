package wire

import "time"

// Host is how a host follows a channel for one of its roots, by its last report.
type Host struct {
	Host string `json:"host"`
	// Name is the repository of the channel where it is this server's own.
	Name    string `json:"name" doc:"The channel's repository; one of another registry begins with its host"`
	Channel string `json:"channel"`
	Root    string `json:"root" doc:"Where the host has its releases"`
	State   string `json:"state" enum:"follows,waits,deploys,fell-back,blind,alarmed"`
	Why     string `json:"why,omitempty" doc:"Why it does not follow, for people"`
	Digest  string `json:"digest,omitempty" doc:"What runs"`
	Since   string `json:"since,omitempty" doc:"When that was activated, by the host's clock"`
	Wanted  string `json:"wanted,omitempty" doc:"What the channel wants of the host"`
	// Failed are digests that have failed there.
	Failed   map[string]string `json:"failed,omitempty" doc:"Digests that have failed there, and why"`
	Reported string            `json:"reported" doc:"When the report was written, by the host's clock"`
	Received time.Time         `json:"received" doc:"When it came here"`
	Silent   bool              `json:"silent,omitempty" doc:"The host has not reported for hours"`
	Refused  string            `json:"refused,omitempty" doc:"Why the report does not count any more: the host's key was replaced or revoked"`
}

// Hosts is a list of them.
type Hosts struct {
	Hosts []Host `json:"hosts" doc:"By host, channel and root"`
}

// OneHost is one host with what it has reported.
type OneHost struct {
	Host    string `json:"host"`
	Roots   []Host `json:"roots" doc:"Its last reports"`
	History []Host `json:"history" doc:"What changed, the newest first"`
}

// Reported is the answer to a report.
type Reported struct {
	Host    string `json:"host"`
	Changed bool   `json:"changed" doc:"It says something else than the one before"`
}

// DeploymentsSchema names the form of [Deployments].
const DeploymentsSchema = "ampoule.deployments/v1"

// Deployments says who holds something.
type Deployments struct {
	Schema string `json:"schema"`
	// What was asked for; empty for everything.
	What string `json:"what"`
	// Channels and Hosts hold it.
	Channels []ChannelHolds `json:"channels"`
	Hosts    []HostHolds    `json:"hosts"`
	// Unknown says what could not be looked at, and why: the answer may lack something.
	Unknown []string `json:"unknown"`
}

// ChannelHolds is a channel that names a digest, or may go back to it.
type ChannelHolds struct {
	Channel string `json:"channel"`
	Digest  string `json:"digest"`
	// Named says that the channel names the digest now; without it, the channel may go back to it.
	Named bool `json:"named"`
	// Revoked says why the digest must not be used.
	Revoked string `json:"revoked,omitempty"`
	// Holds is what the digest has of what was asked for.
	Holds []string `json:"holds"`
}

// HostHolds is a host that runs a digest.
type HostHolds struct {
	Host    string `json:"host"`
	Channel string `json:"channel"`
	Root    string `json:"root"`
	Digest  string `json:"digest"`
	// State says how the host follows its channel, and Why why it does not.
	State string `json:"state"`
	Why   string `json:"why,omitempty"`
	// Since is when the digest was activated, and Reported when the host has said so.
	Since    string `json:"since,omitempty"`
	Reported string `json:"reported"`
	// Wanted is what the channel wants of the host.
	Wanted string `json:"wanted,omitempty"`
	// Holds is what the digest has of what was asked for.
	Holds []string `json:"holds"`
}

// Webhook is a receiver of events.
type Webhook struct {
	Name       string     `json:"name"`
	URL        string     `json:"url" doc:"The host that events are sent to; the rest of the address is often a secret"`
	Events     []string   `json:"events"`
	Match      []string   `json:"match,omitempty" doc:"Patterns of names; without any, all"`
	Deliveries []Delivery `json:"deliveries" doc:"The last ones, the newest first"`
}

// Webhooks is a list of them.
type Webhooks struct {
	Webhooks []Webhook `json:"webhooks"`
}

// Delivery is one event for one receiver.
type Delivery struct {
	ID       string    `json:"id"`
	Event    string    `json:"event" doc:"The header webhook-id"`
	Type     string    `json:"type" doc:"build.ended, verdict.refused, channel.moved, approval.wanted or host.fell-back"`
	Name     string    `json:"name" doc:"The recipe or repository"`
	State    string    `json:"state" enum:"waiting,delivered,given-up"`
	Attempts int       `json:"attempts"`
	Created  time.Time `json:"created"`
	Due      time.Time `json:"due,omitzero" doc:"When it is sent next"`
	Tried    time.Time `json:"tried,omitzero" doc:"When it was sent last"`
	Status   int       `json:"status,omitempty" doc:"The receiver's answer"`
	Message  string    `json:"message,omitempty" doc:"What went wrong"`
}
