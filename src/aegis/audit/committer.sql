-- name: lock_heads
-- Locks the heads of tenants $1 (sorted) and reads them with the links of the agents ($2 tenants, $3 agents).
SELECT * FROM log.lock_heads($1, $2, $3)

-- name: one_change_at_a_time
-- Waits for the tenant's other changes; held until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('aegis change ' || $1, 0))

-- name: links
-- The links of some agents of one tenant, unlocked: good for building upon a head that is compared under the lock.
SELECT agent, last_seq, ordinal FROM log.agent_heads WHERE tenant = $1 AND agent = ANY ($2)

-- name: append
-- Appends the rows and moves the heads; NULL when a head has moved.
SELECT log.append($1, $2, $3, $4, $5, $6)

-- name: keep_checkpoint
-- Keeps a signed checkpoint; the first one of a size stands.
INSERT INTO log.checkpoints (tenant, size, root, note) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
