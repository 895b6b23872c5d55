package policy

// File is a policy: what an artifact must have to run on a machine.
//
// Its comments are the text of the editors' schema.
type File struct {
	// APIVersion says which form the file has. It is ampoule/v1.
	APIVersion string `yaml:"apiVersion" need:"yes" is:"API version"`
	// Trust is the trust root.
	Trust Trust `yaml:"trust" need:"yes"`
	// Channels is the file of the rules that promotions to channels obey, relative to the
	// policy. Without it they obey none.
	Channels string `yaml:"channels" is:"text"`
	// Rules are looked at in this order: the first whose match has the artifact's name
	// decides. An artifact that no rule matches is refused.
	Rules []Rule `yaml:"rules" need:"yes"`
}

// Trust names a trust root.
type Trust struct {
	// File is the trust root's file, relative to the policy.
	File string `yaml:"file" need:"yes" is:"text"`
	// Name is the name that the root must have.
	Name string `yaml:"name" need:"yes" is:"root name"`
}

// Rule says what artifacts of some names must have.
type Rule struct {
	// Match are names of artifacts; * stands for anything but a slash.
	Match []string `yaml:"match" need:"yes" is:"name pattern" set:"yes"`
	// Signatures are the roles of which enough keys must have signed the artifact, as the
	// trust root says how many. It is [build] where nothing is written.
	Signatures []string `yaml:"signatures" is:"signing role" set:"yes"`
	// Provenance says how the artifact must have been built, by a statement of a build key.
	Provenance *Provenance `yaml:"provenance"`
	// Verdict says what the gate must have looked at, by a statement of a build key.
	Verdict *Verdict `yaml:"verdict"`
	// Tests says what must have been tested, by a statement of a test key.
	Tests *Tests `yaml:"tests"`
	// SBOM says that there is a list of contents, by a statement of a build key.
	SBOM *SBOM `yaml:"sbom"`
}

// Provenance says how something must have been built.
type Provenance struct {
	// Builders are the builders that may have built it, as sign.builder in their config.toml
	// says. Without it any may that has a build key.
	Builders []string `yaml:"builders" is:"text" set:"yes"`
	// MaxAge is how long ago it may have been built, in hours (h) or days (d).
	MaxAge string `yaml:"max-age" is:"age"`
	// Network is denied where the build must have had none, and that was checked.
	Network string `yaml:"network" is:"network"`
	// Source says what the recipe's own code must be of.
	Source *Source `yaml:"source"`
}

// Source says what first-party code must be of.
type Source struct {
	// Repositories are addresses of the repository, as git's remote origin has it, without
	// credentials; * stands for anything but a slash.
	Repositories []string `yaml:"repositories" is:"text" set:"yes"`
	// Refs are branches or tags, such as refs/heads/main; * stands for anything but a slash.
	Refs []string `yaml:"refs" is:"text" set:"yes"`
	// Tree is clean where every file must be as its commit has it.
	Tree string `yaml:"tree" is:"tree state"`
}

// Verdict says what the gate must have looked at.
type Verdict struct {
	// Checks are checks of the gate that must have been done.
	Checks []string `yaml:"checks" is:"check" set:"yes"`
	// Targets are runtime targets that must have been judged: container, vm.
	Targets []string `yaml:"targets" is:"target" set:"yes"`
	// MaxAge is how long ago it may have been judged, in hours (h) or days (d).
	MaxAge string `yaml:"max-age" is:"age"`
}

// Tests says what must have been tested.
type Tests struct {
	// Passed are commands that must have been run and have passed, as `ampoule ci run` was
	// given them, in one line each.
	Passed []string `yaml:"passed" is:"text" set:"yes"`
	// Groups are dependency groups that must have lain over the artifact.
	Groups []string `yaml:"groups" is:"text" set:"yes"`
	// MaxAge is how long ago they may have been run, in hours (h) or days (d).
	MaxAge string `yaml:"max-age" is:"age"`
}

// SBOM says that there must be a list of contents.
type SBOM struct {
	// MaxAge is how long ago it may have been made, in hours (h) or days (d).
	MaxAge string `yaml:"max-age" is:"age"`
}
