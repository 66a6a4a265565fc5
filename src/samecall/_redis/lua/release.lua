-- RELEASE: free the lease if it is ours.
-- KEYS  lease
-- ARGV  nonce, token, channel
-- reply {nonce, 1 or 0 (the lease is not ours)}
if redis.call('MGET', KEYS[1])[1] ~= ARGV[2] then
  return {ARGV[1], 0}
end
redis.call('DEL', KEYS[1])
redis.pcall('PUBLISH', ARGV[3], '')
return {ARGV[1], 1}
