-- name: load
-- What tenant $1 has set up, as far as it is newer than version $2: one statement, so one consistent snapshot.
SELECT 'tenant' AS kind, t.id AS key, t.version, false AS gone,
       jsonb_build_object('name', t.name, 'status', t.status, 'label_key', encode(t.label_key, 'hex'),
                          'kill_epoch', coalesce(h.kill_epoch, 0)) AS body
  FROM control.tenants t LEFT JOIN log.heads h ON h.tenant = t.id
 WHERE t.id = $1
UNION ALL
SELECT 'agents', id, version, gone,
       jsonb_build_object('name', name, 'status', status, 'owner', owner, 'team', team, 'model', model,
                          'labels', labels, 'workspace', workspace, 'environment', environment)
  FROM control.agents WHERE tenant = $1 AND version > $2
UNION ALL
SELECT 'tools', name, version, gone, jsonb_build_object('body', body, 'pinned', pinned)
  FROM control.tools WHERE tenant = $1 AND version > $2
UNION ALL
SELECT 'upstreams', name, version, gone, body FROM control.upstreams WHERE tenant = $1 AND version > $2
UNION ALL
SELECT 'quotas', scope, version, gone, body FROM control.quotas WHERE tenant = $1 AND version > $2
UNION ALL
SELECT 'contracts', agent, version, gone, body FROM control.contracts WHERE tenant = $1 AND version > $2
UNION ALL
SELECT 'settings', name, version, gone, body FROM control.settings WHERE tenant = $1 AND version > $2
UNION ALL
SELECT 'switches', scope, version, gone,
       jsonb_build_object('epoch', epoch, 'reason', reason,
                          'engaged_at', (extract(epoch FROM engaged_at) * 1000000)::bigint)
  FROM control.kill_switches WHERE tenant = $1 AND version > $2
UNION ALL
SELECT 'keys', id, version, gone,
       jsonb_build_object('digest', encode(digest, 'hex'), 'role', role, 'subject', subject, 'agent', agent,
                          'revoked', revoked_at IS NOT NULL)
  FROM control.keys WHERE tenant = $1 AND version > $2
UNION ALL
SELECT 'issuers', id, version, gone,
       jsonb_build_object('issuer', issuer, 'jwks_uri', jwks_uri, 'audience', audience, 'max_role', max_role,
                          'role_claim', role_claim, 'agent_claim', agent_claim, 'algorithms', to_jsonb(algorithms))
  FROM control.issuers WHERE tenant = $1 AND version > $2
UNION ALL
SELECT 'policies', digest, version, gone, jsonb_build_object('active', status = 'active')
  FROM control.policies WHERE tenant = $1 AND version > $2
UNION ALL
SELECT 'revocations', credential, version, gone,
       jsonb_build_object('until', (extract(epoch FROM expires_at) * 1000000)::bigint)
  FROM control.revocations
 WHERE tenant = $1 AND version > $2 AND (expires_at IS NULL OR expires_at > now())
UNION ALL
SELECT 'ended', id, version, gone, jsonb_build_object('at', (extract(epoch FROM created_at) * 1000000)::bigint)
  FROM control.ended_sessions
 WHERE tenant = $1 AND version > $2 AND created_at > now() - interval '20 minutes';
