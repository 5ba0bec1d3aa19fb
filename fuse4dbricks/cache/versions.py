"""When two observations of a file are the same version.

The difficulty: a listing never carries an ETag and a HEAD may, so one unchanged file is seen under two versions,
and with the version every cached chunk would change its key. The older version is kept where nothing that both
observations tell has changed and neither was made too soon after the file's own modification.
"""

from __future__ import annotations

from dataclasses import replace

from fuse4dbricks.entry import Entry


def merged(old: Entry | None, new: Entry) -> Entry:
    """``new``, under the version of ``old`` when both saw the same, settled bytes."""
    if old is None or old.kind is not new.kind or old.version is None or new.version is None:
        return new
    if old.version == new.version:
        return old
    if old.version.unsettled_at or new.version.unsettled_at:
        return new
    both_tagged = old.version.etag is not None and new.version.etag is not None
    if both_tagged or old.version.last_modified is None or not old.version.same_bytes_as(new.version):
        return new
    return replace(new, version=old.version)
