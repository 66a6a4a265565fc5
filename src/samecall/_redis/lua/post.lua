-- POST: note that a worker has left word, and drop the notes of those that have long gone.
-- KEYS  the list of notes, by the time of the last word
-- ARGV  nonce, name of the record, ms that a note stays
-- reply {nonce, 1}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
redis.call('ZADD', KEYS[1], now, ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {ARGV[1], 1}
