-- What is kept by a kind and a key: tokens of a service whose processes share no disk.
CREATE TABLE records (
	kind TEXT NOT NULL,
	record_key TEXT NOT NULL,
	value TEXT NOT NULL,
	PRIMARY KEY (kind, record_key)
);
