-- When the logs of a build were removed that itself is kept.
ALTER TABLE builds ADD COLUMN logs_removed BIGINT;
-- The trace that the submission belongs to: the header traceparent of W3C Trace Context.
ALTER TABLE builds ADD COLUMN trace TEXT NOT NULL DEFAULT '';

-- What has been kept long enough is looked for by these.
CREATE INDEX builds_ended ON builds (ended) WHERE ended IS NOT NULL;
CREATE INDEX builds_of_archive ON builds (archive);
CREATE INDEX builds_locks ON builds (id) WHERE kind = 'lock';
