-- RELEASE: free the lease if it is ours.
-- KEYS  lease
-- ARGV  nonce, token, channel, PUBLISH or SPUBLISH
-- reply {nonce, 1 or 0 (the lease is not ours)}
if redis.call('MGET', KEYS[1])[1] ~= ARGV[2] then
  return {ARGV[1], 0}
end
redis.call('DEL', KEYS[1])
redis.pcall(ARGV[4], ARGV[3], '')
return {ARGV[1], 1}
