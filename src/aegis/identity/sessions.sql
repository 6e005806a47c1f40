-- name: open
-- A session of one agent; answers when it began, in microseconds.
INSERT INTO control.sessions (tenant, id, agent, team, user_id, user_known, user_groups, intent, tools, metadata,
                              opened_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $10::jsonb, $11)
RETURNING (extract(epoch FROM created_at) * 1000000)::bigint;

-- name: find
-- One session, with the times of its beginning and its last call in microseconds.
SELECT agent, team, user_id, user_known, user_groups, intent, tools, metadata, opened_by, ended_at IS NOT NULL AS ended,
       (extract(epoch FROM created_at) * 1000000)::bigint AS created_at,
       (extract(epoch FROM last_call_at) * 1000000)::bigint AS last_call_at
  FROM control.sessions WHERE tenant = $1 AND id = $2;

-- name: touch
-- There was a call in this session.
UPDATE control.sessions SET last_call_at = greatest(last_call_at, to_timestamp($3::bigint / 1000000.0))
 WHERE tenant = $1 AND id = $2 AND ended_at IS NULL;

-- name: end
-- Ends a session, once; answers its id.
UPDATE control.sessions SET ended_at = now() WHERE tenant = $1 AND id = $2 AND ended_at IS NULL RETURNING id;

-- name: tell_ended
-- Lets every process know.
INSERT INTO control.ended_sessions (tenant, id) VALUES ($1, $2) ON CONFLICT DO NOTHING;
