-- What both scripts know: how each kind of meter is kept. Times are in microseconds of the store's own clock.
--   window  a hash: what was taken in each step, and `total`, `oldest`, `newest` over them
--   bucket  the time at which the bucket is full again
--   places, purse  a hash: `held`, `spent`; beside it a sorted set of leases, `ID:AMOUNT` by when they end. A lease that
--                  nobody renews is one of a node that has died: what it held is given back.
local STEPS = 120
local LEASE = 60000000
local CLOCK = 'janua:limit:clock'
local DAY_MS = 86400000

-- Time by the store's clock, which never goes back: if somebody has put that back, or another store that is behind has
-- taken over, it goes on from where it was. Otherwise nothing that was taken would become free until then.
local function time_now()
  local time = redis.call('TIME')
  local seen, ahead = string.match(redis.call('GET', CLOCK) or '', '^(%d+) (%d+)$')
  ahead = tonumber(ahead) or 0
  local told = time[1] * 1000000 + time[2] + ahead
  local now = math.max(told, tonumber(seen) or 0)
  redis.call('SET', CLOCK, string.format('%.0f %.0f', now, ahead + now - told), 'PX', DAY_MS)
  return now
end

local now = time_now()

local function number(key, field)
  return tonumber(redis.call('HGET', key, field)) or 0
end

-- Lets go of what has left the window. Gives the total, the step of now and the oldest one that counts.
local function advance(key, span)
  local newest = number(key, 'newest')
  local step = math.max(newest, math.floor(now / (span / STEPS)))
  local first = step - STEPS
  if newest < first then
    redis.call('DEL', key)
    return 0, step, step
  end
  local total, oldest = number(key, 'total'), number(key, 'oldest')
  if oldest < first then
    for each = oldest, first - 1 do
      local taken = redis.call('HGET', key, each)
      if taken then
        total = total - taken
        redis.call('HDEL', key, each)
      end
    end
    oldest = first
    redis.call('HSET', key, 'total', total, 'oldest', oldest)
  end
  return total, step, oldest
end

local function take_in_window(key, span, amount)
  local total, step, oldest = advance(key, span)
  redis.call('HINCRBY', key, step, amount)
  redis.call('HSET', key, 'total', total + amount, 'oldest', oldest, 'newest', step)
  redis.call('PEXPIRE', key, math.ceil(span / 1000 * (STEPS + 2) / STEPS))
  return step
end

local function full_at(key)
  return math.max(now, tonumber(redis.call('GET', key)) or 0)
end

local function fill_at(key, at)
  if at <= now then
    redis.call('DEL', key)
  else
    redis.call('SET', key, string.format('%.3f', at), 'PX', math.ceil((at - now) / 1000))
  end
end

local function leases(key)
  return key .. ':leases'
end

local function keep(key, span)
  local ttl = span + 3600000
  redis.call('PEXPIRE', key, ttl)
  redis.call('PEXPIRE', leases(key), ttl)
end

-- A store that is full may have dropped either of the two keys: nothing less than nothing is held, and nothing without a lease.
local function release(key, amount)
  local left = number(key, 'held') - amount
  if left <= 0 or redis.call('EXISTS', leases(key)) == 0 then
    redis.call('HDEL', key, 'held')
    return 0
  end
  return redis.call('HINCRBY', key, 'held', -amount)
end

local function held(key)
  local ended = 0
  for _, lease in ipairs(redis.call('ZRANGEBYSCORE', leases(key), '-inf', now)) do
    redis.call('ZREM', leases(key), lease)
    ended = ended + string.match(lease, ':(%d+)$')
  end
  return release(key, ended)
end
