package explain

import "cmp"

// opensslKinds are what OpenSSL, and what wraps it, says.
var opensslKinds = []kind{
	{"certificate", cause, `CERTIFICATE_VERIFY_FAILED(?:[^\n]*?(?P<why>self[- ]signed certificate|certificate has expired|certificate is not yet valid|[Hh]ostname mismatch|IP address mismatch|key too (?:small|weak)|Missing Authority Key Identifier|Basic Constraints of CA cert not marked critical|CA cert does not include key usage))?`, certificates},
	{"certificate", cause, `invalid peer certificate: (?P<why>UnknownIssuer|Expired|NotValidForName|BadSignature)|certificate verify failed: ?(?:(?P<odbc>self[- ]signed certificate)|(?P<other>[^\n(]{1,80}))`, certificates},
	{"certificate-file", cause, `Could not find a suitable TLS CA certificate bundle, invalid path: (?P<path>\S+)|Failed to (?:open|load) (?:CA|cert)[^\n]{0,40}(?P<open>/\S+\.(?:pem|crt))|certificate bundle[^\n]*not found`, told(Explanation{
		Means:    "A variable or a setting names a file of certificates that is not there: {path,open}. An environment was moved (certifi's file is in it), or the image has none.",
		Find:     []Step{run("env | grep -E '(CERT|CA_BUNDLE)'; pip config list; ls -l {path,open}", "who names it: unset the variable, or install ca-certificates")},
		Prevents: "Set SSL_CERT_FILE to the system's file, in the image's Dockerfile or the unit's Environment=, and to no file in an environment.",
	})},
	{"certificate-key", cause, `\[SSL\] PEM lib|KEY_VALUES_MISMATCH|key values mismatch|\[SSL: NO_START_LINE\]|no start line`, told(Explanation{
		Means:    "A file of a certificate or of its key is not what OpenSSL expects: the key does not belong to the certificate, they stand in the wrong order, the file is empty, encrypted or no PEM.",
		Find:     []Step{run("openssl x509 -noout -pubkey -in CERTIFICATE | sha256sum; openssl pkey -pubout -in KEY | sha256sum", "two hashes that are the same where they belong together"), run("head -n 1 CERTIFICATE KEY", "-----BEGIN CERTIFICATE----- and -----BEGIN PRIVATE KEY-----")},
		Prevents: ownMachine,
	})},
	{"pyopenssl", cause, `module 'lib' has no attribute '(?P<name>\w+)'|module 'lib' has no attribute|'?(?:openssl|_lib)'? (?:module|object) has no attribute '(?P<other>(?:X509_V|SSL_|OpenSSL_)\w*)'|cannot import name '(?P<import>\w+)' from 'cryptography\.hazmat[\w.]*'|deprecated\(\) got an unexpected keyword argument 'name'`, told(Explanation{
		Means:    "pyOpenSSL is older than the cryptography that is installed, and asks it for {name,other,import|a name} that is gone. Often an old one of the system (/usr/lib/python3/dist-packages) is found by a program whose cryptography pip updated; pip itself fails over it then, since urllib3 takes pyOpenSSL when it is there.",
		Find:     []Step{run("python3 -c 'import OpenSSL.version as o' ; pip list 2>/dev/null | grep -i -E 'openssl|cryptography'; ls -d /usr/lib/python3/dist-packages/*penSSL* 2>/dev/null", "the two, and the system's"), run("python3 -m pip install --upgrade pyopenssl cryptography", "both of one time; where pip itself fails: apt-get remove python3-openssl, or rm -r the OpenSSL directory that the traceback names")},
		Prevents: lockedSet,
	})},
	{"openssl-old", cause, `urllib3 v2(?:\.0)? only supports OpenSSL 1\.1\.1\+|(?:is|was) compiled with '?(?P<have>OpenSSL [\d.]+\w*(?:-fips)?|LibreSSL [\d.]+)|OpenSSL 1\.1\.1\+ (?:is )?required|You are linking against OpenSSL (?P<linking>[\d.]+)|This package requires OpenSSL|Expecting OpenSSL \d`, told(Explanation{
		Means:    "A package wants a newer OpenSSL than the interpreter's ssl module, or the one that is loaded ({have,linking|the system's}).",
		Find:     []Step{run("python3 -c 'import ssl; print(ssl.OPENSSL_VERSION)'; env | grep OPENSSL; openssl version -a | grep -E 'OPENSSLDIR|MODULESDIR'", "the OpenSSL of this interpreter, and where it looks"), run("python3 -m pip install 'urllib3<2'", "urllib3's last one for OpenSSL 1.0.2, where urllib3 asks; otherwise an interpreter with a newer OpenSSL")},
		Prevents: "An artifact carries the OpenSSL that its interpreter was compiled with; ampoule preflight tells of variables and an openssl.cnf that would mislead it.",
	})},
	{"openssl-legacy", cause, `OpenSSL 3(?:\.\d)?'s legacy provider failed to load`, told(Explanation{
		Means:    "cryptography asks OpenSSL 3 for its legacy provider, a file of its own (legacy.so), and that is not loaded: the OpenSSL inside of cryptography, or the one that was moved or frozen along, looks in the directory that it was compiled for, or OPENSSL_MODULES or another installation's openssl.cnf leads elsewhere.",
		Find:     []Step{run("CRYPTOGRAPHY_OPENSSL_NO_LEGACY=1 PROGRAM", "cryptography then goes without it, which suffices unless the program uses RC4, Blowfish, CAST5 or the like"), run("env | grep OPENSSL; openssl version -m; find / -name legacy.so 2>/dev/null", "variables to unset, where it is looked for, and where it is: OPENSSL_MODULES=DIRECTORY names that")},
		Prevents: "An artifact carries the OpenSSL that its interpreter was compiled with; ampoule preflight tells of variables and an openssl.cnf that would mislead it.",
	})},
	{"openssl-provider", cause, `unsupported hash type (?P<hash>md4|ripemd160|whirlpool)|digital envelope routines[^\n]{0,60}(?:unsupported|initialization error|disabled for FIPS)|error:0308010C|ossl_\w+ provider|inner_evp_generic_fetch:unsupported|disabled for FIPS|\[digital envelope routines\]|\[Errno 22\] Invalid argument[^\n]*hashlib`, told(Explanation{
		Means:    "OpenSSL refuses an algorithm {hash|}: OpenSSL 3 has old ones (MD4, RC4, Blowfish, old PKCS#12) in its legacy provider only, and a machine in FIPS mode has neither those nor MD5.",
		Find:     []Step{run("python3 -c 'import ssl, hashlib; print(ssl.OPENSSL_VERSION, hashlib.algorithms_available)'; cat /proc/sys/crypto/fips_enabled; openssl list -providers", "what there is, and whether the machine is in FIPS mode"), look("hashlib.md5(data, usedforsecurity=False) is allowed there; the legacy provider is switched on in openssl.cnf.")},
		Prevents: "ampoule preflight tells of an openssl.cnf that misleads; let a test of the recipe use what the application uses.",
	})},
	{"tls-refused", cause, `UNSAFE_LEGACY_RENEGOTIATION_DISABLED|DH_KEY_TOO_SMALL|EE_KEY_TOO_SMALL|CA_MD_TOO_WEAK|(?:SSLV3_ALERT|TLSV1_ALERT|TLSV13_ALERT)_(?P<alert>\w+)|UNSUPPORTED_PROTOCOL|:unsupported protocol|NO_CIPHERS_AVAILABLE|sslv3 alert (?P<old>[\w ]+)|tlsv1 alert (?P<tls>[\w ]+)|WRONG_SIGNATURE_TYPE|INTERNAL_ERROR\] (?:internal|tlsv1)`, told(Explanation{
		Means:    "The two sides of TLS found nothing that both allow ({alert,old,tls|the server is old}): the server is older than this OpenSSL's policy (security level 2 of Debian and Ubuntu, DEFAULT of RHEL), or this OpenSSL is older than the server wants; an alert comes from the other side.",
		Find:     []Step{run("openssl s_client -connect HOST:443 -servername HOST </dev/null 2>&1 | grep -E 'Protocol|Cipher|Server Temp|alert'; python3 -c 'import ssl; print(ssl.OPENSSL_VERSION)'", "what they agree on by openssl's own program, and this interpreter's release"), look("For one old server: a context with set_ciphers(\"DEFAULT:@SECLEVEL=1\"), or OP_LEGACY_SERVER_CONNECT.")},
		Prevents: "Let a test of the recipe talk to a server with the settings of the real one; ampoule preflight tells of an openssl.cnf that misleads.",
	})},
	{"tls-plain", cause, `WRONG_VERSION_NUMBER|wrong version number|UNEXPECTED_EOF_WHILE_READING|EOF occurred in violation of protocol|Received record with invalid|http: server gave HTTP response|HTTP_REQUEST\] http request|record layer failure`, told(Explanation{
		Means:    "The other side did not speak TLS, or ended the connection in the middle of it: a port without TLS, a proxy that is called with https:// and speaks http://, or a firewall.",
		Find:     []Step{run("env | grep -i proxy; curl -v https://HOST/ -o /dev/null 2>&1 | grep -E 'CONNECT|proxy|SSL|subject'", "which proxy is used: its own address begins with http:// nearly always"), run("openssl s_client -connect HOST:PORT </dev/null 2>&1 | head -n 5", "whether that port speaks TLS")},
		Prevents: ownMachine,
	})},
}

// certificates tells why a server is not trusted (X509_verify_cert_error_string(3), and
// rustls' names, which uv says).
func certificates(v values) Explanation {
	means := "The machine or image has no certificates where this interpreter's OpenSSL looks for them, or not the ones of the server's issuer."
	mend := run("apt-get install ca-certificates", "the system's set; a company's own goes to /usr/local/share/ca-certificates/NAME.crt, then update-ca-certificates; pip install --use-feature=truststore, UV_NATIVE_TLS=1 and REQUESTS_CA_BUNDLE make clients take it that have a set of their own (certifi)")
	prevents := "Install ca-certificates in the runtime image, or set SSL_CERT_FILE. ampoule preflight says which machine has none."
	why := cmp.Or(v.of("why"), v.maybe("odbc"))
	switch why {
	case "", "UnknownIssuer":
	case "certificate has expired", "certificate is not yet valid", "Expired":
		means = "The certificate is out of its time: " + why + ". The machine's clock is wrong, the server's certificate was not renewed, or the machine's certificates are so old that they end in an issuer that is no more."
		mend = run("date; apt-get install --only-upgrade ca-certificates", "the clock, and newer certificates")
	case "self signed certificate", "self-signed certificate":
		means = "The server's chain ends in a certificate that this interpreter does not know: a proxy of the network stands between and signs with its own, or the server has one of the company's, or of itself."
		prevents = "Install that certificate with the system's (update-ca-certificates), or name a file with it in SSL_CERT_FILE."
	case "Missing Authority Key Identifier", "Basic Constraints of CA cert not marked critical", "CA cert does not include key usage":
		means = "OpenSSL says: " + why + ". Python 3.13 checks certificates by the letter of RFC 5280 (VERIFY_X509_STRICT), which many of companies' own do not fulfil."
		mend = look("The certificate has to be made anew; until then: context.verify_flags &= ~ssl.VERIFY_X509_STRICT.")
	default:
		means = "OpenSSL says: " + why + ". The fault is the server's certificate, or the name that the server was called by; this machine and its interpreter are in order."
		mend = look("Call the server by a name that stands in its certificate (subjectAltName).")
		prevents = "Nothing here does: the server's certificate has to be made anew, or called by its name."
	}
	return Explanation{
		Means: means,
		Find: []Step{
			run("python3 -c 'import ssl; print(ssl.get_default_verify_paths())'; env | grep -E '(CERT|CA_BUNDLE)'", "where certificates are looked for"),
			mend,
			run("openssl s_client -connect HOST:443 -servername HOST </dev/null 2>&1 | head -n 20", "the chain that the server sends, and who signed it"),
		},
		Prevents: prevents,
	}
}
