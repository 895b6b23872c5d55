package artifact

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

const (
	hashPrefix = "sha256:"
	// keyPrefix begins the tag of a key, holdPrefix the one that holds an artifact.
	keyPrefix  = "key-"
	holdPrefix = "hold-"
	// channelPrefix begins the tag of a channel's log.
	channelPrefix = "channel-"
	// probeSuffix ends the tag with which the writes of a log are tried.
	probeSuffix = ".probe"
	// signatureSuffix and attestationSuffix end cosign's tags, which begin as the tag schema
	// for referrers has it (distribution-spec, "Referrers Tag Schema").
	signatureSuffix   = ".sig"
	attestationSuffix = ".att"
)

var (
	digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	besideForm = regexp.MustCompile(`^sha256-([0-9a-f]{64})(?:\.(?:sig|att|sbom))?$`)
	// reservedForm are the tags that have a meaning, or look like a digest.
	reservedForm = regexp.MustCompile(`^(?:key|hold|channel|sha256)-`)
	channelForm  = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$`)
	numberedForm = regexp.MustCompile(`^channel-([a-z0-9-]+)\.([0-9]{6})$`)
	heldForm     = regexp.MustCompile(`^hold-[0-9a-f]{64}\.([a-z0-9-]+)$`)
	nameForm     = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
)

// ConditionsHeader is the header in which a registry says which conditions on the write of a
// tag it honours. The OCI protocol has none; Ampoule's registries say [Conditions].
const (
	ConditionsHeader = "Ampoule-Conditions"
	Conditions       = "if-match"
)

// DigestHeader is the header with the digest of a manifest (distribution-spec, "Pulling
// manifests").
const DigestHeader = "Docker-Content-Digest"

// EntityTag is a digest as If-Match has it (RFC 9110, section 8.8.3).
func EntityTag(digest string) string { return `"` + digest + `"` }

// IsDigest reports whether a text is "sha256:" and 64 hexadecimal digits in lower case
// (image-spec, descriptor.md, "Digests"). Ampoule knows no other hash.
func IsDigest(text string) bool { return digestForm.MatchString(text) }

// IsRepository reports whether a text is the name of a repository (distribution-spec,
// "Pulling manifests").
func IsRepository(text string) bool { return nameForm.MatchString(text) }

// KeyTag is the tag that points from a key to the index of its artifact: "key-" and the
// key's hexadecimal digits. It is written last, and the first one stands.
func KeyTag(key string) (string, error) {
	if !IsDigest(key) {
		return "", fmt.Errorf("key %q is not sha256: and 64 hexadecimal digits", key)
	}
	return keyPrefix + strings.TrimPrefix(key, hashPrefix), nil
}

// IsKeyTag reports whether a tag is a key's, or pretends to be.
func IsKeyTag(tag string) bool { return strings.HasPrefix(tag, keyPrefix) }

// KeyOfTag returns the key whose tag it is; what is no tag of a key has none.
func KeyOfTag(tag string) (key string, ok bool) {
	sum, ok := strings.CutPrefix(tag, keyPrefix)
	key = hashPrefix + sum
	if !ok || !IsDigest(key) {
		return "", false
	}
	return key, true
}

// HoldTag is the tag that holds the artifact of a digest, so that no collection removes
// it: "hold-" and the digest's hexadecimal digits.
func HoldTag(digest string) string { return holdPrefix + strings.TrimPrefix(digest, hashPrefix) }

// IsHoldTag reports whether a tag holds an artifact.
func IsHoldTag(tag string) bool { return strings.HasPrefix(tag, holdPrefix) }

// IsChannel reports whether a text is a channel's name: at most 32 lower-case letters, digits
// and dashes, a dash neither first nor last. The tag of that name says for others what the
// channel names, so it begins as no tag of Ampoule's own.
func IsChannel(text string) bool {
	return channelForm.MatchString(text) && !reservedForm.MatchString(text)
}

// ChannelTag is the tag of a channel's log: "channel-" and its name.
func ChannelTag(channel string) string { return channelPrefix + channel }

// ChannelProbeTag is the tag under which is tried how a registry writes tags: that of the
// channel's log, and ".probe".
func ChannelProbeTag(channel string) string { return ChannelTag(channel) + probeSuffix }

// ChannelNumberTag is the tag of a channel's log as it was with so many entries, in a registry
// whose tags do not move: that of the log, a dot and six digits.
func ChannelNumberTag(channel string, entries int) string {
	return fmt.Sprintf("%s.%06d", ChannelTag(channel), entries)
}

// ChannelNumber returns how many entries the log of a channel has by its tag; other tags have none.
func ChannelNumber(channel, tag string) (entries int, ok bool) {
	m := numberedForm.FindStringSubmatch(tag)
	if m == nil || m[1] != channel {
		return 0, false
	}
	entries, err := strconv.Atoi(m[2])
	return entries, err == nil && entries > 0
}

// ChannelOfLog returns the channel whose log a tag is; other tags have none.
func ChannelOfLog(tag string) (channel string, ok bool) {
	channel, ok = strings.CutPrefix(tag, channelPrefix)
	return channel, ok && IsChannel(channel)
}

// MovesByCondition reports whether a tag is that of a channel's log, or the one with which its
// writes are tried. They move under a condition alone.
func MovesByCondition(tag string) bool {
	_, ok := ChannelOfLog(strings.TrimSuffix(tag, probeSuffix))
	return ok
}

// IsChannelTag reports whether a tag is that of a channel's log, or pretends to be.
func IsChannelTag(tag string) bool { return strings.HasPrefix(tag, channelPrefix) }

// ChannelHoldTag is the tag by which a channel holds an artifact that it has accepted: the
// [HoldTag] of the digest, a dot and the channel's name.
func ChannelHoldTag(channel, digest string) string { return HoldTag(digest) + "." + channel }

// ChannelOfHold returns the channel whose hold a tag is; other tags have none.
func ChannelOfHold(tag string) (channel string, ok bool) {
	m := heldForm.FindStringSubmatch(tag)
	if m == nil || !IsChannel(m[1]) {
		return "", false
	}
	return m[1], true
}

// SignatureTag is the tag of an artifact's signatures, as cosign names it.
func SignatureTag(digest string) string {
	return strings.Replace(digest, ":", "-", 1) + signatureSuffix
}

// AttestationTag is the tag of what was attested of an artifact, as cosign names it.
func AttestationTag(digest string) string {
	return strings.Replace(digest, ":", "-", 1) + attestationSuffix
}

// SubjectOfTag returns the digest that a tag is kept beside: that of a list of referrers by the
// tag schema (distribution-spec, "Referrers Tag Schema"), or of cosign's signatures,
// attestations or bills of materials. They change with what is added. Other tags have none.
func SubjectOfTag(tag string) (digest string, ok bool) {
	m := besideForm.FindStringSubmatch(tag)
	if m == nil {
		return "", false
	}
	return hashPrefix + m[1], true
}
