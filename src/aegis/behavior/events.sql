-- name: cursor
-- How far this tenant's baselines have come; 0 at first. One follower at a time: the row is locked.
INSERT INTO work.cursors (tenant, follower) VALUES ($1, $2)
ON CONFLICT (tenant, follower) DO UPDATE SET size = work.cursors.size
RETURNING size

-- name: advance
-- Remembers how far it has come.
UPDATE work.cursors SET size = $3 WHERE tenant = $1 AND follower = $2

-- name: allowed
-- Entries from a sequence number on, in order, with the bodies of the allowed decisions among them.
SELECT e.seq, e.ts, e.agent, e.team, e.tool, e.kind = 'decision' AND e.verdict IN ('allow', 'monitor') AS is_allowed,
       b.body
  FROM log.entries e
  LEFT JOIN log.bodies b ON b.tenant = e.tenant AND b.seq = e.seq AND e.kind = 'decision' AND e.verdict IN ('allow', 'monitor')
 WHERE e.tenant = $1 AND e.seq >= $2 ORDER BY e.seq LIMIT $3

-- name: news
-- Takes what the logs put into the outbox.
SELECT DISTINCT tenant FROM work.take_outbox($1)
