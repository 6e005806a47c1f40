-- name: pin
-- The digest that this agent first saw for this tool: what is given, where there was none.
WITH fresh AS (
    INSERT INTO control.tool_pins (tenant, agent, tool, digest) VALUES ($1, $2, $3, $4)
    ON CONFLICT DO NOTHING RETURNING digest
)
SELECT digest FROM fresh
UNION ALL
SELECT digest FROM control.tool_pins WHERE tenant = $1 AND agent = $2 AND tool = $3
LIMIT 1
