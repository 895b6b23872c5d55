package wire

import "time"

// Channel is what a channel names.
type Channel struct {
	Name    string `json:"name" doc:"The repository"`
	Channel string `json:"channel"`
	// Verified is false of entries that were asked for as they are.
	Verified bool      `json:"verified" doc:"The log was verified; without it, all but the entries is left out"`
	Digest   string    `json:"digest,omitempty" doc:"What it names now; empty before the first entry, and where that is revoked"`
	Ref      string    `json:"ref,omitempty"`
	Since    time.Time `json:"since,omitzero" doc:"When it began to name that"`
	// Names is as Digest, also where that is revoked.
	Names    string            `json:"names,omitempty" doc:"As digest, also where that is revoked"`
	Accepted []string          `json:"accepted,omitempty" doc:"What it may go back to, the digest named last at the end"`
	Revoked  map[string]string `json:"revoked,omitempty" doc:"Says of each digest that must not be used why"`
	Frozen   string            `json:"frozen,omitempty" doc:"Why promotions are stopped"`
	Refused  string            `json:"refused,omitempty" doc:"In a list: why nothing of the log is believed"`
	Entries  []ChannelEntry    `json:"entries" doc:"The last one first"`
}

// Channels is a list of them, each with its last entry.
type Channels struct {
	Channels []Channel `json:"channels" doc:"By repository and channel"`
}

// ChannelEntry is one entry of a channel's log, which was verified.
type ChannelEntry struct {
	Seq        int       `json:"seq"`
	Hash       string    `json:"hash" doc:"Names the entry"`
	Previous   string    `json:"previous,omitempty" doc:"The entry before"`
	Time       time.Time `json:"time"`
	Action     string    `json:"action"`
	Digest     string    `json:"digest,omitempty"`
	From       string    `json:"from,omitempty" doc:"The channel that named the digest"`
	By         string    `json:"by" doc:"The key that signed it"`
	SignedBy   []string  `json:"signedBy,omitempty" doc:"Promotion keys that have signed it and count"`
	Reason     string    `json:"reason,omitempty"`
	BreakGlass bool      `json:"breakGlass,omitempty"`
	PassedOver []string  `json:"passedOver,omitempty" doc:"What was passed over"`
	Rules      int       `json:"rules,omitempty" doc:"The version of the channel rules that were obeyed"`
	ApprovedBy []string  `json:"approvedBy,omitempty" doc:"The people whose approvals counted"`
	Evidence   []string  `json:"evidence,omitempty" doc:"The sha256 of what was looked at beside the artifact"`
}

// ChannelMove is what somebody wants of a channel. Not every action takes all of it.
type ChannelMove struct {
	Name       string `json:"name"`
	Digest     string `json:"digest,omitempty"`
	From       string `json:"from,omitempty"`
	Reason     string `json:"reason,omitempty"`
	BreakGlass bool   `json:"breakGlass,omitempty"`
}

// Approval says that an approval lies beside an artifact.
type Approval struct {
	Ref    string `json:"ref" doc:"The artifact"`
	Key    string `json:"key" doc:"The ID of the service's key that has signed"`
	Caller string `json:"caller" doc:"For whom it has"`
}

// ChannelCheck says whether a channel could go to the digests that it has named last.
type ChannelCheck struct {
	Name    string          `json:"name"`
	Channel string          `json:"channel"`
	Targets []ChannelTarget `json:"targets" doc:"The digest named last first"`
}

// ChannelTarget is what was found of one digest.
type ChannelTarget struct {
	Digest    string   `json:"digest"`
	Current   bool     `json:"current" doc:"The channel names it now"`
	Manifests int      `json:"manifests"`
	Blobs     int      `json:"blobs"`
	Bytes     int64    `json:"bytes" doc:"The size of the blobs"`
	Problems  []string `json:"problems" doc:"What keeps the channel from going there"`
}
