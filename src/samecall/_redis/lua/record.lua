-- RECORD: if the lease is ours, renew it and append one frame to the recording of this generation.
-- One that came after a `forget` since the epoch that LEAD told is freed: it is younger than the call.
-- KEYS  lease, recording, tombstone
-- ARGV  nonce, token, lease (ms), number of the frame (0: only renew), frame, life of the recording
--       (ms), channel, most bytes that ride in a message, PUBLISH or SPUBLISH, epoch
-- reply {nonce, {1 or 0 (the lease is not ours), 1 or 0 (there was a hole), who heard (-1: unknown)}}
-- Safe to send twice: the ids are the numbers, and what is there already is not appended.
local found = redis.call('MGET', KEYS[1], KEYS[3])
if found[1] ~= ARGV[2] then
  return {ARGV[1], {0, 1, 0}}
end
if found[2] and found[2] ~= ARGV[10] then
  redis.call('DEL', KEYS[1])
  return {ARGV[1], {0, 1, 0}}
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local number, frame = tonumber(ARGV[4]), ARGV[5]
local length = redis.pcall('XLEN', KEYS[2])
if type(length) ~= 'number' or length < number - 1 then
  -- evicted or deleted: a recording without its beginning is none, and what is no recording neither
  redis.call('UNLINK', KEYS[2])
  return {ARGV[1], {1, 0, -1}}
end
if number > 0 and length == number - 1 then
  local done = redis.pcall('XADD', KEYS[2], ARGV[4] .. '-0', 'f', frame)
  if done.err and string.find(done.err, 'equal or smaller', 1, true) then
    redis.call('UNLINK', KEYS[2])  -- somebody else has written here
    return {ARGV[1], {1, 0, -1}}
  elseif done.err then
    return done
  end
end
redis.call('PEXPIRE', KEYS[2], ARGV[6])
local heard = redis.pcall(ARGV[9], ARGV[7], #frame <= tonumber(ARGV[8]) and frame or '')
return {ARGV[1], {1, 1, type(heard) == 'number' and heard or -1}}
