-- COMMIT: store the value if the lease is ours; or if there is none (one without a TTL counts as
-- none), no tombstone, and the value's stamp is still the one that was seen.
-- KEYS  value, error, lease, tombstone
-- ARGV  nonce, token, seen, entry, its ttl (ms), channel, most bytes that ride in a message,
--       PUBLISH or SPUBLISH
-- reply {nonce, 1 (stored) or 0 (refused)}
-- Safe to send twice: the second time finds its own stamp there.
local token, seen, entry = ARGV[2], ARGV[3], ARGV[4]
local found = redis.call('MGET', KEYS[1], KEYS[3])
local value, holder = found[1], found[2]
local stamp = value and #value >= 19 and string.sub(value, 4, 19) or ''
if holder and holder ~= token and redis.call('PTTL', KEYS[3]) < 0 then
  holder = false
end
if holder ~= token then
  if #entry >= 19 and stamp == string.sub(entry, 4, 19) then
    return {ARGV[1], 1}
  end
  if holder or stamp ~= seen or redis.call('EXISTS', KEYS[4]) == 1 then
    return {ARGV[1], 0}
  end
end
redis.call('SET', KEYS[1], entry, 'PX', ARGV[5])
redis.call('DEL', KEYS[2], KEYS[3])
-- pcall: a login without the right to publish has stored all the same
redis.pcall(ARGV[8], ARGV[6], #entry <= tonumber(ARGV[7]) and entry or '')
return {ARGV[1], 1}
