-- name: agents
-- A page of agents by id.
SELECT id, name, status, owner, team, model, labels, workspace, environment, created_at FROM control.agents
 WHERE tenant = $1 AND NOT gone AND id > $2 ORDER BY id LIMIT $3

-- name: agent
-- One agent.
SELECT id, name, status, owner, team, model, labels, workspace, environment, created_at FROM control.agents
 WHERE tenant = $1 AND id = $2 AND NOT gone FOR UPDATE

-- name: put_agent
-- Changes what may be changed of an agent.
UPDATE control.agents SET name = $3, status = $4, owner = $5, team = $6, model = $7, labels = $8::jsonb, workspace = $9,
       environment = $10
 WHERE tenant = $1 AND id = $2

-- name: teams
-- A page of teams by id.
SELECT id, name, created_at FROM control.teams WHERE tenant = $1 AND NOT gone AND id > $2 ORDER BY id LIMIT $3

-- name: team
-- One team.
SELECT id, name, created_at FROM control.teams WHERE tenant = $1 AND id = $2 AND NOT gone

-- name: add_team
-- A new team.
INSERT INTO control.teams (tenant, id, name) VALUES ($1, $2, $3)

-- name: keys
-- A page of keys by id; never their digests.
SELECT id, name, role, subject, agent, revoked_at, created_at FROM control.keys
 WHERE tenant = $1 AND NOT gone AND id > $2 ORDER BY id LIMIT $3

-- name: key
-- One key.
SELECT id, name, role, subject, agent, revoked_at, created_at FROM control.keys
 WHERE tenant = $1 AND id = $2 AND NOT gone

-- name: users
-- A page of people by id; never their passwords.
SELECT id, email, role, team, created_at FROM control.users WHERE tenant = $1 AND NOT gone AND id > $2 ORDER BY id LIMIT $3

-- name: user
-- One person.
SELECT id, email, role, team, created_at FROM control.users WHERE tenant = $1 AND id = $2 AND NOT gone

-- name: put_user
-- Changes a person's role, team or password.
UPDATE control.users SET role = $3, team = $4, password_hash = coalesce($5, password_hash) WHERE tenant = $1 AND id = $2

-- name: drop_user
-- Takes a person's access away.
UPDATE control.users SET gone = true WHERE tenant = $1 AND id = $2 AND NOT gone RETURNING id

-- name: issuers
-- A page of issuers by id.
SELECT id, issuer, jwks_uri, audience, max_role, role_claim, agent_claim, algorithms FROM control.issuers
 WHERE tenant = $1 AND NOT gone AND id > $2 ORDER BY id LIMIT $3

-- name: issuer
-- One issuer.
SELECT id, issuer, jwks_uri, audience, max_role, role_claim, agent_claim, algorithms FROM control.issuers
 WHERE tenant = $1 AND id = $2 AND NOT gone

-- name: put_issuer
-- Writes an issuer, new or not.
INSERT INTO control.issuers (tenant, id, issuer, jwks_uri, audience, max_role, role_claim, agent_claim, algorithms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (tenant, id) DO UPDATE SET issuer = excluded.issuer, jwks_uri = excluded.jwks_uri,
       audience = excluded.audience, max_role = excluded.max_role, role_claim = excluded.role_claim,
       agent_claim = excluded.agent_claim, algorithms = excluded.algorithms, gone = false

-- name: drop_issuer
-- Takes an issuer away.
UPDATE control.issuers SET gone = true WHERE tenant = $1 AND id = $2 AND NOT gone RETURNING id

-- name: tenants
-- All tenants of the installation.
SELECT id, organisation, name, status FROM control.all_tenants() WHERE id > $1 ORDER BY id LIMIT $2

-- name: see
-- From here on the transaction sees tenant $1.
SELECT set_config('aegis.tenant', $1, true)

-- name: put_tenant_status
-- Suspends a tenant or takes it up again.
UPDATE control.tenants SET status = $2 WHERE id = $1 RETURNING id, organisation, name, status
