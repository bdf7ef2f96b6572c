"""The stores there are, by name; the contract suite in tests/contract/test_stores.py runs over this table."""

from collections.abc import Mapping

from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore

STORES: Mapping[str, type[MemoryStore | RedisStore]] = {
    "memory": MemoryStore,
    "redis": RedisStore,
}
