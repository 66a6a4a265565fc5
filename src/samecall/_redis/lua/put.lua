-- PUT: store the value, whoever leads.
-- KEYS  value, change (tracking tells it)
-- ARGV  nonce, entry, its ttl (ms)
-- reply {nonce, 1}
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('SET', KEYS[2], '', 'PX', 1000)
redis.call('DEL', KEYS[2])
return {ARGV[1], 1}
