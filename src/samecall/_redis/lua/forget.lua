-- FORGET: delete value, error, lease and the leader's recording, and leave a tombstone: while it
-- stands, nobody commits or records who led before. It holds an epoch, another one each time that this
-- runs, that ends in the last 8 digits of its key. The recording's name ends in the token, so it is made here; its slot is the call's own.
-- KEYS  value, error, lease, tombstone, change (tracking tells it)
-- ARGV  nonce, tombstone (ms; 0: none), channel, PUBLISH or SPUBLISH, random bytes
-- reply {nonce, 1}
local found = redis.call('MGET', KEYS[3], KEYS[4])
local holder, before = found[1], found[2] or ''
-- a shorter tombstone does not shorten the one that stands
local stands = math.max(tonumber(ARGV[2]), redis.call('PTTL', KEYS[4]))
if stands > 0 then
  local epoch = string.sub(redis.sha1hex(before .. ARGV[5]), 1, 32) .. string.sub(KEYS[4], -9, -2)
  redis.call('SET', KEYS[4], epoch, 'PX', stands)
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
if holder then
  local at = string.find(KEYS[3], ':l:', 1, true)
  local token = string.gsub(holder, '.', function(c) return string.format('%02x', string.byte(c)) end)
  -- pcall: while a cluster moves the slot, a key that is not named may not be touched
  redis.pcall('UNLINK', string.sub(KEYS[3], 1, at) .. 's' .. string.sub(KEYS[3], at + 2) .. ':' .. token)
end
-- also where nothing was there: what a server has evicted may still be in somebody's memory
redis.call('SET', KEYS[5], '', 'PX', 1000)
redis.call('DEL', KEYS[5])
redis.pcall(ARGV[4], ARGV[3], '')
return {ARGV[1], 1}
