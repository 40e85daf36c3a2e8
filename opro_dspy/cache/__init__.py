"""What was paid for, kept by content: example scores and LM answers, shared by runs."""

from opro_dspy.cache.places import DEFAULT_CACHE, CacheDir, resolve_cache_dir
from opro_dspy.cache.scores import CachedScore, ScoreCache, ScoreMemory, score_context
from opro_dspy.cache.store import DiskStore, MemoryStore, Store, open_store

__all__ = [
    "DEFAULT_CACHE",
    "CacheDir",
    "CachedScore",
    "DiskStore",
    "MemoryStore",
    "ScoreCache",
    "ScoreMemory",
    "Store",
    "open_store",
    "resolve_cache_dir",
    "score_context",
]
