-- POST: note that a worker has left word, and drop the notes of those that have long gone.
-- KEYS  the list of notes, by the time of the last word
-- ARGV  nonce, name of the record, ms that a note stays
-- reply {nonce, 1 or 2 (something else stood there, and is gone)}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kind = redis.pcall('TYPE', KEYS[1]).ok or 'none'
local odd = kind ~= 'zset' and kind ~= 'none'
if odd then
  redis.call('UNLINK', KEYS[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
redis.call('ZADD', KEYS[1], now, ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {ARGV[1], odd and 2 or 1}
