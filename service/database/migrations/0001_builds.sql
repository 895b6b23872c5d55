-- Times are microseconds since 1970, by the database's clock. NULL has not come yet.

CREATE TABLE callers (
	name TEXT PRIMARY KEY,
	seen BIGINT NOT NULL
);

CREATE TABLE builds (
	id TEXT PRIMARY KEY,
	kind TEXT NOT NULL,
	state TEXT NOT NULL,
	recipe TEXT NOT NULL,
	build_key TEXT NOT NULL,
	-- What makes two submissions one build.
	same_as TEXT NOT NULL,
	platform TEXT NOT NULL,
	labels TEXT NOT NULL,
	priority INTEGER NOT NULL,
	forced BOOLEAN NOT NULL,
	trusted BOOLEAN NOT NULL,
	options TEXT NOT NULL,
	caller TEXT NOT NULL,
	followers INTEGER NOT NULL,
	archive TEXT NOT NULL,
	retry_of TEXT NOT NULL,
	time_limit BIGINT NOT NULL,
	attempt INTEGER NOT NULL DEFAULT 0,
	lost INTEGER NOT NULL DEFAULT 0,
	fence BIGINT NOT NULL DEFAULT 0,
	-- Fence numbers repeat when a standby lacks the last transactions; tokens do not.
	token TEXT NOT NULL DEFAULT '',
	worker TEXT NOT NULL DEFAULT '',
	cancelling TEXT NOT NULL DEFAULT '',
	-- The key's row is written: the build cannot be cancelled any more.
	claimed BOOLEAN NOT NULL DEFAULT FALSE,
	seq BIGINT NOT NULL DEFAULT 0,
	created BIGINT NOT NULL,
	available BIGINT NOT NULL,
	started BIGINT,
	ended BIGINT,
	heartbeat BIGINT,
	lease_until BIGINT,
	result TEXT NOT NULL DEFAULT '',
	failure TEXT NOT NULL DEFAULT ''
);

CREATE UNIQUE INDEX builds_one_each ON builds (same_as)
	WHERE state IN ('queued', 'fetching', 'building', 'gating', 'publishing') AND cancelling = '';
CREATE INDEX builds_queued ON builds (platform, priority DESC, created, id) WHERE state = 'queued';
CREATE INDEX builds_leased ON builds (lease_until) WHERE state IN ('fetching', 'building', 'gating', 'publishing');
CREATE INDEX builds_unfinished ON builds (caller)
	WHERE state IN ('queued', 'fetching', 'building', 'gating', 'publishing');
CREATE INDEX builds_listed ON builds (created, id);
CREATE INDEX builds_of_recipe ON builds (recipe, created, id);
CREATE INDEX builds_of_key ON builds (build_key, created, id);

CREATE TABLE build_labels (
	build TEXT NOT NULL,
	label TEXT NOT NULL,
	PRIMARY KEY (build, label)
);

CREATE TABLE submissions (
	id TEXT PRIMARY KEY,
	build TEXT NOT NULL,
	caller TEXT NOT NULL,
	idempotency_key TEXT NOT NULL,
	request_hash TEXT NOT NULL,
	created BIGINT NOT NULL,
	withdrawn BIGINT
);

CREATE UNIQUE INDEX submissions_repeated ON submissions (caller, idempotency_key) WHERE idempotency_key <> '';
CREATE INDEX submissions_of_build ON submissions (build, caller);

CREATE TABLE events (
	build TEXT NOT NULL,
	seq BIGINT NOT NULL,
	at BIGINT NOT NULL,
	what TEXT NOT NULL,
	from_state TEXT NOT NULL,
	state TEXT NOT NULL,
	fence BIGINT NOT NULL,
	who TEXT NOT NULL,
	message TEXT NOT NULL,
	PRIMARY KEY (build, seq)
);

CREATE TABLE publications (
	build_key TEXT PRIMARY KEY,
	recipe TEXT NOT NULL,
	digest TEXT NOT NULL,
	build TEXT NOT NULL,
	trusted BOOLEAN NOT NULL,
	-- The registry has the key's tag too.
	tagged BOOLEAN NOT NULL,
	at BIGINT NOT NULL
);

CREATE INDEX publications_of_digest ON publications (digest);

CREATE TABLE workers (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	host TEXT NOT NULL,
	version TEXT NOT NULL,
	platform TEXT NOT NULL,
	labels TEXT NOT NULL,
	slots INTEGER NOT NULL,
	draining BOOLEAN NOT NULL,
	begun BIGINT NOT NULL,
	seen BIGINT NOT NULL
);

-- Submissions' archives and locks, in parts.
CREATE TABLE archives (
	sum TEXT PRIMARY KEY,
	size BIGINT NOT NULL,
	used BIGINT NOT NULL
);

CREATE TABLE archive_parts (
	sum TEXT NOT NULL,
	part INTEGER NOT NULL,
	data {bytes} NOT NULL,
	PRIMARY KEY (sum, part)
);

-- What builds print, where workers and API share no disk.
CREATE TABLE log_parts (
	build TEXT NOT NULL,
	stream TEXT NOT NULL,
	start_at BIGINT NOT NULL,
	data {bytes} NOT NULL,
	PRIMARY KEY (build, stream, start_at)
);
