-- FAIL: if the lease is ours, keep an error beside the value for a short while and free the lease.
-- KEYS  error, lease
-- ARGV  nonce, token, entry, its ttl (ms; 0: keep nothing), channel, most bytes that ride in a message,
--       PUBLISH or SPUBLISH
-- reply {nonce, 1 or 0 (the lease is not ours)}
-- Safe to send twice: the second time finds its own stamp there.
local found = redis.call('MGET', KEYS[1], KEYS[2])
local failure, entry = found[1], ARGV[3]
if found[2] ~= ARGV[2] then
  local again = failure and #entry >= 19 and string.sub(failure, 4, 19) == string.sub(entry, 4, 19)
  return {ARGV[1], again and 1 or 0}
end
local kept = tonumber(ARGV[4]) > 0
if kept then
  redis.call('SET', KEYS[1], entry, 'PX', ARGV[4])
end
redis.call('DEL', KEYS[2])
redis.pcall(ARGV[7], ARGV[5], kept and #entry <= tonumber(ARGV[6]) and entry or '')
return {ARGV[1], 1}
