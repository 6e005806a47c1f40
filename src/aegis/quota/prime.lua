-- Puts counts and open reservations from the log back into an emptied store; the larger number wins everywhere.
--
-- KEYS  1 primed  2 day  3 month  4 held  5 open  6 due
-- ARGV  1 epoch  2 JSON: {day: [[field, count], ...], month: [...], open: [[id, due, amount, [field, ...]], ...], last}
--
-- Pieces may come in any number; only the one with `last` lets takes through. Returns 0 when it was primed already.

local DAY_TTL, MONTH_TTL, PRIMED_TTL = 3 * 86400, 35 * 86400, 40 * 86400
local call = redis.call
local piece = cjson.decode(ARGV[2])

if call('EXISTS', KEYS[1]) == 1 then return 0 end

local function raise(key, counts, ttl)
  for _, c in ipairs(counts) do
    if (tonumber(call('HGET', key, c[1]) or 0) or 0) < c[2] then call('HSET', key, c[1], c[2]) end
  end
  call('EXPIRE', key, ttl)
end
raise(KEYS[2], piece.day, DAY_TTL)
raise(KEYS[3], piece.month, MONTH_TTL)

for _, r in ipairs(piece.open) do
  if call('HSETNX', KEYS[5], r[1], cmsgpack.pack({o = 1, a = r[3], f = r[4]})) == 1 then
    call('ZADD', KEYS[6], r[2], r[1])
    for _, field in ipairs(r[4]) do call('HINCRBY', KEYS[4], field, r[3]) end
  end
end
call('EXPIRE', KEYS[4], MONTH_TTL)
call('EXPIRE', KEYS[5], MONTH_TTL)
call('EXPIRE', KEYS[6], MONTH_TTL)
if piece.last then call('SET', KEYS[1], ARGV[1], 'EX', PRIMED_TTL) end
return 1
