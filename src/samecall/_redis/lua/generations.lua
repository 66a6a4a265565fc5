-- GENERATIONS: the generation of each name; one that is missing is made. Only one that would end too
-- soon is written to, because a write calls back the copies that processes keep.
-- KEYS  per name: generation
-- ARGV  nonce, then per name: 16 random bytes, ttl (ms)
-- reply {nonce, generation per name}
local reply = {ARGV[1]}
for i = 1, #KEYS do
  local name, ttl = KEYS[i], tonumber(ARGV[2 * i + 1])
  local found = redis.call('MGET', name)[1]
  if not found then
    found = ARGV[2 * i]
    redis.call('SET', name, found, 'PX', 2 * ttl)
  elseif redis.call('PTTL', name) < ttl then
    redis.call('PEXPIRE', name, 2 * ttl)
  end
  reply[i + 1] = found
end
return reply
