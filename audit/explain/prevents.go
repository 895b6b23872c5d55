package explain

// What prevents several kinds of faults.
const (
	sealed       = "Ampoule builds interpreter and wheels together under one digest, and its gate refuses a tree that has such a file."
	ownBase      = "Build on a base that is not newer than the oldest machine: base and runtime targets stand in the recipe, and the gate compares every required version with each target."
	glibc        = "Ampoule builds for glibc: ampoule preflight says whether a tree runs on a machine, and ampoule install looks before it switches."
	ownLibraries = "Ampoule compiles every wheel against the libraries that it carries in the tree, and its gate binds every symbol and version."
	lockedNumpy  = "Ampoule's lock pins build requirements, numpy among them, and a wheel's key covers them: another numpy compiles it anew."
	ownScripts   = "Scripts of Ampoule's trees find the interpreter of their own tree, in whichever directory it is."
	ownServer    = "Take the server as a distribution of the recipe (uwsgi, mod_wsgi, gunicorn): it is then compiled with the interpreter that it embeds, and published with it."
	onePlatform  = "An artifact's digest is for one platform; installing it elsewhere is refused."
	lockedSet    = "ampoule lock chooses all versions together, by hash, and an artifact holds these and no others: nothing is updated under a running service."
	noCompile    = "Nothing is compiled where an artifact is used: its wheels are built from locked sources, in a toolchain that has what each of them needs (packages.NAME.build of the recipe)."
	noInstaller  = "Nothing is installed where an artifact is used: it comes whole, by its digest, and the index is asked while locking and fetching alone."
	testsThere   = "The recipe's tests run in each runtime target: let them import and start what the application does."
	wholeBuild   = "Ampoule's build fails when a module of the standard library is missing, unless the recipe says that it may be."
	ownMachine   = "This is the machine's, or the service's: no artifact changes it. Keep the limits, users and mounts of the unit or container beside the digest that it runs."
	afterFork    = "Open connections, threads and devices in the worker, after the fork (gunicorn's post_fork, uWSGI's @postfork or lazy-apps), and test with as many workers as in production."
	ownDriver    = "Choose the CUDA of the locked wheels by the oldest driver of the machines that run them."
)
