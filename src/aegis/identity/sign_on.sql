-- name: user_by_email
-- Who signs on with the address $1: at most one person of the whole installation.
SELECT tenant, id, role, password_hash FROM control.user_by_email($1);

-- name: agent_secret
-- The digest of an agent's secret, and the tenant's key for it.
SELECT a.secret_digest, t.label_key
  FROM control.agents a JOIN control.tenants t ON t.id = a.tenant
 WHERE a.tenant = $1 AND a.id = $2 AND NOT a.gone;

-- name: revoke
-- The credential $2 is good for nothing any more. $3: when it ends by itself, in microseconds; null: never.
INSERT INTO control.revocations (tenant, credential, expires_at)
VALUES ($1, $2, to_timestamp($3::bigint / 1000000.0))
ON CONFLICT (tenant, credential) DO UPDATE SET gone = false,
       expires_at = CASE WHEN control.revocations.expires_at IS NULL OR excluded.expires_at IS NULL THEN NULL
                         ELSE greatest(control.revocations.expires_at, excluded.expires_at) END;

-- name: revoke_key
-- An API key that was revoked, which its list shows; answers its id, once.
UPDATE control.keys SET revoked_at = coalesce(revoked_at, now()) WHERE tenant = $1 AND id = $2 AND NOT gone
RETURNING id;
