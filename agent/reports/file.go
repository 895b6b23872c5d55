package reports

// File is a hosts.yaml: the hosts whose reports count, and their keys.
//
// Its comments are the text of the editors' schema.
type File struct {
	// APIVersion says which form the file has. It is ampoule/v1.
	APIVersion string `json:"apiVersion" yaml:"apiVersion" need:"yes" is:"API version"`
	// Hosts are the hosts, by name.
	Hosts map[string]Host `json:"hosts" yaml:"hosts" need:"yes" keys:"host name"`
}

// Host is one host.
type Host struct {
	// Public is its public key: its DER form (RFC 5280, SubjectPublicKeyInfo) as base64.
	Public string `json:"public" yaml:"public" need:"yes" is:"base64"`
}
