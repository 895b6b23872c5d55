package explain

import (
	"cmp"
	"regexp"
	"strings"
)

// startKinds are what a shell or a container engine says of a program that does not start,
// although its file is there: execve(2) fails with ENOENT for want of what the file names.
var startKinds = []kind{
	{regexp.MustCompile(`(?:(?P<script>[^\s:]+): )?(?:(?P<bash>/[^:\n]+): )?bad interpreter(?:: (?P<zsh>/[^:\n]+))?`), badInterpreter},
	{regexp.MustCompile(`\benv: (?:can't execute )?'?(?P<program>[^'\s:]+)'?: No such file or directory`), notInPath},
	{regexp.MustCompile(`[Cc]ould not open '(?P<quoted>/lib[^']*/ld-[^']+)': No such file or directory|failed to open elf at (?P<plain>/lib\S*/ld-\S+)`), func(v values) Explanation {
		return Explanation{
			Means:    "An emulator runs a program for another processor, and the loader that the program names, " + v.of("quoted", "plain") + ", is not there: the image or environment is for this processor, the program is not; or there is no glibc.",
			Find:     []Step{run("uname -m; file -L PATH-OF-THE-PROGRAM", "the processor, and what the program is for")},
			Prevents: "An artifact's digest is for one platform; installing it elsewhere is refused.",
			Checks:   []string{"isa"},
		}
	}},
	{regexp.MustCompile(`(?P<bash>[^\s:]+): cannot execute: required file not found|\bexec (?P<engine>/[^\s:]+): no such file or directory`), func(v values) Explanation {
		return unstartable(v.of("bash", "engine"), "is there, and what it needs to start is not")
	}},
	// A shell's name, and a path with a slash: nothing was looked for in PATH.
	{regexp.MustCompile(`(?:^|[\s/-])(?:ba|da|z|k|a)?sh: (?:(?:line )?\d+: )?(?:(?P<path>[^\s:]*/[^\s:]+): (?:not found|[Nn]o such file or directory)|no such file or directory: (?P<zsh>[^\s:]*/[^\s:]+))`), func(v values) Explanation {
		return unstartable(v.of("path", "zsh"), "is not there; or it is, and what it needs to start is not")
	}},
}

const windowsLines = "The script has the line ends of Windows: its first line names an interpreter whose name ends with a carriage return, and there is none such."

func notInPath(v values) Explanation {
	program := v.of("program")
	means := "A script's first line asks env for " + program + ", and no directory of PATH has a program of that name: the environment is not activated, or only python3 is installed and no python."
	if name, ok := strings.CutSuffix(program, `\r`); ok {
		program, means = name, windowsLines
	}
	return Explanation{
		Means:    means,
		Find:     []Step{run("echo $PATH; type -a "+quote(program), "where it is looked for, and where it is"), run("head -n 1 PATH-OF-THE-SCRIPT | cat -A", "what the script asks for; ^M$ is the line end of Windows")},
		Prevents: ownScripts,
	}
}

const ownScripts = "Scripts of Ampoule's trees find the interpreter of their own tree, in whichever directory it is."

func badInterpreter(v values) Explanation {
	named := cmp.Or(v.of("bash", "zsh"), "an interpreter")
	means := "The script's first line names " + named + ", which is not there or may not be run. pip and venv write the absolute path of their interpreter into scripts: the environment was moved, copied or built elsewhere, or its Python was removed."
	if strings.HasSuffix(named, "^M") {
		means = windowsLines
	}
	return Explanation{
		Means: means,
		Find: []Step{
			run("head -n 1 "+quote(cmp.Or(v.of("script"), "PATH-OF-THE-SCRIPT"))+" | cat -A", "the path that it names; ^M$ is the line end of Windows"),
			run("ls -lL "+quote(cmp.Or(v.of("bash", "zsh"), "PATH-OF-THE-INTERPRETER")), "whether that is there and may be run"),
		},
		Prevents: ownScripts,
	}
}

// unstartable tells what a program needs to start: a loader, or a script's interpreter.
func unstartable(path, state string) Explanation {
	return Explanation{
		Means: path + " " + state + ": the loader that a program names (PT_INTERP), which glibc's programs do not have on musl (Alpine) and those of 32 bits not where only 64 are installed; or the interpreter in a script's first line, with Windows' line ends, too.",
		Find: []Step{
			run("ls -lL "+quote(path)+"; head -n 1 "+quote(path)+" | cut -c -80", "whether it is there, and a script's interpreter"),
			run("readelf -l "+quote(path)+" | grep interpreter", "the loader that a program names; ls -l that"),
		},
		Prevents: glibc + " " + ownScripts,
		Checks:   []string{"closure", "isa"},
	}
}
