-- COMMIT: store the value if the lease is ours; or if there is none (one without a TTL counts as
-- none) and the value's stamp is still the one that was seen. In both cases no `forget` may have come
-- since the epoch that LEAD told; a tombstone that is none of ours says so, too. What is refused
-- frees an own lease: one that came late.
-- KEYS  value, error, lease, tombstone, change (written where copies of another value may be about:
--       tracking tells it, and its name says which entry is there now)
-- ARGV  nonce, token, seen, entry, its ttl (ms), channel, most bytes that ride in a message,
--       PUBLISH or SPUBLISH, epoch ("*": no ACQUIRE was answered, so an own lease proves nothing)
-- reply {nonce, 1 (stored) or 0 (refused)}
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

local token, seen, entry, epoch = ARGV[2], ARGV[3], ARGV[4], ARGV[9]
local found = redis.call('MGET', KEYS[1], KEYS[3], KEYS[4])
local value, holder, tomb = found[1], found[2], found[3]
local stamp = value and (#value >= 19 and string.sub(value, 4, 19) or string.rep('\0', 16)) or ''
local ours = holder == token

local function unchanged(answer)
  if ours then
    redis.call('DEL', KEYS[3])
    redis.pcall(ARGV[8], ARGV[6], '')
  end
  return {ARGV[1], answer}
end

if not ours or epoch == '*' then
  if #entry >= 19 and stamp == string.sub(entry, 4, 19) then
    return unchanged(1)
  end
  if holder and not ours and redis.call('PTTL', KEYS[3]) >= 0 or stamp ~= seen then
    return unchanged(0)
  end
  -- of another type: it goes on guarding (under an own lease ACQUIRE has put one of ours there)
  if not tomb and redis.pcall('EXISTS', KEYS[4]) == 1 then
    return unchanged(0)
  end
end
if tomb and tomb ~= epoch then
  return unchanged(0)
end
redis.call('SET', KEYS[1], entry, 'PX', ARGV[5])
if stamp ~= '' or seen == '*' then
  redis.call('SET', KEYS[5], '', 'PX', 1000)
  redis.call('DEL', KEYS[5])
end
redis.call('DEL', KEYS[2], KEYS[3])
-- pcall: a login without the right to publish has stored all the same
redis.pcall(ARGV[8], ARGV[6], news(ARGV[8], ARGV[6], entry, tonumber(ARGV[7])))
return {ARGV[1], 1}
