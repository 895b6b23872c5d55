package explain

// machineKinds are about what a machine has or has not, and about signals, which have many causes.
var machineKinds = []kind{
	{"time-zone", cause, `No time zone found with key '?(?P<zone>[\w/+-]+)|UnknownTimeZoneError: '?(?P<pytz>[\w/+-]+)|tzdata (?:is )?(?:not found|missing)|multiple conflicting time zone configurations`, told(Explanation{
		Means: "zoneinfo reads the machine's time zones, or else the distribution tzdata (PEP 615). Here neither is there, as in slim images, or neither has {zone,pytz|it}: its name is wrong, or was moved to the package tzdata-legacy.",
		Find: []Step{
			run("python3 -c 'import zoneinfo as z; print(z.TZPATH, len(z.available_timezones()))'", "where it looks, and how many zones it finds: none is mended by apt-get install tzdata, or pip install tzdata"),
			run("ls -l /usr/share/zoneinfo/{zone,pytz}", "whether the machine has the zone; apt-get install tzdata-legacy brings old names (US/Eastern)"),
		},
		Prevents: "Ampoule's trees carry a copy of the time zones, which serves where the machine has none. ampoule preflight says which machine has none.",
	})},
	{"terminal", cause, `setupterm: could not find termin(?:al|fo database)|[Cc]annot find terminfo database|Error opening terminal: |terminals database is inaccessible|TERM environment variable not set|unknown terminal type`, told(Explanation{
		Means: "curses finds no description of the terminal: TERM is unset or names one that this machine does not know, or the interpreter's ncurses looks in other directories than those where the system keeps its descriptions.",
		Find: []Step{
			run("echo \"$TERM $TERMINFO $TERMINFO_DIRS\"; infocmp | head -n 1", "the terminal's name, and the file that describes it"),
			run("ls -d /lib/terminfo /usr/share/terminfo /etc/terminfo", "where the machine has descriptions (Debian's ncurses-base): TERMINFO_DIRS=/etc/terminfo:/lib/terminfo:/usr/share/terminfo leads there"),
			look("TERM=xterm is known nearly everywhere; a service without a terminal must not start curses."),
		},
		Prevents: "Ampoule's trees carry a copy of the descriptions, which serves where the machine has none. ampoule preflight says which machine has none.",
	})},
	{"locale", cause, `unsupported locale setting|cannot change locale \((?P<locale>[^)\n]+)\)|Click will abort further execution|Python 3 was configured to use ASCII|'?(?:ascii|latin-1|charmap)'? codec can't (?:de|en)code|surrogates not allowed|setlocale: (?:No such file|LC_\w+: cannot)|Cannot set LC_\w+ to default locale|locale initialization failed`, told(Explanation{
		Means:    "The program runs with a locale that is not on this machine ({locale|LANG or LC_ALL}) or with none (C, POSIX), so that text beyond ASCII cannot be written or read: services, cron and slim images set none.",
		Find:     []Step{run("locale; locale -a; LC_ALL=C.UTF-8 PYTHONUTF8=1 PROGRAM", "what is set and what there is; C.UTF-8 is on every machine of today"), run("apt-get install locales && sed -i 's/^# *en_US.UTF-8/en_US.UTF-8/' /etc/locale.gen && locale-gen", "makes another one")},
		Prevents: "Set LANG=C.UTF-8 in the image's Dockerfile and the unit's Environment=; open files with encoding=\"utf-8\".",
	})},
	{"read-only", cause, `(?:\[Errno 30\] )?[Rr]ead-only file system(?:: '(?P<path>[^'\n]+)')?|\[Errno 30\]`, told(Explanation{
		Means:    "Something is written to a file system that may only be read {path|}: a container with --read-only, a unit with ProtectSystem=, a volume that is mounted so, or a disk that the kernel set to read-only after errors.",
		Find:     []Step{run("findmnt -T {path|DIRECTORY}; dmesg | grep -i -E 'remount|i/o error' | tail -n 3", "how it is mounted, and whether the kernel did it"), look("Give it what it writes: --tmpfs /tmp, a volume, ReadWritePaths= or StateDirectory= of the unit; XDG_CACHE_HOME, MPLCONFIGDIR, NUMBA_CACHE_DIR and HOME move caches; PYTHONDONTWRITEBYTECODE=1 keeps Python from writing.")},
		Prevents: "A tree of Ampoule's is never written to: its bytecode is there already. What the application writes belongs into directories of its own.",
	})},
	{"shared-memory-full", cause, `_multiprocessing\.SemLock\((?:[^\n]*\n){1,4}?OSError: \[Errno 28\]`, told(Explanation{
		Means:    "multiprocessing keeps semaphores and shared memory in /dev/shm, and that is full: containers have 64 MB of it by default, and other processes' objects stay there until they are removed.",
		Find:     []Step{run("df -h /dev/shm; ls /dev/shm | wc -l", "its size: docker run --shm-size=1g, or --ipc=host; Kubernetes: an emptyDir with medium: Memory at /dev/shm"), look("One lock for many objects, as multiprocessing.sharedctypes' RawArray needs none of its own.")},
		Prevents: ownMachine,
	})},
	{"disk-full", cause, `[Nn]o space left on device|\[Errno 28\]|Disk quota exceeded|\[Errno 122\]|database or disk is full`, told(Explanation{
		Means:    "The disk, its inodes, a quota or a tmpfs is used up: pip unpacks into TMPDIR (often a small /tmp) before it installs, Docker fills /var/lib/docker, and inotify's watches say the same.",
		Find:     []Step{run("df -h . /tmp /var/lib/docker; df -i . /tmp", "which file system is full, in bytes or inodes"), run("TMPDIR=/var/tmp python3 -m pip install --no-cache-dir NAME", "unpacks elsewhere; docker system df; docker builder prune; where neither is full: sysctl fs.inotify.max_user_watches")},
		Prevents: "ampoule store gc bounds the store; an artifact's layers are shared by its releases.",
	})},
	{"cross-device", cause, `Invalid cross-device link|\[Errno 18\]|(?:\[Errno 39\] )?Directory not empty: '(?P<path>[^'\n]+)'|\[Errno 39\]|(?:\[Errno 16\] )?Device or resource busy(?:: '(?P<busy>[^'\n]+)')?|\[Errno 16\]|Stale file handle|\[Errno 116\]|\.nfs[0-9a-f]{16,}`, told(Explanation{
		Means:    "A file or directory {path,busy|} cannot be renamed or removed: it is on another file system (a volume, an overlay of Docker), a mount point, in use on NFS, or something else writes into it at the same time.",
		Find:     []Step{run("findmnt -T {path,busy|PATH}; fuser -vm {path,busy|PATH}", "the file system that it is on, and who has it open"), look("On overlayfs a directory of a lower layer cannot be renamed: do it in the layer (RUN) that made it.")},
		Prevents: "ampoule install lays a release into a directory of its own and switches a link.",
	})},
	{"io-error", cause, `\[Errno 5\] Input/output error|Input/output error`, told(Explanation{
		Means:    "The system cannot read or write: a damaged disk, a network file system that went away, or a terminal that a service lost (Errno 5 of print).",
		Find:     []Step{run("dmesg -T | grep -i -E 'i/o error|nfs|ext4|xfs' | tail -n 5; findmnt -T PATH", "what the kernel says, and the file system"), look("A service's output: StandardOutput=journal of the unit, not a terminal that was closed.")},
		Prevents: ownMachine,
	})},
	{"peer-closed", general, `BrokenPipeError|ConnectionResetError|ConnectionAbortedError|\[Errno (?:32|104)\]|Broken pipe|Connection reset by peer`, told(Explanation{
		Means:    "The other side ended the connection or the pipe while this one wrote or read: a client that went away, a proxy's or server's time-out, a server that was ended, or head behind a pipe. Of a web server's worker it is harmless.",
		Find:     []Step{run("ss -tnp; grep -rn -i timeout /etc/nginx 2>/dev/null | head", "who is connected, and which time-outs the proxy has"), look("The other side's log at that time says why it ended.")},
		Prevents: ownMachine,
	})},
	{"shared-semaphores", cause, `\[Errno 38\] Function not implemented|platform lacks a functioning sem_open|This platform lacks a functioning sem_open|\[Errno 13\] Permission denied: '?/dev/shm|_multiprocessing\.SemLock`, told(Explanation{
		Means:    "multiprocessing needs semaphores in /dev/shm, and there is none, or this user may not write there: AWS Lambda, some sandboxes, a wrong mode; or the interpreter was compiled where there was none.",
		Find:     []Step{run("ls -ld /dev/shm; findmnt /dev/shm; python3 -c 'import multiprocessing as m; m.Lock()'", "its mode (1777), and whether a semaphore can be made"), look("Threads, or processes with pipes alone, need none.")},
		Prevents: testsThere,
	})},
	{"bootstrapping", cause, `An attempt has been made to start a new process before the\s+current process has finished its bootstrapping phase|daemonic processes are not allowed to have children|cannot pickle '(?P<pickle>[^'\n]+)' object|Can't pickle (?P<local>[^\n]{1,80})|context has already been set`, told(Explanation{
		Means:    "A process is started by spawn (or forkserver, the default as of 3.14), which imports the program anew in the child: the main module starts it without the guard, or it is given something that cannot be sent ({pickle,local|a lambda, a connection}); or Celery's workers, which are daemons, start one.",
		Find:     []Step{run("python3 -c 'import multiprocessing as m; print(m.get_start_method())'", "how processes are started here"), look("if __name__ == \"__main__\": before what starts them; functions of a module's top level as targets; billiard in place of multiprocessing in Celery.")},
		Prevents: testsThere,
	})},
	{"monkey-patch", notice, `MonkeyPatchWarning|Monkey-patching ssl after ssl has already been imported|Monkey-patching outside the main native thread|Monkey-patching not on the main thread|(?P<rlock>\d+) RLock\(s\) were not greened`, told(Explanation{
		Means:    "gevent or eventlet patches modules that others have imported already: they keep what is not patched, and block or recurse later.",
		Find:     []Step{run("python3 -X importtime -c 'import MODULE' 2>&1 | grep -n -E ' (ssl|gevent|urllib3|socket)$'", "what imports ssl before gevent: the patch has to be the first lines of all; gunicorn without --preload patches by itself")},
		Prevents: afterFork,
	})},
	{"no-child", cause, `No child processes|\[Errno 10\]|Unknown child process pid`, told(Explanation{
		Means:    "The process waited for a child that something else has reaped: SIGCHLD is ignored, as its parent left it (an init of one's own, a shell with trap \"\" CHLD), or a library waits for all children.",
		Find:     []Step{run("grep -E 'Sig(Ign|Blk|Cgt)' /proc/PID/status", "the bit 0x10000 of SigIgn is SIGCHLD"), run("docker run --init IMAGE", "has an init that reaps, and starts programs with default signals")},
		Prevents: "Ampoule's sandboxes, tests and images start programs with default signals and an init that reaps; start services so.",
	})},
	{"selinux", cause, `avc: +denied +\{ (?P<right>[\w ]+) \}(?:[^\n]*?comm="(?P<comm>[^"\n]+)")?(?:[^\n]*?(?:path|name)="(?P<path>[^"\n]+)")?`, told(Explanation{
		Means:    "SELinux forbade {comm|a process} to {right} {path|a file}: the file has not the label that this service may use, as files that were moved from a home, or programs of a home, have not; execmod and execmem are code that was compiled without -fPIC, or is made while it runs.",
		Find:     []Step{run("ausearch -m avc -ts recent | audit2why", "why, and which switch (setsebool) allows it"), run("restorecon -Rv {path|DIRECTORY}; ls -lZ {path|DIRECTORY}", "gives files the label of their place")},
		Prevents: "Install below /opt or /srv, whose labels services may read and run, and not in a home.",
	})},
	{"apparmor", cause, `apparmor="DENIED"(?:[^\n]*?operation="(?P<operation>[^"\n]+)")?(?:[^\n]*?profile="(?P<profile>[^"\n]+)")?(?:[^\n]*?name="(?P<name>[^"\n]+)")?`, told(Explanation{
		Means:    "AppArmor's profile {profile|of the program} forbids it to {operation|use} {name|the file}.",
		Find:     []Step{run("aa-status; grep -rn {profile|PROFILE} /etc/apparmor.d | head -n 3", "the profiles that are enforced, and where this one is written"), run("aa-complain {profile|PROFILE}", "has it only tell, to see whether it is the cause (apparmor-utils)")},
		Prevents: ownMachine,
	})},
	{"no-passwd-entry", cause, `getpwuid\(\): uid not found: (?P<uid>\d+)|I have no name!|cannot find name for (?:user|group) ID (?P<id>\d+)`, told(Explanation{
		Means:    "The process runs as user {uid,id|}, who has no line in /etc/passwd of this image (docker run --user, OpenShift, runAsUser), and something asks for the name or the home.",
		Find:     []Step{run("docker run --user {uid,id|1000} -e HOME=/tmp -e USER=app -e LOGNAME=app IMAGE", "getpass.getuser() and expanduser() look there first; RUN useradd --uid {uid,id|1000} app in the Dockerfile makes the line")},
		Prevents: inImage,
	})},
	{"cache-directory", cause, `cannot cache function '(?P<function>\w+)': no locator available`, told(Explanation{
		Means:    "numba keeps compiled functions in __pycache__ beside the source, or in the user's cache, and may write to neither.",
		Find:     []Step{run("NUMBA_CACHE_DIR=/tmp/numba PROGRAM", "names a directory that may be written to")},
		Prevents: "A tree of Ampoule's is never written to: name caches' directories in the unit or the image (NUMBA_CACHE_DIR, MPLCONFIGDIR, XDG_CACHE_HOME).",
	})},
	{"cache-warning", notice, `Matplotlib created a temporary (?:config/)?cache directory|is not a writable directory; it is highly recommended|XDG_RUNTIME_DIR not set`, told(Explanation{
		Means:    "A library found no directory of this user to write to, and took a temporary one, which it fills anew at each start.",
		Find:     []Step{run("echo $HOME; ls -ld $HOME; MPLCONFIGDIR=/tmp/matplotlib XDG_CACHE_HOME=/tmp/cache PROGRAM", "the home, and names of other directories")},
		Prevents: "Name caches' directories in the unit or the image (MPLCONFIGDIR, XDG_CACHE_HOME, XDG_RUNTIME_DIR).",
	})},
	{"fork-with-threads", notice, `is multi-threaded, use of fork\(\) may lead to deadlocks|The current process just got forked, after parallelism has already been used|leaked (?:semaphore|shared_memory) objects`, told(Explanation{
		Means:    "A process with threads was forked, and the child may wait for a lock for ever; or a process of multiprocessing was ended before it cleaned up.",
		Find:     []Step{run("TOKENIZERS_PARALLELISM=false PROGRAM", "for Hugging Face's tokenizers"), look("multiprocessing.set_start_method(\"spawn\") or \"forkserver\" starts children without the parent's threads; a leak at the end often means that the process was killed: dmesg says so.")},
		Prevents: afterFork,
	})},
	{"forbidden", general, `\[Errno 13\] Permission denied: '(?P<path>[^'\n]+)'|\[Errno 1\] Operation not permitted(?:: '(?P<eperm>[^'\n]+)')?|Could not install packages due to an (?:OSError|EnvironmentError): \[Errno 13\]|Permission denied \(os error 13\)`, told(Explanation{
		Means:    "This user may not do that ({path,eperm|see the line}): the file or a directory above it is another user's (often root's, of an installation by sudo or an image's earlier layer), or SELinux, AppArmor or seccomp forbids it.",
		Find:     []Step{run("id; namei -l {path,eperm|PATH}", "who this is, and owner and mode of each directory on the way"), run("ausearch -m avc -ts recent 2>/dev/null | tail -n 3; dmesg | grep -i -E 'apparmor|denied' | tail -n 3", "what a security module forbade"), look("Installing: into an environment of this user, never by sudo. COPY --chown=USER in a Dockerfile.")},
		Prevents: "ampoule install gives every file the mode that the artifact has; a tree needs no right to write.",
	})},
	{"lost-interpreter", cause, `\[Errno 2\] No such file or directory: '(?P<python>(?:[^'\n]*/bin/)?python[\d.]*)'`, told(Explanation{
		Means:    "A tool (poetry, pipenv, tox, pre-commit) starts the interpreter {python} of an environment that it made, and that is not there: its link leads to a Python that was removed, updated or installed anew elsewhere; or PATH has no program of that name.",
		Find:     []Step{run("ls -lL {python} .venv/bin/python; cat .venv/pyvenv.cfg; poetry env info --path", "whether the link leads anywhere, and to which Python it led"), run("rm -r .venv; poetry env remove --all; poetry install", "makes the environment anew (pipenv --rm; tox --recreate; pre-commit clean)")},
		Prevents: ownScripts,
	})},
	{"no-file", general, `FileNotFoundError: \[Errno 2\] No such file or directory: '(?P<path>[^'\n]+)'|due to an (?:OSError|EnvironmentError): \[Errno 2\] No such file or directory: '(?P<pip>[^'\n]+)'|can't open file '(?P<script>[^'\n]+)': \[Errno 2\]`, told(Explanation{
		Means:    "{path,script,pip} is not there, for this process: its working directory is another one (a relative path), the file was not copied into the image or not installed with the wheel (package data), or a program by that name is not in PATH.",
		Find:     []Step{run("pwd; ls -ld {path,script,pip}; readlink /proc/PID/cwd", "where one is, whether it is there, and where the service's process is"), look("Files of a package are read by importlib.resources and belong into its wheel: python3 -m zipfile -l FILE.whl.")},
		Prevents: testsThere,
	})},
	{"heap", signal, `(?:free|munmap_chunk|realloc|malloc|malloc_consolidate|corrupted)(?:\(\))?:? (?:invalid (?:pointer|size|next size)|corrupted|unaligned|double free|double linked list|size vs\. prev_size|mismatching next->prev_size|unsorted)[^\n]{0,40}|double free or corruption|corrupted (?:size vs\. prev_size|double-linked list)|stack smashing detected|\*\*\* buffer overflow detected|malloc_consolidate\(\)|malloc\.c:\d+: \w+: Assertion|pthread_mutex_lock\.c:\d+|[Hh]eap corruption`, told(Explanation{
		Means:    "Native code damaged the process's memory: two C++ or OpenMP runtimes, two copies of one library (protobuf, libxml2, OpenSSL), a module that was compiled for another release of what it uses, or a fault of its own.",
		Find:     []Step{run("python3 -X faulthandler PROGRAM", "the line of Python that it happened in"), run("grep -o '/[^ ]*\\.so[^ ]*' /proc/PID/maps | sort -u | sed 's/.*\\///' | sort | uniq -d", "libraries that are there twice"), look("Where the order of imports changes it (pyarrow, torch, cv2), two copies are the cause.")},
		Prevents: "Ampoule compiles every wheel against the libraries that the tree carries, each of them once.",
	})},
	{"divide", signal, `Floating point exception|SIGFPE|signal 8\b|exit(?:ed)? (?:with )?(?:code|status) 136\b`, told(Explanation{
		Means:    "The process divided by zero in native code. An old loader says so of a library with a newer hash table (DT_GNU_HASH); libraries that count processors or caches say so in odd virtual machines.",
		Find:     []Step{run("python3 -X faulthandler PROGRAM; dmesg | tail -n 3", "the line of Python, and the library that it happened in")},
		Prevents: testsThere,
	})},
	{"illegal-instruction", signal, `(?i)illegal instruction|SIGILL|exit(?:ed)? (?:with )?(?:code|status) 132\b|signal 4\b|trap invalid opcode|status=4/ill`, told(Explanation{
		Means:    "The process ran an instruction that this processor does not have: something was compiled for the processor of its build machine (-march=native), or for a higher level of x86-64 than this one has. A virtual machine (qemu64, kvm64) may hide what the processor has; of arm64 there are such differences, too.",
		Find:     []Step{run("dmesg | grep -i -E 'invalid opcode|traps' | tail -n 3; /lib64/ld-linux-x86-64.so.2 --help | grep supported", "the library that the instruction is in, and the levels of this machine"), run("python3 -X faulthandler -c 'import MODULE'", "the import that it happens in: numpy, tensorflow, polars, torch and cryptography are the usual ones; OPENBLAS_CORETYPE=Haswell (ARMV8) helps OpenBLAS"), audited},
		Prevents: "runtime.vm.cpu in the recipe names the lowest level; the gate refuses files that say they need more, and -march=native in what compiled them.",
		Checks:   []string{"isa"},
	})},
	{"segmentation-fault", signal, `(?i)segmentation fault|SIGSEGV|segfault at [0-9a-f]+|status=11/segv|result 'core-dump'|exit(?:ed)? (?:with )?(?:code|status):? 139\b|signal 11\b|Exited \(139\)`, told(Explanation{
		Means:    "The process used memory that is not its own. Of the causes that lie in wheels, two Python runtimes in one process, and a module compiled for another build of Python, are the most common; a fault of the program itself is, too.",
		Find:     []Step{run("python3 -X faulthandler PROGRAM", "the line of Python that it happened in"), run("dmesg | grep segfault | tail -n 3; grep -E 'libpython|\\.so' /proc/PID/maps", "the library that it happened in, and two runtimes, if there are"), audited},
		Prevents: "The gate loads each module in a process of its own and looks for one Python runtime in its memory map.",
		Checks:   []string{"second-runtime", "libpython-needed", "symbols"},
	})},
	{"aborted", signal, `(?i)\baborted \(core dumped\)|(?m:line \d+: +\d+ Aborted)|SIGABRT|status=6/abrt|exit(?:ed)? (?:with )?(?:code|status):? 134\b|signal 6\b|terminate called (?:without an active exception|after throwing an instance of '(?P<what>[^'\n]+)')|Fatal Python error: Aborted`, told(Explanation{
		Means:    "The process ended itself: a C++ exception that nobody caught ({what|see the lines before}), an assertion, or the C library that found damaged memory. The line before says which.",
		Find:     []Step{run("python3 -X faulthandler PROGRAM 2>&1 | tail -n 20", "the line of Python, and the program's own last words: give those to ampoule explain")},
		Prevents: testsThere,
	})},
	{"killed", signal, `(?m:^Killed\b|line \d+: +\d+ Killed\b)|SIGKILL|exit(?:ed)? (?:with )?(?:code|status):? 137\b|Exited \(137\)|signal 9\b|command terminated with exit code 137|returned a non-zero code: 137`, told(Explanation{
		Means:    "The process was ended from outside by SIGKILL (137 is 128 + 9): by the kernel for want of memory, nearly always, or by docker stop, systemd or a server that waited for its end in vain.",
		Find:     []Step{run("dmesg -T | grep -i -E 'oom|killed process' | tail -n 5; docker inspect -f '{{.State.OOMKilled}} {{.HostConfig.Memory}}' CONTAINER", "whether memory was the reason, and the limit"), look("PID 1 of a container ignores SIGTERM without a handler: exec in the entry script, or docker run --init.")},
		Prevents: ownMachine,
	})},
}

func tooManyFiles(values) Explanation {
	return Explanation{
		Means:    "The process has as many files open as it may (RLIMIT_NOFILE): connections or files that are never closed, many workers' sockets, or a limit of 1024 for a large service.",
		Find:     []Step{run("grep 'open files' /proc/PID/limits; ls -l /proc/PID/fd | awk '{print $NF}' | sort | uniq -c | sort -n | tail", "the limit, and what is open most"), look("LimitNOFILE= of the unit, --ulimit nofile= of docker run, ulimit -n of a shell.")},
		Prevents: ownMachine,
	}
}
