-- GENERATIONS: the generation of each name; one that is missing is made. Only one that would end too
-- soon is written to, because a write calls back the copies that processes keep.
-- KEYS  per name: generation
-- ARGV  nonce, then per name: what it begins with, ttl (ms), and instead of what else ("": nothing)
-- reply {nonce, generation per name}
local reply = {ARGV[1]}
for i = 1, #KEYS do
  local name, fresh, ttl, instead = KEYS[i], ARGV[3 * i - 1], tonumber(ARGV[3 * i]), ARGV[3 * i + 1]
  local found = redis.call('MGET', name)[1]
  if not found then
    found = fresh
    redis.call('SET', name, found, 'PX', 2 * ttl)
  elseif found == instead then
    found = fresh
    redis.call('SET', name, found, 'KEEPTTL')
  elseif redis.call('PTTL', name) < ttl then
    redis.call('PEXPIRE', name, 2 * ttl)
  end
  reply[i + 1] = found
end
return reply
