-- GENERATIONS: the generation of each name; one that is missing is made. Only one that would end too
-- soon is written to, because a write calls back the copies that processes keep.
-- What stands there and is none of this name's has another take its place.
-- KEYS  per name: generation
-- ARGV  nonce, then per name: what it begins with, ttl (ms), what is to be another, and which one ("":
--       what it begins with). That one is never made where there is none: it may be one of before
-- reply {nonce, one of these per name}: generation, {generation} (in place of what was none)
local reply = {ARGV[1]}
for i = 1, #KEYS do
  local name, fresh, ttl, instead = KEYS[i], ARGV[4 * i - 2], tonumber(ARGV[4 * i - 1]), ARGV[4 * i]
  local found = redis.call('MGET', name)[1]
  -- one that is not sealed has 16 bytes, and the last 4 are its name's own; one that is, begins so
  local open = found and #fresh == 16 and string.sub(found, 1, 3) ~= '\165g\1'
  if open and (#found ~= 16 or string.sub(found, 13) ~= string.sub(fresh, 13)) then
    found = false
  end
  if not found then
    found = redis.pcall('EXISTS', name) == 1 and {fresh} or fresh
    redis.call('SET', name, fresh, 'PX', 2 * ttl)
  elseif found == instead then
    found = ARGV[4 * i + 1] ~= '' and ARGV[4 * i + 1] or fresh
    redis.call('SET', name, found, 'KEEPTTL')
  elseif redis.call('PTTL', name) < ttl then
    redis.call('PEXPIRE', name, 2 * ttl)
  end
  reply[i + 1] = found
end
return reply
