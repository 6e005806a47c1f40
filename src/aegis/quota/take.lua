-- One call's whole trip to the bucket store, atomic over all its scopes: either every scope has room and all of it is
-- taken, or nothing is. Mirrors gcra.py. All keys share the hash tag of the tenant.
--
-- KEYS  1 primed  2 day  3 month  4 held  5 open  6 due  7 agent  8 baseline  9 session  10 single-use token,
--       then the meters and the sets of calls in flight that the scopes point at.
-- ARGV  1 the ask as JSON: {now, id, day, month, day_ends, month_ends, due, est, jti, probe, tracked, tool, res, dig,
--         in_session, scopes: [[scope, meter, interval, tolerance, set, concurrency, daily, monthly, daily_usd,
--         monthly_usd, total, total_usd, total_us, counted], ...]}; -1 stands for no limit, 0 for no key.
--
-- Returns the answer as JSON, or that and the baseline. Integers that may pass 10^14 travel as text.
--
-- day, month   hash: <scope>|r requests, |u micro-dollars settled, |wr |wu the cap that was warned about
-- held         hash: <d or m><period>:<scope> micro-dollars reserved
-- open, due    reservations and when they lapse; a lapsed one stays two days as a tombstone, so that a late
--              settlement still counts
-- agent        windows of calls, attempts and money, the run of one tool, recent resources (MessagePack)
-- session      steps, tools, the last calls and their verdicts, totals (MessagePack)

local SKEW_US = 2000000
local DAY_TTL, MONTH_TTL, PRIMED_TTL = 3 * 86400, 35 * 86400, 40 * 86400
local AGENT_TTL, SESSION_TTL, TOMBSTONE_US = 3600, 25 * 3600, 172800000000
local SWEEP, RESOURCES, TOOLS, LAST, ACTIONS = 16, 64, 32, 16, 16
local WINDOWS = {1000000, 10000000, 60000000, 600000000}

local call = redis.call
local ask = cjson.decode(ARGV[1])
local now = ask.now
local function int(x) return string.format('%.0f', x) end
local function number(x) return tonumber(x or 0) or 0 end

if not call('GETEX', KEYS[1], 'EX', PRIMED_TTL) then return '{"unprimed":true}' end

-- Reservations of the dead: their hold ends, a tombstone stays.
local function sweep()
  for _, id in ipairs(call('ZRANGEBYSCORE', KEYS[6], '-inf', int(now), 'LIMIT', 0, SWEEP)) do
    local packed = call('HGET', KEYS[5], id)
    local kept = packed and cmsgpack.unpack(packed)
    if kept and kept.o == 1 then
      for _, field in ipairs(kept.f) do
        if call('HINCRBY', KEYS[4], field, int(-kept.a)) <= 0 then call('HDEL', KEYS[4], field) end
      end
      kept.o = 0
      call('HSET', KEYS[5], id, cmsgpack.pack(kept))
      call('ZADD', KEYS[6], int(now + TOMBSTONE_US), id)
    else
      call('HDEL', KEYS[5], id)
      call('ZREM', KEYS[6], id)
    end
  end
end
sweep()

if ask.jti > 0 and not call('SET', KEYS[10], '1', 'PX', int(ask.jti), 'NX') then return '{"replayed":true}' end

-- What the agent and the session did so far.
local function kept(key)
  local packed = call('GET', key)
  return packed and cmsgpack.unpack(packed)
end
local agent = kept(KEYS[7])
local clock = now
if agent and agent.at > now then
  if agent.at - now < SKEW_US then clock = agent.at else agent = nil end
end
agent = agent or {called = 0, w = {}, run = 0, prev = {}, res = {}, act = {}}
local session = ask.in_session and (kept(KEYS[9]) or {n = 0, started = now, u = 0, t = {}, last = {}})

-- 1. Is there room, everywhere?
local limited, warnings, meters = {}, {}, {}
local function refuse(index, code, wait_us) limited[#limited + 1] = {index - 1, code, math.min(wait_us, 2764800000000)} end

local scopes = ask.scopes
local fields, holds = {}, {}
for i, s in ipairs(scopes) do
  fields[#fields + 1] = s[1] .. '|r'
  fields[#fields + 1] = s[1] .. '|u'
  fields[#fields + 1] = s[1] .. '|wr'
  fields[#fields + 1] = s[1] .. '|wu'
  holds[#holds + 1] = 'd' .. int(ask.day) .. ':' .. s[1]
  holds[#holds + 1] = 'm' .. int(ask.month) .. ':' .. s[1]
end
local day, month, held = {}, {}, {}
if ask.capped then
  day, month = call('HMGET', KEYS[2], unpack(fields)), call('HMGET', KEYS[3], unpack(fields))
  held = call('HMGET', KEYS[4], unpack(holds))
end

local function requests(i, counts, at, name, cap, ends)
  if cap < 0 then return end
  local used = number(counts[at + 1]) + 1
  if used > cap then return refuse(i, 'quota.' .. name, math.max(1, ends - now)) end
  if used * 5 >= cap * 4 and number(counts[at + 3]) ~= cap + 1 then
    warnings[#warnings + 1] = {i - 1, name, math.floor(used * 100 / math.max(cap, 1)), 'wr', cap}
  end
end
local function money(i, counts, at, reserved, name, cap, ends)
  if cap < 0 then return end
  local settled = number(counts[at + 2])
  local used = settled + number(reserved) + ask.est
  if used > cap or settled >= cap then
    -- Where only open reservations stand in the way, room may come back at once.
    local wait_us = settled < cap and settled + ask.est <= cap and 1000000 or math.max(1, ends - now)
    return refuse(i, 'quota.' .. name .. '_usd', wait_us)
  end
  if used * 5 >= cap * 4 and number(counts[at + 4]) ~= cap + 1 then
    warnings[#warnings + 1] = {i - 1, name .. '_usd', math.floor(used * 100 / math.max(cap, 1)), 'wu', cap}
  end
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
      elseif passed <= -SKEW_US then at = now end
    end
    local after = debt + s[3]
    if after > s[4] then refuse(i, 'quota.rps', math.floor((after - s[4] + 999) / 1000))
    else meters[#meters + 1] = {KEYS[s[2]], at, after} end
  end
  if s[5] > 0 then
    call('ZREMRANGEBYSCORE', KEYS[s[5]], '-inf', int(now))
    if call('ZCARD', KEYS[s[5]]) >= s[6] then refuse(i, 'quota.concurrency', 1000000) end
  end
  local at = (i - 1) * 4
  requests(i, day, at, 'daily', s[7], ask.day_ends)
  requests(i, month, at, 'monthly', s[8], ask.month_ends)
  money(i, day, at, held[i * 2 - 1], 'daily', s[9], ask.day_ends)
  money(i, month, at, held[i * 2], 'monthly', s[10], ask.month_ends)
  if session then
    if s[11] >= 0 and session.n >= s[11] then refuse(i, 'quota.total', 86400000000) end
    if s[12] >= 0 and (session.u + ask.est > s[12] or session.u >= s[12]) then refuse(i, 'quota.total_usd', 86400000000) end
    if s[13] >= 0 and now - session.started >= s[13] then refuse(i, 'quota.total_seconds', 86400000000) end
  end
end
local taken = #limited == 0

-- 2. Take it.
if taken then
  for _, m in ipairs(meters) do call('SET', m[1], int(m[2]) .. ' ' .. int(m[3]), 'PX', int(m[3] / 1000000 + 10000)) end
end
local step = 0
if taken and not ask.probe then
  for i, s in ipairs(scopes) do
    if s[14] == 1 then
      call('HINCRBY', KEYS[2], s[1] .. '|r', 1)
      call('HINCRBY', KEYS[3], s[1] .. '|r', 1)
    end
    if s[5] > 0 then
      call('ZADD', KEYS[s[5]], int(ask.due), ask.id)
      call('EXPIRE', KEYS[s[5]], SESSION_TTL)
    end
  end
  call('EXPIRE', KEYS[2], DAY_TTL)
  call('EXPIRE', KEYS[3], MONTH_TTL)
  for _, w in ipairs(warnings) do
    local hash = string.sub(w[2], 1, 1) == 'd' and KEYS[2] or KEYS[3]
    call('HSET', hash, scopes[w[1] + 1][1] .. '|' .. w[4], int(w[5] + 1))
  end
  if ask.tracked then
    if ask.est > 0 then
      for _, field in ipairs(holds) do call('HINCRBY', KEYS[4], field, int(ask.est)) end
      call('EXPIRE', KEYS[4], MONTH_TTL)
    end
    call('HSET', KEYS[5], ask.id, cmsgpack.pack({o = 1, a = ask.est, f = ask.est > 0 and holds or {}}))
    call('ZADD', KEYS[6], int(ask.due), ask.id)
    call('EXPIRE', KEYS[5], MONTH_TTL)
    call('EXPIRE', KEYS[6], MONTH_TTL)
  end
end

-- 3. Note what the agent does. A window is its current span and the one before, weighed by how much of it still counts.
local function roll(w, index)
  if w.i >= index then return w end
  if w.i == index - 1 then return {i = index, c = 0, a = 0, u = 0, pc = w.c, pa = w.a, pu = w.u} end
  return {i = index, c = 0, a = 0, u = 0, pc = 0, pa = 0, pu = 0}
end
local recent = {}
for k, span in ipairs(WINDOWS) do
  local index = math.floor(clock / span)
  local w = roll(agent.w[k] or {i = -9}, index)
  if not ask.probe then
    w.a = w.a + 1
    if taken then w.c, w.u = w.c + 1, w.u + ask.est end
  end
  agent.w[k] = w
  local share = 1 - math.max(0, clock - w.i * span) / span
  recent[k] = {math.floor(w.c + w.pc * share), math.floor(w.a + w.pa * share), int(math.floor(w.u + w.pu * share))}
end

local minute = math.floor(clock / 60000000)
local function fresh(list, span)
  local out = {}
  for _, x in ipairs(list) do if minute - x[2] <= span then out[#out + 1] = x end end
  return out
end
local previous, identical = agent.prev, 0
agent.res, agent.act = fresh(agent.res, 1), fresh(agent.act, 1)
if taken and not ask.probe then
  if agent.prev[1] == ask.tool and clock - agent.called < 60000000 then agent.run = agent.run + 1 else agent.run = 1 end
  agent.called = clock
  agent.prev = {ask.tool, previous[1], previous[2]}
  if ask.res > 0 then
    local known = false
    for _, x in ipairs(agent.res) do if x[1] == ask.res then known, x[2] = true, minute end end
    if not known then
      if #agent.res >= RESOURCES then table.remove(agent.res, 1) end
      agent.res[#agent.res + 1] = {ask.res, minute}
    end
  end
  if ask.dig > 0 then
    for _, x in ipairs(agent.act) do if x[1] == ask.dig then x[2], x[3], identical = minute, x[3] + 1, x[3] + 1 end end
    if identical == 0 then
      if #agent.act >= ACTIONS then table.remove(agent.act, 1) end
      agent.act[#agent.act + 1], identical = {ask.dig, minute, 1}, 1
    end
  end
end
agent.at = clock
if not ask.probe then call('SET', KEYS[7], cmsgpack.pack(agent), 'EX', AGENT_TTL) end

-- 4. And the session.
local history
if session then
  if taken and not ask.probe then
    local counted = session.t[ask.tool]
    if counted or session.k == nil or session.k < TOOLS then
      if not counted then session.k = (session.k or 0) + 1 end
      session.t[ask.tool] = (counted or 0) + 1
    else
      session.rest = (session.rest or 0) + 1
    end
  end
  history = {n = session.n, t = session.t, last = session.last, u = int(session.u), rest = session.rest or 0,
             age = int(math.max(0, now - session.started))}
end
local answer = cjson.encode({limited = limited, warnings = taken and warnings or {}, windows = recent, run = agent.run,
                             previous = previous, resources = agent.res, identical = identical, history = history})
if session and taken and not ask.probe then
  session.n, session.u = session.n + 1, session.u + ask.est
  session.last[#session.last + 1] = {session.n, ask.tool, '', ask.id}
  if #session.last > LAST then table.remove(session.last, 1) end
  call('SET', KEYS[9], cmsgpack.pack(session), 'EX', SESSION_TTL)
end
return {answer, call('GET', KEYS[8])}
