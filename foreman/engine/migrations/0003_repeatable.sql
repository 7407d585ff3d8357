-- The queued jobs whose requests may come again: what a start has to know of a queue, however long that is.
CREATE INDEX jobs_repeatable ON jobs (seq) WHERE state = 'queued' AND req_hash IS NOT NULL;
