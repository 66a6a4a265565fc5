-- RENEW: lengthen each lease that is still ours.
-- KEYS  per key: lease
-- ARGV  nonce, then per key: token, lease (ms)
-- reply {nonce, 1 or 0 (lost) per key}
local reply = {ARGV[1]}
for i = 1, #KEYS do
  local ours = redis.call('MGET', KEYS[i])[1] == ARGV[2 * i]
  reply[i + 1] = ours and redis.call('PEXPIRE', KEYS[i], ARGV[2 * i + 1]) or 0
end
return reply
