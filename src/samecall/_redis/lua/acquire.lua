-- ACQUIRE: look at value, error and lease of each key; take the lease where nothing answers.
-- KEYS  per key: value. On a cluster, where each key that is touched has to be named: value, error,
--       lease, tombstone; else the names of these three are made from the value's, for a batch of
--       hits needs none of them, and to send them costs the server as much as to read the values.
-- ARGV  nonce, most bytes of values in one reply, then per key: token, lease (ms, 12 digits) and seen
-- reply {nonce, two of these per key}
--   ms left, value                         a value that is not `seen`
--   {"E", ms left, error}, false           a leader failed a moment ago
--   {"W", token, ms left, stamp}, false    somebody leads; stamp of the value there ("": none)
--   {"L", stamp, epoch}, false             the lease is ours; stamp of the value there, and what the
--                                          last `forget` left ("": none); COMMIT and FAIL want both
--   {"X", message}, false                  the server refused to write the lease
--   {"M"}, false                           nothing was done, the reply is full: ask again
-- MGET, not GET: it tells a value of the wrong type as absent. One that is too short to have a stamp
-- has 16 zero bytes for one, so that who refuses it can say so.
-- What was recorded under a token whose lease had ended goes as it gets one anew: that is an ACQUIRE
-- that came late, or a lease that ran out, and a `forget` in between knew no token to delete by.
local reply, sent, most = {ARGV[1]}, 0, tonumber(ARGV[2])
local count = (#ARGV - 2) / 2
local each = #KEYS / count
local call, sub = redis.call, string.sub
local none = string.rep('\0', 16)
local names = KEYS
if each > 1 then
  names = {}
  for i = 1, count do
    names[i] = KEYS[each * (i - 1) + 1]
  end
end
local values = call('MGET', unpack(names))

local function others(i)
  if each > 1 then
    local k = each * (i - 1)
    return KEYS[k + 2], KEYS[k + 3], KEYS[k + 4]
  end
  local at = string.find(names[i], ':v:', 1, true)
  local space, tail = sub(names[i], 1, at), sub(names[i], at + 2)
  return space .. 'e' .. tail, space .. 'l' .. tail, space .. 't' .. tail
end

local function unrecord(name, token)
  local at = string.find(name, ':v:', 1, true)
  local hex = string.gsub(token, '.', function(c) return string.format('%02x', string.byte(c)) end)
  -- pcall: while a cluster moves the slot, a key that is not named may not be touched
  redis.pcall('UNLINK', sub(name, 1, at) .. 's' .. sub(name, at + 2) .. ':' .. hex)
end

local function look(i, stamp, token, seen, lease)
  local e, l, t = others(i)
  local found = call('MGET', e, l)
  local failure, holder = found[1], found[2]
  if failure and seen ~= '*' then
    return {'E', call('PTTL', e), failure}
  end
  if holder and holder ~= token then
    local left = call('PTTL', l)
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
  if not holder then
    unrecord(names[i], token)
  end
  return {'L', stamp, call('MGET', t)[1] or ''}
end

for i = 1, count do
  local value, how = values[i], ARGV[2 * i + 2]
  local stamp = value and (#value >= 19 and sub(value, 4, 19) or none) or ''
  local seen = sub(how, 13)
  if sent > most then
    reply[2 * i], reply[2 * i + 1] = {'M'}, false
  elseif stamp ~= '' and seen ~= '*' and stamp ~= seen then
    sent = sent + #value
    reply[2 * i], reply[2 * i + 1] = call('PTTL', names[i]), value
  else
    local one = look(i, stamp, ARGV[2 * i + 1], seen, tonumber(sub(how, 1, 12)))
    if one.err then
      return one
    end
    reply[2 * i], reply[2 * i + 1] = one, false
  end
end
return reply
