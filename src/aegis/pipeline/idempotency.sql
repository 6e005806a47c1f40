-- name: insert
-- Begins a key, where there is none: answers its state, or nothing where the key is known.
INSERT INTO control.idempotency (tenant, agent, endpoint, key, request_digest, state, process, decision_id, expires_at)
VALUES ($1, $2, $3, $4, $5, 'judging', $6, $7, clock_timestamp() + make_interval(secs => $8))
    ON CONFLICT (tenant, agent, endpoint, key) DO NOTHING
RETURNING state;

-- name: lock
-- What is known of a key, held until the transaction ends: whether its owner still lives, and of the decision that its
-- answer tells, whether it allowed and whether its outcome is in the log.
SELECT i.request_digest, i.state, i.process, i.decision_id, i.status, i.answer, i.expires_at <= clock_timestamp() AS is_over,
       EXISTS (SELECT FROM control.processes p WHERE p.id = i.process AND p.lease_until > clock_timestamp()) AS is_owned,
       coalesce(d.verdict IN ('allow', 'monitor'), false) AS may_run,
       EXISTS (SELECT FROM log.entries o
                WHERE o.tenant = i.tenant AND o.of_seq = d.seq AND o.kind IN ('outcome', 'late')) AS has_outcome
  FROM control.idempotency i
  LEFT JOIN LATERAL (SELECT e.seq, e.verdict FROM log.entries e
                      WHERE e.tenant = i.tenant AND e.rid = i.decision_id AND e.kind = 'decision'
                      ORDER BY e.seq LIMIT 1) d ON true
 WHERE i.tenant = $1 AND i.agent = $2 AND i.endpoint = $3 AND i.key = $4
   FOR UPDATE OF i;

-- name: take_over
-- Begins a known key anew.
UPDATE control.idempotency
   SET request_digest = $5, state = 'judging', process = $6, decision_id = $7, status = NULL, answer = NULL,
       created_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => $8)
 WHERE tenant = $1 AND agent = $2 AND endpoint = $3 AND key = $4;

-- name: run
-- The action is about to run: from here on the key is never begun anew. Answers nothing where the key is not ours.
UPDATE control.idempotency SET state = 'running'
 WHERE tenant = $1 AND agent = $2 AND endpoint = $3 AND key = $4 AND process = $5 AND decision_id = $6
   AND state = 'judging'
RETURNING state;

-- name: finish
-- The answer, for whoever asks with the key again.
UPDATE control.idempotency SET state = 'done', status = $7, answer = $8
 WHERE tenant = $1 AND agent = $2 AND endpoint = $3 AND key = $4 AND process = $5 AND decision_id = $6;

-- name: abandon
-- Forgets a key whose call ended without an answer before anything ran.
DELETE FROM control.idempotency
 WHERE tenant = $1 AND agent = $2 AND endpoint = $3 AND key = $4 AND process = $5 AND decision_id = $6
   AND state = 'judging';

-- name: give_up
-- Ends a key whose action ran and whose answer was lost: done, with no answer to give.
UPDATE control.idempotency SET state = 'done', status = NULL, answer = NULL
 WHERE tenant = $1 AND agent = $2 AND endpoint = $3 AND key = $4 AND process = $5 AND decision_id = $6
   AND state = 'running';

-- name: sweep
-- Forgets expired keys of one tenant, at most $2 at a time.
DELETE FROM control.idempotency i
 USING (SELECT x.agent, x.endpoint, x.key FROM control.idempotency x
         WHERE x.tenant = $1 AND x.expires_at <= clock_timestamp() ORDER BY x.expires_at LIMIT $2 FOR UPDATE SKIP LOCKED) t
 WHERE i.tenant = $1 AND i.agent = t.agent AND i.endpoint = t.endpoint AND i.key = t.key;
