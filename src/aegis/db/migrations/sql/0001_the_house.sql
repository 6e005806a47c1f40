-- Every table of Aegis at its first version. PostgreSQL 15 to 18.
--
-- Three schemas: control (what people set up), log (what happened; append only), work (queues).
-- Every key begins with the tenant. Row-level security is forced everywhere; a connection sees the tenant named in
-- the transaction's setting aegis.tenant and nothing else.
--
-- Logins: the owner runs this file; aegis_app is what every process of Aegis uses at run time;
-- aegis_log has no login and owns the one function through which log rows come into being.

CREATE SCHEMA control;
CREATE SCHEMA log;
CREATE SCHEMA work;
GRANT USAGE ON SCHEMA control, log, work TO aegis_app;
GRANT USAGE, CREATE ON SCHEMA log TO aegis_log;
GRANT USAGE ON SCHEMA control, work TO aegis_log;

-- ------------------------------------------------------------------ who and what

CREATE TABLE control.installation (
    only_one    boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    name        text NOT NULL,                -- the origins' host part, fixed at the first start
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE control.organisations (
    id          text PRIMARY KEY,
    name        text NOT NULL
);

CREATE TABLE control.tenants (
    id            text PRIMARY KEY,
    organisation  text NOT NULL REFERENCES control.organisations,
    name          text NOT NULL,
    status        text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    label_key     bytea NOT NULL CHECK (octet_length(label_key) = 32),
    version       bigint NOT NULL DEFAULT 1,  -- grows with every change of what the tenant has set up
    created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE control.teams (
    tenant text NOT NULL REFERENCES control.tenants, id text NOT NULL, name text NOT NULL,
    version bigint NOT NULL DEFAULT 0, gone boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, id)
);

CREATE TABLE control.users (
    tenant text NOT NULL REFERENCES control.tenants, id text NOT NULL,
    email text NOT NULL, role text NOT NULL, team text,
    password_hash text,                       -- argon2id; null: no password sign-on
    version bigint NOT NULL DEFAULT 0, gone boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, id)
);
-- Sign-on names no tenant, so an address belongs to one person of the whole installation.
CREATE UNIQUE INDEX users_email ON control.users (lower(email)) WHERE NOT gone;

CREATE TABLE control.agents (
    tenant text NOT NULL REFERENCES control.tenants, id text NOT NULL,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'quarantined', 'retired')),
    owner text, team text, model text,
    labels jsonb NOT NULL DEFAULT '{}', workspace text, environment text,
    secret_digest bytea,                      -- for POST /v1/auth/token
    version bigint NOT NULL DEFAULT 0, gone boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX agents_name ON control.agents (tenant, name) WHERE NOT gone;

CREATE TABLE control.keys (
    tenant text NOT NULL REFERENCES control.tenants, id text NOT NULL,
    name text NOT NULL DEFAULT '', digest bytea NOT NULL, role text NOT NULL, subject text NOT NULL,
    agent text, team text, user_id text, revoked_at timestamptz,
    version bigint NOT NULL DEFAULT 0, gone boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, id)
);

CREATE TABLE control.issuers (
    tenant text NOT NULL REFERENCES control.tenants, id text NOT NULL,
    issuer text NOT NULL, jwks_uri text NOT NULL, audience text NOT NULL, max_role text NOT NULL,
    role_claim text, agent_claim text, algorithms text[] NOT NULL DEFAULT '{RS256,ES256}',
    version bigint NOT NULL DEFAULT 0, gone boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX issuers_issuer ON control.issuers (issuer) WHERE NOT gone;   -- an issuer belongs to one tenant

CREATE TABLE control.tools (
    tenant text NOT NULL REFERENCES control.tenants, name text NOT NULL,
    body jsonb NOT NULL,                      -- API.md: PUT /v1/tools/{name}
    pinned text,
    version bigint NOT NULL DEFAULT 0, gone boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name)
);

CREATE TABLE control.tool_pins (              -- trust on first use: one definition per agent and tool
    tenant text NOT NULL REFERENCES control.tenants, agent text NOT NULL, tool text NOT NULL,
    digest text NOT NULL, first_seen timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, agent, tool)
);

CREATE TABLE control.upstreams (
    tenant text NOT NULL REFERENCES control.tenants, name text NOT NULL,
    body jsonb NOT NULL,                      -- API.md: PUT /v1/upstreams/{name}
    version bigint NOT NULL DEFAULT 0, gone boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name)
);

CREATE TABLE control.settings (
    tenant text NOT NULL REFERENCES control.tenants, name text NOT NULL DEFAULT 'settings',
    body jsonb NOT NULL DEFAULT '{}',
    version bigint NOT NULL DEFAULT 0, gone boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant, name)
);

CREATE TABLE control.quotas (
    tenant text NOT NULL REFERENCES control.tenants, scope text NOT NULL,
    body jsonb NOT NULL,
    version bigint NOT NULL DEFAULT 0, gone boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant, scope)
);

CREATE TABLE control.contracts (
    tenant text NOT NULL REFERENCES control.tenants, agent text NOT NULL,
    body jsonb NOT NULL,                      -- API.md: PUT /v1/contracts/{agent_id}
    version bigint NOT NULL DEFAULT 0, gone boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant, agent)
);

CREATE TABLE control.bundles (                -- content-addressed and never changed
    tenant text NOT NULL REFERENCES control.tenants, digest text NOT NULL,
    archive bytea NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, digest)
);

CREATE TABLE control.policies (
    tenant text NOT NULL REFERENCES control.tenants, digest text NOT NULL,
    status text NOT NULL CHECK (status IN ('draft', 'shadow', 'active', 'retired', 'suspended')),
    activated_at timestamptz,
    version bigint NOT NULL DEFAULT 0, gone boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant, digest),
    FOREIGN KEY (tenant, digest) REFERENCES control.bundles
);
CREATE UNIQUE INDEX policies_active ON control.policies (tenant) WHERE status = 'active' AND NOT gone;

CREATE TABLE control.kill_switches (
    tenant text NOT NULL REFERENCES control.tenants, scope text NOT NULL,
    epoch bigint NOT NULL, reason text NOT NULL, engaged_by text NOT NULL,
    engaged_at timestamptz NOT NULL DEFAULT now(),
    released_at timestamptz, released_by text,
    version bigint NOT NULL DEFAULT 0, gone boolean NOT NULL DEFAULT false,   -- gone: released
    PRIMARY KEY (tenant, scope)
);

CREATE TABLE control.revocations (
    tenant text NOT NULL REFERENCES control.tenants, credential text NOT NULL,
    expires_at timestamptz,                   -- when the credential itself ends; null: never
    version bigint NOT NULL DEFAULT 0, gone boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, credential)
);

CREATE TABLE control.sessions (
    tenant text NOT NULL REFERENCES control.tenants, id text NOT NULL,
    agent text NOT NULL, team text, user_id text, user_known text CHECK (user_known IN ('verified', 'asserted')),
    user_groups text[] NOT NULL DEFAULT '{}', intent text, tools jsonb, metadata jsonb NOT NULL DEFAULT '{}',
    labels jsonb NOT NULL DEFAULT '{}',       -- information-flow labels: what the session has read so far
    opened_by text NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
    last_call_at timestamptz NOT NULL DEFAULT now(), ended_at timestamptz,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE control.ended_sessions (         -- apart, so that views follow a short table
    tenant text NOT NULL REFERENCES control.tenants, id text NOT NULL,
    version bigint NOT NULL DEFAULT 0, gone boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, id)
);

CREATE TABLE control.approvals (
    tenant text NOT NULL REFERENCES control.tenants, id text NOT NULL,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'approved', 'denied', 'expired')),
    decision_id text NOT NULL, action_digest text NOT NULL, policy text NOT NULL DEFAULT '',
    agent text NOT NULL, team text, user_id text, session text, tool text NOT NULL,
    action jsonb NOT NULL,                    -- the parsed action, for people
    requested_by text NOT NULL, decided_by text, reason text,
    uses_left integer NOT NULL DEFAULT 0, expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), decided_at timestamptz,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE control.secrets (                -- credentials of upstreams, encrypted outside the database
    tenant text NOT NULL REFERENCES control.tenants, ref text NOT NULL,
    sealed bytea NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, ref)
);

CREATE TABLE control.idempotency (
    tenant text NOT NULL REFERENCES control.tenants, agent text NOT NULL, endpoint text NOT NULL, key text NOT NULL,
    request_digest bytea NOT NULL,
    state text NOT NULL CHECK (state IN ('judging', 'running', 'done')),
    process uuid NOT NULL, decision_id text NOT NULL,
    status integer, answer bytea,
    created_at timestamptz NOT NULL DEFAULT now(), expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, agent, endpoint, key)
);
CREATE INDEX idempotency_expiry ON control.idempotency (expires_at);

-- ------------------------------------------------------------------ processes of the installation

CREATE TABLE control.processes (
    id uuid PRIMARY KEY, role text NOT NULL, host text NOT NULL, pid integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(), lease_until timestamptz NOT NULL
);

CREATE TABLE control.kill_acks (
    tenant text NOT NULL REFERENCES control.tenants, scope text NOT NULL, epoch bigint NOT NULL, process uuid NOT NULL,
    acknowledged_at timestamptz NOT NULL DEFAULT clock_timestamp(), cancelled integer NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, scope, epoch, process)
);

-- ------------------------------------------------------------------ the log
--
-- Rows come in through log.append alone, which knows the tenant by its head: the head refers to the tenant, so the
-- tables behind it need not check it again for each row.

CREATE TABLE log.heads (
    tenant      text PRIMARY KEY REFERENCES control.tenants,
    origin      text NOT NULL UNIQUE,
    size        bigint NOT NULL DEFAULT 0,
    prev        bytea NOT NULL,               -- leaf hash of the newest entry; 32 zero bytes before genesis
    frontier    bytea NOT NULL DEFAULT '',    -- roots of the perfect subtrees from left to right, 32 bytes each
    last_ts     bigint NOT NULL DEFAULT 0,    -- microseconds; never goes back
    cum         jsonb NOT NULL DEFAULT '{}',
    kill_epoch  bigint NOT NULL DEFAULT 0,
    writers     text[] NOT NULL DEFAULT '{}'  -- kids whose key.add stands in this log
);

CREATE TABLE log.agent_heads (
    tenant text NOT NULL, agent text NOT NULL,
    last_seq bigint NOT NULL, ordinal bigint NOT NULL,
    PRIMARY KEY (tenant, agent)
);

CREATE TABLE log.entries (
    tenant text NOT NULL, seq bigint NOT NULL,
    entry bytea NOT NULL, leaf bytea NOT NULL,
    kind text NOT NULL, ts bigint NOT NULL, rid text NOT NULL,
    agent text, team text, user_id text, session text, tool text, verdict text, rule text, risk integer,
    codes text[], of_seq bigint, outcome_due bigint,
    PRIMARY KEY (tenant, seq)
);
CREATE INDEX entries_rid ON log.entries (tenant, rid);
CREATE UNIQUE INDEX entries_one_outcome ON log.entries (tenant, of_seq) WHERE kind = 'outcome';

CREATE TABLE log.open_intents (               -- allowed decisions whose outcome is still owed; short by nature
    tenant text NOT NULL, seq bigint NOT NULL, due bigint NOT NULL,
    PRIMARY KEY (tenant, seq)
);
CREATE INDEX open_intents_due ON log.open_intents (due);

CREATE TABLE log.bodies (                     -- flight record, openings, the searchable copy: what erasure may take
    tenant text NOT NULL, seq bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (tenant, seq)
);

CREATE TABLE log.checkpoints (
    tenant text NOT NULL REFERENCES control.tenants, size bigint NOT NULL,
    root bytea NOT NULL, note text NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, size)
);

CREATE TABLE log.tiles (                      -- full tiles only: 256 hashes of 32 bytes (C2SP tlog-tiles)
    tenant text NOT NULL REFERENCES control.tenants, level smallint NOT NULL, index bigint NOT NULL,
    hashes bytea NOT NULL CHECK (octet_length(hashes) = 8192),
    PRIMARY KEY (tenant, level, index)
);

CREATE TABLE log.usage (
    tenant text NOT NULL, seq bigint NOT NULL, ts bigint NOT NULL,
    agent text, team text, user_id text, session text, tool text,
    requests integer NOT NULL, micro_usd bigint NOT NULL, input_tokens bigint NOT NULL, output_tokens bigint NOT NULL,
    PRIMARY KEY (tenant, seq)
);
CREATE INDEX usage_by_agent ON log.usage (tenant, agent, ts);

CREATE TABLE work.outbox (
    tenant text NOT NULL, seq bigint NOT NULL, kind text NOT NULL,
    PRIMARY KEY (tenant, seq)
);

CREATE TABLE work.cursors (                   -- how far each follower of the log has come
    tenant text NOT NULL REFERENCES control.tenants, follower text NOT NULL, size bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, follower)
);

CREATE TABLE work.baselines (
    tenant text NOT NULL REFERENCES control.tenants, agent text NOT NULL, team text,
    body jsonb NOT NULL, size bigint NOT NULL,   -- learnt from the log up to this size
    PRIMARY KEY (tenant, agent)
);

CREATE TABLE work.jobs (
    tenant text NOT NULL REFERENCES control.tenants, id text NOT NULL, kind text NOT NULL,
    body jsonb NOT NULL DEFAULT '{}', run_at timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 0, failed text, done_at timestamptz,
    PRIMARY KEY (tenant, id)
);

-- ------------------------------------------------------------------ changes are seen

CREATE FUNCTION control.touch() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before text := current_setting('aegis.tenant', true);
BEGIN
    -- The tenant's row is locked until commit, so versions become visible in their order.
    PERFORM set_config('aegis.tenant', NEW.tenant, true);
    UPDATE control.tenants SET version = version + 1 WHERE id = NEW.tenant RETURNING version INTO NEW.version;
    PERFORM set_config('aegis.tenant', coalesce(before, ''), true);
    PERFORM pg_notify('aegis_control', NEW.tenant || ' ' || NEW.version);
    RETURN NEW;
END $$;

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['teams', 'users', 'agents', 'keys', 'issuers', 'tools', 'upstreams', 'settings', 'quotas',
                             'contracts', 'policies', 'kill_switches', 'revocations', 'ended_sessions']
    LOOP
        EXECUTE format('CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON control.%I
                        FOR EACH ROW EXECUTE FUNCTION control.touch()', t);
        EXECUTE format('CREATE INDEX %I ON control.%I (tenant, version)', t || '_version', t);
    END LOOP;
END $$;

CREATE FUNCTION control.tenant_touch() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.version = OLD.version THEN
        NEW.version := OLD.version + 1;
        PERFORM pg_notify('aegis_control', NEW.id || ' ' || NEW.version);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER touch BEFORE UPDATE ON control.tenants FOR EACH ROW EXECUTE FUNCTION control.tenant_touch();

-- ------------------------------------------------------------------ one tenant sees itself

DO $$
DECLARE r record; tenant_column text;
BEGIN
    FOR r IN SELECT schemaname, tablename FROM pg_tables
             WHERE schemaname IN ('control', 'log', 'work')
               AND tablename NOT IN ('installation', 'organisations', 'processes')
    LOOP
        tenant_column := CASE WHEN r.tablename = 'tenants' THEN 'id' ELSE 'tenant' END;
        EXECUTE format('ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY', r.schemaname, r.tablename);
        EXECUTE format('ALTER TABLE %I.%I FORCE ROW LEVEL SECURITY', r.schemaname, r.tablename);
        EXECUTE format('CREATE POLICY one_tenant ON %I.%I USING (%I = current_setting(''aegis.tenant'', true))
                        WITH CHECK (%I = current_setting(''aegis.tenant'', true))',
                       r.schemaname, r.tablename, tenant_column, tenant_column);
    END LOOP;
END $$;

GRANT SELECT, INSERT ON control.installation, control.organisations TO aegis_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON control.processes TO aegis_app;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA control TO aegis_app;
GRANT DELETE ON control.idempotency, control.processes, control.secrets TO aegis_app;
REVOKE UPDATE ON control.installation, control.bundles FROM aegis_app;
GRANT SELECT ON ALL TABLES IN SCHEMA log TO aegis_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA work TO aegis_app;
GRANT INSERT ON log.checkpoints, log.tiles TO aegis_app;

-- aegis_log crosses tenants, inside its functions only.
CREATE POLICY appender ON log.heads TO aegis_log USING (true) WITH CHECK (true);
CREATE POLICY appender ON log.agent_heads TO aegis_log USING (true) WITH CHECK (true);
CREATE POLICY appender ON log.entries TO aegis_log USING (true) WITH CHECK (true);
CREATE POLICY appender ON log.open_intents TO aegis_log USING (true) WITH CHECK (true);
CREATE POLICY appender ON log.bodies TO aegis_log USING (true) WITH CHECK (true);
CREATE POLICY appender ON log.usage TO aegis_log USING (true) WITH CHECK (true);
CREATE POLICY appender ON work.outbox TO aegis_log USING (true) WITH CHECK (true);
CREATE POLICY appender ON control.idempotency TO aegis_log USING (true) WITH CHECK (true);
CREATE POLICY appender ON control.tenants FOR SELECT TO aegis_log USING (true);
CREATE POLICY appender ON control.users FOR SELECT TO aegis_log USING (true);
CREATE POLICY appender ON control.issuers FOR SELECT TO aegis_log USING (true);
CREATE POLICY appender ON control.agents FOR SELECT TO aegis_log USING (true);
GRANT SELECT, INSERT, UPDATE ON log.heads, log.agent_heads TO aegis_log;
GRANT SELECT, INSERT ON log.entries, log.bodies, log.usage TO aegis_log;
GRANT SELECT, INSERT, DELETE ON log.open_intents TO aegis_log;
GRANT SELECT, INSERT, UPDATE, DELETE ON work.outbox TO aegis_log;
GRANT SELECT, UPDATE ON control.idempotency TO aegis_log;
GRANT SELECT ON control.tenants, control.users, control.issuers, control.agents TO aegis_log;
