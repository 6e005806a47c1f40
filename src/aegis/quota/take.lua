-- One call's whole trip to the bucket store, atomic over all its scopes: either every scope has room and all of it is
-- taken, or nothing is. Mirrors gcra.py. All keys share the hash tag of the tenant.
--
-- KEYS  1 primed  2 day  3 month  4 held  5 open  6 due  7 agent  8 baseline  9 session  10 single-use token
--       11 the agent that this call hands over to (its state; the agent's own where there is none),
--       then the meters and the sets of calls in flight that the scopes point at.
-- ARGV  1 the ask as JSON: {now, id, day, month, day_ends, month_ends, due, est, jti, probe, tracked, capped, tool, res,
--         dig, me, peer, in_session, scopes: [[scope, meter, interval, tolerance, set, concurrency, daily, monthly, daily_usd,
--         monthly_usd, total, total_usd, total_us, counted,
--         is a session], ...]}; -1 stands for no limit, 0 for no key.
--
-- Returns a word as JSON, or the answer as JSON and the baseline. The answer: [[scope, code, wait_us], ...],
-- [[scope, hash, cap, percent, ...], ...], [calls, attempts, micro-dollars of each window], [run, same, back and
-- forth],
-- [previous tools], resources, [steps, micro-dollars, age_us, other, tools, last] or false,
-- epoch. Integers that may pass
-- 10^14 travel as text.
--
-- day, month   hash: <scope>|r requests, |u micro-dollars settled, |wr |wu the cap that was warned about
-- held         hash: <d or m><period>:<scope> micro-dollars reserved
-- open, due    reservations and when they lapse; a lapsed one stays two days as a tombstone, so that a late
--              settlement still counts
-- agent        what it did lately: a flat MessagePack array, laid out below
-- session      steps, tools, money and the last calls as tool, verdict, id (MessagePack; flat lists are ten times
--              cheaper here than nested ones)

local SKEW_US = 2000000
local DAY_TTL, MONTH_TTL, PRIMED_TTL = 3 * 86400, 35 * 86400, 40 * 86400
local AGENT_TTL, SESSION_TTL, TOMBSTONE_US = 3600, 25 * 3600, 172800000000
local LONGEST_WAIT_US, MINUTE_US = 2764800000000, 60000000
local SWEEP, RESOURCES, TOOLS, LAST = 16, 48, 32, 16
local WINDOWS = {1000000, 10000000, 60000000, 600000000}
local AT, CALLED, RUN, SAME, DIGEST, MINUTE, RES, RES_BEFORE, PREVIOUS, PEER, PEER_RUN, PEER_AT, WINDOW =
  1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15
local SPAN, CALLS, ASKED, MONEY, WIDTH = 0, 1, 2, 3, 7 -- of a window; 4 to 6 are those of the span before

local call = redis.call
local ask = cjson.decode(ARGV[1])
local now = ask.now
local function text(x) return string.format('%.0f', x) end
local function number(x) return tonumber(x or 0) or 0 end
local function kept(key)
  local packed = call('GET', key)
  return packed and cmsgpack.unpack(packed)
end

local epoch = call('GETEX', KEYS[1], 'EX', PRIMED_TTL)
if not epoch then return '{"unprimed":true}' end

-- Reservations of the dead: what they hold is free again, a tombstone stays.
for _, id in ipairs(call('ZRANGEBYSCORE', KEYS[6], '-inf', now, 'LIMIT', 0, SWEEP)) do
  local packed = call('HGET', KEYS[5], id)
  local entry = packed and cmsgpack.unpack(packed)
  if entry and entry.o == 1 then
    for _, field in ipairs(entry.f) do
      if call('HINCRBY', KEYS[4], field, -entry.a) <= 0 then call('HDEL', KEYS[4], field) end
    end
    entry.o = 0
    call('HSET', KEYS[5], id, cmsgpack.pack(entry))
    call('ZADD', KEYS[6], now + TOMBSTONE_US, id)
  else
    call('HDEL', KEYS[5], id)
    call('ZREM', KEYS[6], id)
  end
end

if ask.jti > 0 and not call('SET', KEYS[10], '1', 'PX', ask.jti, 'NX') then return '{"replayed":true}' end

local agent = kept(KEYS[7])
local clock = now
if agent and agent[AT] > now then
  if agent[AT] - now < SKEW_US then clock = agent[AT] else agent = nil end
end
if not agent then
  agent = {clock, 0, 0, 0, 0, 0, '', '', '', '', '', '', 0, 0}
  for i = WINDOW, WINDOW + WIDTH * #WINDOWS - 1 do agent[i] = 0 end
end
local session = ask.in_session and (kept(KEYS[9]) or {n = 0, started = now, u = 0, k = 0, rest = 0, t = {}, last = {}})

-- 1. Is there room, everywhere?
local scopes = ask.scopes
local limited, warnings, meters, holds = {}, {}, {}, {}
local function refuse(i, code, wait_us) limited[#limited + 1] = {i - 1, code, math.min(wait_us, LONGEST_WAIT_US)} end

local day, month, held = {}, {}, {}
if ask.capped then
  local fields, reserved = {}, {}
  for i, s in ipairs(scopes) do
    local at = (i - 1) * 4
    fields[at + 1], fields[at + 2], fields[at + 3], fields[at + 4] = s[1] .. '|r', s[1] .. '|u', s[1] .. '|wr', s[1] .. '|wu'
    reserved[i * 2 - 1], reserved[i * 2] = 'd' .. text(ask.day) .. ':' .. s[1], 'm' .. text(ask.month) .. ':' .. s[1]
    if s[9] >= 0 or s[10] >= 0 then
      holds[#holds + 1], holds[#holds + 2] = reserved[i * 2 - 1], reserved[i * 2]
    end
  end
  day, month = call('HMGET', KEYS[2], unpack(fields)), call('HMGET', KEYS[3], unpack(fields))
  if #holds > 0 then held = call('HMGET', KEYS[4], unpack(reserved)) end
end

-- The mark of a warning is the cap + 1 that it was about: a cap that was changed warns anew, and 0 is no mark.
local function warn(i, hash, used, cap, mark, field, name)
  if used * 5 >= cap * 4 and number(mark) ~= cap + 1 then
    warnings[#warnings + 1] = {i, hash, name, math.floor(used * 100 / math.max(cap, 1)), field, cap + 1}
  end
end
local function requests(i, hash, counts, name, cap, ends)
  if cap < 0 then return end
  local at = (i - 1) * 4
  local used = number(counts[at + 1]) + 1
  if used > cap then return refuse(i, 'quota.' .. name, math.max(1, ends - now)) end
  warn(i, hash, used, cap, counts[at + 3], '|wr', name)
end
local function money(i, hash, counts, reserved, name, cap, ends)
  if cap < 0 then return end
  local at = (i - 1) * 4
  local settled = number(counts[at + 2])
  local used = settled + number(reserved) + ask.est
  if used > cap or settled >= cap then
    -- Where only open reservations stand in the way, room may come back at once.
    local wait_us = settled < cap and settled + ask.est <= cap and 1000000 or math.max(1, ends - now)
    return refuse(i, 'quota.' .. name .. '_usd', wait_us)
  end
  warn(i, hash, used, cap, counts[at + 4], '|wu', name .. '_usd')
end

local function keep(key, at, debt)
  call('SET', key, text(at) .. ' ' .. text(debt), 'PX', math.floor(debt / 1000000) + 10000)
end

for i, s in ipairs(scopes) do
  if s[2] > 0 then
    local at, debt = now, 0
    local meter = call('GET', KEYS[s[2]])
    if meter then
      local a, d = string.match(meter, '^(%d+) (%d+)$')
      at, debt = tonumber(a), tonumber(d)
      local passed = now - at
      if passed >= 0 then at, debt = now, math.max(0, debt - passed * 1000)
      elseif passed <= -SKEW_US then
        at = now -- the clock was set back: kept at once, or a full meter would stand in the future and never drain
        keep(KEYS[s[2]], at, debt)
      end
    end
    local after = debt + s[3]
    if after > s[4] then refuse(i, 'quota.rps', math.floor((after - s[4] + 999) / 1000))
    else meters[#meters + 1] = {KEYS[s[2]], at, after} end
  end
  if s[5] > 0 then
    call('ZREMRANGEBYSCORE', KEYS[s[5]], '-inf', now)
    if call('ZCARD', KEYS[s[5]]) >= s[6] then refuse(i, 'quota.concurrency', 1000000) end
  end
  if ask.capped then
    requests(i, 2, day, 'daily', s[7], ask.day_ends)
    requests(i, 3, month, 'monthly', s[8], ask.month_ends)
    money(i, 2, day, held[i * 2 - 1], 'daily', s[9], ask.day_ends)
    money(i, 3, month, held[i * 2], 'monthly', s[10], ask.month_ends)
  end
  if session and s[15] == 1 then
    if s[11] >= 0 and session.n >= s[11] then refuse(i, 'quota.total', LONGEST_WAIT_US) end
    if s[12] >= 0 and (session.u + ask.est > s[12] or session.u >= s[12]) then
      refuse(i, 'quota.total_usd', LONGEST_WAIT_US)
    end
    if s[13] >= 0 and now - session.started >= s[13] then refuse(i, 'quota.total_seconds', LONGEST_WAIT_US) end
  end
end
local taken = #limited == 0
local counted = taken and not ask.probe

-- 2. Take it.
if taken then
  for _, m in ipairs(meters) do keep(m[1], m[2], m[3]) end
end
if counted then
  for i, s in ipairs(scopes) do
    if s[14] == 1 then
      if call('HINCRBY', KEYS[2], s[1] .. '|r', 1) == 1 then call('EXPIRE', KEYS[2], DAY_TTL) end
      if call('HINCRBY', KEYS[3], s[1] .. '|r', 1) == 1 then call('EXPIRE', KEYS[3], MONTH_TTL) end
    end
    if s[5] > 0 then
      call('ZADD', KEYS[s[5]], ask.due, ask.id)
      call('EXPIRE', KEYS[s[5]], SESSION_TTL)
    end
  end
  for _, w in ipairs(warnings) do call('HSET', KEYS[w[2]], scopes[w[1]][1] .. w[5], w[6]) end
  if ask.tracked then
    local entry = {o = 1, a = ask.est, f = {}}
    if ask.est > 0 and #holds > 0 then
      for _, field in ipairs(holds) do call('HINCRBY', KEYS[4], field, ask.est) end
      call('EXPIRE', KEYS[4], MONTH_TTL)
      entry.f = holds
    end
    call('HSET', KEYS[5], ask.id, cmsgpack.pack(entry))
    call('ZADD', KEYS[6], ask.due, ask.id)
    call('EXPIRE', KEYS[5], MONTH_TTL)
    call('EXPIRE', KEYS[6], MONTH_TTL)
  end
end

-- 3. Note what the agent does. A window is its current span and the one before, weighed by how much of it still counts.
local recent = {}
for k, span in ipairs(WINDOWS) do
  local w = WINDOW + (k - 1) * WIDTH
  local index = math.floor(clock / span)
  if agent[w + SPAN] < index then
    local follows = agent[w + SPAN] == index - 1
    for n = CALLS, MONEY do
      agent[w + n + 3], agent[w + n] = follows and agent[w + n] or 0, 0
    end
    agent[w + SPAN] = index
  end
  if not ask.probe then
    agent[w + ASKED] = agent[w + ASKED] + 1
    if taken then
      agent[w + CALLS], agent[w + MONEY] = agent[w + CALLS] + 1, agent[w + MONEY] + ask.est
    end
  end
  local share = 1 - math.max(0, clock - agent[w + SPAN] * span) / span
  for n = CALLS, MONEY do recent[(k - 1) * 3 + n] = text(math.floor(agent[w + n] + agent[w + n + 3] * share)) end
end

local minute = math.floor(clock / MINUTE_US)
if agent[MINUTE] < minute then
  agent[RES_BEFORE], agent[RES] = agent[MINUTE] == minute - 1 and agent[RES] or '', ''
  agent[MINUTE] = minute
end
local before = {agent[PREVIOUS], agent[PREVIOUS + 1], agent[PREVIOUS + 2]}
if counted then
  local goes_on = clock - agent[CALLED] < MINUTE_US
  agent[RUN] = goes_on and before[1] == ask.tool and agent[RUN] + 1 or 1
  agent[SAME] = goes_on and ask.dig > 0 and agent[DIGEST] == ask.dig and agent[SAME] + 1 or 1
  agent[CALLED], agent[DIGEST] = clock, ask.dig
  agent[PREVIOUS], agent[PREVIOUS + 1], agent[PREVIOUS + 2] = ask.tool, before[1], before[2]
  if ask.res ~= '' and #agent[RES] < RESOURCES * 9 and not string.find(agent[RES], ask.res, 1, true) then
    agent[RES] = agent[RES] .. ask.res .. ' '
  end
end
-- How often this agent and its peer handed over to each other, in turn and to nobody else, within ten minutes each.
local back_and_forth = 0
if counted and ask.peer ~= '' then
  local goes_on = agent[PEER] == ask.peer and clock - agent[PEER_AT] < 10 * MINUTE_US
  agent[PEER_RUN] = goes_on and agent[PEER_RUN] + 1 or 1
  agent[PEER], agent[PEER_AT] = ask.peer, clock
  local peer = kept(KEYS[11])
  if peer and peer[PEER] == ask.me and clock - peer[PEER_AT] < 10 * MINUTE_US then
    back_and_forth = math.min(agent[PEER_RUN], peer[PEER_RUN])
  end
end
if not ask.probe then
  agent[AT] = clock
  call('SET', KEYS[7], cmsgpack.pack(agent), 'EX', AGENT_TTL)
end

-- 4. And the session: what it was before this call is what may be judged.
local history = false
if session then
  history = {session.n, text(session.u), text(math.max(0, now - session.started)), session.rest, session.t, session.last}
end
local answer = cjson.encode({limited, warnings, recent, {agent[RUN], agent[SAME], back_and_forth}, before,
                             agent[RES_BEFORE] .. agent[RES], history, epoch})
if session and counted then
  session.n, session.u = session.n + 1, session.u + ask.est
  if session.t[ask.tool] or session.k < TOOLS then
    if not session.t[ask.tool] then session.k = session.k + 1 end
    session.t[ask.tool] = (session.t[ask.tool] or 0) + 1
  else
    session.rest = session.rest + 1
  end
  local last = session.last
  last[#last + 1], last[#last + 2], last[#last + 3] = ask.tool, '', ask.id
  while #last > LAST * 3 do table.remove(last, 1) end
  call('SET', KEYS[9], cmsgpack.pack(session), 'EX', SESSION_TTL)
end
return {answer, call('GET', KEYS[8])}
