-- name: tenant_of_issuer
-- The tenant that the issuer named $1 belongs to.
SELECT control.tenant_of_issuer($1);
