-- name: find_secret
-- The sealed value of one name; nothing where there is none.
SELECT sealed FROM control.secrets WHERE tenant = $1 AND ref = $2;

-- name: put_secret
-- Stores or replaces a sealed value.
INSERT INTO control.secrets (tenant, ref, sealed) VALUES ($1, $2, $3)
    ON CONFLICT (tenant, ref) DO UPDATE SET sealed = excluded.sealed, created_at = now();

-- name: remove_secret
-- Forgets a sealed value.
DELETE FROM control.secrets WHERE tenant = $1 AND ref = $2;
