-- The functions through which the log grows, and the few look-ups that cross tenants. Owned by aegis_log.

-- Locks the heads of some tenants in sorted order and returns them with the links of some agents (parallel arrays).
CREATE FUNCTION log.lock_heads(p_tenants text[], p_agent_tenants text[], p_agents text[])
RETURNS TABLE (tenant text, origin text, size bigint, prev bytea, frontier bytea, last_ts bigint, cum jsonb,
               kill_epoch bigint, writers text[], agents text[], last_seqs bigint[], ordinals bigint[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM 1 FROM log.heads h WHERE h.tenant = ANY (p_tenants) ORDER BY h.tenant FOR UPDATE;
    RETURN QUERY
    SELECT h.tenant, h.origin, h.size, h.prev, h.frontier, h.last_ts, h.cum, h.kill_epoch, h.writers,
           a.agents, a.last_seqs, a.ordinals
      FROM log.heads h
      LEFT JOIN LATERAL (
           SELECT array_agg(x.agent) agents, array_agg(x.last_seq) last_seqs, array_agg(x.ordinal) ordinals
             FROM log.agent_heads x
             JOIN unnest(p_agent_tenants, p_agents) AS w(t, a) ON w.t = x.tenant AND w.a = x.agent
            WHERE x.tenant = h.tenant) a ON true
     WHERE h.tenant = ANY (p_tenants)
     ORDER BY h.tenant;
END $$;

-- Appends rows to the logs of one or more tenants, all or nothing. The only way into log.entries.
--
-- p_heads: per tenant the head that the caller built upon (size, epoch) and the head afterwards (hashes as hex).
-- p_rows: the look-up columns of each row; `n` is its place in p_entries and p_bodies. p_links: the newest row of each
-- agent that has one here. Text for the small columns: one value to take apart is cheaper on both sides than forty arrays.
-- Returns the leaf hashes as the database computes them, in the order of p_entries; NULL, with nothing written, when a
-- head is not the one that the caller built upon.
CREATE FUNCTION log.append(
    p_heads json, p_rows json, p_entries bytea[], p_bodies bytea[], p_links json, p_writer text)
RETURNS bytea[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- A few rows meet tables that grow: always by their index, whatever stale statistics say.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    matching bigint;
    asked bigint;
    leaves bytea[];
    ended record;
BEGIN
    PERFORM 1 FROM log.heads h
      WHERE h.tenant IN (SELECT e.tenant FROM json_to_recordset(p_heads) AS e(tenant text))
      ORDER BY h.tenant FOR UPDATE;
    SELECT count(*), count(h.tenant) INTO asked, matching
      FROM json_to_recordset(p_heads) AS e(tenant text, size bigint, epoch bigint)
      LEFT JOIN log.heads h ON h.tenant = e.tenant AND h.size = e.size AND h.kill_epoch = e.epoch;
    IF matching <> asked THEN
        RETURN NULL;
    END IF;

    WITH rows AS (
        SELECT r.*, p_entries[r.n] AS entry, p_bodies[r.n] AS body,
               sha256('\x00'::bytea || p_entries[r.n]) AS leaf
          FROM json_to_recordset(p_rows)
               AS r(n integer, tenant text, seq bigint, kind text, ts bigint, rid text, agent text, team text,
                    user_id text, session text, tool text, verdict text, rule text, risk integer, codes text,
                    of_seq bigint, due bigint, requests integer, micro_usd bigint, input_tokens bigint,
                    output_tokens bigint)
    ), written AS (
        INSERT INTO log.entries (tenant, seq, entry, leaf, kind, ts, rid, agent, team, user_id, session, tool, verdict,
                                 rule, risk, codes, of_seq, outcome_due)
        SELECT tenant, seq, entry, leaf, kind, ts, rid, agent, team, user_id, session, tool, verdict, rule, risk,
               string_to_array(codes, ','), of_seq, due
          FROM rows
    ), queued AS (
        INSERT INTO work.outbox (tenant, seq, kind) SELECT tenant, seq, kind FROM rows
    ), opened AS (
        INSERT INTO log.open_intents (tenant, seq, due) SELECT tenant, seq, due FROM rows WHERE due IS NOT NULL
    ), kept AS (
        INSERT INTO log.bodies (tenant, seq, body) SELECT tenant, seq, body FROM rows WHERE body IS NOT NULL
    ), billed AS (
        INSERT INTO log.usage (tenant, seq, ts, agent, team, user_id, session, tool, requests, micro_usd, input_tokens,
                               output_tokens)
        SELECT tenant, seq, ts, agent, team, user_id, session, tool, requests, micro_usd, input_tokens, output_tokens
          FROM rows WHERE requests IS NOT NULL
    ), linked AS (
        INSERT INTO log.agent_heads AS a (tenant, agent, last_seq, ordinal)
        SELECT * FROM json_to_recordset(p_links) AS l(tenant text, agent text, last_seq bigint, ordinal bigint)
            ON CONFLICT (tenant, agent) DO UPDATE SET last_seq = excluded.last_seq, ordinal = excluded.ordinal
    ), moved AS (
        UPDATE log.heads h
           SET size = n.new_size, prev = decode(n.prev, 'hex'), frontier = decode(n.frontier, 'hex'), last_ts = n.ts,
               cum = n.cum, kill_epoch = n.new_epoch,
               writers = CASE WHEN p_writer = ANY (h.writers) THEN h.writers ELSE h.writers || p_writer END
          FROM json_to_recordset(p_heads)
               AS n(tenant text, new_size bigint, prev text, frontier text, ts bigint, cum jsonb, new_epoch bigint)
         WHERE h.tenant = n.tenant
    )
    SELECT array_agg(leaf ORDER BY n) INTO leaves FROM rows;
    FOR ended IN SELECT r.tenant, r.of_seq FROM json_to_recordset(p_rows) AS r(kind text, tenant text, of_seq bigint)
                  WHERE r.kind = 'outcome' LOOP
        DELETE FROM log.open_intents o WHERE o.tenant = ended.tenant AND o.seq = ended.of_seq;
    END LOOP;
    RETURN leaves;
END $$;

-- The empty head of a new tenant's log.
CREATE FUNCTION log.open_head(p_tenant text, p_origin text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO log.heads (tenant, origin, prev) VALUES (p_tenant, p_origin, decode(repeat('00', 32), 'hex'))
$$;

-- The logs' news, for the worker: at most p_limit rows, removed from the queue.
CREATE FUNCTION work.take_outbox(p_limit integer) RETURNS TABLE (tenant text, seq bigint, kind text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM work.outbox o
     USING (SELECT x.tenant, x.seq FROM work.outbox x ORDER BY x.tenant, x.seq LIMIT p_limit FOR UPDATE SKIP LOCKED) t
     WHERE o.tenant = t.tenant AND o.seq = t.seq
    RETURNING o.tenant, o.seq, o.kind
$$;

-- Decisions whose outcome is overdue, over all tenants, for the worker.
CREATE FUNCTION log.overdue(p_now bigint, p_limit integer) RETURNS TABLE (tenant text, seq bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT o.tenant, o.seq FROM log.open_intents o WHERE o.due < p_now ORDER BY o.due LIMIT p_limit
$$;

-- All tenants with the version of what they have set up: for the poll, and for the operator's list.
CREATE FUNCTION control.all_tenants()
RETURNS TABLE (id text, organisation text, name text, status text, version bigint, kill_epoch bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.id, t.organisation, t.name, t.status, t.version, h.kill_epoch
      FROM control.tenants t LEFT JOIN log.heads h ON h.tenant = t.id ORDER BY t.id
$$;

-- Who signs on with this address: the only look-up of a person without a tenant.
CREATE FUNCTION control.user_by_email(p_email text)
RETURNS TABLE (tenant text, id text, role text, password_hash text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT u.tenant, u.id, u.role, u.password_hash FROM control.users u
     WHERE lower(u.email) = lower(p_email) AND NOT u.gone
$$;

-- The tenant that an issuer belongs to.
CREATE FUNCTION control.tenant_of_issuer(p_issuer text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT i.tenant FROM control.issuers i WHERE i.issuer = p_issuer AND NOT i.gone
$$;

DO $$
DECLARE f regprocedure;
BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p
              WHERE p.prosecdef AND p.pronamespace IN ('log'::regnamespace, 'work'::regnamespace, 'control'::regnamespace)
                AND p.proname NOT IN ('touch')
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO aegis_app', f);
    END LOOP;
    GRANT CREATE ON SCHEMA control, work TO aegis_log;
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p
              WHERE p.prosecdef AND p.pronamespace IN ('log'::regnamespace, 'work'::regnamespace, 'control'::regnamespace)
                AND p.proname NOT IN ('touch')
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO aegis_log', f);
    END LOOP;
    REVOKE CREATE ON SCHEMA control, work, log FROM aegis_log;
END $$;
