-- name: poll
-- Every tenant with the version of its set-up and its kill epoch.
SELECT id, version, kill_epoch FROM control.all_tenants();
