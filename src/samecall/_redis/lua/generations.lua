-- GENERATIONS: the generation of each name; one that is missing is made. Only one that would end too
-- soon is written to, because a write calls back the copies that processes keep.
-- What stands there and is none of this name's has another take its place.
-- KEYS  per name: generation
-- ARGV  nonce, then per name: 12 random bytes and 4 that are the name's own, ttl (ms)
-- reply {nonce, one of these per name}: generation, {generation} (in place of what was none)
local reply = {ARGV[1]}
for i = 1, #KEYS do
  local name, ttl = KEYS[i], tonumber(ARGV[2 * i + 1])
  local found = redis.call('MGET', name)[1]
  local made = ARGV[2 * i]
  if found and (#found ~= #made or string.sub(found, 13) ~= string.sub(made, 13)) then
    found = false
  end
  if not found then
    found = redis.pcall('EXISTS', name) == 1 and {made} or made
    redis.call('SET', name, made, 'PX', 2 * ttl)
  elseif redis.call('PTTL', name) < ttl then
    redis.call('PEXPIRE', name, 2 * ttl)
  end
  reply[i + 1] = found
end
return reply
