package webhooks

// File is a webhooks.yaml: who is told what happens at a service.
//
// Its comments are the text of the editors' schema.
type File struct {
	// APIVersion says which form the file has. It is ampoule/v1.
	APIVersion string `yaml:"apiVersion" need:"yes" is:"API version"`
	// Webhooks are the receivers, by name.
	Webhooks map[string]Webhook `yaml:"webhooks" need:"yes" keys:"webhook name"`
}

// Webhook is one receiver.
type Webhook struct {
	// URL is where events are sent with POST: https, or http to this machine.
	URL string `yaml:"url" need:"yes" is:"web address"`
	// Events are what is told.
	Events []string `yaml:"events" need:"yes" is:"event" set:"yes"`
	// Match are names of recipes and repositories; * stands for any text, slashes included. Without
	// it all are told.
	Match []string `yaml:"match" is:"name pattern" set:"yes"`
	// SecretFile has the secret that events are signed with, relative to this file: whsec_ and the
	// base64 of 24 to 64 bytes. With several, a line each, events are signed by all of them.
	SecretFile string `yaml:"secret-file" need:"yes" is:"text"`
}
