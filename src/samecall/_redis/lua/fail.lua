-- FAIL: if the lease is ours, free it, and keep an error beside the value for a short while, unless
-- a `forget` has come since the epoch that LEAD told.
-- KEYS  error, lease, tombstone
-- ARGV  nonce, token, entry, its ttl (ms; 0: keep nothing), channel, most bytes that ride in a message,
--       PUBLISH or SPUBLISH, epoch
-- reply {nonce, 1 or 0 (nobody is told: the lease is not ours, or it came after a `forget`)}
-- Safe to send twice: the second time finds its own stamp there.
-- What those who wait are told: a small entry; nothing, for "look again"; or, where sending or
-- reading it would be too much at once, over how many milliseconds to spread (see `_news.py`).
local function news(ring, channel, entry, most)
  local heard = redis.pcall('PUBSUB', ring == 'SPUBLISH' and 'SHARDNUMSUB' or 'NUMSUB', channel)
  local size = #entry * (tonumber(heard[2]) or 0)
  if size > 33554432 then
    return '~' .. string.format('%d', math.min(math.ceil(size / 400000), 10000))
  end
  return #entry <= most and entry or ''
end

local found = redis.call('MGET', KEYS[1], KEYS[2], KEYS[3])
local failure, tomb, entry = found[1], found[3], ARGV[3]
if found[2] ~= ARGV[2] then
  local again = failure and #entry >= 19 and string.sub(failure, 4, 19) == string.sub(entry, 4, 19)
  return {ARGV[1], again and 1 or 0}
end
local forgotten = tomb and tomb ~= ARGV[8]
local kept = tonumber(ARGV[4]) > 0 and not forgotten
if kept then
  redis.call('SET', KEYS[1], entry, 'PX', ARGV[4])
end
redis.call('DEL', KEYS[2])
redis.pcall(ARGV[7], ARGV[5], kept and news(ARGV[7], ARGV[5], entry, tonumber(ARGV[6])) or '')
return {ARGV[1], forgotten and 0 or 1}
