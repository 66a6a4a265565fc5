-- POSTED: who has left word, and when.
-- KEYS  the list of notes
-- ARGV  nonce
-- reply {nonce, {ms now, name of a record, ms when, ...}}
local time = redis.call('TIME')
local notes = redis.pcall('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
if notes.err then  -- something else stands there
  notes = {}
end
table.insert(notes, 1, time[1] * 1000 + math.floor(time[2] / 1000))
return {ARGV[1], notes}
