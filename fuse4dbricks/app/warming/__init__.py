"""Filling the cache on purpose: once (``cache warm``), and again and again for what is pinned."""
