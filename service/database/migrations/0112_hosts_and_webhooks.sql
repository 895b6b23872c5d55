-- The last report of each host, channel and root, as the host has signed it.
CREATE TABLE host_reports (
	host TEXT NOT NULL,
	channel TEXT NOT NULL,
	root TEXT NOT NULL,
	-- What it says, by the host's clock and count: an older one takes its place never.
	said TEXT NOT NULL,
	count BIGINT NOT NULL,
	received BIGINT NOT NULL,
	body TEXT NOT NULL,
	PRIMARY KEY (host, channel, root)
);

-- The reports that said something else than the one before.
CREATE TABLE host_history (
	host TEXT NOT NULL,
	channel TEXT NOT NULL,
	root TEXT NOT NULL,
	seq BIGINT NOT NULL,
	received BIGINT NOT NULL,
	body TEXT NOT NULL,
	PRIMARY KEY (host, channel, root, seq)
);

-- Up to which entry of a channel's log the service has told what happened. The log is the truth:
-- a row that is lost begins anew at the log's end.
CREATE TABLE channel_told (
	repository TEXT NOT NULL,
	channel TEXT NOT NULL,
	sequence BIGINT NOT NULL,
	PRIMARY KEY (repository, channel)
);

-- What is to be sent to webhooks, and what became of it.
CREATE TABLE webhook_deliveries (
	id TEXT PRIMARY KEY,
	webhook TEXT NOT NULL,
	-- The header webhook-id: the same for the same event.
	event TEXT NOT NULL,
	kind TEXT NOT NULL,
	name TEXT NOT NULL,
	body TEXT NOT NULL,
	created BIGINT NOT NULL,
	-- When it is sent next; NULL once that is over.
	due BIGINT,
	-- Who sends it now has the token, until then.
	lease_until BIGINT NOT NULL DEFAULT 0,
	token TEXT NOT NULL DEFAULT '',
	attempts INTEGER NOT NULL DEFAULT 0,
	-- When retries are given up.
	until BIGINT NOT NULL,
	tried BIGINT,
	delivered BOOLEAN NOT NULL DEFAULT FALSE,
	status INTEGER NOT NULL DEFAULT 0,
	message TEXT NOT NULL DEFAULT ''
);

CREATE UNIQUE INDEX webhook_deliveries_once ON webhook_deliveries (webhook, event);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due) WHERE due IS NOT NULL;
CREATE INDEX webhook_deliveries_listed ON webhook_deliveries (webhook, created, id);
