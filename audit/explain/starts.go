package explain

import (
	"cmp"
	"strings"
)

// startKinds are what a shell, a library or a container engine says of a program that does not start,
// although its file is there: execve(2) fails with ENOENT for want of what the file names.
var startKinds = []kind{
	{"windows-lines", cause, `\\r': command not found|\$'\\r'|\\r': No such file or directory|\\r: not found|python\d?(?:\.\d+)?\^M|\^M: bad interpreter|Illegal option -\\r|set: -\\r|invalid option name\\r|unexpected token '\$?'?[\w{]{0,8}\\r`, func(v values) Explanation { return windowsScript("") }},
	{"bad-interpreter", cause, `(?:(?P<script>[^\s:]+): )?(?:(?P<bash>/[^:\n]+): )?bad interpreter(?:: (?P<zsh>/[^:\n]+))?`, badInterpreter},
	{"not-in-path", cause, `\benv: (?:can't execute )?'?(?P<program>[^'\s:]+)'?: (?:No such file or directory|Permission denied)|(?:unable|failed) to (?:start|execute|run|spawn) (?:command )?'?/usr/bin/env (?P<other>[\w.]+)`, notInPath},
	{"emulated", cause, `[Cc]ould not open '(?P<quoted>/lib[^']*/ld-[^']+)': No such file or directory|failed to open elf at (?P<plain>/lib\S*/ld-\S+)`, told(Explanation{
		Means:    "An emulator runs a program for another processor, and the loader that the program names, {quoted,plain}, is not there: the image or environment is for this processor, the program is not; or there is no glibc.",
		Find:     []Step{run("uname -m; file -L PATH-OF-THE-PROGRAM", "the processor, and what the program is for"), look("docker run --platform linux/amd64 takes an image for that processor whole.")},
		Prevents: onePlatform,
		Checks:   []string{"isa"},
	})},
	{"unstartable", cause, `(?P<bash>[^\s:]+): cannot execute: required file not found|\bexec (?P<engine>/[^\s:]+): no such file or directory`, func(v values) Explanation {
		return unstartable(v.of("bash", "engine"), "is there, and what it needs to start is not")
	}},
	// A shell's name, and a path with a slash: nothing was looked for in PATH.
	{"unstartable", cause, `(?:^|[\s/-])(?:ba|da|z|k|a)?sh: (?:(?:line )?\d+: )?(?:(?P<path>[^\s:]*/[^\s:]+): (?:not found|[Nn]o such file or directory)|no such file or directory: (?P<zsh>[^\s:]*/[^\s:]+))`, func(v values) Explanation {
		return unstartable(v.of("path", "zsh"), "is not there; or it is, and what it needs to start is not")
	}},
	{"command-not-found", general, `(?:^|[\s/-])(?:(?:ba|da|z|k|a)?sh|\S+\.sh): (?:(?:line )?\d+: )?(?:(?P<name>(?:python|pip|uv|uvx|gunicorn|uwsgi|celery|flask|django-admin|uvicorn|pipenv|poetry|conda|virtualenv|pyenv|pytest|tox|jupyter|ampoule|gcc|cc|make|hypercorn|daphne|waitress-serve|alembic|airflow|ansible)[\d.]*): (?:command )?not found|command not found: (?P<zsh>[\w.-]+))|(?m:^(?:ba)?sh: (?P<gunicorn>[\w.-]+): (?:inaccessible or )?not found$)|exec: (?:line \d+: )?(?P<exec>[\w.-]+): not found|Failed to spawn: '(?P<uv>[\w.-]+)'|(?:Command|command) '(?P<ubuntu>[\w.-]+)' not found|(?m:^(?P<any>[\w.-]+): command not found$)|(?P<plain>(?:python|pip|gunicorn|uvicorn|uwsgi)[\d.]*): command not found`, commandNotFound},
	{"not-executable", general, `(?:^|[\s/-])(?:ba|da|z|k|a)?sh: (?:(?:line )?\d+: )?(?P<path>[^\s:]*/[^\s:]+): Permission denied|PermissionError: \[Errno 13\] Permission denied: '(?P<python>[^'\n]*/(?:bin|tmp)/[^'\n]+)'`, notExecutable},
	{"dead-environment", cause, `Querying Python at '?(?P<query>[^'\s]+?)'? failed|Project virtual environment directory '(?P<project>[^'\n]+)' cannot be used|did not find executable at '(?P<exe>[^'\n]+)'|No Python at '"?(?P<win>[^'"\n]+)|[Bb]roken (?:Python |virtual )?environment|[Ff]ailed to (?:inspect|query) (?:Python|the) interpreter(?: from [^\n]+? at '?(?P<uv>[^'\s]+))?|\[Errno 2\] No such file or directory: '(?P<missing>[^'\n]*/bin/python[\d.]*)'|Broken (?:symlink|virtual environment) (?:at )?'?(?P<symlink>[^'\s:]+)`, told(Explanation{
		Means:    "The environment's Python ({exe,win,uv,query,project,missing,symlink|the link in its bin}) is not there or does not run: bin/python is a link to an interpreter that was removed or updated, or that another image has in another directory.",
		Find:     []Step{run("ls -lL {exe,win,uv,query,project,missing,symlink|VENV/bin/python}; grep -E 'home|version|executable' VENV/pyvenv.cfg", "whether it is there, and the interpreter that the environment was made from"), audited, run("python3 -m venv --clear VENV && VENV/bin/pip install -r requirements.txt", "makes it anew from the interpreter that is here")},
		Prevents: "An artifact holds its interpreter, and runs from whichever directory it is in.",
		Checks:   []string{"environment"},
	})},
	{"text-file-busy", cause, `[Tt]ext file busy(?:: '(?P<file>[^'\n]+)')?`, told(Explanation{
		Means:    "A program's file {file|} was being written while it was started, or is running while it is overwritten: an installer copied into a directory that is in use.",
		Find:     []Step{run("fuser -v {file|PATH-OF-THE-PROGRAM}", "who has it open: let that end, or write a new file and rename it over the old one")},
		Prevents: "ampoule install lays a release into a directory of its own and switches a link: nothing that runs is overwritten.",
	})},
	{"argument-list", cause, `Argument list too long`, told(Explanation{
		Means:    "A program was started with more arguments and variables of the environment than the kernel takes (a quarter of the stack's limit altogether, 128 KiB for one).",
		Find:     []Step{run("getconf ARG_MAX; ulimit -s; env | wc -c", "the limit, and what the environment takes of it"), look("Pass the list in a file, or by xargs.")},
		Prevents: ownMachine,
	})},
}

// windowsScript is about a script with the line ends of Windows.
func windowsScript(script string) Explanation {
	file := quote(cmp.Or(script, "PATH-OF-THE-SCRIPT"))
	return Explanation{
		Means:    windowsLines,
		Find:     []Step{run("sed -i 's/\\r$//' "+file, "takes them away; head -n 1 "+file+" | cat -A shows them as ^M$"), look("Git writes them on Windows: a line \"*.sh text eol=lf\" in .gitattributes keeps it from that.")},
		Prevents: ownScripts,
	}
}

const windowsLines = "The script has the line ends of Windows: its first line names an interpreter whose name ends with a carriage return, and there is none such."

func notInPath(v values) Explanation {
	program := v.of("program", "other")
	if strings.HasSuffix(program, `\r`) {
		return windowsScript("")
	}
	return Explanation{
		Means:    "A script's first line asks env for " + program + ", and no directory of PATH has a program of that name: the environment is not activated, or only python3 is installed and no python.",
		Find:     []Step{run("echo $PATH; type -a "+quote(program), "where it is looked for, and where it is"), run("head -n 1 PATH-OF-THE-SCRIPT | cat -A", "what the script asks for; ^M$ is the line end of Windows"), look("Debian's package python-is-python3 gives the name python.")},
		Prevents: ownScripts,
	}
}

func badInterpreter(v values) Explanation {
	named := cmp.Or(v.of("bash", "zsh"), "an interpreter")
	if strings.HasSuffix(named, "^M") {
		return windowsScript(v.of("script"))
	}
	return Explanation{
		Means: "The script's first line names " + named + ", which is not there or may not be run. pip and venv write the absolute path of their interpreter into scripts: the environment was moved, copied or built elsewhere, or its Python was removed.",
		Find: []Step{
			run("head -n 1 "+quote(cmp.Or(v.of("script"), "PATH-OF-THE-SCRIPT"))+" | cat -A", "the path that it names; ^M$ is the line end of Windows"),
			audited,
			run("ls -lL "+quote(cmp.Or(v.of("bash", "zsh"), "PATH-OF-THE-INTERPRETER")), "whether that is there and may be run"),
			run("python3 -m venv --clear VENV && VENV/bin/pip install -r requirements.txt", "makes the environment anew where it is"),
		},
		Prevents: ownScripts,
		Checks:   []string{"environment"},
	}
}

// unstartable tells what a program needs to start: a loader, or a script's interpreter.
func unstartable(path, state string) Explanation {
	e := Explanation{
		Means: path + " " + state + ": the loader that a program names (PT_INTERP), which glibc's programs do not have on musl (Alpine) and those of 32 bits not where only 64 are installed; or the interpreter in a script's first line, with Windows' line ends, too.",
		Find: []Step{
			run("ls -lL "+quote(path)+"; head -n 1 "+quote(path)+" | cut -c -80", "whether it is there, and a script's interpreter"),
			run("readelf -l "+quote(path)+" | grep interpreter", "the loader that a program names; ls -l that"),
		},
		Prevents: glibc + " " + ownScripts,
	}
	if environmentOf(path) != "" {
		e.Find, e.Checks = append(e.Find, audited), []string{"environment"}
	}
	return e
}

func commandNotFound(v values) Explanation {
	name := v.of("name", "zsh", "gunicorn", "exec", "uv", "ubuntu", "any", "plain")
	means := "No directory of PATH has a program " + name + ". It is installed in an environment that is not activated, or under ~/.local/bin, or not at all."
	find := []Step{run("echo $PATH; type -a "+quote(name)+"; find / -path '*/bin/"+name+"' 2>/dev/null", "where it is looked for, and where it is")}
	switch {
	case name == "python":
		find = append(find, look("Debian has the name python3 alone; the package python-is-python3 gives the other."))
	case begins(name, "pip"):
		find = append([]Step{run("python3 -m pip --version", "pip by the interpreter that it belongs to; where it has none: python3 -m ensurepip, or Debian's python3-pip")}, find...)
	default:
		find = append(find, run("VENV/bin/"+name+" --version", "a program of an environment runs by its whole path, without activation"))
	}
	return Explanation{Means: means, Find: find, Prevents: "Units and containers name the whole path of a program: ROOT/current/bin of an installed artifact."}
}

func notExecutable(v values) Explanation {
	path := v.of("path", "python")
	return Explanation{
		Means: path + " is there and this user may not run it: the file has no execute bit, a directory above it may not be entered, or its file system is mounted noexec (often /tmp).",
		Find: []Step{
			run("namei -l "+quote(path)+"; findmnt -T "+quote(path), "owner and mode of each directory on the way, and whether the options have noexec"),
			run("chmod +x "+quote(path), "where the bit alone is missing: a copy from Windows, or a COPY of a file that Git has as 100644"),
		},
		Prevents: "ampoule install gives every file the mode that the artifact has.",
	}
}
