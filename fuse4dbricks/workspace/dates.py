"""HTTP dates to Unix seconds and back.

The difficulty: a listing gives milliseconds, a HEAD gives an HTTP date, and the two must compare equal; and the
date parsers of the standard library raise three kinds of exception on hostile text.
"""

from __future__ import annotations

import datetime as dt
from email.utils import format_datetime, parsedate_to_datetime

#: Times are kept below 2**33 s (the year 2242), so that nanoseconds still fit 63 bits in the kernel's structures.
MAX_TIME = 2**33


def parse_http_date(text: str | None) -> int | None:
    """Unix seconds of an HTTP date in any of the three forms of RFC 9110 5.6.7, or None if it is not one."""
    if not text or len(text) > 64:
        return None
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        seconds = int(moment.timestamp())
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return seconds if 0 <= seconds < MAX_TIME else None


def format_http_date(seconds: int) -> str:
    """``Sun, 06 Nov 1994 08:49:37 GMT``."""
    return format_datetime(dt.datetime.fromtimestamp(seconds, dt.UTC), usegmt=True)
