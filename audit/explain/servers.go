package explain

import "regexp"

const startsInTest = "Let the recipe's tests start the server with its own configuration (gunicorn --check-config) in each runtime target."

// serverKinds are what gunicorn, uWSGI, mod_wsgi and their like say.
var serverKinds = []kind{
	{"wsgi-not-found", cause, `Failed to find (?:attribute|application object):? '(?P<attr>[^'\n]+)'(?: in '(?P<module>[^'\n]+)')?|Failed to parse '(?P<parsed>[^'\n]+)' as an attribute name|Application object must be callable|Error loading ASGI app\. (?P<asgi>[^\n]{1,200})|attribute '(?P<uwsgi>application)' not found|unable to find "(?P<callable>\w+)" callable in file (?P<file>\S+)|No application module specified|Could not (?:locate|import) (?:a )?(?:Flask application|'(?P<flask>[^'\n]+)')|Target WSGI script '(?P<script>[^'\n]+)' (?:does not contain WSGI application '(?P<wsgi>[^'\n]+)'|not found or unable to stat)`, told(Explanation{
		Means:    "The server found no application where it was told to look: MODULE:NAME gives a module that is another one of the same name, or that has no such name ({attr,callable,parsed,uwsgi,wsgi,flask,asgi,script|application}), or the working directory is not the project's.",
		Find:     []Step{run("cd PROJECT && python3 -c 'import {module,flask|MODULE} as m; print(m.__file__, [n for n in dir(m) if \"app\" in n])'", "the module that is found, and its names: one of them belongs behind the colon; Django's is PROJECT.wsgi:application"), look("--chdir of gunicorn, chdir of uWSGI, WorkingDirectory= of systemd, python-path of mod_wsgi set where it looks.")},
		Prevents: startsInTest,
	})},
	{"celery-app", cause, `Unable to load celery application\.?(?:\s+(?:Module '(?P<module>[\w.]+)' has no attribute '(?P<attr>\w+)'|The module (?P<absent>[\w.]+) was not found))?`, told(Explanation{
		Means:    "celery was told by -A (--app) to take an application from {module,absent|a module}, and finds none there: the module has no {attr|celery or app}, is not to be imported from this directory, or is another one of the same name. -A PROJECT means PROJECT/celery.py with a variable app or celery.",
		Find:     []Step{run("cd PROJECT && ls {module,absent|NAME}/celery.py; python3 -c 'import {module,absent|NAME} as m; print(m.__file__, [n for n in dir(m) if n in (\"app\", \"celery\")])'", "whether the file is there, and which module is found from the project's directory"), run("cd PROJECT && celery -A {module,absent|NAME}.celery:app report", "names the variable outright; an ImportError inside of that module is shown so, too"), look("--workdir of celery, or WorkingDirectory= of the unit, sets where it looks.")},
		Prevents: "Let the recipe's tests start celery with the application's own name (celery -A NAME report) in each runtime target.",
	})},
	{"worker-class", cause, `class uri '?(?P<uri>[^'\n]+?)'? invalid or not found|(?:RuntimeError|Error): '?(?P<extra>gevent|eventlet|tornado|uvicorn|meinheld|gthread)\S*'? (?:worker )?requires|You need (?P<need>\w+) installed to use this worker`, told(Explanation{
		Means:    "gunicorn cannot load the class of workers {uri,extra,need}: the package for it (gevent, eventlet, tornado, uvicorn) is not installed in gunicorn's environment, is too old, or does not import.",
		Find:     []Step{run("$(head -n 1 $(command -v gunicorn) | cut -c 3-) -c 'import {extra,need|gevent}'", "the true error, by the very Python that runs gunicorn"), run("pip install 'gunicorn[gevent]'", "or [eventlet], [tornado]; uvicorn is a package of its own")},
		Prevents: startsInTest,
	})},
	{"address-in-use", cause, `[Aa]ddress already in use|Connection in use: (?P<address>\([^)\n]+\)|\S+)|\[Errno 98\]|port is already allocated|error: \[Errno 48\]`, told(Explanation{
		Means:    "Another process listens at that address {address|}: an older one of this service that was not ended, its own master, a second unit, or a server that reloads and starts twice.",
		Find:     []Step{run("ss -ltnp", "which process listens at which port (as root); ss -lxp for sockets of the file system"), look("A socket file of an ended server may stay: remove it.")},
		Prevents: "One unit owns the address; systemd's socket units keep it over restarts.",
	})},
	{"bind-refused", cause, `bind\(\): Permission denied|Permission denied: \('|\[Errno 13\] Permission denied: \('|(?:Can't connect to|Retrying|could not bind to address)[^\n]{0,80}Permission denied|Cannot assign requested address|\(13\)Permission denied: (?:AH\d+: )?make_sock|error removing unix socket, unlink\(\)|bind\(\): No such file or directory|connect\(\) to unix:(?P<socket>\S+) failed \((?P<why>[^)\n]+)\)|Unable to connect to WSGI daemon process '(?P<daemon>[^'\n]+)'`, told(Explanation{
		Means:    "The server may not use that address, or its socket {socket,daemon|} is not where the other side looks ({why|bind or connect}): ports below 1024 need a right, the directory of a socket has to be there and writable, the peer's user needs to write to it, and an address has to be one of this machine.",
		Find:     []Step{run("namei -l {socket|PATH-OF-THE-SOCKET}; ss -lxp | head; ip -brief address", "owner and mode of each directory on the way, who listens, and the machine's addresses"), look("AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit allows low ports; RuntimeDirectory= makes a directory under /run; WSGISocketPrefix of Apache names another; SELinux: setsebool httpd_can_network_connect on.")},
		Prevents: ownMachine,
	})},
	{"uwsgi-buffer", cause, `invalid request block size: (?P<size>\d+) \(max (?P<max>\d+)\)`, told(Explanation{
		Means:    "A request's headers have {size} bytes and uWSGI takes {max}: cookies or addresses that are long. Or something that speaks HTTP calls a socket that speaks uWSGI's protocol (21573 is the ET of GET, 21327 the OS of POST).",
		Find:     []Step{run("grep -rn -E 'socket|buffer-size' uwsgi.ini", "http-socket for HTTP, socket for nginx' uwsgi_pass; buffer-size = 32768 for long headers")},
		Prevents: startsInTest,
	})},
	{"listen-queue", cause, `listen queue of socket [^\n]{1,100} full|Listen queue size is greater than the system max`, told(Explanation{
		Means:    "More connections wait than the socket's queue holds: workers are too few or hang, or the queue is longer than the kernel allows (net.core.somaxconn).",
		Find:     []Step{run("sysctl net.core.somaxconn; ss -ltn", "the limit, and how many wait (Recv-Q): docker run --sysctl net.core.somaxconn=1024"), run("py-spy dump --pid PID", "where a worker stands, if all hang")},
		Prevents: ownMachine,
	})},
	{"apache-directive", cause, `Invalid command '(?P<name>WSGI\w+)'`, told(Explanation{
		Means:    "Apache does not know {name}, since mod_wsgi is not loaded: it is not installed, or not switched on, or loaded after that line.",
		Find:     []Step{run("apt-get install libapache2-mod-wsgi-py3 && a2enmod wsgi && apachectl configtest", "Debian's; RHEL: python3-mod_wsgi; mod_wsgi-express module-config says the lines for one that pip compiled")},
		Prevents: ownServer,
	})},
	{"worker-timeout", cause, `WORKER TIMEOUT|HARAKIRI|upstream timed out|Timeout when reading response headers from daemon process|harakiri`, told(Explanation{
		Means:    "A worker did not answer within the server's time (gunicorn's timeout, 30 seconds; uWSGI's harakiri) and was ended: a request that takes long or waits for a lock, a database or a name server; a worker that starts for longer than that; a directory of heartbeats on a slow disk; or a process that was forked with a lock held.",
		Find:     []Step{run("py-spy dump --pid PID", "where the worker stands, while it hangs (pip install py-spy; as root)"), look("gunicorn: --worker-tmp-dir /dev/shm in containers, --timeout for what is known to take long, gthread or gevent for what waits; mod_wsgi: WSGIApplicationGroup %{GLOBAL} where a C extension takes a lock in a subinterpreter.")},
		Prevents: afterFork,
	})},
	{"uwsgi-modifier", cause, `-- unavailable modifier requested: (?P<modifier>\d+) --`, told(Explanation{
		Means:    "uWSGI was asked for a language that it has no plugin for: modifier {modifier} (0 is Python). The distribution's uWSGI loads Python only when it is told to.",
		Find:     []Step{run("uwsgi --plugin-list; ls /usr/lib/uwsgi/plugins", "what is compiled in, and what can be loaded: plugin = python3 in the configuration; apt-get install uwsgi-plugin-python3")},
		Prevents: ownServer,
	})},
	{"uwsgi-option", cause, `uwsgi: (?:unrecognized|unknown) option '(?P<option>[^'\n]+)'|uwsgi: invalid option -- '(?P<short>\w)'|unrecognized option '(?P<other>--(?:wsgi-file|module|virtualenv|home|wsgi|plugin|http|http-socket)[^'\n]*)'|\[strict-mode\] unknown config directive: (?P<strict>\S+)`, told(Explanation{
		Means:    "uWSGI does not know {option,short,other,strict}: the option is of a plugin that is not loaded (Debian's uWSGI has Python and HTTP as plugins), or misspelt.",
		Find:     []Step{run("uwsgi --plugin-list", "what is compiled in: put plugin = python3 (or http) before the option, and install uwsgi-plugin-python3")},
		Prevents: ownServer,
	})},
	{"uwsgi-home", cause, `!!! Python Home is not a directory: (?P<home>\S+)|Set PythonHome to (?P<set>\S+)[^\n]*\n[^\n]{0,60}(?:Fatal Python|Python path configuration|No module named 'encodings')`, uwsgiHome},
	{"worker-signal", consequence, `DAMN ! worker (?P<worker>\d+) \(pid: \d+\) died, killed by signal (?P<signal>\d+)|Worker(?: with pid \d+)? (?:\(pid:\d+\) )?was (?:terminated due to|sent) (?:signal )?(?P<gunicorn>SIG\w+|\d+)|(?:child )?pid \d+ exit signal (?P<apache>[\w ]+ \(\d+\))|Child process \[?\d+\]? died|BrokenProcessPool|TerminatedWorkerError|WorkerLostError: Worker exited prematurely: (?P<celery>[^\n]{1,40})`, told(Explanation{
		Means:    "A worker was ended by a signal ({signal,gunicorn,apache,celery|not told}): 11 (SEGV) and 6 (ABRT) are faults in native code, two Python runtimes or modules for another Python among them; 9 (KILL) comes from outside, mostly for want of memory, or from the server after its time-out; 4 (ILL) is an instruction that the processor lacks; 15 (TERM) is a stop.",
		Find:     []Step{run("dmesg -T | tail -n 20 | grep -i -E 'segfault|trap|oom'", "the library that it happened in, or that memory was used up"), run("PYTHONFAULTHANDLER=1 gunicorn MODULE:NAME", "the line of Python that it happens in; uWSGI: py-tracebacker"), audited},
		Prevents: "The gate loads each module in a process of its own and looks for one Python runtime in its memory map.",
		Checks:   []string{"second-runtime", "libpython-needed"},
	})},
	{"truncated-response", consequence, `Truncated or oversized response headers received from daemon process '(?P<daemon>[^'\n]+)'|Premature end of script headers: (?P<script>\S+)|[Ee]nd of script output before headers(?:: (?P<cgi>\S+))?|upstream prematurely closed connection|recv\(\) failed \(104: Connection reset by peer\) while reading response`, told(Explanation{
		Means:    "The process that ran the application ended in the middle of a request: a fault in native code (a module that does not work in subinterpreters, two Python runtimes, two OpenSSLs), too little memory, or a time-out.",
		Find:     []Step{run("dmesg -T | tail -n 20 | grep -i -E 'segfault|oom'; grep -i 'exit signal' /var/log/apache2/error.log /var/log/httpd/error_log 2>/dev/null", "the signal, and the library that it happened in"), look("mod_wsgi: WSGIApplicationGroup %{GLOBAL} takes the main interpreter, which numpy and other C extensions need.")},
		Prevents: testsThere,
	})},
	{"mod-wsgi-version", notice, `Compiled for Python/(?P<compiled>\d[\d.]*\d)\.?[^\n]*(?:\n[^\n]*)?Runtime using Python/(?P<runtime>\d[\d.]*\d)|Python version mismatch, expected '?(?P<expected>[\d.]+)'?, (?:got|found) '?(?P<found>[\d.]+)`, told(Explanation{
		Means:    "mod_wsgi was compiled for Python {compiled,expected} and runs with {runtime,found}. Another patch release works; another minor version finds none of the environment's native modules.",
		Find:     []Step{run("ldd $(find / -name 'mod_wsgi*.so' 2>/dev/null | head -n 1) | grep libpython", "the runtime that it takes: python-home= of WSGIDaemonProcess has to be of that minor version")},
		Prevents: ownServer,
	})},
	{"python-home", notice, `Call to 'site\.addsitedir\(\)' failed for '(?P<dir>[^'\n]*)'|Python home (?P<nodir>\S+) is not a directory|Unable to stat Python home (?P<home>\S*[^\s.])`, told(Explanation{
		Means:    "mod_wsgi was told to take an environment ({dir,home,nodir}) that is not there, that Apache's user may not read, or that is of another Python.",
		Find:     []Step{run("namei -l {home,nodir,dir|VENV}; cat {home,nodir,dir|VENV}/pyvenv.cfg", "owner and mode of each directory on the way, and the environment's version")},
		Prevents: ownServer,
	})},
	{"gunicorn-config", cause, `Error: (?P<file>\S+) doesn't exist|'(?P<setting>[\w-]+)' unknown setting|Invalid value for (?P<value>\w+): |gunicorn: error: (?P<rest>[^\n]{1,200})`, told(Explanation{
		Means:    "gunicorn does not take its settings ({file,setting,value,rest}): the configuration is not found, or has a name or value that this release does not know.",
		Find:     []Step{run("gunicorn --check-config --print-config -c gunicorn.conf.py MODULE:NAME", "the settings as gunicorn understands them, or the line that is wrong")},
		Prevents: startsInTest,
	})},
	{"worker-tmp", cause, `No usable temporary (?:file|directory) (?:name found|found in \[(?P<dirs>[^\]\n]{1,200}))|\[Errno 2\] No usable temporary directory`, told(Explanation{
		Means:    "Python found no directory for temporary files in which it may write: {dirs|TMPDIR, /tmp, /var/tmp, the current one}. The file system is read-only or full, /tmp is not there, or its mode is wrong.",
		Find:     []Step{run("ls -ld $TMPDIR /tmp /var/tmp; df -h /tmp; df -i /tmp; touch /tmp/x", "mode (1777), space and inodes"), look("A read-only container is given one: docker run --read-only --tmpfs /tmp.")},
		Prevents: ownMachine,
	})},
	{"unix-socket-path", cause, `AF_UNIX path too long`, told(Explanation{
		Means:    "The path of a socket has more than 107 bytes, the kernel's limit: a deep directory, often a temporary one.",
		Find:     []Step{run("printf %s \"$TMPDIR\" | wc -c", "a shorter one helps: TMPDIR=/tmp, or a socket under /run")},
		Prevents: ownMachine,
	})},
	{"apache-denied", cause, `client denied by server configuration: (?P<path>\S+)`, told(Explanation{
		Means:    "Apache's configuration gives nobody {path}: a directory without Require all granted.",
		Find:     []Step{run("apachectl -S; grep -rn -B 3 -A 6 '<Directory' /etc/apache2/sites-enabled /etc/httpd/conf.d 2>/dev/null", "the directories that are opened: the WSGI script's needs <Directory> with Require all granted")},
		Prevents: startsInTest,
	})},
	{"bad-gateway", cause, `502 Bad Gateway|504 Gateway Time-?[Oo]ut|connect\(\) failed \(\d+: (?P<why>[^)\n]+)\) while connecting to upstream|no live upstreams`, told(Explanation{
		Means:    "The proxy does not reach the application ({why|or waited in vain}): it does not run, ended, listens elsewhere, or hangs.",
		Find:     []Step{run("ss -ltnp; ss -lxp; systemctl status UNIT --no-pager", "whether something listens at the address that the proxy has (proxy_pass, upstream)"), run("journalctl -u UNIT -n 50 --no-pager", "why the application ended: give its last lines to ampoule explain")},
		Prevents: startsInTest,
	})},
	{"application-not-loaded", consequence, `\*\*\* no app loaded\. (?:GAME OVER|going in full dynamic mode)|unable to load app \d+ \(mountpoint='[^'\n]*'\)|no python application found, check your startup logs`, told(Explanation{
		Means:    "uWSGI runs and could not load the application. The reason is the traceback before this line, in the log of its start, and was not in this text or is nothing that is known here: an ImportError, or a callable by another name (callable = app).",
		Find:     []Step{run("uwsgi --need-app --module MODULE:NAME --http-socket :0 --die-on-term 2>&1 | grep -B 20 'unable to load app'", "the traceback: give its last line to ampoule explain; need-app ends uWSGI where it cannot load"), run("cd PROJECT && VENV/bin/python -c 'import MODULE'", "the same without uWSGI: where this works, home, pythonpath or chdir of uWSGI differ")},
		Prevents: startsInTest,
	})},
	{"worker-boot", consequence, `Worker failed to boot|<HaltServer '(?P<why>[^'\n]+)'|App failed to load|populate\(\) isn't reentrant|Exception occurred processing WSGI script|WSGI application '[^'\n]+' could not be loaded|Exception in worker process|Target WSGI script '[^'\n]+' cannot be (?:loaded|executed) as (?:a )?Python module|Failed to exec Python script file`, told(Explanation{
		Means:    "The server's workers end while they load the application. The reason is the traceback before this line, and was not in this text or is nothing that is known here.",
		Find:     []Step{run("gunicorn --preload --workers 1 --log-level debug MODULE:NAME", "the traceback, once: give its last line to ampoule explain"), run("cd PROJECT && VENV/bin/python -c 'import MODULE'", "the same without the server")},
		Prevents: startsInTest,
	})},
}

// uwsgiHome is about uWSGI's home: one that it cannot see, or one of another Python.
func uwsgiHome(v values) Explanation {
	if home := v.of("home"); home != "" {
		return Explanation{
			Means: "uWSGI's home (virtualenv) is " + home + ", and the process sees no directory there: the path is wrong, its user may not enter one of the directories above it (homes have mode 700), or the unit or container hides it (ProtectHome=, no mount).",
			Find: []Step{
				run("sudo -u USER ls -ld "+quote(home)+"; namei -l "+quote(home), "by the user that uWSGI runs as (uid=): the first directory that it may not enter"),
				run("systemctl cat UNIT | grep -E 'User|ProtectHome|RootDirectory|Private|Inaccessible'", "what the unit hides from it: ProtectHome=true hides /home and /root"),
				run("ls -l "+quote(home)+"/bin "+quote(home)+"/pyvenv.cfg; uwsgi --python-version", "once it is seen: whether it is an environment, and of the minor version that uWSGI embeds"),
			},
			Prevents: ownServer,
		}
	}
	return Explanation{
		Means:    "uWSGI's home (virtualenv) is " + v.of("set") + ", which is no environment of the Python that uWSGI has compiled in: of another minor version, or one whose interpreter is gone or not to be read by uWSGI's user.",
		Find:     homeOfUWSGI(v.of("set")),
		Prevents: ownServer,
		Checks:   []string{"environment"},
	}
}

// homeOfUWSGI are the steps that compare an environment with the Python that uWSGI embeds.
func homeOfUWSGI(home string) []Step {
	home = quote(home)
	return []Step{
		run("uwsgi --python-version; grep -E 'home|version' "+home+"/pyvenv.cfg; namei -l "+home, "both have to be of one minor version, and each directory readable for uWSGI's user"),
		run(home+"/bin/pip install uwsgi && "+home+"/bin/uwsgi --python-version", "a uWSGI of the environment's own Python; or make the environment anew by the Python that uWSGI embeds"),
	}
}

// Marks of servers that embed Python, in what they log.
var (
	ofUWSGI   = regexp.MustCompile(`(?i)\buwsgi\b`)
	ofModWSGI = regexp.MustCompile(`mod_wsgi|\[wsgi:|Target WSGI script`)
)

// embedder are the steps for a server that embeds the Python which speaks, where the text
// around says that one does: the Python of a shell is another one then.
func (v values) embedder() []Step {
	around := v.text[max(0, v.at[0]-bytesBefore):min(len(v.text), v.at[1]+bytesAfter)]
	switch {
	case ofModWSGI.MatchString(around):
		return []Step{run("ldd $(find / -name 'mod_wsgi*.so' 2>/dev/null | head -n 1) | grep libpython; grep -rn -i -E 'python-(home|path)' /etc/apache2 /etc/httpd 2>/dev/null", "the Python that Apache's mod_wsgi embeds, and the environment that it is given: python-home= has to be one of that minor version"), run("python3 -m pip install mod_wsgi && mod_wsgi-express module-config", "compiles mod_wsgi for the environment's Python, by whose pip it runs, and says the lines for Apache's configuration")}
	case ofUWSGI.MatchString(around):
		return homeOfUWSGI("VENV")
	}
	return nil
}
