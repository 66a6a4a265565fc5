-- LOOK: the bytes at each key and how long they stay.
-- KEYS  per key: value
-- ARGV  nonce, most bytes of values in one reply
-- reply {nonce, one of these per key}: {"H", ms left, value}, {"N"} (nothing there), {"M"} (ask again)
local reply, sent, most = {ARGV[1]}, 0, tonumber(ARGV[2])
for i = 1, #KEYS do
  if sent > most then
    reply[i + 1] = {'M'}
  else
    local value = redis.call('MGET', KEYS[i])[1]
    if value then
      sent = sent + #value
      reply[i + 1] = {'H', redis.call('PTTL', KEYS[i]), value}
    else
      reply[i + 1] = {'N'}
    end
  end
end
return reply
