-- FORGET: delete value, error and lease; while the tombstone stands nobody commits without a lease.
-- KEYS  value, error, lease, tombstone
-- ARGV  nonce, tombstone (ms; 0: none), channel, PUBLISH or SPUBLISH
-- reply {nonce, 1}
-- a shorter tombstone does not shorten the one that stands
if tonumber(ARGV[2]) > redis.call('PTTL', KEYS[4]) and tonumber(ARGV[2]) > 0 then
  redis.call('SET', KEYS[4], '', 'PX', ARGV[2])
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
redis.pcall(ARGV[4], ARGV[3], '')
return {ARGV[1], 1}
