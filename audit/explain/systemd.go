package explain

import "fmt"

// unitSteps show what a unit of systemd says of itself.
var unitSteps = []Step{run("journalctl -u UNIT -n 50 --no-pager", "the program's own last lines"), run("systemctl cat UNIT", "the unit, with what was laid over it")}

const unitFile = "Let CI run systemd-analyze verify on the unit, and name the program by its whole path, such as ROOT/current/bin of an installed artifact."

// spawnSteps are systemd's steps before a program runs, by the exit status that it writes
// when one fails (systemd.exec(5), "Process Exit Codes").
var spawnSteps = map[string]struct {
	name, means string
	find        Step
}{
	"200": {"CHDIR", "the directory of WorkingDirectory= is not there, or the unit's user may not enter it (homes have mode 700, and ProtectHome= hides them)", run("namei -l DIRECTORY; systemctl cat UNIT | grep -E 'WorkingDirectory|User|ProtectHome'", "each directory on the way, with owner and mode")},
	"203": {"EXEC", "the program of ExecStart= is not there, may not be run, or what it names is not there: the first line of a script (an environment that was moved), or a loader. On RHEL SELinux forbids programs in homes", run("systemctl cat UNIT | grep -E 'ExecStart|User'; ls -lLZ PROGRAM; head -n 1 PROGRAM | cut -c -80", "whether the program is there, executable by that user, with which SELinux label, and a script's interpreter: ls -lL that, too")},
	"209": {"STDOUT", "the file of StandardOutput= cannot be opened", run("systemctl cat UNIT | grep -i -E 'standard(output|error)'", "the file: its directory has to be there, and writable")},
	"214": {"SETSCHEDULER", "the CPU scheduling that the unit asks for is not allowed", run("systemctl cat UNIT | grep -i -E 'sched|nice'", "what it asks for")},
	"216": {"GROUP", "the group of Group= does not exist", run("systemctl cat UNIT | grep -E 'User|Group'; getent group", "the name that the unit gives, and the groups that there are")},
	"217": {"USER", "the user of User= does not exist", run("systemctl cat UNIT | grep -E 'User|Group'; getent passwd", "the name that the unit gives, and the users that there are")},
	"218": {"CAPABILITIES", "capabilities cannot be set, as in a container without them", run("systemctl cat UNIT | grep -i capab", "what the unit asks for")},
	"226": {"NAMESPACE", "a directory that ReadWritePaths=, BindPaths= or the like names is not there, or namespaces are not allowed, as in a container", run("systemctl cat UNIT | grep -E 'Paths|Private|Protect|Directory'", "the paths that it names: a dash before one (-/path) lets it be absent")},
	"233": {"RUNTIME_DIRECTORY", "the directory of RuntimeDirectory= cannot be made", run("systemctl cat UNIT | grep -i directory; ls -ld /run", "its name, which is no path")},
	"238": {"STATE_DIRECTORY", "the directory of StateDirectory= cannot be made", run("systemctl cat UNIT | grep -i directory; ls -ld /var/lib", "its name, which is no path")},
	"243": {"CREDENTIALS", "a credential of LoadCredential= cannot be read", run("systemctl cat UNIT | grep -i credential", "the file")},
}

// systemdKinds are what systemd and other supervisors say of a service that does not run.
var systemdKinds = []kind{
	{"unit-step", cause, `status=(?P<status>200|203|209|214|216|217|218|226|233|238|243)(?:/(?P<name>[A-Z_]+))?|Failed at step (?P<step>CHDIR|EXEC|STDOUT|SETSCHEDULER|GROUP|USER|CAPABILITIES|NAMESPACE|RUNTIME_DIRECTORY|STATE_DIRECTORY|CREDENTIALS) spawning (?P<program>[^\s:]+)(?:: (?P<why>[^\n]{1,60}))?|(?P<changing>Changing to the requested working directory) failed|Unable to locate executable '(?P<located>[^'\n]+)'|Failed to (?P<locate>locate) executable (?P<where>[^\s:]+)|Failed to determine (?P<credentials>user credentials)|Failed to determine (?P<groups>supplementary groups)(?:: (?P<denied>[^\n]{1,60}))?`, unitStep},
	{"unit-setting", cause, `bad unit file setting|Unit \S+ has a bad unit file setting|Executable path is not absolute|Unknown (?:lvalue|key name) '?(?P<key>[^'\s]+)|Missing '='|Neither a valid executable name nor an absolute path`, told(Explanation{
		Means:    "systemd does not take the unit file: an unknown or misplaced setting ({key|see the line before}), a relative path in ExecStart=, or a line that was broken without a backslash.",
		Find:     []Step{run("systemd-analyze verify UNIT.service", "the line and what is wrong with it")},
		Prevents: unitFile,
	})},
	{"unit-environment", cause, `Failed to load environment files: (?P<why>[^\n]{1,60})`, told(Explanation{
		Means:    "The file of EnvironmentFile= is not there, or cannot be read ({why}).",
		Find:     []Step{run("systemctl cat UNIT | grep EnvironmentFile; ls -l FILE", "the file: a dash before its path (-/etc/default/web) lets it be absent")},
		Prevents: unitFile,
	})},
	{"unit-not-found", cause, `Unit (?P<unit>\S+) (?:not found|could not be found)|Failed to (?:start|enable|restart|stop)[^\n]{0,80}: Unit (?:file )?(?P<other>\S+) (?:not found|does not exist)`, told(Explanation{
		Means:    "systemd has no unit {unit,other}: its file is not in /etc/systemd/system or /usr/lib/systemd/system, has another name, or was not read yet.",
		Find:     []Step{run("systemctl daemon-reload; systemctl list-unit-files | grep -i NAME", "reads the files anew, and says the names that there are")},
		Prevents: unitFile,
	})},
	{"unit-timeout", cause, `start operation timed out\. Terminating|Failed with result '(?:timeout|protocol)'|Can't open PID file (?P<pid>\S+)|Job for \S+ failed because a timeout was exceeded`, told(Explanation{
		Means:    "systemd waited for the service to say that it is ready, in vain: Type=notify of a program that does not notify, Type=forking of one that stays in the foreground, a wrong PIDFile=, or a start that takes longer than TimeoutStartSec=.",
		Find:     append([]Step{run("systemctl cat UNIT | grep -E 'Type|PIDFile|ExecStart|Timeout'", "gunicorn notifies (Type=notify) and must not have --daemon then; what stays in the foreground and does not notify is Type=exec")}, unitSteps...),
		Prevents: unitFile,
	})},
	{"oom-killed", cause, `(?:Failed with result 'oom-kill'|A process of this unit has been killed by the OOM killer|OOMKilled|oom[-_]kill(?:er)?[:\s]|[Oo]ut of memory: Killed process \d+ \((?P<name>[^)\n]+)\)|Memory cgroup out of memory|was sent SIGKILL! Perhaps out of memory|code=killed, status=9/KILL)`, told(Explanation{
		Means:    "The kernel ended the process {name|} because the memory of its group (container, unit) or of the machine was used up; gunicorn guesses so of any SIGKILL. More workers than memory for them, or one that grows, are the usual cause.",
		Find:     []Step{run("dmesg -T | grep -i -E 'oom|killed process' | tail -n 5", "who was ended, and which group's limit it was (memcg)"), run("systemctl show UNIT -p MemoryMax,MemoryPeak; docker inspect -f '{{.HostConfig.Memory}} {{.State.OOMKilled}}' CONTAINER", "the limit"), look("Fewer workers, preload_app (shared pages), or --max-requests for one that grows.")},
		Prevents: ownMachine,
	})},
	{"start-limit", consequence, `[Ss]tart request repeated too quickly|start-limit-hit|entered FATAL state, too many start retries|Service hold-off time over`, told(Explanation{
		Means:    "The service ended so often and so soon after its start that the supervisor gave up. Why it ended stands before, in its own output.",
		Find:     unitSteps,
		Prevents: unitFile,
	})},
	{"supervisor-spawn", consequence, `FATAL\s+can't find command '(?P<command>[^'\n]+)'|spawnerr: (?P<why>[^\n]{1,100})|exited too quickly \(process log may have details\)|(?P<restart>exited: \S+ \(exit status \d+; not expected\))|(?P<super>Exited too quickly)`, told(Explanation{
		Means:    "supervisord could not start the program, or it ended at once: {command,why,restart|its own log has the reason}. supervisord sets no environment: command needs the whole path of the environment's program.",
		Find:     []Step{run("supervisorctl tail NAME stderr; grep -A 8 'program:' /etc/supervisor/conf.d/*.conf", "the program's own last lines, and the command as it is written"), look("The program's own error is the telling line: give that to ampoule explain.")},
		Prevents: unitFile,
	})},
	{"unit-failed", consequence, `Failed with result 'exit-code'|Main process exited, code=exited, status=\d+/(?:FAILURE|NOTIMPLEMENTED|INVALIDARGUMENT|n/a)|status=1/FAILURE|Failed to run 'start' task|Control process exited, code=exited|Failed to start [^\n]{1,80}\.|Job for \S+ failed because`, told(Explanation{
		Means:    "The service ended with an error of its own. systemd does not say which; the program's last lines do.",
		Find:     unitSteps,
		Prevents: unitFile,
	})},
}

// unitStep tells at which step before the program systemd failed.
func unitStep(v values) Explanation {
	status := v.of("status")
	for s, step := range spawnSteps {
		if step.name == v.of("step") {
			status = s
		}
	}
	switch {
	case v.of("changing") != "":
		status = "200"
	case v.of("locate", "located") != "":
		status = "203"
	}
	if v.of("credentials") != "" {
		status = "217"
	}
	if v.of("groups") != "" {
		status = "216"
	}
	step := spawnSteps[status]
	means, steps := step.means, append([]Step{step.find}, unitSteps...)
	program, why := v.of("program", "located", "where"), v.of("why", "denied")
	switch {
	case why == "Operation not permitted" && (status == "216" || status == "217" || status == "218"):
		means, steps = "systemd itself may not change users, groups or capabilities. A user's own manager (systemctl --user) never may, so that User=, Group=, SupplementaryGroups= and capabilities have no place in its units; a manager in a container without these rights may not, either", ownUser
	case status == "203" && program != "":
		steps[0].Run = fmt.Sprintf("ls -lLZ %[1]s; head -n 1 %[1]s | cut -c -80; systemctl cat UNIT | grep -E 'ExecStart|User'", quote(program))
		if why == "Permission denied" {
			means = "the unit's user may not run the program, or not reach it: an environment's python is a link, and may lead into a home that others may not enter (/root, ~/.pyenv, uv's ~/.local/share), or to an interpreter that is gone. Or the file has no execute bit, its file system is mounted noexec, or SELinux forbids programs in homes (RHEL)"
			steps = append([]Step{
				run("readlink -f "+quote(program)+"; namei -l \"$(readlink -f "+quote(program)+")\"; sudo -u USER "+quote(program)+" --version", "where the link ends, owner and mode of each directory on the way, and whether the unit's user may run it: root may where others may not"),
				run("/usr/bin/python3 -m venv --clear VENV && VENV/bin/pip install -r requirements.txt", "makes the environment anew from an interpreter that every user may run"),
			}, steps...)
		}
	}
	return Explanation{
		Means:    "systemd ended before the program ran, at its step " + step.name + " (status " + status + "): " + means + ".",
		Find:     steps,
		Prevents: unitFile,
	}
}

// ownUser are the steps for a unit that asks for a change of users that its manager may not make.
var ownUser = []Step{
	run("systemctl --user cat UNIT | grep -E 'User|Group|Capab'", "the lines to remove from a user's unit, which runs as that user anyway; a unit in /etc/systemd/system may have them"),
	run("journalctl --user -u UNIT -n 50 --no-pager", "the program's own last lines, once it starts"),
}
