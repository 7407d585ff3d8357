"""The SQL of the store, all of it constant text, so that each statement is prepared once.

Every move of a job is one compare-and-set, fenced by its owner. Terms that must match a partial index are written as
the index has them; the index is named wherever the planner could take jobs_by_state instead, which holds every job.
`steps.py` puts these together.
"""

from typing import Final

from foreman.core.job import JobState

# In the order of the fields of Job.
COLUMNS: Final = (
    "seq, id, state, lane, model, load_key, path, mode, client, attempts, max_attempts, not_before, "
    "cancel_requested, created_at, claimed_at, first_byte_at, finished_at, status, error_code, error, crashes, stats, "
    "retry_of, kept, idem_key, override"
)

# What is run for every job has no RETURNING, for that builds a table in memory each time. Where it fires a trigger, or
# reads what it inserts, it says OR FAIL: to be undone alone it would copy the pages it writes, and a step that fails
# is rolled back as a whole.
SUBMIT: Final = """
INSERT INTO jobs (id, lane, model, load_key, path, mode, client, idem_key, req_hash, max_attempts, not_before,
                  created_at, retry_of, override, bytes)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (client, idem_key) WHERE idem_key IS NOT NULL DO NOTHING"""
SUBMIT_CLAIMED: Final = """
INSERT INTO jobs (id, lane, model, load_key, path, mode, client, idem_key, req_hash, max_attempts, not_before,
                  created_at, retry_of, override, bytes, state, attempts, tries, claimed_at, owner)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'loading', 1, 1, ?, ?)"""
SAME_KEY: Final = f"SELECT req_hash IS ?, {COLUMNS} FROM jobs WHERE client=? AND idem_key=?"  # noqa: S608 constants only
KEEP_PAYLOAD: Final = "INSERT INTO payloads (seq, headers, enc, body) VALUES (?, ?, 0, ?)"

PROMOTE: Final = """
UPDATE jobs INDEXED BY jobs_delayed SET not_before=0 WHERE state='queued' AND not_before>0 AND not_before<=?"""

# One probe of an index per hot key, per hot model, and one for the oldest of all. An ORDER BY over all the queued
# rows (hot first, then seq) says the same and sorts the whole queue each time.
# Of the jobs whose load key is not hot, those that the gate lets pass.
_ADMITTED: Final = "AND (override='gate' OR load_key IN (SELECT value FROM json_each(:admitted)))"
_CLAIM: Final = f"""
UPDATE jobs SET state='loading', attempts=attempts+1, tries=tries+1, claimed_at=:now, owner=:owner
WHERE seq = coalesce(
  (SELECT min((SELECT seq FROM jobs INDEXED BY jobs_ready_key
    WHERE state='queued' AND not_before=0 AND lane='local' AND load_key=hot.value AND seq<:before
    ORDER BY seq LIMIT 1))
   FROM json_each(:load_keys) AS hot),
  (SELECT min((SELECT seq FROM jobs INDEXED BY jobs_ready_model
    WHERE state='queued' AND not_before=0 AND lane='local' AND model=hot.value AND seq<:before {{gate}}
    ORDER BY seq LIMIT 1))
   FROM json_each(:models) AS hot),
  (SELECT seq FROM jobs INDEXED BY jobs_ready
    WHERE state='queued' AND not_before=0 AND lane='local' AND seq<:before {{gate}} ORDER BY seq LIMIT 1))
AND NOT EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_active
  WHERE state IN ('loading', 'working') AND iif(lane='local', 0, seq)=0)
RETURNING tries, {COLUMNS}"""  # noqa: S608 constants only
CLAIM: Final = _CLAIM.format(gate="")
CLAIM_ADMITTED: Final = _CLAIM.format(gate=_ADMITTED)
# The same where only jobs of some load keys may be begun at all, however they stand to the gate.
CLAIM_NEAR: Final = f"""
UPDATE jobs SET state='loading', attempts=attempts+1, tries=tries+1, claimed_at=:now, owner=:owner
WHERE seq = (SELECT min((SELECT seq FROM jobs INDEXED BY jobs_ready_key
    WHERE state='queued' AND not_before=0 AND lane='local' AND load_key=near.value AND seq<:before {_ADMITTED}
    ORDER BY seq LIMIT 1))
  FROM json_each(:near) AS near)
AND NOT EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_active
  WHERE state IN ('loading', 'working') AND iif(lane='local', 0, seq)=0)
RETURNING tries, {COLUMNS}"""  # noqa: S608 constants only
CLAIM_REMOTE: Final = f"""
UPDATE jobs SET state='loading', attempts=attempts+1, tries=tries+1, claimed_at=:now, owner=:owner
WHERE seq = (SELECT seq FROM jobs INDEXED BY jobs_ready
  WHERE state='queued' AND not_before=0 AND lane='remote' AND seq<:before ORDER BY seq LIMIT 1)
RETURNING tries, {COLUMNS}"""  # noqa: S608 constants only
# Where some of them may not be begun now: one probe for each load key that may.
CLAIM_REMOTE_OPEN: Final = f"""
UPDATE jobs SET state='loading', attempts=attempts+1, tries=tries+1, claimed_at=:now, owner=:owner
WHERE seq = (SELECT min((SELECT seq FROM jobs INDEXED BY jobs_ready_key
    WHERE state='queued' AND not_before=0 AND lane='remote' AND load_key=open.value AND seq<:before
    ORDER BY seq LIMIT 1))
  FROM json_each(:open) AS open)
RETURNING tries, {COLUMNS}"""  # noqa: S608 constants only
HEAD_OPEN: Final = """
SELECT min((SELECT seq FROM jobs INDEXED BY jobs_ready_key
  WHERE state='queued' AND not_before=0 AND lane='remote' AND load_key=open.value ORDER BY seq LIMIT 1))
FROM json_each(?) AS open"""
HEAD: Final = """
SELECT seq FROM jobs INDEXED BY jobs_ready WHERE state='queued' AND not_before=0 AND lane=? ORDER BY seq LIMIT 1"""
# The same of the local lane while the gate holds some of its load keys.
HEAD_NOT_HELD: Final = """
SELECT seq FROM jobs INDEXED BY jobs_ready WHERE state='queued' AND not_before=0 AND lane='local'
AND (override='gate' OR load_key NOT IN (SELECT value FROM json_each(?))) ORDER BY seq LIMIT 1"""
# The same where only some of them may be begun at all.
HEAD_NEAR: Final = """
SELECT min((SELECT seq FROM jobs INDEXED BY jobs_ready_key
  WHERE state='queued' AND not_before=0 AND lane='local' AND load_key=near.value
  AND (override='gate' OR load_key NOT IN (SELECT value FROM json_each(:held))) ORDER BY seq LIMIT 1))
FROM json_each(:near) AS near"""
CLAIM_CHOSEN: Final = """
UPDATE OR FAIL jobs SET state='loading', attempts=attempts+1, tries=tries+1, claimed_at=?, owner=?
WHERE seq=? AND state='queued' AND not_before=0
AND NOT EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_active
  WHERE state IN ('loading', 'working') AND iif(lane='local', 0, seq)=0)"""
PAYLOAD: Final = "SELECT headers, body FROM payloads WHERE seq=?"

NOTE_WORKING: Final = """
UPDATE OR FAIL jobs SET state='working', first_byte_at=? WHERE seq=? AND owner=? AND state='loading'"""

# A job somebody asked to cancel ends as cancelled, unless it is done; what it came to stands with its attempt then.
FINISH: Final = """
UPDATE OR FAIL jobs SET owner=NULL, finished_at=?, status=?, stats=?, bytes=bytes+?,
  first_byte_at=coalesce(first_byte_at, ?), state=?, error_code=?, error=?
WHERE seq=? AND owner=? AND state IN ('loading', 'working') AND (cancel_requested=0 OR ?)"""
FINISH_CANCELLED: Final = """
UPDATE OR FAIL jobs SET owner=NULL, finished_at=?, status=?, stats=?, bytes=bytes+?,
  first_byte_at=coalesce(first_byte_at, ?), state='cancelled', error_code='cancelled', error=NULL
WHERE seq=? AND owner=? AND state IN ('loading', 'working')"""
KEEP_RESULT: Final = "INSERT INTO results (seq, status, headers, enc, complete, body) VALUES (?, ?, ?, ?, ?, ?)"
HAND_BACK: Final = """
UPDATE jobs SET
  state=iif(cancel_requested, 'cancelled', 'queued'),
  finished_at=iif(cancel_requested, :at, NULL),
  not_before=iif(cancel_requested, 0, :not_before),
  error_code=iif(cancel_requested, 'cancelled', :error_code),
  error=iif(cancel_requested, NULL, :error),
  owner=NULL, first_byte_at=NULL, attempts=attempts-:uncounted, crashes=crashes+:crash
WHERE seq=:seq AND owner=:owner AND state IN ('loading', 'working')
RETURNING state"""
END_ATTEMPT: Final = """
INSERT INTO earlier_attempts (seq, n, owner, started_at, ended_at, outcome, error_code, error)
SELECT seq, tries, :owner, claimed_at, :at, :outcome, :error_code, :error FROM jobs WHERE seq=:seq"""
STATE: Final = "SELECT state FROM jobs WHERE seq=?"

CANCEL: Final = """
UPDATE jobs SET
  state=iif(state='queued', 'cancelled', state),
  finished_at=iif(state='queued', :at, NULL),
  error_code=iif(state='queued', 'cancelled', error_code),
  cancel_requested=1, not_before=0, idem_key=NULL
WHERE id=:id AND state IN ('queued', 'loading', 'working')
RETURNING state"""
# Those of one load key, that can never be begun here.
REFUSE: Final = """
UPDATE jobs INDEXED BY jobs_ready_key SET
  state='failed', finished_at=:at, error_code=:error_code, error=:error, idem_key=NULL
WHERE state='queued' AND not_before=0 AND lane='local' AND load_key=:load_key AND override IS NULL
RETURNING id"""
# Whoever began it has looked already, or was held: only one that waits can still pass.
OVERRIDE: Final = "UPDATE jobs SET override=? WHERE id=? AND state='queued'"
DETACH: Final = "UPDATE jobs SET mode='detached' WHERE id=? AND finished_at IS NULL"
STATE_OF_ID: Final = "SELECT state FROM jobs WHERE id=?"

# Slots, whose holders live on.
TAKE_OVER: Final = """
UPDATE jobs INDEXED BY jobs_active SET owner=:owner
WHERE state IN ('loading', 'working') AND owner<>:owner AND path='/slots'"""
ACTIVE: Final = f"""
SELECT {COLUMNS} FROM jobs INDEXED BY jobs_active WHERE state IN ('loading', 'working')"""  # noqa: S608 constants only
RECOVER_ATTEMPTS: Final = """
INSERT INTO earlier_attempts (seq, n, owner, started_at, ended_at, outcome)
SELECT seq, tries, owner, claimed_at, :now, 'crashed' FROM jobs INDEXED BY jobs_active
WHERE state IN ('loading', 'working') AND owner<>:owner"""
# A load key with the mark of a remote API is a job that may have been billed.
RECOVER: Final = """
UPDATE jobs INDEXED BY jobs_active SET
  state=CASE WHEN cancel_requested THEN 'cancelled' WHEN attempts>=max_attempts OR load_key>='@' AND load_key<'A'
    THEN 'failed' ELSE 'queued' END,
  finished_at=iif(cancel_requested OR attempts>=max_attempts OR load_key>='@' AND load_key<'A', :now, NULL),
  error_code=CASE WHEN cancel_requested THEN 'cancelled' WHEN load_key>='@' AND load_key<'A' THEN 'maybe_billed'
    ELSE 'interrupted' END,
  error=CASE WHEN cancel_requested THEN NULL WHEN load_key>='@' AND load_key<'A'
    THEN 'foreman ended while the request was at the remote; it may have been billed and is not sent again'
    ELSE 'foreman ended while the job was in flight' END,
  owner=NULL, first_byte_at=NULL
WHERE state IN ('loading', 'working') AND owner<>:owner"""
DROP_ATTACHED: Final = """
UPDATE jobs SET state='cancelled', finished_at=:now, not_before=0, idem_key=NULL, error_code='restarted',
  error='foreman was restarted while the client waited'
WHERE mode='attached' AND seq IN (
  SELECT seq FROM jobs INDEXED BY jobs_ready WHERE state='queued' AND not_before=0
  UNION ALL SELECT seq FROM jobs INDEXED BY jobs_delayed WHERE state='queued' AND not_before>0)"""

KEEP: Final = "UPDATE jobs SET kept=:kept WHERE id=:id"
FINISHED_BYTES: Final = "SELECT coalesce(sum(bytes), 0) FROM jobs WHERE finished_at IS NOT NULL AND kept=0"
OLDEST_FINISHED: Final = """
SELECT seq, finished_at, bytes FROM jobs WHERE finished_at IS NOT NULL AND kept=0
ORDER BY finished_at, seq LIMIT ?"""
FORGET: Final = "DELETE FROM jobs WHERE seq IN (SELECT value FROM json_each(?))"
FORGET_ONE: Final = "DELETE FROM jobs WHERE id=? AND finished_at IS NOT NULL"

PAUSE: Final = "INSERT INTO meta (name, value) VALUES ('paused', ?) ON CONFLICT DO NOTHING"
RESUME: Final = "DELETE FROM meta WHERE name='paused'"
PAUSED: Final = "SELECT count(*) FROM meta WHERE name='paused'"

KEEP_SAMPLE: Final = """
INSERT OR FAIL INTO samples (load_key, model, load_ms, run_ms, output_tokens, at)
SELECT load_key, model, ?, ?, ?, ? FROM jobs WHERE seq=?"""
_PLACES: Final = "SELECT *, row_number() OVER (PARTITION BY load_key ORDER BY n DESC) AS place FROM samples"
TRIM_SAMPLES: Final = f"DELETE FROM samples WHERE n IN (SELECT n FROM ({_PLACES}) WHERE place>?)"  # noqa: S608 constants only
TRIM_ALL: Final = "DELETE FROM samples WHERE n<=(SELECT n FROM samples ORDER BY n DESC LIMIT 1 OFFSET ?)"
SAMPLES: Final = f"""
SELECT load_key, model, load_ms, run_ms, output_tokens, at FROM ({_PLACES}) WHERE place<=? ORDER BY n"""  # noqa: S608 constants only

KEEP_FORECAST: Final = """
INSERT INTO forecasts (at, load_key, basis, expected, size, size_vram, context, automatic)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
TRIM_FORECASTS_OF_KEY: Final = """
DELETE FROM forecasts WHERE load_key=:load_key
AND n<=(SELECT n FROM forecasts WHERE load_key=:load_key ORDER BY n DESC LIMIT 1 OFFSET :kept)"""
TRIM_FORECASTS: Final = "DELETE FROM forecasts WHERE n<=(SELECT n FROM forecasts ORDER BY n DESC LIMIT 1 OFFSET ?)"
FORECASTS: Final = """
SELECT at, load_key, basis, expected, size, size_vram, context, automatic FROM forecasts ORDER BY n DESC LIMIT ?"""

JOB: Final = f"SELECT {COLUMNS} FROM jobs WHERE id=?"  # noqa: S608 constants only
ANSWER: Final = """
SELECT r.status, r.headers, r.enc, r.complete, r.body FROM jobs AS j JOIN results AS r USING (seq) WHERE j.id=?"""
# The view of the same name, for one job.
ATTEMPTS: Final = """
SELECT a.n, a.started_at, a.ended_at, a.outcome, a.error_code, a.error
FROM jobs AS j JOIN earlier_attempts AS a USING (seq) WHERE j.id=:id
UNION ALL SELECT tries, claimed_at, finished_at, iif(finished_at IS NULL, NULL, state),
  iif(finished_at IS NULL, NULL, error_code), iif(finished_at IS NULL, NULL, error) FROM jobs
WHERE id=:id AND tries>(SELECT coalesce(max(n), 0) FROM earlier_attempts WHERE earlier_attempts.seq=jobs.seq)
ORDER BY 1"""
PAYLOAD_OF_ID: Final = """
SELECT j.path, p.headers, p.body FROM jobs AS j JOIN payloads AS p USING (seq) WHERE j.id=?"""
BY_SEQ: Final = f"SELECT {COLUMNS} FROM jobs WHERE seq IN (SELECT value FROM json_each(?))"  # noqa: S608 constants only

REPEATABLE: Final = f"""
SELECT req_hash, {COLUMNS} FROM jobs INDEXED BY jobs_repeatable
WHERE state='queued' AND req_hash IS NOT NULL"""  # noqa: S608 constants only

# One text for each index that can lead: whose jobs, of which model, in which states. What the index does not lead to
# is told from its other columns, so that a row is read only to be shown.
_SHOWN: Final = f"""
SELECT {COLUMNS} FROM jobs WHERE seq IN ({{}} ORDER BY seq DESC LIMIT :limit) ORDER BY seq DESC"""  # noqa: S608 constants only
LIST_OF_CLIENT: Final = _SHOWN.format("""
SELECT seq FROM jobs INDEXED BY jobs_by_client
WHERE client=:client AND seq<:before AND created_at>=:since AND (:model IS NULL OR model=:model)""")
LIST_OF_MODEL: Final = _SHOWN.format("""
SELECT seq FROM jobs INDEXED BY jobs_by_model WHERE model=:model AND seq<:before AND created_at>=:since""")
# Merged as they come: one arm for each state there is, empty where it is not asked for.
_OF_STATE: Final = """
SELECT seq FROM jobs INDEXED BY jobs_by_state WHERE state=:state{} AND seq<:before AND created_at>=:since
AND (:client IS NULL OR client=:client) AND (:model IS NULL OR model=:model)"""
LIST_OF_STATES: Final = _SHOWN.format(" UNION ALL ".join(map(_OF_STATE.format, range(len(JobState)))))

WAITING: Final = """
SELECT seq, model, load_key FROM jobs INDEXED BY jobs_ready
WHERE state='queued' AND not_before=0 AND lane=:lane
UNION ALL SELECT seq, model, load_key FROM jobs INDEXED BY jobs_delayed
WHERE state='queued' AND not_before>0 AND not_before<=:now AND lane=:lane
ORDER BY seq LIMIT :limit"""
# The load keys of jobs that are ready, the one whose oldest job is oldest first.
READY_KEYS: Final = """
SELECT load_key FROM (
  SELECT load_key, min(seq) AS head FROM jobs INDEXED BY jobs_ready_key
  WHERE state='queued' AND not_before=0 AND lane='local' GROUP BY load_key
  UNION ALL SELECT load_key, seq FROM jobs INDEXED BY jobs_delayed
  WHERE state='queued' AND not_before>0 AND not_before<=:now AND lane='local')
GROUP BY load_key ORDER BY min(head) LIMIT :limit"""
DELAYED: Final = f"""
SELECT {COLUMNS} FROM jobs INDEXED BY jobs_delayed
WHERE state='queued' AND not_before>0 AND not_before>:now
ORDER BY not_before, seq LIMIT :limit"""  # noqa: S608 constants only

# Only the ready ones can be many at once without a row being read: all that is asked for stands in their index.
DEPTH: Final = """
SELECT load_key, count(*) FROM jobs INDEXED BY jobs_ready_key
WHERE state='queued' AND not_before=0 AND lane=:lane GROUP BY load_key
UNION ALL SELECT load_key, count(*) FROM jobs INDEXED BY jobs_delayed
WHERE state='queued' AND not_before>0 AND lane=:lane GROUP BY load_key"""
NEXT_DUE: Final = "SELECT min(not_before) FROM jobs INDEXED BY jobs_delayed WHERE state='queued' AND not_before>0"
OLDEST_QUEUED: Final = """
SELECT min(created_at) FROM (
  SELECT (SELECT created_at FROM jobs INDEXED BY jobs_ready
          WHERE state='queued' AND not_before=0 AND lane=lanes.column1 ORDER BY seq LIMIT 1) AS created_at
  FROM (VALUES ('local'), ('remote')) AS lanes
  UNION ALL SELECT created_at FROM jobs INDEXED BY jobs_delayed WHERE state='queued' AND not_before>0)"""
# Of each lane and model; a job that is delayed and was never tried does not wait yet. The bare column beside min() is
# that of the row which has the minimum.
OLDEST_BY_MODEL: Final = """
SELECT lane, model, min(created_at) FROM (
  SELECT lane, model, created_at, min(seq) FROM jobs INDEXED BY jobs_ready_model
  WHERE state='queued' AND not_before=0 GROUP BY lane, model
  UNION ALL SELECT lane, model, created_at, 0 FROM jobs INDEXED BY jobs_delayed
  WHERE state='queued' AND not_before>0 AND tries>0)
GROUP BY lane, model"""
