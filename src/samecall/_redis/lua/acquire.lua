-- ACQUIRE: look at value, error and lease of each key; take the lease where nothing answers.
-- KEYS  per key: value, error, lease
-- ARGV  nonce, most bytes of values in one reply, then per key: token, seen, lease (ms)
-- reply {nonce, one of these per key}
--   {"H", ms left, value}            a value that is not `seen`
--   {"E", ms left, error}            a leader failed a moment ago
--   {"W", token, ms left, stamp}     somebody leads; stamp of the value there ("": none)
--   {"L", stamp}                     the lease is ours; stamp of the value there ("": none)
--   {"X", message}                   the server refused to write the lease
--   {"M"}                            nothing was done, the reply is full: ask again
-- MGET, not GET: it tells a value of the wrong type as absent.
local reply, sent, most = {ARGV[1]}, 0, tonumber(ARGV[2])

local function look(v, e, l, token, seen, lease)
  local found = redis.call('MGET', v, e, l)
  local value, failure, holder = found[1], found[2], found[3]
  local stamp = value and #value >= 19 and string.sub(value, 4, 19) or ''
  if stamp ~= '' and seen ~= '*' and stamp ~= seen then
    sent = sent + #value
    return {'H', redis.call('PTTL', v), value}
  end
  if failure and seen ~= '*' then
    return {'E', redis.call('PTTL', e), failure}
  end
  if holder and holder ~= token then
    local left = redis.call('PTTL', l)
    if left > 0 then
      return {'W', holder, left, stamp}
    end
  end
  local done = redis.pcall('SET', l, token, 'PX', lease)
  if done.err and string.find(done.err, 'READONLY', 1, true) then
    return redis.error_reply('READONLY a replica takes no lease')
  end
  if done.err then
    return {'X', done.err}
  end
  return {'L', stamp}
end

for i = 1, #KEYS, 3 do
  if sent > most then
    reply[#reply + 1] = {'M'}
  else
    local one = look(KEYS[i], KEYS[i + 1], KEYS[i + 2], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
    if one.err then
      return one
    end
    reply[#reply + 1] = one
  end
end
return reply
