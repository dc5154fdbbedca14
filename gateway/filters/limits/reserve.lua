-- Takes what one request needs of all its limits, or nothing.
--   KEYS  one for each limit
--   ARGV  the lease, then for each limit: kind, amount, limit, span, whether it is enforced
--         span: of a window or bucket its length in us, in ms what is left of a purse's period, 0 of places
-- Gives whether it was taken, then for each limit: wait in us (-1: never), mark, remaining, reset in us.
local lease = ARGV[1]
local answer = {1}

local function wait_of_window(key, amount, limit, span)
  local total, step, oldest = advance(key, span)
  if total + amount <= limit then return 0 end
  local excess = total + amount - limit
  for each = oldest, step do
    excess = excess - (redis.call('HGET', key, each) or 0)
    if excess <= 0 then return (each + STEPS + 1) * (span / STEPS) - now end
  end
  return span
end

local function wait(kind, key, amount, limit, span)
  if kind == 'window' then
    local us = wait_of_window(key, amount, limit, span)
    return us > 0 and amount > limit and -1 or us
  elseif kind == 'bucket' then
    if amount > limit then return -1 end
    return math.max(0, full_at(key) + amount * span / limit - now - span)
  end
  if held(key) + number(key, 'spent') + amount <= limit then return 0 end
  if amount > limit then return -1 end
  return kind == 'places' and 1000000 or span * 1000
end

local function take(kind, key, amount, limit, span)
  if kind == 'window' then return take_in_window(key, span, amount) end
  if kind == 'bucket' then
    fill_at(key, full_at(key) + amount * span / limit)
  else
    redis.call('HINCRBY', key, 'held', amount)
    redis.call('ZADD', leases(key), now + LEASE, lease .. ':' .. amount)
    keep(key, span)
  end
  return 0
end

local function read(kind, key, limit, span)
  if kind == 'window' then
    local total, step, oldest = advance(key, span)
    local newest = number(key, 'newest')
    -- What has been given back keeps nothing from being free.
    while newest > oldest and number(key, newest) == 0 do newest = newest - 1 end
    local reset = total > 0 and (newest + STEPS + 1) * (span / STEPS) - now or 0
    return math.max(0, limit - total), reset
  elseif kind == 'bucket' then
    local reset = full_at(key) - now
    return math.max(0, math.floor((span - reset) * limit / span + 0.000001)), reset
  end
  return math.max(0, limit - number(key, 'held') - number(key, 'spent')), kind == 'places' and 0 or span * 1000
end

local function each_limit(visit)
  for i, key in ipairs(KEYS) do
    local at = 2 + (i - 1) * 5
    visit(i, ARGV[at], key, tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), ARGV[at + 4] == '1')
  end
end

each_limit(function(i, kind, key, amount, limit, span, enforced)
  local us = wait(kind, key, amount, limit, span)
  answer[i * 4 - 2] = us > 0 and math.ceil(us) or us
  if us ~= 0 and enforced then answer[1] = 0 end
end)

each_limit(function(i, kind, key, amount, limit, span)
  answer[i * 4 - 1] = answer[1] == 1 and take(kind, key, amount, limit, span) or 0
  local remaining, reset = read(kind, key, limit, span)
  answer[i * 4], answer[i * 4 + 1] = remaining, math.ceil(reset)
end)

return answer
