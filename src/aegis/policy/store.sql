-- name: keep
-- Keeps an archive under its digest; the same bytes again change nothing.
INSERT INTO control.bundles (tenant, digest, archive) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING

-- name: draft
-- A kept bundle becomes a draft, unless it is known in some state already; answers its state.
WITH fresh AS (
    INSERT INTO control.policies (tenant, digest, status) VALUES ($1, $2, 'draft')
    ON CONFLICT DO NOTHING RETURNING status
)
SELECT status FROM fresh
UNION ALL
SELECT status FROM control.policies WHERE tenant = $1 AND digest = $2
LIMIT 1

-- name: fetch
-- The archive of a digest.
SELECT archive FROM control.bundles WHERE tenant = $1 AND digest = $2

-- name: lock
-- One change of a tenant's policies at a time.
SELECT pg_advisory_xact_lock(hashtextextended('policies ' || $1, 0))

-- name: retire
-- What is active serves no more; answers its digest.
UPDATE control.policies SET status = 'retired' WHERE tenant = $1 AND status = 'active' AND NOT gone RETURNING digest

-- name: activate
-- A known bundle becomes the active one; answers its digest, or nothing when it is not known.
UPDATE control.policies SET status = 'active', activated_at = clock_timestamp()
WHERE tenant = $1 AND digest = $2 AND NOT gone RETURNING digest

-- name: shadow
-- A known bundle that is not active is evaluated beside it, without a say.
UPDATE control.policies SET status = 'shadow'
WHERE tenant = $1 AND digest = $2 AND status <> 'active' AND NOT gone RETURNING digest

-- name: before
-- The bundle that was active last before the one that is.
SELECT digest FROM control.policies
WHERE tenant = $1 AND status = 'retired' AND activated_at IS NOT NULL AND NOT gone
ORDER BY activated_at DESC LIMIT 1

-- name: all_of
-- A tenant's bundles and their states, the newest first.
SELECT p.digest, p.status, p.activated_at, b.created_at
FROM control.policies p JOIN control.bundles b USING (tenant, digest)
WHERE p.tenant = $1 AND NOT p.gone
ORDER BY b.created_at DESC, p.digest LIMIT 500
