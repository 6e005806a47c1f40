-- name: baselines_of
-- The baselines of the agents $1 as text, with the size of the log that they were learnt up to.
SELECT agent, body::text AS body, size FROM work.baselines WHERE agent = ANY ($1)

-- name: page
-- All baselines of the tenant after agent $1, at most $2.
SELECT agent, body::text AS body FROM work.baselines WHERE agent > $1 ORDER BY agent LIMIT $2

-- name: write
-- Keeps the baselines unless the table has newer ones (parallel arrays); answers the agents that were kept.
INSERT INTO work.baselines AS b (tenant, agent, team, body, size)
SELECT $1, n.agent, n.team, n.body::jsonb, n.size
  FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[]) AS n (agent, team, body, size)
    ON CONFLICT (tenant, agent) DO UPDATE SET team = excluded.team, body = excluded.body, size = excluded.size
 WHERE b.size < excluded.size
RETURNING b.agent
