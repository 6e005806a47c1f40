-- What a call really cost replaces what was reserved for it. Counts once, however often it is asked.
--
-- KEYS  1 open  2 due  3 held  4 day  5 month (both of the take)  6 agent  7 session  8 done, then sets in flight
-- ARGV  1 JSON: {id, now, micro, verdict, tracked, astray, in_session, scopes}; astray: the store may never have seen
--         this take, or lost it
--
-- Returns 1 where this settlement counted, 0 where it had counted before (or nothing was to be counted).

local DAY_TTL, MONTH_TTL, AGENT_TTL, SESSION_TTL, DONE_TTL = 3 * 86400, 35 * 86400, 3600, 25 * 3600, 600
local WINDOWS = {1000000, 10000000, 60000000, 600000000}
local WINDOW, MONEY, WIDTH = 15, 3, 7 -- as in take.lua

local call = redis.call
local ask = cjson.decode(ARGV[1])

local counts, reserved = 0, 0
local packed = ask.tracked and call('HGET', KEYS[1], ask.id)
if packed then
  local kept = cmsgpack.unpack(packed)
  if kept.o == 1 then
    for _, field in ipairs(kept.f) do
      if call('HINCRBY', KEYS[3], field, -kept.a) <= 0 then call('HDEL', KEYS[3], field) end
    end
  end
  call('HDEL', KEYS[1], ask.id)
  call('ZREM', KEYS[2], ask.id)
  counts, reserved = 1, kept.a
  if ask.astray then call('SET', KEYS[8], '1', 'EX', DONE_TTL) end
elseif (ask.astray or not ask.tracked) and ask.micro > 0 and call('SET', KEYS[8], '1', 'EX', DONE_TTL, 'NX') then
  counts = 1
end
for i = 9, #KEYS do call('ZREM', KEYS[i], ask.id) end

if counts == 1 and ask.micro > 0 then
  for _, scope in ipairs(ask.scopes) do
    call('HINCRBY', KEYS[4], scope .. '|u', ask.micro)
    call('HINCRBY', KEYS[5], scope .. '|u', ask.micro)
  end
  call('EXPIRE', KEYS[4], DAY_TTL)
  call('EXPIRE', KEYS[5], MONTH_TTL)
end

local more = counts == 1 and ask.micro - reserved or 0
if more ~= 0 then
  local packed = call('GET', KEYS[6])
  if packed then
    local agent = cmsgpack.unpack(packed)
    for k, span in ipairs(WINDOWS) do
      local w = WINDOW + (k - 1) * WIDTH
      if agent[w] == math.floor(ask.now / span) then agent[w + MONEY] = math.max(0, agent[w + MONEY] + more) end
    end
    call('SET', KEYS[6], cmsgpack.pack(agent), 'EX', AGENT_TTL)
  end
end

if ask.in_session then
  local packed = call('GET', KEYS[7])
  if packed then
    local session = cmsgpack.unpack(packed)
    session.u = math.max(0, session.u + more)
    for i = 3, #session.last, 3 do
      if session.last[i] == ask.id and session.last[i - 1] == '' then session.last[i - 1] = ask.verdict end
    end
    call('SET', KEYS[7], cmsgpack.pack(session), 'EX', SESSION_TTL)
  end
end
return counts
