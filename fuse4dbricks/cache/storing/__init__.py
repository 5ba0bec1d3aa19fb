"""The disk tier's parts: what is stored, what must go, and what happens when the disk does not do as it should.

``ports`` is what they need from below; ``breaker`` and ``calls`` keep a sick disk away from readers; ``known``
remembers what is on disk; ``publishing`` stores; ``room`` counts; ``removal``, ``eviction`` and ``sweep`` delete;
``stocktaking`` says when to sweep; ``upkeep`` obeys people. ``cache/disk.py`` puts them together.
"""
