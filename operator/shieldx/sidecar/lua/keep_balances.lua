-- Compare and set: what is kept of an account never gives way to what is older.
--
-- KEYS     the accounts' keys
-- ARGV     milliseconds to keep them, then per key: version, as_of, text
local kept = 0
for i, key in ipairs(KEYS) do
  local version, as_of, text = ARGV[3 * i - 1], ARGV[3 * i], ARGV[3 * i + 1]
  local stored = redis.call('GET', key)
  local newer = true
  if stored then
    local v, a = string.match(stored, '^(%d+) (%d+) ')
    v, a = tonumber(v), tonumber(a)
    newer = v < tonumber(version) or (v == tonumber(version) and a <= tonumber(as_of))
  end
  if newer then
    redis.call('SET', key, version .. ' ' .. as_of .. ' ' .. text, 'PX', ARGV[1])
    kept = kept + 1
  end
end
return kept
