"""Reading file contents: RAM, then the disk tier, then streamed from the workspace; one fetch per byte.

``data_cache`` opens readers. ``reader`` is one open handle, ``interest`` what it has asked for, ``window`` how
sequential reading is recognised. ``content`` is one version of one file, shared by its readers; ``extent`` is one
remote read, ``chunk`` what it fills. ``ram`` and ``budget`` bound the memory; ``ports`` is what all this needs
from below.
"""
