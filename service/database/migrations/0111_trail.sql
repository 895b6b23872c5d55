-- Who asked for which change, and what came of it.
CREATE TABLE trail (
	id TEXT PRIMARY KEY,
	at BIGINT NOT NULL,
	caller TEXT NOT NULL,
	caller_id TEXT NOT NULL,
	issuer TEXT NOT NULL,
	subject TEXT NOT NULL,
	action TEXT NOT NULL,
	target TEXT NOT NULL,
	details TEXT NOT NULL,
	client TEXT NOT NULL,
	request TEXT NOT NULL,
	result TEXT NOT NULL,
	message TEXT NOT NULL
);

CREATE INDEX trail_listed ON trail (at, id);
CREATE INDEX trail_of_caller ON trail (caller, at, id);
