"""Mount Databricks Unity Catalog volumes as a local, read-only file system.

The floors, from the bottom up; imports go down only (tests/unit/test_layering.py enforces it):

* floor 0  ``errors paths entry clock units tokens``  words of the domain, no I/O
* floor 1  ``concurrency telemetry``                  flights and supervised tasks; metrics and logs
* floor 2  ``auth workspace index chunks``            adapters to the outside, which do not know each other
* floor 3  ``cache access``                           what is kept, for how long, and who may see it
* floor 4  ``vfs``                                    the file system without FUSE
* floor 5  ``fuse``                                   the thin adapter to the kernel
* floor 6  ``config app cli``                         composition and commands
* beside   ``devworkspace``                           a local workspace for demo, tests and benchmarks
"""

__version__ = "0.1.0"
