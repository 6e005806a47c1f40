-- name: see
-- From here to the end of the transaction the connection sees tenant $1.
SELECT set_config('aegis.tenant', $1, true);

-- name: seen
-- The tenant that the connection sees.
SELECT coalesce(current_setting('aegis.tenant', true), '');

-- name: install
-- Names the installation, once: answers nothing when it has a name.
INSERT INTO control.installation (name) VALUES ($1) ON CONFLICT DO NOTHING RETURNING name;

-- name: installation
-- The installation's name.
SELECT name FROM control.installation;

-- name: add_organisation
-- An organisation: what bills and people may belong to together.
INSERT INTO control.organisations (id, name) VALUES ($1, $2);

-- name: add_tenant
-- A tenant with nothing in it.
INSERT INTO control.tenants (id, organisation, name, label_key) VALUES ($1, $2, $3, $4);

-- name: open_log
-- The empty head of the tenant's log.
SELECT log.open_head($1, $2);

-- name: organisation_of
-- The organisation of tenant $1.
SELECT organisation FROM control.tenants WHERE id = $1;

-- name: label_key
-- What makes the tenant's pseudonyms and digests.
SELECT label_key FROM control.tenants WHERE id = $1;

-- name: add_settings
-- The tenant's settings, all by default.
INSERT INTO control.settings (tenant) VALUES ($1);

-- name: add_key
-- An API key, by its digest.
INSERT INTO control.keys (tenant, id, name, digest, role, subject, agent, team, user_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: add_user
-- A person who may sign on.
INSERT INTO control.users (tenant, id, email, role, team, password_hash) VALUES ($1, $2, $3, $4, $5, $6);

-- name: add_agent
-- An agent; its secret by digest.
INSERT INTO control.agents (tenant, id, name, owner, team, model, labels, workspace, environment, secret_digest)
VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8, $9, $10);
