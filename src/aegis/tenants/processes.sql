-- name: join
-- This process is there, until the lease ends ($5, seconds).
INSERT INTO control.processes (id, role, host, pid, lease_until)
VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5))
ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until;

-- name: sweep
-- Forgets processes that have been silent for an hour.
DELETE FROM control.processes WHERE lease_until < clock_timestamp() - interval '1 hour';

-- name: leave
-- This process is gone; nobody needs to wait for its lease.
DELETE FROM control.processes WHERE id = $1;

-- name: live
-- The processes of role $1 whose lease has not ended.
SELECT id, role, host, pid FROM control.processes WHERE role = $1 AND lease_until > clock_timestamp() ORDER BY started_at, id;
