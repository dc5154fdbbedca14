-- Says that requests still run: their leases go on.
--   KEYS  one for each lease    ARGV  for each: the lease with its amount, span (as in reserve.lua)
for i, key in ipairs(KEYS) do
  redis.call('ZADD', leases(key), 'XX', now + LEASE, ARGV[i * 2 - 1])
  keep(key, tonumber(ARGV[i * 2]))
end
return 1
