package explain

import "regexp"

// machineKinds are about what a machine has or has not, and about signals, which have many causes.
var machineKinds = []kind{
	{regexp.MustCompile(`CERTIFICATE_VERIFY_FAILED(?:[^\n]*?(?P<why>self[- ]signed certificate|certificate has expired|certificate is not yet valid|[Hh]ostname mismatch|IP address mismatch|key too (?:small|weak)))?`), certificates},
	{regexp.MustCompile(`No time zone found with key '?(?P<zone>[\w/+-]+)`), func(v values) Explanation {
		return Explanation{
			Means: "zoneinfo reads the machine's time zones, or else the distribution tzdata (PEP 615). Here neither is there, as in slim images, or neither has " + v.of("zone") + ": its name is wrong, or was moved to the package tzdata-legacy.",
			Find: []Step{
				run("python3 -c 'import zoneinfo as z; print(z.TZPATH, len(z.available_timezones()))'", "where it looks, and how many zones it finds"),
				run("ls -l /usr/share/zoneinfo/"+quote(v.of("zone")), "whether the machine has the zone"),
			},
			Prevents: "Ampoule's trees carry a copy of the time zones, which serves where the machine has none. ampoule preflight says which machine has none.",
		}
	}},
	{regexp.MustCompile(`setupterm: could not find termin(?:al|fo database)|[Cc]annot find terminfo database|Error opening terminal: |terminals database is inaccessible`), always(Explanation{
		Means: "curses finds no description of the terminal: TERM is unset or names one that this machine does not know, or the interpreter's ncurses looks in other directories than those where the system keeps its descriptions.",
		Find: []Step{
			run("echo \"$TERM $TERMINFO $TERMINFO_DIRS\"; infocmp | head -n 1", "the terminal's name, and the file that describes it"),
			run("ls -d /lib/terminfo /usr/share/terminfo /etc/terminfo", "where the machine has descriptions (Debian's ncurses-base)"),
			look("TERM=xterm is known nearly everywhere; a service without a terminal must not start curses."),
		},
		Prevents: "Ampoule's trees carry a copy of the descriptions, which serves where the machine has none. ampoule preflight says which machine has none.",
	})},
	{regexp.MustCompile(`(?i)illegal instruction|SIGILL|exit(?:ed)? (?:with )?(?:code|status) 132\b|signal 4\b`), always(Explanation{
		Means:    "The process ran an instruction that this processor does not have: something was compiled for the processor of its build machine (-march=native), or for a higher level of x86-64 than this one has.",
		Find:     []Step{run("/lib64/ld-linux-x86-64.so.2 --help | grep supported", "the levels of this machine"), run("gdb -batch -ex run -ex bt --args python3 …", "the library that the instruction is in")},
		Prevents: "runtime.vm.cpu in the recipe names the lowest level; the gate refuses files that say they need more, and -march=native in what compiled them.",
		Checks:   []string{"isa"},
	})},
	{regexp.MustCompile(`(?i)segmentation fault|SIGSEGV|exit(?:ed)? (?:with )?(?:code|status) 139\b|signal 11\b`), always(Explanation{
		Means:    "The process used memory that is not its own. Of the causes that lie in wheels, two Python runtimes in one process, and a module compiled for another build of Python, are the most common; a fault of the program itself is, too.",
		Find:     []Step{run("python3 -X faulthandler …", "the line of Python that it happened in"), run("grep -E 'libpython|\\.so' /proc/PID/maps", "two runtimes, if there are")},
		Prevents: "The gate loads each module in a process of its own and looks for one Python runtime in its memory map.",
		Checks:   []string{"second-runtime", "libpython-needed", "symbols"},
	})},
}

// certificates tells why OpenSSL does not trust a server (X509_verify_cert_error_string(3)).
func certificates(v values) Explanation {
	means := "The machine or image has no certificates where this interpreter's OpenSSL looks for them, or not the ones of the server's issuer."
	prevents := "Install ca-certificates in the runtime image, or set SSL_CERT_FILE. ampoule preflight says which machine has none."
	switch why := v.of("why"); why {
	case "":
	case "certificate has expired", "certificate is not yet valid":
		means = "OpenSSL says: " + why + ". The machine's clock is wrong, the server's certificate was not renewed, or the machine's certificates are so old that they end in an issuer that is no more."
	case "self signed certificate", "self-signed certificate":
		means = "The server's chain ends in a certificate that this interpreter does not know: a proxy of the network stands between and signs with its own, or the server has one of the company's, or of itself."
		prevents = "Install that certificate with the system's (update-ca-certificates), or name a file with it in SSL_CERT_FILE."
	default:
		means = "OpenSSL says: " + why + ". The fault is the server's certificate, or the name that the server was called by; this machine and its interpreter are in order."
		prevents = "Nothing here does: the server's certificate has to be made anew, or called by its name."
	}
	return Explanation{
		Means: means,
		Find: []Step{
			run("python3 -c 'import ssl; print(ssl.get_default_verify_paths())'; env | grep -E '^(SSL|REQUESTS|CURL)_'", "where certificates are looked for"),
			run("openssl s_client -connect HOST:443 -servername HOST </dev/null 2>&1 | head -n 20", "the chain that the server sends"),
		},
		Prevents: prevents,
	}
}
