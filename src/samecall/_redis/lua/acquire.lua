-- ACQUIRE: look at value, error and lease of each key; take the lease where nothing answers.
-- KEYS  per key: value. On a cluster, where each key that is touched has to be named: value, error,
--       lease, tombstone; else the names of these three are made from the value's, for a batch of
--       hits needs none of them, and to send them costs the server as much as to read the values.
-- ARGV  nonce, most bytes of values in one reply, how many keys are asked for, their tokens (equally
--       long) in one string, then lease (ms, 12 digits) and seen: per key, or once if it is the same for
--       all. Each argument costs the server about as much as a key, looked at or not.
-- reply {nonce, two of these per key}
--   ms left, value                         a value that is not `seen`
--   {"E", ms left, error}, false           a leader failed a moment ago
--   {"W", token, ms left, stamp}, false    somebody leads; stamp of the value there ("": none)
--   {"L", stamp, epoch}, false             the lease is ours; stamp of the value there, and what the
--                                          last `forget` left ("": none); COMMIT and FAIL want both
--   {"L", stamp, epoch, odd}, false        and what stood at these of its names (letters of "velt")
--                                          was none of ours; the next COMMIT or FAIL ends what is left
--   {"X", message}, false                  the server refused to write the lease
--   {"M"}, false                           nothing was done, the reply is full: ask again
-- MGET, not GET: it tells a value of the wrong type as absent. One that is too short to have a stamp
-- has 16 zero bytes for one, so that who refuses it can say so.
-- What was recorded under a token whose lease had ended goes as it gets one anew: that is an ACQUIRE
-- that came late, or a lease that ran out, and a `forget` in between knew no token to delete by.
local call, sub = redis.call, string.sub
local reply, sent, most = {ARGV[1]}, 0, tonumber(ARGV[2])
local count = tonumber(ARGV[3])
local each, size = #KEYS / count, #ARGV[4] / count
local how, alike = ARGV[5], #ARGV == 5
local seen = sub(how, 13)
local names = KEYS
if each > 1 then
  names = {}
  for i = 1, count do
    names[i] = KEYS[each * (i - 1) + 1]
  end
end
local values = call('MGET', unpack(names))

local function stamp_of(value)
  return #value >= 19 and sub(value, 4, 19) or string.rep('\0', 16)
end

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
  local hex = string.format(string.rep('%02x', #token), string.byte(token, 1, -1))
  -- pcall: while a cluster moves the slot, a key that is not named may not be touched
  redis.pcall('UNLINK', sub(name, 1, at) .. 's' .. sub(name, at + 2) .. ':' .. hex)
end

-- The letters of those names that hold something, and no string: MGET tells it as absent.
local function mistyped(names)
  local odd = ''
  for letter, name in pairs(names) do
    local kind = redis.pcall('TYPE', name).ok or 'none'
    if kind ~= 'none' and kind ~= 'string' then
      odd = odd .. letter
    end
  end
  return odd
end

local function look(i, stamp, token, seen, lease)
  local e, l, t = others(i)
  local found = call('MGET', e, l, t)
  local failure, holder, tomb = found[1], found[2], found[3]
  if failure and seen ~= '*' then
    return {'E', call('PTTL', e), failure}
  end
  if holder and holder ~= token then
    local left = call('PTTL', l)
    if left > 0 then
      return {'W', holder, left, stamp}
    end
  end
  local strings = 0
  for _, one in ipairs({stamp ~= '', failure, holder, tomb}) do
    strings = strings + (one and 1 or 0)
  end
  local odd = ''
  -- pcall, here and above: a login without the right to ask leads all the same
  if redis.pcall('EXISTS', names[i], e, l, t) ~= strings then
    odd = mistyped({v = names[i], e = e, l = l, t = t})
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
  -- 40 digits, of which the last 8 are the key's own: see FORGET. What is none of ours goes on
  -- guarding as one of ours, for nothing that was begun before it is to come back.
  local last = sub(t, -9, -2)
  if tomb and (#tomb ~= 40 or sub(tomb, 33) ~= last) then
    odd = odd .. 't'
  end
  if string.find(odd, 't', 1, true) then
    tomb = sub(redis.sha1hex((tomb or '') .. token), 1, 32) .. last
    redis.pcall('SET', t, tomb, 'PX', 3600000)
  end
  if odd ~= '' then
    return {'L', stamp, tomb or '', odd}
  end
  return {'L', stamp, tomb or ''}
end

for i = 1, count do
  local value = values[i]
  if not alike then
    how = ARGV[4 + i]
    seen = sub(how, 13)
  end
  if sent > most then
    reply[2 * i], reply[2 * i + 1] = {'M'}, false
  elseif value and seen ~= '*' and (seen == '' or stamp_of(value) ~= seen) then
    sent = sent + #value
    reply[2 * i], reply[2 * i + 1] = call('PTTL', names[i]), value
  else
    local token = sub(ARGV[4], size * (i - 1) + 1, size * i)
    local one = look(i, value and stamp_of(value) or '', token, seen, tonumber(sub(how, 1, 12)))
    if one.err then
      return one
    end
    reply[2 * i], reply[2 * i + 1] = one, false
  end
end
return reply
