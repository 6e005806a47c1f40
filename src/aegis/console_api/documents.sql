-- name: list_tools
-- A page of tools, by their key.
SELECT name AS key, body, pinned FROM control.tools WHERE tenant = $1 AND NOT gone AND name > $2 ORDER BY name LIMIT $3

-- name: get_tools
-- One of the tools, locked against another change.
SELECT name AS key, body, pinned FROM control.tools WHERE tenant = $1 AND name = $2 AND NOT gone FOR UPDATE

-- name: read_tools
-- One of the tools.
SELECT name AS key, body, pinned FROM control.tools WHERE tenant = $1 AND name = $2 AND NOT gone

-- name: put_tools
-- Writes it, new or not, with the digest of the definition that is pinned.
INSERT INTO control.tools (tenant, name, body, pinned) VALUES ($1, $2, $3::jsonb, $4)
ON CONFLICT (tenant, name) DO UPDATE SET body = excluded.body, pinned = excluded.pinned, gone = false

-- name: drop_tools
-- Takes it away; its row stays, so that every process hears of it.
UPDATE control.tools SET gone = true WHERE tenant = $1 AND name = $2 AND NOT gone RETURNING name

-- name: list_upstreams
-- A page of upstreams, by their key.
SELECT name AS key, body FROM control.upstreams WHERE tenant = $1 AND NOT gone AND name > $2 ORDER BY name LIMIT $3

-- name: get_upstreams
-- One of the upstreams, locked against another change.
SELECT name AS key, body FROM control.upstreams WHERE tenant = $1 AND name = $2 AND NOT gone FOR UPDATE

-- name: read_upstreams
-- One of the upstreams.
SELECT name AS key, body FROM control.upstreams WHERE tenant = $1 AND name = $2 AND NOT gone

-- name: put_upstreams
-- Writes it, new or not.
INSERT INTO control.upstreams (tenant, name, body) VALUES ($1, $2, $3::jsonb)
ON CONFLICT (tenant, name) DO UPDATE SET body = excluded.body, gone = false

-- name: drop_upstreams
-- Takes it away; its row stays, so that every process hears of it.
UPDATE control.upstreams SET gone = true WHERE tenant = $1 AND name = $2 AND NOT gone RETURNING name

-- name: list_quotas
-- A page of quotas, by their key.
SELECT scope AS key, body FROM control.quotas WHERE tenant = $1 AND NOT gone AND scope > $2 ORDER BY scope LIMIT $3

-- name: get_quotas
-- One of the quotas, locked against another change.
SELECT scope AS key, body FROM control.quotas WHERE tenant = $1 AND scope = $2 AND NOT gone FOR UPDATE

-- name: read_quotas
-- One of the quotas.
SELECT scope AS key, body FROM control.quotas WHERE tenant = $1 AND scope = $2 AND NOT gone

-- name: put_quotas
-- Writes it, new or not.
INSERT INTO control.quotas (tenant, scope, body) VALUES ($1, $2, $3::jsonb)
ON CONFLICT (tenant, scope) DO UPDATE SET body = excluded.body, gone = false

-- name: drop_quotas
-- Takes it away; its row stays, so that every process hears of it.
UPDATE control.quotas SET gone = true WHERE tenant = $1 AND scope = $2 AND NOT gone RETURNING scope

-- name: list_contracts
-- A page of contracts, by their key.
SELECT agent AS key, body FROM control.contracts WHERE tenant = $1 AND NOT gone AND agent > $2 ORDER BY agent LIMIT $3

-- name: get_contracts
-- One of the contracts, locked against another change.
SELECT agent AS key, body FROM control.contracts WHERE tenant = $1 AND agent = $2 AND NOT gone FOR UPDATE

-- name: read_contracts
-- One of the contracts.
SELECT agent AS key, body FROM control.contracts WHERE tenant = $1 AND agent = $2 AND NOT gone

-- name: put_contracts
-- Writes it, new or not.
INSERT INTO control.contracts (tenant, agent, body) VALUES ($1, $2, $3::jsonb)
ON CONFLICT (tenant, agent) DO UPDATE SET body = excluded.body, gone = false

-- name: drop_contracts
-- Takes it away; its row stays, so that every process hears of it.
UPDATE control.contracts SET gone = true WHERE tenant = $1 AND agent = $2 AND NOT gone RETURNING agent

-- name: settings
-- The tenant's settings as they were written.
SELECT body FROM control.settings WHERE tenant = $1 AND name = 'settings'

-- name: put_settings
-- Writes them.
UPDATE control.settings SET body = $2::jsonb WHERE tenant = $1 AND name = 'settings'

-- name: put_secret
-- Keeps a sealed secret.
INSERT INTO control.secrets (tenant, ref, sealed) VALUES ($1, $2, $3)
ON CONFLICT (tenant, ref) DO UPDATE SET sealed = excluded.sealed, created_at = now()

-- name: drop_secret
-- Forgets it.
DELETE FROM control.secrets WHERE tenant = $1 AND ref = $2 RETURNING ref

-- name: has_agent
-- Whether the tenant has this agent.
SELECT true FROM control.agents WHERE tenant = $1 AND id = $2 AND NOT gone

-- name: has_team
-- Whether the tenant has this team.
SELECT true FROM control.teams WHERE tenant = $1 AND id = $2 AND NOT gone
