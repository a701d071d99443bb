-- Token buckets that processes share: the rules of `sidecar/buckets.py`, by this server's clock.
--
-- KEYS     each bucket once
-- ARGV[1]  JSON: {"rates": [[per second, burst] a key], "asks": [[key, cost, key, cost, …] …]}
-- returns  per claim, ask after ask, the milliseconds to wait, 0 if it was granted
--
-- A bucket's value is "level microseconds"; one that would be full again is not kept.
local given = cjson.decode(ARGV[1])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local levels, touched = {}, {}

local stored = redis.call('MGET', unpack(KEYS))
for i, text in ipairs(stored) do
  local rate, burst = given.rates[i][1], given.rates[i][2]
  levels[i] = burst
  if text then
    local level, at = string.match(text, '^(%S+) (%S+)$')
    local gained = math.max(0, now - tonumber(at)) / 1000000 * rate
    levels[i] = math.min(burst, tonumber(level) + gained)
  end
end

local waits = {}
for _, ask in ipairs(given.asks) do
  local refused = false
  for n = 1, #ask, 2 do
    local key, cost = ask[n], ask[n + 1]
    local missing = math.min(cost, given.rates[key][2]) - levels[key] - 1e-9
    local wait = 0
    if missing > 0 then
      wait = math.max(1, math.ceil(missing / given.rates[key][1] * 1000))
      refused = true
    end
    waits[#waits + 1] = wait
  end
  if not refused then
    for n = 1, #ask, 2 do
      levels[ask[n]] = levels[ask[n]] - ask[n + 1]
      touched[ask[n]] = true
    end
  end
end

for key, _ in pairs(touched) do
  local rate, burst = given.rates[key][1], given.rates[key][2]
  local full = math.ceil((burst - levels[key]) / rate * 1000)
  if full > 0 then
    redis.call('SET', KEYS[key], string.format('%.17g %.0f', levels[key], now), 'PX', full)
  end
end
return waits
