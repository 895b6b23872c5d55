package explain

import (
	"cmp"
	"path"
	"regexp"
)

// displayKinds are what Qt, Tk, matplotlib and browsers say of what they need on a machine.
var displayKinds = []kind{
	{"tcl-version", cause, `version conflict for package "?(?P<package>Tcl|Tk)"?: have (?P<have>[\d.]+), need (?:exactly )?(?P<need>[\d.]+)`, told(Explanation{
		Means:    "The library of {package} that is loaded is {have}, and the scripts of it that it found are of {need}: a directory of another installation is named (TCL_LIBRARY, TK_LIBRARY), was linked or copied into the interpreter's lib, or another libtcl comes first (LD_LIBRARY_PATH, conda's).",
		Find:     []Step{run("env | grep -E '^(TCL|TK|LD)_'; ls -ld $(python3 -c 'import sys; print(sys.base_prefix)')/lib/tcl8*; python3 -c 'import _tkinter; print(_tkinter.TK_VERSION, _tkinter)'", "variables to unset, links and copies to remove, and the release that the interpreter was made with"), run("ldd $(python3 -c 'import _tkinter; print(_tkinter.__file__)') | grep -E 'tcl|tk'", "which libraries are taken, where _tkinter is a file of its own")},
		Prevents: wholeBuild,
	})},
	{"tcl-scripts", cause, `Can't find a usable (?P<script>init\.tcl|tk\.tcl) in the following directories`, told(Explanation{
		Means:    "Tcl looks for its own scripts ({script}) beside the place that it was compiled for, and beside the program, and finds none: the interpreter was moved after it was built (uv's and other relocatable ones look from the environment's bin), or Tcl's files were left out by a copy.",
		Find:     []Step{run("find $(python3 -c 'import sys; print(sys.base_prefix)') /usr/share /usr/lib -name {script} 2>/dev/null", "where they are: TCL_LIBRARY names init.tcl's directory, and TK_LIBRARY tk.tcl's"), run("uv python upgrade; uv venv --clear", "newer builds of uv's Pythons find them from an environment; Debian's python3-tk has its own")},
		Prevents: wholeBuild,
	})},
	{"qt-platform", cause, `qt\.qpa\.xcb: could not connect to display(?: (?P<display>\S+))?(?P<plugin>)(?P<absent>)`, qtPlatform},
	{"qt-mixed", cause, `Cannot mix incompatible Qt library \((?:version )?(?P<a>[\w.]+)\) with this (?:one|library) \((?:version )?(?P<b>[\w.]+)\)|Could not (?:load|find) the Qt platform plugin "(?P<plugin>\w+)" in "(?P<dir>[^"\n]*/cv2/[^"\n]*)"|\.so: undefined symbol: \S+, version Qt_(?P<qt>\S+)|Plugin uses incompatible Qt library`, told(Explanation{
		Means:    "Two copies of Qt are in one process ({a|OpenCV's} and {b,qt|another}): opencv-python brings one along and sets QT_QPA_PLATFORM_PLUGIN_PATH to its own plugins, which PyQt's or PySide's Qt cannot load; a system's or conda's Qt does the same.",
		Find:     []Step{run("pip uninstall -y opencv-python && pip install opencv-python-headless", "OpenCV without a Qt of its own"), run("pip list | grep -i -E 'qt|pyside|shiboken|opencv'; env | grep -E '^(QT_|LD_)'", "who brings Qt along, and variables that lead to another one's plugins: unset them")},
		Prevents: testsThere,
	})},
	{"qt-platform", cause, `[Cc]ould not (?:load|find or load) the Qt platform plugin "(?P<plugin>\w+)"|no Qt platform plugin could be initialized|Could not find the Qt platform plugin "(?P<absent>\w*)"|xcb-cursor0 or libxcb-cursor0 is needed|[Cc]ould not connect to display(?: (?P<display>\S+))?`, qtPlatform},
	{"no-display", cause, `no display name and no \$DISPLAY|couldn't connect to display|Cannot load backend '(?P<backend>[^'\n]+)'|cannot open display|Unable to init server|Gtk couldn't be initialized|Can't connect to X11|Authorization required, but no authorization protocol|Xlib\.error\.Display|pyglet\.\S*NoSuchDisplay|headless environment|cannot import name '(?P<tk>_?tkagg)|(?P<xauth>\.Xauthority: \[Errno 2\])|Missing X server|Unable to autolaunch a dbus-daemon`, told(Explanation{
		Means:    "The program wants to open a window ({backend|Tk, GTK, X}) and there is no display: a server, a container, or a session of another user.",
		Find:     []Step{run("echo \"$DISPLAY $WAYLAND_DISPLAY\"; MPLBACKEND=Agg PROGRAM", "matplotlib draws into files with the backend Agg"), run("xvfb-run -a PROGRAM", "a display that nobody sees (Debian's xvfb)")},
		Prevents: testsThere,
	})},
	{"browser-libraries", cause, `Host system is missing dependencies to run browsers|error while loading shared libraries: (?P<lib>lib(?:nss3|nspr4|atk|gbm|cups|xkbcommon|Xcomposite|asound)[\w.-]*)`, told(Explanation{
		Means:    "The browser that playwright, selenium or puppeteer starts needs libraries of the system ({lib|several}) that slim images lack. No wheel has them.",
		Find:     []Step{run("python3 -m playwright install-deps chromium", "installs them on Debian and Ubuntu (as root); apt-get install chromium brings the same"), run("ldd ~/.cache/ms-playwright/chromium-*/chrome-linux*/chrome | grep 'not found'", "which are missing")},
		Prevents: testsThere,
	})},
	{"browser-missing", cause, `Executable doesn't exist at (?P<path>\S+)|'?(?P<driver>chromedriver|geckodriver)'? executable needs to be in PATH|cannot find Chrome binary|Unable to (?:locate or )?obtain driver for (?P<name>\w+)|Service (?P<service>\S*driver) unexpectedly exited(?:\. Status code was: (?P<status>-?\d+))?|Looks like Playwright (?:Test or Playwright )?was just installed or updated|Could not find (?P<chrome>Chrome|Chromium|Firefox)\b`, browserMissing},
	{"browser-version", cause, `This version of (?P<driver>\w+) only supports (?P<name>\w+) version (?P<version>\d+)|DevToolsActivePort file doesn't exist|session not created: (?P<why>[^\n]{1,120})|Running as root without --no-sandbox is not supported|Chrome failed to start: (?P<failed>\w+)|No usable sandbox!`, told(Explanation{
		Means:    "The browser did not start for its driver ({why,version,failed|it ended at once}): driver and browser are of different releases, or it runs as root or in a container, where its sandbox does not work, or /dev/shm is too small.",
		Find:     []Step{run("chromium --version; chromedriver --version", "the two, which have to have one major version"), run("chromium --headless=new --no-sandbox --disable-dev-shm-usage --dump-dom about:blank", "whether it starts so in this container: give the program these arguments")},
		Prevents: "Let the image of the runtime target have browser and driver of one release, and a test start them.",
	})},
	{"image-codec", cause, `(?:decoder|encoder) (?P<codec>[\w-]+) not available|The headers or library files could not be found for (?P<header>\w+)|RequiredDependencyException: (?P<required>\w+)|The (?P<module>_imaging\w*) (?:C )?(?:module|extension) (?:is not installed|was built for another version of P)|The _imaging extension was built for another version of Pillow|Core version: (?P<core>\S+)\s+Pillow version: (?P<pillow>\S+)`, told(Explanation{
		Means:    "Pillow's native part was compiled without {codec,header,required,module|a library}, or is of another release than its Python files ({core|core} and {pillow|Pillow}): it was compiled where the library was missing, or two installations are mixed.",
		Find:     []Step{run("python3 -m PIL", "the release, where it is, and which codecs it has"), run("apt-get install libjpeg-dev zlib1g-dev libfreetype-dev libwebp-dev libtiff-dev && pip install --force-reinstall --no-cache-dir --no-binary pillow pillow", "compiles it with them; its published wheels carry them all")},
		Prevents: "Ampoule compiles Pillow with the libraries of packages.pillow.build, and a test of the recipe can ask features.check().",
	})},
	{"opencv-headless", cause, `Rebuild the library with Windows, GTK|The function is not implemented\. Rebuild`, told(Explanation{
		Means:    "The OpenCV that is installed cannot open windows: it is opencv-python-headless, or one that was compiled without GTK and Qt. Two of OpenCV's distributions in one directory overwrite each other.",
		Find:     []Step{run("pip uninstall -y opencv-python opencv-python-headless opencv-contrib-python && pip install opencv-python", "one alone, with windows; a server needs none: leave cv2.imshow out there")},
		Prevents: testsThere,
	})},
	{"gi-namespace", cause, `Namespace (?P<name>\w+) not available`, told(Explanation{
		Means:    "PyGObject is there, and the description (typelib) of {name} is not: it is the system's, in a package for each library.",
		Find:     []Step{run("apt-cache search gir1.2 | grep -i {name}", "Debian's package: gir1.2-gtk-3.0 for Gtk, gir1.2-gst-plugins-base-1.0 for GStreamer's"), run("ls /usr/lib/*/girepository-1.0", "those that are there; GI_TYPELIB_PATH names other directories")},
		Prevents: testsThere,
	})},
	{"spacy-model", cause, `Can't find model '(?P<model>[^'\n]+)'`, told(Explanation{
		Means:    "spaCy is installed and its model {model} is not, for this interpreter: models are distributions of their own.",
		Find:     []Step{run("python3 -m spacy download {model}", "installs it; python3 -m spacy validate says which models fit this spaCy")},
		Prevents: "spaCy's models are wheels: name them in the requirements, so that they are locked and published with the rest.",
	})},
	{"nltk-data", cause, `Resource \S*?(?P<name>[a-z]\w+)\S* not found\.\s+Please use the NLTK`, told(Explanation{
		Means:    "NLTK is installed and its data {name} are not: they are fetched apart, into the home of one user.",
		Find:     []Step{run("python3 -m nltk.downloader -d /usr/local/share/nltk_data {name}", "where all users find them; NLTK_DATA names another directory")},
		Prevents: "Carry the data with the application, and name their directory in NLTK_DATA.",
	})},
	{"program-missing", cause, `\[Errno 2\] No such file or directory: '(?P<program>ffmpeg|ffprobe|git|gcc|cc|node|npm|java|tesseract|wkhtmltopdf|pdftoppm|dot|libreoffice|soffice|chromedriver|gs|convert|magick|nvcc|docker|psql|pg_dump|mysql|mysqldump|make|cmake|lsb_release|which|ldconfig|ps|file|gdal-config|pg_config|xdg-open|unzip|curl|wget)'|ExecutableNotFound: failed to execute [^\n]*'(?P<dot>dot)'|TesseractNotFoundError|(?P<tesseract>tesseract) is not installed or it's not in your PATH|No wkhtmltopdf executable found|PDFInfoNotInstalledError|Unable to get page count\. Is (?P<poppler>poppler) installed|Couldn't find (?P<ffmpeg>ffmpeg or avconv)|No (?P<jvm>JVM) shared library file|(?P<java>JAVA_HOME) is not set|Bad git executable|No ffmpeg exe could be found`, told(Explanation{
		Means:    "A Python package starts a program of the system, {program,dot,tesseract,poppler,ffmpeg,jvm,java|which it names}, and the machine or image does not have it, or not in this service's PATH. No wheel has it.",
		Find:     []Step{run("command -v {program,dot,tesseract|PROGRAM}; echo $PATH", "whether it is there, for this user"), run("apt-get install {program,tesseract|PACKAGE}", "Debian's packages: graphviz for dot, poppler-utils for pdftoppm, tesseract-ocr, default-jre-headless, imagemagick for convert, ghostscript for gs")},
		Prevents: "Let the image of the runtime target have the program, and a test of the recipe start it.",
	})},
}

// qtPlatform is about Qt's plugin for a display: one that does not load, or a display that
// it does not reach.
func qtPlatform(v values) Explanation {
	offscreen := run("QT_QPA_PLATFORM=offscreen PROGRAM", "without a display; or xvfb-run -a PROGRAM, with one that nobody sees")
	if unreached.MatchString(v.text[max(0, v.at[0]-bytesBefore):min(len(v.text), v.at[1]+bytesAfter)]) {
		return Explanation{
			Means: "Qt's plugin is there and loads, and it does not reach the display" + v.fill(" {display|}", asItIs) + ": DISPLAY is not set or names one that is not there, a container was not given its socket, or the X server does not let this user in.",
			Find: []Step{
				run("echo \"$DISPLAY $XAUTHORITY\"; ls /tmp/.X11-unix; xhost", "the display that is asked for, those that there are, and who may use them (xhost on the host: xhost +local:)"),
				offscreen,
				run("docker run -e DISPLAY -v /tmp/.X11-unix:/tmp/.X11-unix IMAGE", "gives a container the host's display"),
			},
			Prevents: testsThere,
		}
	}
	return Explanation{
		Means: v.fill("Qt finds its plugin {plugin,absent|for the display} and cannot use it: a library of X that the plugin needs is not on the machine (libxcb-cursor0 since Qt 6.5, libxkbcommon-x11-0 and others), or there is no display at all, as in containers.", asItIs),
		Find: []Step{
			run("QT_DEBUG_PLUGINS=1 PROGRAM 2>&1 | grep -i -E 'cannot|no such|error'", "the library that the plugin misses: ldd on libqxcb.so lists all"),
			run("apt-get install libxcb-cursor0 libxkbcommon-x11-0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libegl1 libgl1", "what Qt's wheels need of Debian"),
			offscreen,
		},
		Prevents: testsThere,
	}
}

// unreached is what Qt says of a display that it does not reach.
var unreached = regexp.MustCompile(`[Cc]ould not connect to display`)

// cannotLink is how a program ends that a loader could not complete.
const cannotLink = "127"

// browserMissing is about a browser, or its driver, that is not there or does not start.
// playwright and selenium bring different ones.
func browserMissing(v values) Explanation {
	e := Explanation{
		Means:    v.fill("The Python package is there and the browser, or its driver, that it starts is not ({path,driver,name,service,chrome|Chrome}), or it misses libraries of the system: it is no part of a wheel, and playwright wants the build that belongs to its release.", asItIs),
		Prevents: "Let the image of the runtime target have the browser, and a test start it.",
	}
	packaged := run("apt-get install chromium chromium-driver", "selenium's, of one release, with the libraries that they need; Alpine: apk add chromium chromium-chromedriver")
	driver := cmp.Or(v.of("service", "driver"), "chromedriver")
	file := quote(driver)
	if !path.IsAbs(driver) {
		file = "$(command -v " + file + ")"
	}
	libraries := []Step{
		run("ldd "+file+" | grep 'not found'", "the libraries that the driver misses; the browser's are told so, too"),
		run("apt-get install libnss3 libxcb1 libglib2.0-0", "what a chromedriver from elsewhere needs of Debian; geckodriver needs none of them"),
	}
	playwright := []Step{run("python3 -m playwright install --with-deps chromium", "fetches playwright's own build, for this user (PLAYWRIGHT_BROWSERS_PATH moves it), and the libraries that it needs")}
	switch {
	case v.of("service") != "":
		e.Means = v.fill("selenium started {service} and it ended at once", asItIs)
		switch v.of("status") {
		case cannotLink:
			e.Means += ": status 127 says that it is not there, or that a library of the system that it needs is not, as in slim images."
			e.Find = append(libraries, packaged)
		default:
			e.Means += v.fill(" (status {status|not told}): it is for another processor, misses a library of the system, may not be run, or its port is taken.", asItIs)
			e.Find = append([]Step{run(quote(driver)+" --version", "its own message; a number below zero is a signal")}, append(libraries, packaged)...)
		}
	case v.of("driver", "name") != "":
		e.Find = append([]Step{packaged}, libraries...)
	default:
		e.Find = append(playwright, packaged)
	}
	return e
}
