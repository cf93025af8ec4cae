"""
What Redis does by itself, each in one round trip and at once: Lua scripts.  Pure.

Times are Redis' own, so that the relays' clocks need not agree.  Each script names its keys,
and all that it touches is under the prefix.  What nobody writes any more goes after a day at
most, but for orders.
"""

from __future__ import annotations

from hashlib import sha1
from typing import Final

from attrs import field, frozen

__all__ = ["ADMIT", "ALL", "BEAT", "COUNT", "REPORT", "SETTLE", "Script"]


@frozen
class Script:
    """A script, and the name by which Redis knows it once it was loaded."""

    text: str
    sha: str = field(init=False)

    @sha.default
    def _sha(self) -> str:
        return sha1(self.text.encode(), usedforsecurity=False).hexdigest()


BEAT: Final = Script("""
-- KEYS: who is alive.  ARGV: me, until when without another beat (ms), who I was (or empty).
-- Returns whether I was still known.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local known = redis.call('ZSCORE', KEYS[1], ARGV[1]) and 1 or 0
if ARGV[3] ~= '' then redis.call('ZREM', KEYS[1], ARGV[3]) end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], 86400000)
return known
""")

ADMIT: Final = Script("""
-- KEYS: who is alive, sessions of a client by participant, when the client's bucket is full.
-- ARGV: me, how many I have with this one, the most (0: any), microseconds between two
-- handshakes (0: any), microseconds that a burst may be ahead, how long a count is kept (ms).
-- Returns 0: come in; -1: too many; else milliseconds until the next handshake.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, ahead = tonumber(ARGV[4]), tonumber(ARGV[5])
if interval > 0 then
  local full = tonumber(redis.call('GET', KEYS[3]) or 0)
  -- Not later than it can be: the rate may have been changed, or the clock set.
  full = math.min(math.max(full, now), now + ahead + interval)
  if full - now > ahead + 0.5 then return math.ceil((full - now - ahead) / 1000) end
  full = full + interval
  redis.call('SET', KEYS[3], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000))
end
local most = tonumber(ARGV[3])
if most > 0 then
  local total = tonumber(ARGV[2])
  local counts = redis.call('HGETALL', KEYS[2])
  for i = 1, #counts, 2 do
    if counts[i] ~= ARGV[1] then
      local alive = redis.call('ZSCORE', KEYS[1], counts[i])
      if alive and alive * 1000 > now then
        total = total + counts[i + 1]
      else
        redis.call('HDEL', KEYS[2], counts[i])
      end
    end
  end
  if total > most then return -1 end
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
end
return 0
""")

COUNT: Final = Script("""
-- KEYS: sessions of clients by participant.  ARGV: me, how long a count is kept (ms), and for
-- each key how many I have.
for i = 1, #KEYS do
  if tonumber(ARGV[i + 2]) > 0 then
    redis.call('HSET', KEYS[i], ARGV[1], ARGV[i + 2])
    redis.call('PEXPIRE', KEYS[i], ARGV[2])
  else
    redis.call('HDEL', KEYS[i], ARGV[1])
  end
end
return #KEYS
""")

SETTLE: Final = Script("""
-- KEYS: the orders.  ARGV: the channel, and for each order what it is about, when it was given
-- (milliseconds), by whom, and the order itself.  The later one stays, and all are told.
-- What stands there and is no order is overwritten.
local changed = 0
for i = 2, #ARGV, 4 do
  local known = redis.call('HGET', KEYS[1], ARGV[i])
  local newer = true
  local is_json, old = pcall(cjson.decode, known)
  if is_json and type(old) == 'table' and type(old.at) == 'number' and type(old.by) == 'string' then
    local at = tonumber(ARGV[i + 1])
    newer = at > old.at or (at == old.at and ARGV[i + 2] > old.by)
  end
  if newer then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 3])
    redis.call('PUBLISH', ARGV[1], ARGV[i + 3])
    changed = changed + 1
  end
end
return changed
""")

REPORT: Final = Script("""
-- KEYS: what the relays report, until when each report is good.  ARGV: me, the report, for how
-- long it is good (ms).  Returns each relay, its report, and how old that is (ms).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], 86400000)
redis.call('PEXPIRE', KEYS[2], 86400000)
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
  redis.call('HDEL', KEYS[1], gone)
  redis.call('ZREM', KEYS[2], gone)
end
local found = {}
for _, relay in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local report = redis.call('HGET', KEYS[1], relay)
  if report then
    found[#found + 1] = relay
    found[#found + 1] = report
    found[#found + 1] = math.floor(now + ARGV[3] - redis.call('ZSCORE', KEYS[2], relay))
  end
end
return found
""")

ALL: Final = (BEAT, ADMIT, COUNT, SETTLE, REPORT)
