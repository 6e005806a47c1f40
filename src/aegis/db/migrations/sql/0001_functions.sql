-- The functions through which the log grows, and the few look-ups that cross tenants. Owned by aegis_log.

-- Locks the heads of some tenants in sorted order and returns them with the links of some agents (parallel arrays).
CREATE FUNCTION log.lock_heads(p_tenants text[], p_agent_tenants text[], p_agents text[])
RETURNS TABLE (tenant text, origin text, size bigint, prev bytea, frontier bytea, last_ts bigint, cum jsonb,
               kill_epoch bigint, writers text[], agents text[], last_seqs bigint[], ordinals bigint[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
-- p_tenants .. p_writers: per tenant (sorted) the head that the caller built upon and the head afterwards.
-- r_*: the rows. a_*: the newest row of each agent that has one here. u_*: usage.
-- Returns the leaf hashes as the database computes them, in the order of the rows; NULL, with nothing
-- written, when a head is not the one that the caller built upon.
CREATE FUNCTION log.append(
    p_tenants text[], p_sizes bigint[], p_epochs bigint[], p_new_sizes bigint[], p_new_prevs bytea[],
    p_new_frontiers bytea[], p_new_ts bigint[], p_new_cums text[], p_new_epochs bigint[], p_writer text,
    r_tenant text[], r_seq bigint[], r_entry bytea[], r_kind text[], r_ts bigint[], r_rid text[], r_agent text[],
    r_team text[], r_user text[], r_session text[], r_tool text[], r_verdict text[], r_rule text[], r_risk integer[],
    r_codes text[], r_of bigint[], r_due bigint[], r_body bytea[],
    r_requests integer[], r_micro_usd bigint[], r_input_tokens bigint[], r_output_tokens bigint[],
    a_tenant text[], a_agent text[], a_seq bigint[], a_ordinal bigint[])
RETURNS bytea[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    matching bigint;
    leaves bytea[];
BEGIN
    PERFORM 1 FROM log.heads h WHERE h.tenant = ANY (p_tenants) ORDER BY h.tenant FOR UPDATE;
    SELECT count(*) INTO matching
      FROM unnest(p_tenants, p_sizes, p_epochs) AS e(tenant, size, epoch)
      JOIN log.heads h ON h.tenant = e.tenant AND h.size = e.size AND h.kill_epoch = e.epoch;
    IF matching <> cardinality(p_tenants) THEN
        RETURN NULL;
    END IF;

    WITH rows AS (
        SELECT *, sha256('\x00'::bytea || r.entry) AS leaf
          FROM unnest(r_tenant, r_seq, r_entry, r_kind, r_ts, r_rid, r_agent, r_team, r_user, r_session, r_tool,
                      r_verdict, r_rule, r_risk, r_codes, r_of, r_due)
               WITH ORDINALITY AS r(tenant, seq, entry, kind, ts, rid, agent, team, user_id, session, tool,
                                    verdict, rule, risk, codes, of_seq, due, n)
    ), written AS (
        INSERT INTO log.entries (tenant, seq, entry, leaf, kind, ts, rid, agent, team, user_id, session, tool, verdict,
                                 rule, risk, codes, of_seq, outcome_due)
        SELECT tenant, seq, entry, leaf, kind, ts, rid, agent, team, user_id, session, tool, verdict, rule, risk,
               string_to_array(codes, ','), of_seq, due
          FROM rows
    ), queued AS (
        INSERT INTO work.outbox (tenant, seq, kind) SELECT tenant, seq, kind FROM rows
    )
    SELECT array_agg(leaf ORDER BY n) INTO leaves FROM rows;

    INSERT INTO log.open_intents (tenant, seq, due)
    SELECT d.tenant, d.seq, d.due FROM unnest(r_tenant, r_seq, r_due) AS d(tenant, seq, due) WHERE d.due IS NOT NULL;
    DELETE FROM log.open_intents o
     USING unnest(r_tenant, r_of, r_kind) AS d(tenant, of_seq, kind)
     WHERE d.kind = 'outcome' AND o.tenant = d.tenant AND o.seq = d.of_seq;

    INSERT INTO log.bodies (tenant, seq, body)
    SELECT b.tenant, b.seq, b.body FROM unnest(r_tenant, r_seq, r_body) AS b(tenant, seq, body)
     WHERE b.body IS NOT NULL;

    INSERT INTO log.usage (tenant, seq, ts, agent, team, user_id, session, tool, requests, micro_usd, input_tokens,
                           output_tokens)
    SELECT u.tenant, u.seq, u.ts, u.agent, u.team, u.user_id, u.session, u.tool, u.requests, u.micro_usd, u.input_tokens,
           u.output_tokens
      FROM unnest(r_tenant, r_seq, r_ts, r_agent, r_team, r_user, r_session, r_tool, r_requests, r_micro_usd,
                  r_input_tokens, r_output_tokens)
           AS u(tenant, seq, ts, agent, team, user_id, session, tool, requests, micro_usd, input_tokens, output_tokens)
     WHERE u.requests IS NOT NULL;

    INSERT INTO log.agent_heads AS a (tenant, agent, last_seq, ordinal)
    SELECT * FROM unnest(a_tenant, a_agent, a_seq, a_ordinal)
        ON CONFLICT (tenant, agent) DO UPDATE SET last_seq = excluded.last_seq, ordinal = excluded.ordinal;

    UPDATE log.heads h
       SET size = n.size, prev = n.prev, frontier = n.frontier, last_ts = n.ts, cum = n.cum::jsonb,
           kill_epoch = n.epoch,
           writers = CASE WHEN p_writer = ANY (h.writers) THEN h.writers ELSE h.writers || p_writer END
      FROM unnest(p_tenants, p_new_sizes, p_new_prevs, p_new_frontiers, p_new_ts, p_new_cums, p_new_epochs)
           AS n(tenant, size, prev, frontier, ts, cum, epoch)
     WHERE h.tenant = n.tenant;
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
