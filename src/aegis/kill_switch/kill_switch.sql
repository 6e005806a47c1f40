-- name: hold_tenant
-- Locks the tenant's row before its log's head: the order in which every change takes them. Not FOR UPDATE: rows that
-- are appended meanwhile hold the head and refer to the tenant, and the two would wait for each other.
SELECT id FROM control.tenants WHERE id = $1 FOR NO KEY UPDATE;

-- name: engage
-- The switch of scope $2 under epoch $3; engaging again renews it.
INSERT INTO control.kill_switches (tenant, scope, epoch, reason, engaged_by)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant, scope) DO UPDATE SET epoch = excluded.epoch, reason = excluded.reason,
       engaged_by = excluded.engaged_by, engaged_at = now(), released_at = NULL, released_by = NULL, gone = false;

-- name: release
-- Ends a switch; answers its epoch, or nothing where none is engaged.
UPDATE control.kill_switches SET gone = true, released_at = now(), released_by = $3
 WHERE tenant = $1 AND scope = $2 AND NOT gone RETURNING epoch;

-- name: version
-- The version of what the tenant has set up.
SELECT version FROM control.tenants WHERE id = $1;

-- name: engaged
-- The switches that are engaged, newest first.
SELECT scope, epoch, reason, engaged_by, (extract(epoch FROM engaged_at) * 1000000)::bigint AS engaged_at
  FROM control.kill_switches WHERE tenant = $1 AND NOT gone ORDER BY epoch DESC LIMIT $2;

-- name: acknowledge
-- This process obeyed: nothing of the scope runs in it any more.
INSERT INTO control.kill_acks (tenant, scope, epoch, process, cancelled) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant, scope, epoch, process) DO UPDATE SET cancelled = control.kill_acks.cancelled + excluded.cancelled;

-- name: acknowledgements
-- Who obeyed a switch, and when.
SELECT k.process, k.cancelled, (extract(epoch FROM k.acknowledged_at) * 1000000)::bigint AS acknowledged_at, p.host, p.pid
  FROM control.kill_acks k LEFT JOIN control.processes p ON p.id = k.process
 WHERE k.tenant = $1 AND k.scope = $2 AND k.epoch = $3 ORDER BY k.acknowledged_at, k.process;

-- name: waiting_for
-- The gateways that hold a lease and have not obeyed the switch.
SELECT p.id, p.host, p.pid FROM control.processes p
 WHERE p.role = $4 AND p.lease_until > clock_timestamp()
   AND NOT EXISTS (SELECT FROM control.kill_acks k
                    WHERE k.tenant = $1 AND k.scope = $2 AND k.epoch = $3 AND k.process = p.id)
 ORDER BY p.started_at, p.id;
