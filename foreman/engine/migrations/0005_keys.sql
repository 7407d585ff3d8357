-- Keys, and whose job each is.
CREATE TABLE keys (
  id TEXT PRIMARY KEY CHECK (length(id) = 8),
  digest BLOB NOT NULL CHECK (length(digest) = 32),  -- SHA-256 of the whole key
  scopes TEXT NOT NULL,                   -- words with commas between them
  label TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER,
  last_used_at INTEGER,
  -- What was done in jobs that are no longer there.
  jobs INTEGER NOT NULL DEFAULT 0,
  prompt_tokens INTEGER NOT NULL DEFAULT 0,
  output_tokens INTEGER NOT NULL DEFAULT 0,
  busy_ms INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

ALTER TABLE jobs ADD COLUMN key_id TEXT NOT NULL DEFAULT '';  -- '': asked for without a key
-- The same Idempotency-Key of two keys is two jobs.
DROP INDEX jobs_idem;
CREATE UNIQUE INDEX jobs_idem ON jobs (key_id, client, idem_key) WHERE idem_key IS NOT NULL;
CREATE INDEX jobs_by_key ON jobs (key_id, seq) WHERE key_id <> '';
