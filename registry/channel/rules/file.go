package rules

// File is a channels.yaml: what must be so before a channel names a digest.
//
// Its comments are the text of the editors' schema.
type File struct {
	// APIVersion says which form the file has. It is ampoule/v1.
	APIVersion string `json:"apiVersion" yaml:"apiVersion" need:"yes" is:"API version"`
	// Trust is the name of the trust root whose root keys sign this file.
	Trust string `json:"trust" yaml:"trust" need:"yes" is:"key name"`
	// Version counts from 1. Machines refuse a lower one than they have seen, and another one of
	// the same number.
	Version string `json:"version" yaml:"version" need:"yes" is:"count"`
	// People are those who promote and approve, by name.
	People map[string]Person `json:"people,omitempty" yaml:"people" keys:"key name"`
	// Services are names of keys in the trust root that services hold (ampoule serve), and sign
	// with for whoever calls them: a signature counts for the person whose caller it names.
	Services []string `json:"services,omitempty" yaml:"services" is:"key name" set:"yes"`
	// Channels are looked at in this order: the first that has the channel's name and matches
	// the artifact's name decides. A channel that none matches takes no promotion.
	Channels []Rule `json:"channels" yaml:"channels" need:"yes"`
	// Signatures are those of root keys, by the key's ID.
	Signatures map[string]string `json:"signatures,omitempty" yaml:"signatures" keys:"key ID" is:"base64"`
}

// Person is somebody who holds keys, or is known to a service.
type Person struct {
	// Keys are names of keys in the trust root: whoever holds several is one person.
	Keys []string `json:"keys,omitempty" yaml:"keys" is:"key name" set:"yes"`
	// Callers are the names by which services know this person: of tokens, or of an issuer's
	// subjects.
	Callers []string `json:"callers,omitempty" yaml:"callers" is:"caller" set:"yes"`
}

// Rule is what must be so before a channel names a digest.
type Rule struct {
	// Name is the channel's.
	Name string `json:"name" yaml:"name" need:"yes" is:"channel name"`
	// Match are names of artifacts; * stands for anything but a slash. Without it the rule is
	// for all.
	Match []string `json:"match,omitempty" yaml:"match" is:"name pattern" set:"yes"`
	// Registry is where the channel is, as HOST[/PREFIX]. Without it, it is where who writes or
	// reads the channel says: in the store's own registry, unless there is another one.
	Registry string `json:"registry,omitempty" yaml:"registry" is:"registry"`
	// From is the channel of the same repository, in whatever registry it is, that must name the
	// digest.
	From string `json:"from,omitempty" yaml:"from" is:"channel name"`
	// Soak is how long that channel must have named it without a break, in hours (h) or days (d).
	Soak string `json:"soak,omitempty" yaml:"soak" is:"age"`
	// Policy is what the artifact must have, beyond what the machine's policy asks for.
	Policy *Policy `json:"policy,omitempty" yaml:"policy"`
	// Approvals are signatures of people other than the one who promotes.
	Approvals *Approvals `json:"approvals,omitempty" yaml:"approvals"`
	// Freezes are times in which nothing is promoted.
	Freezes []Freeze `json:"freezes,omitempty" yaml:"freezes"`
}

// Policy names a policy, whose own form says what an artifact must have.
type Policy struct {
	// File is the policy's file, relative to this one. It must name the same trust root.
	File string `json:"file" yaml:"file" need:"yes" is:"text"`
	// SHA256 is the hash of that file: root keys sign this file, and so that one.
	SHA256 string `json:"sha256" yaml:"sha256" need:"yes" is:"hash"`
}

// Approvals says who must have approved.
type Approvals struct {
	// Count is how many people, other than the one who promotes, must have approved the digest
	// for the channel.
	Count string `json:"count" yaml:"count" need:"yes" is:"count"`
	// MaxAge is how long ago they may have, in hours (h) or days (d). Without it, seven days.
	MaxAge string `json:"maxAge,omitempty" yaml:"max-age" is:"age"`
}

// Freeze is a time in which nothing is promoted.
type Freeze struct {
	// From is its first day, Until its last day, in UTC.
	From  string `json:"from" yaml:"from" need:"yes" is:"day"`
	Until string `json:"until" yaml:"until" need:"yes" is:"day"`
	// Why says for people what it is for.
	Why string `json:"why" yaml:"why" need:"yes" is:"text"`
}
