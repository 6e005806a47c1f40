-- Adds the requests that a process let through while it couldn't reach the store. Not to a store that was rebuilt since:
-- the log, from which it was, has them.
--
-- KEYS  1 primed  2 day  3 month        ARGV  1 the epoch that the process knew  2 JSON: [[scope, requests], ...]
--
-- Returns 1 where they were added.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for _, c in ipairs(cjson.decode(ARGV[2])) do
  redis.call('HINCRBY', KEYS[2], c[1] .. '|r', c[2])
  redis.call('HINCRBY', KEYS[3], c[1] .. '|r', c[2])
end
redis.call('EXPIRE', KEYS[2], 3 * 86400)
redis.call('EXPIRE', KEYS[3], 35 * 86400)
return 1
