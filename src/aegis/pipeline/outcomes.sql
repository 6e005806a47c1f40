-- name: decision
-- A decision row with what its outcome needs, and the outcome or late rows that it has already.
SELECT e.seq, e.ts, e.agent, e.team, e.user_id, e.session, e.tool, e.verdict, e.outcome_due, b.body,
       (SELECT o.seq FROM log.entries o WHERE o.tenant = e.tenant AND o.of_seq = e.seq AND o.kind = 'outcome') AS outcome
  FROM log.entries e LEFT JOIN log.bodies b ON b.tenant = e.tenant AND b.seq = e.seq
 WHERE e.tenant = $1 AND e.rid = $2 AND e.kind = 'decision'

-- name: decision_at
-- The same, by sequence number.
SELECT e.seq, e.rid, e.ts, e.agent, e.team, e.user_id, e.session, e.tool, e.verdict, e.outcome_due, b.body,
       (SELECT o.seq FROM log.entries o WHERE o.tenant = e.tenant AND o.of_seq = e.seq AND o.kind = 'outcome') AS outcome
  FROM log.entries e LEFT JOIN log.bodies b ON b.tenant = e.tenant AND b.seq = e.seq
 WHERE e.tenant = $1 AND e.seq = $2 AND e.kind = 'decision'

-- name: body
-- The body of one row.
SELECT body FROM log.bodies WHERE tenant = $1 AND seq = $2

-- name: late
-- Whether a late outcome came already.
SELECT seq FROM log.entries WHERE tenant = $1 AND of_seq = $2 AND kind = 'late'

-- name: overdue
-- Decisions of all tenants whose outcome is overdue.
SELECT tenant, seq FROM log.overdue($1, $2)
