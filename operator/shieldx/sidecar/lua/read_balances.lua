-- What is remembered of these accounts: "version as_of text" a key, or nothing.
return redis.call('MGET', unpack(KEYS))
