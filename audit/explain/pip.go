package explain

import (
	"cmp"
	"strings"
)

const fromIndex = "python3 -m pip config list; env | grep -E '^(PIP_|UV_|.*_proxy)'"

// pipKinds are what pip and virtual environments say.
var pipKinds = []kind{
	{"no-wheel-here", cause, `(?P<req>[\w.-]+==\S+) has no (?:usable wheels|wheels? with [^\n]{1,60}(?:platform|Python|ABI)[^\n]{0,20} tags?(?: \(e\.g\., '(?P<tag>[^'\n]+)'\))?)|(?:Distribution '(?P<dist>[^'\s]+)[^\n]{0,120} )?can't be installed because it doesn't have a source distribution or wheel|only has wheels (?:for|with) the following (?P<only>[^\n]{1,120})`, noWheelHere},
	{"other-tags", cause, `(?P<wheel>[^\s'"]+\.whl)'? is not a supported wheel on this platform|has no wheels? (?:are available )?(?:for|with) [^\n]{0,100}|is not compatible with this Python|isn't supported on (?:this|your) platform`, otherTags},
	{"wheel-metadata", cause, `The wheel is invalid: (?P<why>Line \d+ of the WHEEL file is invalid|[^\n]{0,80}(?:WHEEL|METADATA|RECORD)[^\n]{0,80})`, told(Explanation{
		Means:    "The wheel is whole and its own metadata do not keep to the format ({why}): the tool that made it writes them so, and one installer is stricter than another. Downloading it anew brings the same.",
		Find:     []Step{run("unzip -p FILE.whl '*.dist-info/WHEEL'", "lines of the form \"Name: value\", a Tag: for each tag"), run("python3 -m pip install NAME", "pip takes some that uv refuses; a newer uv, or a newer release of the distribution, helps")},
		Prevents: "ampoule lock reads the metadata of every file that it takes.",
	})},
	{"wheel-name", cause, `ERROR: (?P<spaced>[^\n'":]+\.whl) is not a valid wheel filename|(?P<wheel>[^\s'"]+\.whl)'? is not a valid wheel filename|Invalid wheel filename|(?P<bad>\S+\.whl)(?:'|:)? (?:is|has an) invalid(?: wheel)?|Wheel '(?P<name>[^'\n]+)' located at (?P<path>\S+) is invalid|File is not a zip file|BadZipFile|Bad magic number for (?:central directory|file header)|CRC-32 (?:check )?fail|zipfile\.\S*Error|invalid wheel, \.dist-info|multiple \.dist-info directories found|\.dist-info directory not found|(?P<hash>has a bad RECORD)|Incorrect padding in RECORD`, told(Explanation{
		Means:    "The file {spaced,wheel,bad,name|that was to be installed} is no sound wheel: its name was changed (a browser's \"(1)\"), it is cut off, a page of HTML by that name (a login, a proxy), a pointer of Git LFS, or in a damaged cache.",
		Find:     []Step{run("file {spaced,wheel,bad,path|FILE.whl}; python3 -m zipfile -t {spaced,wheel,bad,path|FILE.whl}", "what it is, and the first damaged member"), run("python3 -m pip cache purge; python3 -m pip download --no-deps NAME", "fetches it anew"), run("ampoule audit {spaced,wheel,bad,path|FILE.whl}", "whether the wheel's own record fits it"), look("A name is NAME-VERSION-PYTHON-ABI-PLATFORM.whl, and the version begins with a digit: give the file the name that it was made with (its dist-info and the tags in WHEEL say it).")},
		Prevents: "Every file of a lock is fetched by its sha256, and a damaged one is refused.",
	})},
	{"externally-managed", cause, `externally-managed-environment|(?:is|environment is) externally managed|EXTERNALLY-MANAGED`, told(Explanation{
		Means:    "This interpreter is the distribution's own, or an artifact's: pip and uv install nothing into it (PEP 668), because the system's programs need it as it is.",
		Find:     []Step{run("python3 -m venv VENV && VENV/bin/pip install NAME", "an environment of one's own (Debian: apt-get install python3-venv)"), run("pipx install NAME", "for a program with its own environment"), look("uv: uv venv, then uv pip install. In an image that has no other use PIP_BREAK_SYSTEM_PACKAGES=1 is what it says.")},
		Prevents: noInstaller,
	})},
	{"hash-mismatch", cause, `THESE PACKAGES DO NOT MATCH THE HASHES|Hash mismatch for|Expected sha256 (?P<want>[0-9a-f]+)\s+Got\s+(?P<got>[0-9a-f]+)|Can't verify hashes for|[Hh]ash (?:mismatch|verification)|integrity check failed`, told(Explanation{
		Means:    "What was downloaded has another hash than the requirements name: the release got another file (a wheel for this Python that was uploaded later), the mirror or proxy gave something else, the download was cut off, or the lock was made by another index.",
		Find:     []Step{run("python3 -m pip download --no-deps --no-cache-dir NAME==VERSION && sha256sum NAME*", "what the index gives now, without the cache: compare with the lock"), run(fromIndex, "which index and proxy gave it")},
		Prevents: "ampoule lock takes the index's hash of every file and never one of the download; ampoule fetch keeps the files beside the artifacts.",
	})},
	{"hashes-required", cause, `Hashes are required in --require-hashes mode|In '?--require-hashes'? mode, all requirements must have their versions pinned|(?:requirement|requirements) (?:is|are) missing (?:a )?hash`, told(Explanation{
		Means:    "One line of the requirements has a hash, so that pip wants one of all, and some have none: a dependency that the file does not name, a line that was added by hand, or a path or URL.",
		Find:     []Step{run("uv pip compile --generate-hashes requirements.in -o requirements.txt", "writes all of them, with the dependencies (pip-compile --generate-hashes does the same)")},
		Prevents: "ampoule lock writes the hash of every file, of dependencies and build requirements too.",
	})},
	{"name-resolution", cause, `Temporary failure in name resolution|Name or service not known|Failed to resolve '(?P<host>[^'\n]+)'|getaddrinfo failed|nodename nor servname|dns error|failed to lookup address information|Could not resolve host:? ?(?P<curl>\S*)|lookup (?P<go>\S+)(?: on [^\n]{1,60})?: (?:no such host|i/o timeout)|no such host`, told(Explanation{
		Means:    "The name of a server {host,curl,go|} could not be looked up: no network, no name server in this container (or a wrong one), or a name that is not there.",
		Find:     []Step{run("cat /etc/resolv.conf; getent hosts {host,curl,go|HOST}", "which name server is asked, and whether it knows the name; in a container compare docker run --network host"), run(fromIndex, "the index and the proxy that are set")},
		Prevents: noInstaller,
	})},
	{"proxy", cause, `Cannot connect to proxy|ProxyError|Tunnel connection failed: (?P<why>\d{3} [^\n'")]{1,60})|407 Proxy Authentication Required|check_hostname requires server_hostname|Missing dependencies for SOCKS support|Your proxy appears to only use HTTP|Unable to determine SOCKS version`, told(Explanation{
		Means:    "The proxy refused, or did not answer ({why|see the line}): it wants a user's name, does not allow the server, is called by https:// although it speaks http://, or is none. An old pip says check_hostname of that.",
		Find:     []Step{run("env | grep -i proxy; python3 -m pip config list; curl -sv https://HOST/ -o /dev/null 2>&1 | grep -i -E 'proxy|CONNECT|HTTP/'", "the proxy that is set, and what it answers: https_proxy=http://USER:PASSWORD@HOST:PORT is the usual form"), look("SOCKS needs pip install pysocks, beforehand.")},
		Prevents: noInstaller,
	})},
	{"index-unreachable", cause, `Failed to establish a new connection|NewConnectionError|ConnectTimeoutError|ReadTimeoutError|Read timed out|Connection aborted|Max retries exceeded|dial tcp [^\n]{1,80}: (?:connect: )?(?:connection refused|i/o timeout|no route to host)|Failed to connect to \S+ port|Remote end closed connection|IncompleteRead|InvalidChunkLength|Connection broken: |error sending request for url|operation timed out|Could not fetch URL|Could not install packages due to an OSError: HTTPSConnectionPool|client error \(Connect\)|50[234] Server Error`, told(Explanation{
		Means:    "The index (or another server) does not answer, or not to the end: no way to it from this network, a proxy that is not set, a firewall, or a slow or broken mirror.",
		Find:     []Step{run(fromIndex+"; python3 -m pip download --no-deps -v NAME 2>&1 | head -n 20", "which server is asked, by which proxy, and what comes of it"), look("--timeout 60 --retries 10 for slow ones; a mirror is named by pip config set global.index-url URL.")},
		Prevents: noInstaller,
	})},
	{"index-forbidden", cause, `(?:40[13] Client Error: (?:Forbidden|Unauthorized)|401 Error, Credentials not correct)[^\n]{0,120}|HTTP status client error \((?P<uv>40[13] \w+)|Access (?:to the path )?denied[^\n]{0,20}index|404 Client Error: Not Found for url|ERROR: HTTP error (?P<http>40\d)|(?:index|simple)[^\n]{0,80}status code 40[134]`, told(Explanation{
		Means:    "The index answers and refuses ({uv,http|401, 403 or 404}): no or wrong credentials, no right to that repository, or a wrong address (the simple index ends with /simple/).",
		Find:     []Step{run(fromIndex+"; ls -l ~/.netrc ~/.config/pip /etc/pip.conf 2>/dev/null", "which index is asked, and where credentials may stand; PIP_NO_INPUT=1 shows a missing one at once")},
		Prevents: noInstaller,
	})},
	{"untrusted-host", cause, `repository located at (?P<host>\S+) is not a trusted or secure host`, told(Explanation{
		Means:    "The index {host} is called by http://, and pip takes nothing from there: it then says that there are no versions.",
		Find:     []Step{run("python3 -m pip config list", "the address that is set: https:// where the index has it; pip config set global.trusted-host {host} otherwise")},
		Prevents: noInstaller,
	})},
	{"invalid-metadata", cause, `has invalid metadata: (?P<why>[^\n]{1,160})|has inconsistent (?P<what>version|name|Name|Version)|non-standard dependency specifier (?P<spec>\S+)|Cannot determine archive format of (?P<file>\S+)`, told(Explanation{
		Means:    "The release's metadata do not keep to the rules ({why,what,spec,file}): pip leaves it out, as of 24.1 where it only warned before. Or a server gave a page by the file's name.",
		Find:     []Step{run("python3 -m pip install 'pip<24.1' 'setuptools<66'", "the last ones that take such releases; a newer release of the distribution is better")},
		Prevents: lockedSet,
	})},
	{"damaged-dist-info", cause, `pip/_internal/(?s:.{0,400})TypeError: expected string or bytes-like object|Egg-link \S+ (?:\(to \S+\) )?does not match installed location|(?P<meta>METADATA): No such file|No METADATA file|RECORD file (?:is )?missing`, told(Explanation{
		Means:    "pip fails over what is installed: a dist-info without METADATA or RECORD, of an update that was broken off, or an editable installation whose directory moved.",
		Find:     []Step{run("find SITE-PACKAGES -maxdepth 1 -name '*.dist-info' ! -exec test -s {}/METADATA \\; -print", "directories without metadata: remove them, and install those distributions anew"), run("find SITE-PACKAGES -name '*.egg-link' -exec head {} +", "editable installations, and where they lead")},
		Prevents: "A release is laid into a directory of its own and switched to when it is whole: ampoule install.",
	})},
	{"git-access", cause, `Host key verification failed|could not read (?:Username|Password) for '(?P<url>[^'\n]+)'|Permission denied \(publickey|Could not read from remote repository|git clone [^\n]{0,200}did not run successfully|Repository not found`, told(Explanation{
		Means:    "A requirement is a Git repository ({url|git+…}), and this machine may not read it: no key or token, a host's key that is not known, or a wrong address.",
		Find:     []Step{run("GIT_TERMINAL_PROMPT=0 git ls-remote {url|URL}", "Git's own words; docker build --ssh default (RUN --mount=type=ssh) gives a build the key, and ssh-keyscan the host's")},
		Prevents: "ampoule lock takes what an index has, by hash: publish such a project as a wheel or an sdist.",
	})},
	{"keyring", cause, `org[./]freedesktop[./]secrets|keyring\.errors\.\w+|Failed to (?:unlock|create) the collection`, told(Explanation{
		Means:    "A tool (poetry, pip, twine) asks the desktop's keyring for a password, and there is no desktop here.",
		Find:     []Step{run("PYTHON_KEYRING_BACKEND=keyring.backends.null.Keyring COMMAND", "goes without the keyring")},
		Prevents: noInstaller,
	})},
	{"not-on-index", cause, `Could not find a version that satisfies the requirement (?P<name>[^\s(]+)[^\n]*?\(from versions: (?P<versions>[^)\n]*)|No matching distribution found for (?P<match>\S+)|(?P<uv>[\w.-]+) was not found in the (?:package registry|provided package locations|cache)|there (?:is|are) no versions? of (?P<none>[\w.\[\]-]+)|Could not find a version that matches (?P<poetry>\S+)`, notOnIndex},
	{"resolution", cause, `ResolutionImpossible|Cannot install [^\n]{1,200} because these package versions have conflicting dependencies|conflicting dependencies|No solution found when resolving|resolution-too-deep|Because [^\n]{1,120} depends on|version solving failed|we can conclude that|pip is looking at multiple versions`, told(Explanation{
		Means:    "The requirements exclude each other: two of them want different versions of a third, or this Python has none that all take. \"Looking at multiple versions\" alone is pip's search, which may end well.",
		Find:     []Step{run("uv pip compile requirements.in", "says in words which requirement excludes which"), look("Loosen the pin that the last sentence names, or take the releases of one time together.")},
		Prevents: lockedSet,
	})},
	{"distutils-installed", cause, `Cannot uninstall '?(?P<name>[^\s'.]+)[^\n]{0,12}?'?\.? ?(?:It is a distutils installed project|Found existing installation|The package was installed by|no RECORD file|RECORD file not found)|uninstall-(?:distutils-installed-package|no-record-file)|Cannot uninstall (?P<other>\S+),? (?:RECORD|The package)`, told(Explanation{
		Means:    "pip cannot remove {name,other|the older release}, because nothing says which files are its: the distribution's package manager (apt, dnf, conda) or an old setup.py installed it.",
		Find:     []Step{run("python3 -m pip show -f {name,other|NAME}; dpkg -S $(python3 -c 'import {name,other|NAME} as m; print(m.__file__)')", "where it is, and which package brought it"), run("python3 -m venv VENV && VENV/bin/pip install {name,other|NAME}", "an environment of one's own has no such mix; --ignore-installed lays a second copy over it")},
		Prevents: noInstaller,
	})},
	{"invalid-distribution", notice, `Ignoring invalid distribution '?(?P<name>\S+?)'? \((?P<dir>[^)\n]+)\)|Skipping (?P<skipped>\S+site-packages)/\S+ due to invalid metadata entry|Ignoring dangling temporary directory: '?(?P<uv>\S+site-packages)/(?P<uvname>~\S+)`, told(Explanation{
		Means:    "The directory {dir,skipped,uv} has remains of an update that was broken off: pip renames what it replaces to a name that begins with ~ ({name,uvname|~…}), and removes it at the end. The new release may be there in part.",
		Find:     []Step{run("ls -d {dir,skipped,uv}/~*", "the remains: remove them (rm -r), then install that distribution anew"), run("ampoule audit {dir,skipped,uv}", "what else is not whole there")},
		Prevents: "A release is laid into a directory of its own and switched to when it is whole: ampoule install.",
	})},
	{"no-ensurepip", cause, `ensurepip is not available|No module named '?ensurepip|'-m', 'ensurepip'[^\n]*returned non-zero exit status|The virtual environment was not created successfully|ensurepip is disabled in Debian|Error: Command '\[[^\n]*ensurepip`, told(Explanation{
		Means:    "venv cannot put pip into the environment: Debian and Ubuntu keep ensurepip in a package of its own, one for each version of Python, or the interpreter does not import what pip needs (zlib, ssl).",
		Find:     []Step{run("apt-get install python3-venv", "or python3.X-venv for another version than Debian's; then remove the half-made environment"), run("python3 -c 'import zlib, ssl, ensurepip'", "what the interpreter lacks, where it was compiled here")},
		Prevents: noInstaller,
	})},
	{"pip-broken", cause, `cannot import name '(?P<name>main|html5lib|InvalidSchemeCombination|SCHEME_KEYS|Wheel|cookies|PipDeprecationWarning|WheelBuilder|constants)' from '(?P<module>pip[\w.]*)'|cannot import name '?main'?(?: from 'pip')?|module 'pip' has no attribute '(?P<attr>\w+)'|No module named '(?P<vendor>pip\._\w+[\w.]*|pip\.req|pip\.download)'|old script wrapper`, told(Explanation{
		Means:    "The command pip and the module pip are of different releases: a distribution's script, or an old one in ~/.local/bin or in the shell's memory, starts a pip that was updated, or an update of pip was broken off.",
		Find:     []Step{run("python3 -m pip --version || python3 -m ensurepip --upgrade", "pip by the interpreter that it belongs to, without the script; type -a pip shows the scripts, hash -r has the shell forget them"), run("python3 -m pip install --force-reinstall pip setuptools", "one whole release; what imports pip.req or pip.download needs another way")},
		Prevents: noInstaller,
	})},
	{"pip-usage", cause, `no such option: (?P<option>\S+)|Invalid requirement: '?(?P<req>[^'\n]{1,100})|Could not open requirements file: [^\n]*'(?P<file>[^'\n]+)'|File not found: '?(?P<uv>[^'\n]*requirements[^'\n]*)|does not appear to be a Python project: neither|Directory '(?P<dir>[^'\n]+)' is not installable|UnicodeDecodeError[^\n]*requirements|Requirement '(?P<whl>[^'\n]+\.whl)' looks like a filename, but the file does not exist|You must give at least one requirement|Unable to find installation candidates|Expected (?:package name|end or semicolon)`, told(Explanation{
		Means:    "pip (or uv) was given something that it does not take: {option,req,file,uv,dir,whl|see the line}. An option of a newer release, a requirement that is none (a conda list, a file in UTF-16, a path file:///… of another machine), or a file or project that is not there, or not copied into the image yet.",
		Find:     []Step{run("python3 -m pip --version; ls -l {file,dir,uv,whl|requirements.txt}; head -n 3 {file,uv|requirements.txt} | cat -A", "pip's release, and whether the file is there and is plain text"), run("python3 -m pip freeze > requirements.txt", "a list without conda's file:// paths")},
		Prevents: "ampoule lock reads requirements files strictly, and says line and column of what it does not take.",
	})},
	{"pip-user", cause, `Can not perform a '--user' install|Will not install to the user site|Could not find an activated virtualenv \(required\)|can't combine user with prefix`, told(Explanation{
		Means:    "pip was told where to install, by an option, a variable or its configuration, and cannot: --user inside an environment, which does not look there; or require-virtualenv without one.",
		Find:     []Step{run("python3 -m pip config list; env | grep ^PIP_; python3 -c 'import sys; print(sys.prefix, sys.base_prefix)'", "who says user or require-virtualenv, and whether this is an environment (the two differ): PIP_USER=0, or python3 -m venv VENV")},
		Prevents: noInstaller,
	})},
	{"pip-root", notice, `Running pip as (?:the )?'?root'? user|WARNING: The script \S+ is installed in '(?P<dir>[^'\n]+)' which is not on PATH|Defaulting to user installation because normal site-packages is not writeable|A new release of pip(?: is)? available|There was an error checking the latest version of pip|The directory '(?P<cache>[^'\n]+)' or its parent directory is not owned`, told(Explanation{
		Means:    "pip warns, and went on: of installing as root into the system's directories, of scripts in {dir|a directory} that PATH does not name, of a cache {cache|} that is another user's, or of its own age. None of these is a fault by itself.",
		Find:     []Step{run("python3 -m pip --version; python3 -m pip config list", "which pip it is, and for which interpreter: an environment (python3 -m venv) is free of all of them"), look("In images: PIP_ROOT_USER_ACTION=ignore, PIP_DISABLE_PIP_VERSION_CHECK=1, ENV PATH=…/bin:$PATH.")},
		Prevents: noInstaller,
	})},
	{"poetry-lock", cause, `pyproject\.toml changed significantly since poetry\.lock|poetry\.lock is not up to date|Pipfile\.lock \([^)\n]*\) out of date|(?:The )?lock ?file (?:at '?\S+? )?(?:is|needs) (?:not up[- ]to[- ]date|out of date|to be updated)|The lockfile at '?uv\.lock'? needs to be updated`, told(Explanation{
		Means:    "The lock was made for other requirements than the project has now, and the tool was told not to change it (--locked, --deploy).",
		Find:     []Step{run("uv lock", "or poetry lock, pipenv lock: makes it anew; commit it beside the requirements")},
		Prevents: "A lock that does not fit its recipe is an error of ampoule build (exit code 3), before anything is done.",
	})},
	{"too-many-open", cause, `Too many open files|\[Errno 24\]`, tooManyFiles},
}

// notOnIndex tells why an index gives no file for a requirement.
func notOnIndex(v values) Explanation {
	name, versions := v.of("name", "match", "uv", "none", "poetry"), v.of("versions")
	bare := name
	if i := strings.IndexAny(name, "=<>!~[;"); i > 0 {
		bare = name[:i]
	}
	means := "The index that was asked has no file of " + cmp.Or(name, "it") + " that this interpreter takes: no wheel for this version of Python, processor or C library (musl) and no source, or no such release, or no such name."
	switch {
	case versions == "none":
		means = "The index that was asked shows no file at all of " + name + " for this interpreter (\"from versions: none\"): it could not be reached (warnings above say so), the name is wrong or another index has it, or every file is for another Python or machine: a Python that is too new or too old, Alpine, arm64, 32 bits."
	case versions != "":
		means = "The index has " + bare + ", and not the version that is asked for: it is not in \"from versions\". It was yanked, is of another index, or takes another version of Python: releases that want a newer or older one are left out of the list."
	}
	find := []Step{
		run("python3 --version; uname -m; python3 -m pip index versions "+quote(cmp.Or(bare, "NAME"))+"; python3 -m pip config list", "what this interpreter is, the releases that it could have, and the index that is asked"),
		run("python3 -m pip install --upgrade pip", "an old pip does not know the tags of new wheels (manylinux_2_28, musllinux, abi3)"),
		look("The index's page of the release lists its files: their names say for which Python (cp312) and machine they are."),
	}
	if bare != "" && distributions[bare] != "" && distributions[bare] != bare {
		means += " The module " + bare + " is of the distribution " + distributions[bare] + "."
		find = append([]Step{run("python3 -m pip install "+distributions[bare], "the distribution that has that module")}, find...)
	}
	return Explanation{Means: means, Find: find, Prevents: "ampoule lock asks the index once, with the recipe's interpreter, and writes every file down; ampoule fetch keeps them where no index forgets them."}
}

// uvKinds are what uv says that pip does not.
var uvKinds = []kind{
	{"uv-no-environment", cause, `No virtual environment found(?P<more>[^\n]{0,80})|Failed to (?:locate|find) (?:a )?(?:Python )?virtual environment|No system Python installation found`, told(Explanation{
		Means:    "uv pip installs into an environment, and found none: no .venv here or above, no VIRTUAL_ENV, no conda.",
		Find:     []Step{run("uv venv && uv pip install NAME", "makes one and installs into it; in an image uv pip install --system (UV_SYSTEM_PYTHON=1) takes the system's Python")},
		Prevents: noInstaller,
	})},
	{"uv-no-python", cause, `No interpreter found (?:for (?P<want>[^\n]{1,60}?) )?in |pyenv: (?:version '(?P<pyenv>[^'\n]+)' is not installed|(?P<cmd>\S+): command not found)|The requested interpreter resolved to Python (?P<have>[\d.]+), which is incompatible|No (?:pyenv|asdf) version|Python (?P<pipenv>\d[\d.]*) was not found on your system|version '(?P<version>[\d.]+)' is not installed|RuntimeError: failed to find interpreter for (?P<venv>[^\n]{1,80})|Python (?:download|installations?) (?:is|are) (?:disabled|not allowed)|was not found\. Please (?:install|create)`, told(Explanation{
		Means:    "A tool (uv, pyenv, virtualenv) was told to take Python {want,pyenv,version,venv,pipenv|of some version} (.python-version, requires-python), and finds {have|none such}.",
		Find:     []Step{run("uv python list; pyenv versions; cat .python-version; grep requires-python pyproject.toml", "the interpreters that there are, and who asks for another one"), run("uv python install VERSION", "or pyenv install VERSION, where that is allowed")},
		Prevents: "The recipe names one version, and ampoule lock refuses a .python-version or a requires-python that disagrees.",
	})},
	{"uv-environment", notice, `VIRTUAL_ENV=(?P<active>\S+?)'? does not match the project environment path`, told(Explanation{
		Means:    "uv works with the project's environment (.venv) and not with the one that is activated, {active}.",
		Find:     []Step{run("echo $VIRTUAL_ENV $UV_PROJECT_ENVIRONMENT", "what is set: deactivate, uv run --active, or UV_PROJECT_ENVIRONMENT=$VIRTUAL_ENV")},
		Prevents: noInstaller,
	})},
	{"uv-hardlink", notice, `Failed to hardlink files; falling back to full copy|Failed to clone files; falling back`, told(Explanation{
		Means:    "uv's cache and the environment are on different file systems (a cache mount, a volume), so that it copies. It works, and takes time and space.",
		Find:     []Step{run("findmnt -T ~/.cache/uv -T .venv", "the two file systems: UV_LINK_MODE=copy says that it is meant, UV_CACHE_DIR moves the cache")},
		Prevents: noInstaller,
	})},
	{"uv-cache", cause, `Failed to (?:initialize cache|acquire lock|extract archive|unzip|read from the distribution cache|install: \S+)|failed to hardlink file from|failed to (?:open|create|remove|rename|persist) (?:file|directory|temporary file)[^\n]{0,20} '?(?P<path>/[^\s'\n]+)'?`, told(Explanation{
		Means:    "uv cannot write its cache or the environment, or what it unpacks is damaged: {path|see the causes below it}. Another user's directory, a read-only or full disk, or a download that was cut off; a file system without hard links (UV_LINK_MODE=copy).",
		Find:     []Step{run("uv cache dir; df -h $(uv cache dir) .; ls -ld $(uv cache dir) {path|.venv}", "where the cache is, the space, and whose it is"), run("uv cache clean NAME", "removes what is damaged")},
		Prevents: noInstaller,
	})},
	{"conda", cause, `CondaError: Run 'conda init'|Your shell has not been properly configured to use 'conda activate'|LibMambaUnsatisfiableError|UnsatisfiableError|PackagesNotFoundError|ResolvePackageNotFound|CondaHTTPError|EnvironmentLocationNotFound|Could not solve for environment specs|Solving environment: failed|CondaSSLError|LibMambaSolver|Error while loading conda entry point`, told(Explanation{
		Means:    "conda itself fails: its shell function is not loaded in this (not interactive) shell, its channels have no build of that name for this Python and platform, the versions exclude each other, or libmamba meets a libarchive of another release.",
		Find:     []Step{run("conda info; conda config --show channels; conda search NAME", "the platform, the channels, and what they have"), run("conda run -n ENVIRONMENT COMMAND", "runs in an environment without activation; eval \"$(conda shell.bash hook)\" in scripts")},
		Prevents: lockedSet,
	})},
}

// otherTags is about a wheel whose file name says that it is for another interpreter.
func otherTags(v values) Explanation {
	wheel := v.of("wheel")
	upgrade := run("python3 -m pip install --upgrade pip", "manylinux_2_x tags need pip 20.3 or later, musllinux ones 21.2")
	tags := run("python3 -m pip --version; python3 -m pip debug --verbose | sed -n '/Compatible tags/,$p' | head -n 8", "the pip and its interpreter, and the tags that it takes, the best first (pip 19.2 and later have debug)")
	e := Explanation{
		Means:    "The tags in the name of the wheel (" + cmp.Or(wheel, "the only one there is") + ") are not among those of this interpreter: another version, another ABI (t is free-threaded, d debug), or another platform (processor, macOS, musl), or a pip that is too old to know them.",
		Find:     []Step{tags, audited, upgrade},
		Prevents: sealed,
		Checks:   []string{"tags"},
	}
	if strings.Contains(wheel, "manylinux_2_") || strings.Contains(wheel, "musllinux_") {
		e.Find = []Step{upgrade, tags, audited}
	}
	return e
}

// noWheelHere is about uv's word that a release has no wheel for this platform, and no source.
func noWheelHere(v values) Explanation {
	req := cmp.Or(v.of("req", "dist"), "NAME==VERSION")
	name, version, _ := strings.Cut(req, "==")
	which := ""
	if tag := v.of("tag", "only"); tag != "" {
		which = " (" + tag + ")"
	}
	other := run("uv add "+quote(name+"!="+cmp.Or(version, "VERSION")), "chooses another release, which may have a wheel for this platform")
	marker := look("Where the program does without it on this platform, a marker leaves it out: " + req + " ; sys_platform == 'linux' (or platform_machine, python_version).")
	find := []Step{other, marker}
	if v.of("tag") != "" && strings.Contains(v.text[v.at[1]:min(len(v.text), v.at[1]+maxMessage)], "you require") {
		find = []Step{marker, other}
	}
	return Explanation{
		Means: req + " has no wheel for this platform and Python" + which + ", and no source that could be compiled. uv locks for all platforms at once, so that such a release may stand in a lock that was made on another one; pip's tags and age have no part in it.",
		Find: append(find,
			look("[tool.uv] required-environments = [\"sys_platform == 'linux' and platform_machine == 'x86_64'\"] lets uv lock only releases that have wheels for these; environments = […] says for which it locks at all."),
			run("uv run python -c 'import sys, sysconfig; print(sys.version, sysconfig.get_platform())'", "this interpreter and platform: another Python (uv python pin 3.12) may be what the wheels are for"),
		),
		Prevents: "ampoule lock chooses releases that the recipe's interpreter and platform can have, by a wheel or from source.",
	}
}
