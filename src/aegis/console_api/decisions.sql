-- name: page
-- A page of decisions, newest first; each filter that is null is none.
SELECT e.seq, e.ts, e.rid, e.kind, e.agent, e.team, e.user_id, e.session, e.tool, e.verdict, e.rule, e.risk, e.codes
  FROM log.entries e
 WHERE e.tenant = $1 AND e.kind IN ('decision', 'throttled') AND ($2::bigint IS NULL OR e.seq < $2)
   AND ($3::text IS NULL OR e.agent = $3) AND ($4::text IS NULL OR e.user_id = $4) AND ($5::text IS NULL OR e.tool = $5)
   AND ($6::text IS NULL OR e.verdict = $6) AND ($7::text IS NULL OR $7 = ANY (e.codes))
   AND ($8::text IS NULL OR e.session = $8) AND ($9::bigint IS NULL OR e.ts >= $9) AND ($10::bigint IS NULL OR e.ts < $10)
   AND ($11::integer IS NULL OR e.risk >= $11)
 ORDER BY e.seq DESC LIMIT $12

-- name: decision
-- One decision with its body.
SELECT e.seq, e.ts, e.rid, e.kind, e.agent, e.team, e.user_id, e.session, e.tool, e.verdict, e.rule, e.risk, e.codes,
       e.entry, e.leaf, b.body
  FROM log.entries e LEFT JOIN log.bodies b ON b.tenant = e.tenant AND b.seq = e.seq
 WHERE e.tenant = $1 AND e.rid = $2 AND e.kind IN ('decision', 'throttled')

-- name: outcomes
-- What came of it: the outcome row, and a late one.
SELECT e.seq, e.ts, e.kind, e.entry, b.body
  FROM log.entries e LEFT JOIN log.bodies b ON b.tenant = e.tenant AND b.seq = e.seq
 WHERE e.tenant = $1 AND e.of_seq = $2 AND e.kind IN ('outcome', 'late') ORDER BY e.seq

-- name: head
-- The end of the tenant's log.
SELECT origin, size, prev, frontier FROM log.heads WHERE tenant = $1

-- name: leaves
-- Leaf hashes from one sequence number up to another.
SELECT leaf FROM log.entries WHERE tenant = $1 AND seq >= $2 AND seq < $3 ORDER BY seq

-- name: entries
-- Entries from one sequence number up to another.
SELECT entry FROM log.entries WHERE tenant = $1 AND seq >= $2 AND seq < $3 ORDER BY seq

-- name: tile
-- A full tile.
SELECT hashes FROM log.tiles WHERE tenant = $1 AND level = $2 AND index = $3

-- name: keep_tile
-- Keeps a full tile; it never changes.
INSERT INTO log.tiles (tenant, level, index, hashes) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING

-- name: key_rows
-- The rows of the log that add and revoke keys, with the genesis.
SELECT seq, entry FROM log.entries WHERE tenant = $1 AND kind IN ('genesis', 'key.add', 'key.revoke') ORDER BY seq LIMIT 1000

-- name: news
-- What is new in the log from a sequence number on.
SELECT seq, ts, rid, kind, agent, tool, verdict, rule, risk, codes, of_seq,
       CASE WHEN kind NOT IN ('decision', 'throttled') THEN entry END AS entry FROM log.entries
 WHERE tenant = $1 AND seq > $2 AND kind IN ('decision', 'throttled', 'outcome', 'late', 'kill', 'approval', 'seal')
 ORDER BY seq LIMIT $3

-- name: newest_checkpoint
-- The size of the newest checkpoint that was kept.
SELECT max(size) FROM log.checkpoints WHERE tenant = $1

-- name: open_intents
-- How many outcomes are overdue.
SELECT count(*) FROM log.open_intents WHERE tenant = $1 AND due < $2
