"""The guards: pure checks on two questions before one's answer may serve the other (cache.md).

No I/O, no state, no vectors: similarity is the index's business, and the bound is the gate's.
"""

from gateway.cache.semantic.guards.features import Features, features_of
from gateway.cache.semantic.guards.pair import PAIR_FEATURES, Rarity, listed_rarity, pair_features
from gateway.cache.semantic.guards.table import GUARD_VERSION, GUARDS, VERIFIABLE, failed, fails_any

__all__ = [
    "GUARDS",
    "GUARD_VERSION",
    "PAIR_FEATURES",
    "VERIFIABLE",
    "Features",
    "Rarity",
    "failed",
    "fails_any",
    "features_of",
    "listed_rarity",
    "pair_features",
]
