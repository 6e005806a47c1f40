-- name: find_pending
-- The undecided approval of exactly this action, asked for by this agent in this session.
SELECT * FROM control.approvals
 WHERE tenant = $1 AND agent = $2 AND action_digest = $3 AND session IS NOT DISTINCT FROM $4
   AND status = 'pending' AND expires_at > $5
 ORDER BY created_at DESC LIMIT 1;

-- name: one_at_a_time
-- Held until the transaction ends, so that two calls at once don't ask for the same twice.
SELECT pg_advisory_xact_lock(hashtextextended($1, 0));

-- name: count_pending
-- How many questions of this agent wait for an answer.
SELECT count(*) FROM control.approvals WHERE tenant = $1 AND agent = $2 AND status = 'pending' AND expires_at > $3;

-- name: insert
-- Asks: a pending approval.
INSERT INTO control.approvals (tenant, id, decision_id, action_digest, policy, agent, team, user_id, session, tool, action,
                               requested_by, expires_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
RETURNING *;

-- name: find
-- One approval.
SELECT * FROM control.approvals WHERE tenant = $1 AND id = $2;

-- name: lock
-- One approval, for its decision.
SELECT a.*, g.owner AS agent_owner FROM control.approvals a
  LEFT JOIN control.agents g ON g.tenant = a.tenant AND g.id = a.agent
 WHERE a.tenant = $1 AND a.id = $2 FOR UPDATE OF a;

-- name: decide
-- A person's decision, once.
UPDATE control.approvals
   SET status = $3, decided_by = $4, reason = $5, uses_left = $6, expires_at = $7, decided_at = $8
 WHERE tenant = $1 AND id = $2 AND status = 'pending'
RETURNING *;

-- name: use
-- Takes one use, where exactly this agent has one left for exactly this action; nothing otherwise.
UPDATE control.approvals SET uses_left = uses_left - 1
 WHERE tenant = $1 AND id = $2 AND agent = $3 AND action_digest = $4 AND status = 'approved' AND uses_left > 0
   AND expires_at > $5
RETURNING *;

-- name: give_back
-- Returns one use that led to nothing.
UPDATE control.approvals SET uses_left = uses_left + 1
 WHERE tenant = $1 AND id = $2 AND agent = $3 AND status = 'approved';

-- name: page
-- The approvals before ($3, $4) in time and id, newest first; of one status as of $6 and of one agent, where given.
SELECT * FROM control.approvals
 WHERE tenant = $1 AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4))
   AND ($2::text IS NULL
        OR CASE WHEN status IN ('pending', 'approved') AND expires_at <= $6::timestamptz THEN 'expired' ELSE status END = $2)
   AND ($7::text IS NULL OR agent = $7)
 ORDER BY created_at DESC, id DESC LIMIT $5;

-- name: decision_row
-- Where the decision that asked stands in the log.
SELECT seq FROM log.entries WHERE tenant = $1 AND rid = $2 AND kind = 'decision' ORDER BY seq LIMIT 1;
