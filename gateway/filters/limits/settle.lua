-- Counts what requests have really used instead of what was taken for them. Done once, however often it is sent.
--   KEYS  of this batch, then one for each
--   ARGV  for each: kind, taken, used, limit, span (as in reserve.lua), mark, lease
if not redis.call('SET', KEYS[1], 1, 'NX', 'PX', 600000) then return 0 end

local function settle_window(key, taken, used, span, mark)
  if used > taken then
    take_in_window(key, span, used - taken)
    return
  end
  local total, _, oldest = advance(key, span)
  if mark >= oldest and redis.call('HEXISTS', key, mark) == 1 then
    redis.call('HINCRBY', key, mark, used - taken)
    redis.call('HSET', key, 'total', total + used - taken)
  end
end

local function settle_held(key, taken, used, span, lease)
  if redis.call('ZREM', leases(key), lease .. ':' .. taken) == 1 then
    release(key, taken)
  end
  if used > 0 then redis.call('HINCRBY', key, 'spent', used) end
  keep(key, span)
end

for i = 2, #KEYS do
  local at = (i - 2) * 7
  local kind, key, lease = ARGV[at + 1], KEYS[i], ARGV[at + 7]
  local taken, used, limit = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local span, mark = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
  if kind == 'window' then
    settle_window(key, taken, used, span, mark)
  elseif kind == 'bucket' then
    fill_at(key, full_at(key) + (used - taken) * span / limit)
  else
    settle_held(key, taken, used, span, lease)
  end
end
return 1
