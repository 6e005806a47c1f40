-- name: newest_seq
-- The tenant's newest usage row; null without any.
SELECT max(seq) FROM log.usage

-- name: ts_from_seq
-- The time of the first usage row at or after $1, which is never earlier than that of the rows before.
SELECT seq, ts FROM log.usage WHERE seq >= $1 ORDER BY seq LIMIT 1

-- name: totals
-- Requests and micro-dollars per scope in rows from $1 to $2: of the day from $3 to $4, and of the month from $5 to $6.
SELECT k.kind, k.name,
       coalesce(sum(u.requests) FILTER (WHERE u.ts >= $3 AND u.ts < $4), 0)::bigint AS day_requests,
       coalesce(sum(u.micro_usd) FILTER (WHERE u.ts >= $3 AND u.ts < $4), 0)::bigint AS day_micro_usd,
       sum(u.requests)::bigint AS month_requests,
       sum(u.micro_usd)::bigint AS month_micro_usd
  FROM log.usage u
 CROSS JOIN LATERAL (VALUES ('tenant', ''), ('agent', u.agent), ('team', u.team), ('tool', u.tool), ('user', u.user_id))
       AS k (kind, name)
 WHERE u.seq >= $1 AND u.seq <= $2 AND u.ts >= $5 AND u.ts < $6 AND k.name IS NOT NULL
 GROUP BY k.kind, k.name

-- name: open_reservations
-- Decisions after $1 that still owe their outcome, at most $2 of them, with the beginning of their bodies ($3 bytes).
SELECT o.seq, e.rid, substring(b.body from 1 for $3) AS body
  FROM log.open_intents o
  JOIN log.entries e ON e.tenant = o.tenant AND e.seq = o.seq
  JOIN log.bodies b ON b.tenant = o.tenant AND b.seq = o.seq
 WHERE o.seq > $1
 ORDER BY o.seq
 LIMIT $2
