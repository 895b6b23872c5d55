package explain

// databaseKinds are what drivers of databases and directories say.
var databaseKinds = []kind{
	{"psycopg-wrapper", cause, `no pq wrapper available|couldn't import psycopg '(?P<impl>\w+)' implementation|libpq library not found`, told(Explanation{
		Means:    "psycopg 3 needs libpq in one of three ways, and has none: its binary wheel (psycopg-binary) is not there for this Python, psycopg-c was not compiled, and the system has no libpq.so.5 that ctypes finds.",
		Find:     []Step{run("apt-get install libpq5", "libpq of the system (RHEL: libpq, Alpine: libpq); ctypes finds it with the help of ldconfig or gcc, which slim images may lack"), run("pip install 'psycopg[binary]'", "or libpq in a wheel, where there is one for this Python and machine")},
		Prevents: "Ampoule compiles psycopg-c against the libpq that it carries; the gate imports it in each runtime target.",
	})},
	{"driver-not-installed", general, `Error loading (?P<driver>MySQLdb|psycopg2|psycopg|cx_Oracle|oracledb|sqlite3|pysqlite2)(?: or psycopg)?(?: module)?|Did you install (?P<did>mysqlclient|psycopg2)\?|install MySQLdb|Can't load plugin: sqlalchemy\.dialects:(?P<dialect>[\w.]+)`, told(Explanation{
		Means:    "Django or SQLAlchemy cannot import the driver of the database ({driver,did,dialect}): it is not installed for this interpreter, or does not load, for want of a library of the system. The exception above says which.",
		Find:     []Step{run("python3 -c 'import {driver,did|psycopg2}'", "the driver's own error: give that to ampoule explain (mysqlclient's module is MySQLdb)"), look("mysqlclient is compiled with default-libmysqlclient-dev and pkg-config, psycopg2 with libpq-dev; psycopg2-binary needs neither.")},
		Prevents: testsThere,
	})},
	{"libpq-old", cause, `SCRAM authentication requires libpq version 10 or above|authentication method 10 not supported|SSL SNI|channel binding required, but not supported|ImportError: libpq[^\n]*too old`, told(Explanation{
		Means:    "The libpq that psycopg2 was compiled with, or that is loaded, is older than 10 and does not know the server's way to authenticate (SCRAM-SHA-256).",
		Find:     []Step{run("python3 -c 'import psycopg2; print(psycopg2.__libpq_version__, psycopg2.extensions.libpq_version())'", "the libpq that it was compiled with and runs with: a newer psycopg2-binary, or psycopg2 compiled anew with a newer libpq-dev, has it")},
		Prevents: ownLibraries,
	})},
	{"pycurl-ssl", cause, `libcurl link-time (?:ssl|version)[^\n]{0,120}compile-time`, told(Explanation{
		Means:    "pycurl was compiled for a libcurl with another TLS library (OpenSSL, GnuTLS, NSS), or another release, than the one that is loaded.",
		Find:     []Step{run("PYCURL_SSL_LIBRARY=openssl python3 -m pip install --force-reinstall --no-cache-dir --no-binary pycurl pycurl", "compiles it for this libcurl (libcurl4-openssl-dev, libssl-dev)"), run("curl-config --ssl-backends; curl --version", "the libcurl that is here")},
		Prevents: ownLibraries,
	})},
	{"server-unreachable", cause, `connection to server (?:on socket|at) [^\n]{1,120} failed: (?P<pg>[^\n]{1,80})|could not connect to server: (?P<oldpg>[^\n]{1,80})|Can't connect to (?:local )?(?:MySQL|MariaDB|server)[^\n]{0,120}|Error \d+ (?:\(?[\w ]+\)? )?(?:while )?connecting to (?P<redis>\S+)|kombu\.exceptions\.OperationalError: (?P<kombu>[^\n]{1,80})|ServerSelectionTimeoutError|ConnectionRefusedError: (?P<refused>[^\n]{1,80})|amqp\.\S*Error[^\n]{0,80}refused|NoBrokersAvailable|(?:OSError|TimeoutError): (?P<errno>\[Errno (?:101|110|113)\] [^\n]{1,60})|DB-Lib error message 20009|Can't contact LDAP server`, told(serverUnreachable)},
	{"server-unreachable", general, `(?P<refused>[Cc]onnection (?:refused|timed out)|No route to host|Network is unreachable)(?P<pg>)(?P<oldpg>)(?P<redis>)(?P<kombu>)(?P<errno>)`, told(serverUnreachable)},
	{"connection-across-fork", cause, `decryption failed or bad record mac|error with status PGRES_TUPLES_OK and no message|lost synchronization with server|Packet sequence number wrong|Commands out of sync|SSL SYSCALL error: EOF detected|SSL error: (?:wrong version number|unexpected eof|unknown protocol)|PGRES_COMMAND_OK and no message|server closed the connection unexpectedly`, told(Explanation{
		Means:    "Two processes or threads talk over one connection: it was opened before the server forked its workers (gunicorn --preload, uWSGI without lazy-apps, Celery), so that they share it. Where only \"closed unexpectedly\" or EOF is told, the server or a firewall may have ended it.",
		Find:     []Step{run("grep -rn -E 'preload|lazy|post_fork|postfork' gunicorn.conf.py uwsgi.ini 2>/dev/null", "whether the application is loaded before the fork: engine.dispose() or connections.close_all() in post_fork, or no preload"), look("pool_pre_ping=True of SQLAlchemy, CONN_HEALTH_CHECKS of Django, where the server ended it.")},
		Prevents: afterFork,
	})},
	{"mysql-plugin", cause, `Authentication plugin '(?P<plugin>[\w.]+)' (?:cannot be loaded|is not supported)|(?P<cryptography>'?cryptography'? package is required for sha256_password or caching_sha2_password)|Plugin (?P<other>\w+) could not be loaded`, told(Explanation{
		Means:    "The client library does not have the way to authenticate that the server's account asks for ({plugin,other|caching_sha2_password}): MariaDB's client looks for it as a plugin's file, PyMySQL needs cryptography for it.",
		Find:     []Step{run("find / -name 'caching_sha2_password.so' 2>/dev/null; python3 -m pip install cryptography", "the plugin (Debian's libmariadb3 has it; MARIADB_PLUGIN_DIR names its directory), and PyMySQL's need")},
		Prevents: testsThere,
	})},
	{"sqlite-old", cause, `SQLite (?P<want>[\d.]+) or later is required \(found (?P<found>[\d.]+)|unsupported version of sqlite3\. \S+ requires sqlite3 >= (?P<chroma>[\d.]+)|no such module: (?P<ext>fts5|json1|rtree)|object has no attribute 'enable_load_extension'|deterministic=True requires SQLite`, told(Explanation{
		Means:    "The interpreter's sqlite3 module uses the SQLite of the machine that it was compiled on or runs on ({found|an older one}), and the program wants {want,chroma|a newer one, or one with extensions}. No wheel changes it.",
		Find:     []Step{run("python3 -c 'import sqlite3, _sqlite3; print(sqlite3.sqlite_version, _sqlite3.__file__)'; ldd $(python3 -c 'import _sqlite3; print(_sqlite3.__file__)') | grep sqlite", "its release, and the library that is taken: a newer base, or an interpreter that is compiled with a newer one"), look("pysqlite3-binary brings a newer one as another module; enable_load_extension needs --enable-loadable-sqlite-extensions of Python's configure.")},
		Prevents: "An artifact carries the SQLite that its interpreter was compiled with: the base of the recipe decides which.",
	})},
	{"kafka-provider", cause, `No provider for SASL mechanism (?P<mechanism>\w+)|recompile librdkafka with (?P<with>[^"\n]{1,60})|Unsupported value "(?P<value>\w+)" for configuration property "(?:security\.protocol|sasl\.mechanisms?|compression\.codec)"`, told(Explanation{
		Means:    "The librdkafka that confluent-kafka has was built without {mechanism,value,with}: its wheels have no Kerberos (GSSAPI), and musl's or a distribution's builds may lack TLS or zstd.",
		Find:     []Step{run("python3 -c 'import confluent_kafka as k; print(k.version(), k.libversion())'", "the releases"), run("apt-get install librdkafka-dev libsasl2-modules-gssapi-mit && pip install --force-reinstall --no-binary confluent-kafka confluent-kafka", "compiles it against a librdkafka that has GSSAPI")},
		Prevents: "Ampoule compiles confluent-kafka against the librdkafka of its toolchain, and carries that.",
	})},
	{"xmlsec-version", cause, `(?P<why>xmlsec library version mismatch)`, told(Explanation{
		Means:    "The module xmlsec was compiled with another release of libxmlsec1 than the one that is loaded: the system's was updated or is older than the build machine's, or pip's cache gave a wheel of before.",
		Find:     []Step{run("python3 -m pip install --upgrade --force-reinstall --no-cache-dir --no-binary xmlsec xmlsec", "compiles a newer release for the libxmlsec1 that is here (libxmlsec1-dev, pkg-config)"), run("pkg-config --modversion xmlsec1; ldconfig -p | grep xmlsec", "which one is here, and whether there are two")},
		Prevents: "Ampoule compiles lxml and xmlsec against one libxml2, which the tree carries once.",
	})},
	{"xmlsec-version", cause, `lxml & xmlsec libxml2 library version mismatch|xmlsec\.(?:Internal)?Error: \(-?\d+, '(?P<why>[^'\n]+)'`, told(Explanation{
		Means:    "lxml and xmlsec hand each other's structures on and so need one libxml2; lxml's wheel carries one of its own, and xmlsec was compiled with another (or the other way round).",
		Find:     []Step{run("python3 -c 'from lxml import etree as e; print(e.LIBXML_VERSION, e.LIBXML_COMPILED_VERSION)'; pip list | grep -i -E 'lxml|xmlsec'", "lxml's libxml2"), run("pip install --force-reinstall --no-binary lxml,xmlsec lxml xmlsec", "compiles both against the system's libxml2 (libxml2-dev, libxslt1-dev, libxmlsec1-dev, pkg-config)")},
		Prevents: "Ampoule compiles lxml and xmlsec against one libxml2, which the tree carries once.",
	})},
	{"grpc-fork", cause, `grpc[^\n]{0,60}fork_posix\.cc[^\n]{0,80}|Other threads are currently calling into gRPC, skipping fork\(\) handlers`, told(Explanation{
		Means:    "A process that uses gRPC was forked while its threads ran; the child's channels may hang.",
		Find:     []Step{run("GRPC_ENABLE_FORK_SUPPORT=1 GRPC_POLL_STRATEGY=poll PROGRAM", "has gRPC prepare for forks, where it forks between calls"), look("Make channels after the fork, in the worker.")},
		Prevents: afterFork,
	})},
}

var serverUnreachable = Explanation{
	Means:    "A server that the application uses does not answer where it looks ({pg,oldpg,redis,kombu,refused,errno|no connection}): it does not run yet, listens elsewhere, or the name means another machine: localhost in a container is the container itself, and without a host PostgreSQL's and MySQL's clients look for a socket on this machine.",
	Find:     []Step{run("ss -ltnp; getent hosts NAME-OF-THE-SERVER; env | grep -i -E 'url|host'", "who listens here, what the name means here, and what the application was told"), look("docker compose: the service's name is the host, and depends_on with condition: service_healthy waits for it.")},
	Prevents: ownMachine,
}
