package explain

const inImage = "An artifact is an image as well: its command is what the recipe's tests start, in the same file system."

// containerKinds are what container engines say: Docker, Podman, containerd, runc, crun, Kubernetes.
var containerKinds = []kind{
	{"not-in-image", cause, `exec: "?(?P<program>[^\s":]+)"?: executable file not found in \$PATH|executable file '?(?P<podman>[^\s'"]+?)'? not found in \$PATH|exec: "(?P<stat>/[^"\n]*)": stat (?P<file>[^\s:]+): no such file or directory`, told(Explanation{
		Means:    "The image has no program {program,podman,stat} in its PATH, or not by that path: it is not installed there, it is in an environment whose bin directory PATH does not name, or a command with its arguments was given as one word (CMD [\"gunicorn app\"]).",
		Find:     []Step{run("docker run --rm --entrypoint sh IMAGE -c 'echo $PATH; command -v {program,podman,stat}; find / -name \"$(basename {program,podman,stat})\" 2>/dev/null'", "PATH inside the image, and where the program is, if anywhere"), run("docker image inspect --format '{{.Config.Entrypoint}} {{.Config.Cmd}} {{.Config.Env}}' IMAGE", "what the image is told to start"), look("A volume that is mounted over the directory hides what the image has there.")},
		Prevents: inImage,
	})},
	{"not-executable-in-image", cause, `exec: "?(?P<program>[^\s":]+)"?: permission denied|exec (?P<podman>/?[^\s:]+): [Pp]ermission denied|starting container process caused[^\n]{0,100}permission denied`, told(Explanation{
		Means:    "The container's program {program,podman} is there and may not be run: its file has no execute bit (a COPY from Windows, or from Git with mode 100644), it is a directory, or the container's user may not enter a directory above it.",
		Find:     []Step{run("docker run --rm --entrypoint ls IMAGE -ld {program,podman|PATH-OF-THE-PROGRAM}", "its mode and owner"), look("COPY --chmod=755 in the Dockerfile, or git update-index --chmod=+x FILE.")},
		Prevents: inImage,
	})},
	{"unstartable-in-image", cause, `standard_init_linux\.go:\d+: exec user process caused:? "?no such file or directory|exec: "?(?P<program>/?[^\s":]+)"?: no such file or directory|exec container process '?(?P<podman>[^\s':]+)'?: No such file or directory|crun: open executable: No such file`, told(Explanation{
		Means:    "The container's program {program,podman|} is there and what it needs to start is not: the interpreter in the first line of a script (bash in an image that has sh alone, or a line end of Windows), or the loader that a program for glibc names, in an image with musl (Alpine) or with nothing (scratch).",
		Find:     []Step{run("docker run --rm --entrypoint head IMAGE -n 1 {program,podman|PATH-OF-THE-PROGRAM} | cat -A", "a script's interpreter; ^M$ is a line end of Windows: sed -i 's/\\r$//'"), run("docker run --rm --entrypoint sh IMAGE -c 'ls /lib*/ld-*'", "the loaders that the image has: ld-musl is Alpine's, ld-linux glibc's")},
		Prevents: inImage,
	})},
	{"other-platform", cause, `requested image's platform \((?P<image>[^)\n]+)\) does not match|no matching manifest for (?P<host>\S+)|image with reference \S+ was found but does not match the specified platform|no match for platform in manifest`, told(Explanation{
		Means:    "The image is for another processor than this machine's, {image,host}: it was built on another kind of machine (a Mac with arm64), or its registry has none for this one.",
		Find:     []Step{run("docker buildx imagetools inspect IMAGE; uname -m", "the platforms that the image has, and this machine's"), look("docker build --platform linux/amd64 makes it for x86-64; docker run --platform runs it under an emulator, slowly.")},
		Prevents: onePlatform,
	})},
	{"container-user", cause, `unable to find user (?P<user>[^\s:]+): no matching entries in passwd file|no matching entries in passwd file|unable to find group (?P<group>[^\s:]+)`, told(Explanation{
		Means:    "The image has no user or group {user,group}: USER, --user or runAsUser names one that its /etc/passwd does not have.",
		Find:     []Step{run("docker run --rm --user 0 --entrypoint cat IMAGE /etc/passwd", "the users that it has; a number (USER 1000) needs no entry")},
		Prevents: inImage,
	})},
	{"docker-daemon", cause, `Cannot connect to the Docker daemon|(?:Is the docker daemon running|dial unix [^\s:]*docker\.sock: connect: (?P<why>[^\n"]+))|permission denied while trying to connect to the Docker|Error while fetching server API version|DockerException: [^\n]*(?:FileNotFoundError|Connection aborted|ConnectionRefused)`, told(Explanation{
		Means:    "No Docker engine answers: it does not run, this user may not use its socket, or DOCKER_HOST names another one.",
		Find:     []Step{run("docker context ls; echo $DOCKER_HOST; systemctl status docker --no-pager; ls -l /var/run/docker.sock; id", "which engine is asked, whether it runs, and whether this user is in the socket's group (docker)")},
		Prevents: ownMachine,
	})},
	{"mount-type", cause, `not a directory: (?:unknown|Are you trying to mount a directory onto a file)|Are you trying to mount a directory onto a file|(?:error )?mounting "(?P<source>[^"\n]+)" to rootfs`, told(Explanation{
		Means:    "A file is mounted onto a directory or a directory onto a file ({source|-v SOURCE:TARGET}): the source does not exist on the engine's machine, and Docker made a directory by its name; or it is read-only there.",
		Find:     []Step{run("ls -ld {source|SOURCE}", "on the machine of the engine: what it is; with docker in docker or a remote engine that is another machine")},
		Prevents: "An application that is part of the artifact needs no mounts for its code.",
	})},
	{"container-directory", cause, `chdir to cwd \("(?P<cwd>[^"\n]+)"\) set in config\.json failed: (?P<why>[^\n:]{1,60})`, told(Explanation{
		Means:    "The container's working directory {cwd} is not there, or its user may not enter it ({why}): WORKDIR or -w names a directory of another image, or a volume hides it.",
		Find:     []Step{run("docker image inspect --format '{{.Config.WorkingDir}} {{.Config.User}}' IMAGE; docker run --rm -w / --user 0 --entrypoint ls IMAGE -ld {cwd}", "what the image says, and whether it has the directory")},
		Prevents: inImage,
	})},
	{"container-name", cause, `The container name "(?P<name>[^"\n]+)" is already in use`, told(Explanation{
		Means:    "A container by the name {name} is there already, perhaps an ended one of before.",
		Find:     []Step{run("docker ps -a --filter name={name}", "whether it runs: docker rm -f removes it; docker run --rm leaves none")},
		Prevents: ownMachine,
	})},
	{"build-context", cause, `COPY failed: (?:file not found in build context[^\n]*|stat )(?P<copy>[^\s:]*)|failed to (?:compute cache key|calculate checksum of ref)[^\n]*?"?(?P<path>/[^":\s]+)"?: not found|forbidden path outside the build context`, told(Explanation{
		Means:    "The Dockerfile copies a file that the build's context does not have ({path,copy|see the line}): the context is another directory, .dockerignore leaves the file out, or it lies above the context.",
		Find:     []Step{run("ls -l .{path}; cat .dockerignore", "in the directory that docker build was given (the last argument)")},
		Prevents: inImage,
	})},
	{"emulator-crash", cause, `qemu: uncaught target signal (?P<signal>\d+)`, told(Explanation{
		Means:    "A program for another processor ended by a signal under the emulator: the image is for the other one, and QEMU does not know all of its instructions.",
		Find:     []Step{run("docker image inspect --format '{{.Architecture}}' IMAGE; uname -m", "the image's processor and this machine's: build and run it for this one, or on a machine of the other sort")},
		Prevents: onePlatform,
	})},
	{"build-step", consequence, `did not complete successfully: exit code: (?P<code>\d+)|returned a non-zero code: (?P<old>\d+)|executor failed running \[[^\]\n]*\]: exit code: (?P<kit>\d+)`, told(Explanation{
		Means:    "A command of the Dockerfile ended with an error (exit code {code,old,kit}). The reason stands above, in the command's own output, and was not in this text or is nothing that is known here.",
		Find:     []Step{run("docker build --progress=plain --no-cache . 2>&1 | tail -n 60", "all of the command's output: the first \"error:\" in it is the telling line")},
		Prevents: noCompile,
	})},
	{"gpu-runtime", cause, `could not select device driver "?"? with capabilities: \[\[gpu\]\]|nvidia-container-cli: (?P<why>[^\n"]{1,120})|unknown or invalid runtime name: nvidia|failed to discover GPU vendor from CDI`, told(Explanation{
		Means:    "The engine cannot give the container the graphics processor: NVIDIA's container toolkit is not installed or not configured there, or the machine's driver does not run ({why|no driver for gpu}).",
		Find:     []Step{run("nvidia-smi && nvidia-ctk --version", "on the machine of the engine: whether driver and toolkit are there"), run("nvidia-ctk runtime configure --runtime=docker && systemctl restart docker", "tells Docker of the toolkit")},
		Prevents: ownMachine,
	})},
	{"image-not-found", cause, `manifest for (?P<image>\S+) not found|manifest unknown|pull access denied for (?P<denied>[^\s,]+)|(?P<kubernetes>ErrImagePull|ImagePullBackOff|InvalidImageName)|failed to resolve (?:source metadata|reference)[^\n]*not found`, told(Explanation{
		Means:    "The registry has no image {image,denied|by that name and tag}, or not for this user: a wrong tag or platform, a private repository, or an image that was made locally and is looked for elsewhere.",
		Find:     []Step{run("docker manifest inspect {image,denied|IMAGE}; cat ~/.docker/config.json | grep -o '\"auths\".*'", "whether the registry has it, and which registries this user is logged in to"), look("In Kubernetes: kubectl describe pod POD says the whole reason; imagePullSecrets are the login.")},
		Prevents: "Name images by digest: a digest is there or is not, and never becomes another one.",
	})},
	{"pull-limit", cause, `toomanyrequests|pull rate limit|429 Too Many Requests`, told(Explanation{
		Means:    "The registry or index answers no more requests of this address or account for now (429).",
		Find:     []Step{run("docker login", "counts by account and not by address; a mirror of the company's takes the load off: registry-mirrors in /etc/docker/daemon.json")},
		Prevents: "Locked inputs can be kept: ampoule fetch stores them, and builds ask no registry then.",
	})},
	{"registry-certificate", cause, `x509: certificate (?:signed by unknown authority|has expired|is valid for|relies on legacy|is not trusted)(?P<why>[^\n"]{0,80})|tls: failed to verify certificate|http: server gave HTTP response to HTTPS client`, told(Explanation{
		Means:    "A program in Go (Docker, kubectl, Ampoule) does not trust the server's certificate{why|}: a proxy of the network signs with its own, the registry has one of the company's, or it speaks HTTP without TLS.",
		Find:     []Step{run("openssl s_client -connect HOST:443 -servername HOST </dev/null 2>&1 | head -n 12", "the chain that the server sends, and who signed it"), look("Docker takes a company's from /etc/docker/certs.d/HOST:PORT/ca.crt, others from the system's (update-ca-certificates, update-ca-trust); a registry without TLS is named under insecure-registries.")},
		Prevents: "Put the company's certificate into the machine's set; Ampoule takes that along while locking and fetching.",
	})},
	{"new-calls-blocked", cause, `Fatal glibc error: [^\n]*clone3|pthread_create failed for thread \d+ of \d+: Operation not permitted|clone3[^\n]*EPERM|can't start new thread[^\n]*(?:docker|container)|At least one invalid signature was encountered|tar: [^\n]*: Cannot open: Operation not permitted|Problem executing scripts APT::Update::Post-Invoke`, told(Explanation{
		Means:    "An image with a new C library asks the kernel for calls (clone3, faccessat2) that an old engine's seccomp profile refuses with EPERM (threads, among them): Docker before 20.10.10, or libseccomp before 2.5, knows them not. A full disk gives apt's message, too.",
		Find:     []Step{run("docker version --format '{{.Server.Version}}'; dpkg -l libseccomp2; df -h /var/lib/docker", "on the machine of the engine: its release, and the space there is"), run("docker run --rm --security-opt seccomp=unconfined IMAGE COMMAND", "it works so, where the profile is the cause: update the engine")},
		Prevents: ownMachine,
	})},
	{"crash-loop", consequence, `CrashLoopBackOff|Back-off restarting failed container|Container \S+ is restarting, wait until the container is running`, told(Explanation{
		Means:    "The container starts and ends, again and again. Why stands in its own output, which is not in this text.",
		Find:     []Step{run("kubectl logs POD --previous; kubectl describe pod POD", "the output of the run that ended, and its exit code: give that to ampoule explain; docker logs CONTAINER otherwise")},
		Prevents: inImage,
	})},
	{"exit-127", consequence, `exit(?:ed)?(?: with)?(?: non-zero)? (?:code|status):? 12(?P<code>[67])\b|code=exited, status=12(?P<unit>[67])\b|exit status 12(?P<super>[67])\b|returned a non-zero code: 12(?P<build>[67])\b|Exited \(12(?P<docker>[67])\)`, told(Explanation{
		Means:    "A shell, or what started the program, says 12{code,unit,super,build,docker}: 127 is a program that was not found (or a library of it, which the line before says), 126 one that may not be run.",
		Find:     []Step{run("sh -xc 'COMMAND'", "the command as the service has it, with that user and environment: the line before the end says which program or library it is"), look("The telling line is the one before: give it to ampoule explain.")},
		Prevents: inImage,
	})},
}
