package progress

import (
	"fmt"
	"slices"
)

// Stage is a part of the way of a recipe, or of an artifact behind it. The zero Stage is
// none: what belongs to the whole way has it.
type Stage uint8

// The stages. Each is told by its name, see [Stage.String].
const (
	// StageNone belongs to no stage.
	StageNone Stage = iota
	// StageBuild is the whole of one build, from its key to its digest.
	StageBuild
	// StageLock chooses versions.
	StageLock
	// StageFetch downloads inputs.
	StageFetch
	// StageToolchain makes the images that everything is built in.
	StageToolchain
	// StageInterpreter compiles CPython.
	StageInterpreter
	// StageWheel builds wheels.
	StageWheel
	// StageSeal installs wheels and puts the tree together.
	StageSeal
	// StageGate judges the tree.
	StageGate
	// StagePublish hands the artifact to the registry.
	StagePublish
	// StageShell opens a step of a build for a person.
	StageShell
	// StageLoad gives an artifact's image to a sandbox engine.
	StageLoad
	// StageInstall installs an artifact on this machine.
	StageInstall
	// StageSave writes what refers to an artifact into files.
	StageSave
	// StageCopy takes an artifact with what refers to it to another place.
	StageCopy
)

var stageNames = [...]string{
	StageNone: "", StageBuild: "build", StageLock: "lock", StageFetch: "fetch", StageToolchain: "toolchain",
	StageInterpreter: "interpreter", StageWheel: "wheel", StageSeal: "seal", StageGate: "gate", StagePublish: "publish",
	StageShell: "shell", StageLoad: "load", StageInstall: "install", StageSave: "save", StageCopy: "copy",
}

// Stages lists all stages but [StageNone].
func Stages() []Stage {
	all := make([]Stage, 0, len(stageNames)-1)
	for s := range stageNames[1:] {
		all = append(all, Stage(s+1))
	}
	return all
}

// String is the stage's name: one word of lower-case letters, or nothing for [StageNone].
func (s Stage) String() string {
	if int(s) >= len(stageNames) {
		return fmt.Sprintf("stage(%d)", uint8(s))
	}
	return stageNames[s]
}

// MarshalText implements [encoding.TextMarshaler]: a stage is its name in JSON.
func (s Stage) MarshalText() ([]byte, error) {
	if int(s) >= len(stageNames) {
		return nil, fmt.Errorf("%s is none that has a name", s)
	}
	return []byte(s.String()), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler]. A name that no stage has is an error.
func (s *Stage) UnmarshalText(text []byte) error {
	i := slices.Index(stageNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("%q is not the name of a stage", text)
	}
	*s = Stage(i)
	return nil
}
