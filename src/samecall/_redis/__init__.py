"""The Redis store. This package is the only importer of redis."""

from samecall._redis.store import RedisStore, open_redis

__all__ = ["RedisStore", "open_redis"]
