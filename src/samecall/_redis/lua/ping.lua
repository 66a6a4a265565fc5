-- PING: does the server run scripts and take writes?
-- KEYS  a key of no other use
-- ARGV  nonce
-- reply {nonce, 1}
redis.call('SET', KEYS[1], '', 'PX', 1000)
return {ARGV[1], 1}
