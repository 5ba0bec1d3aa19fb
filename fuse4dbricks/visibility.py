"""Which catalogs, schemas and volumes a mount shows, whoever looks.

The difficulty: a filter names things at three levels, and hiding ``main.secret`` must leave ``main`` walkable, as showing
``main.sales.raw`` alone must show ``main`` and ``main.sales`` but nothing else in them. So a name hides or shows what lies
below it, and what lies above it is shown as far as it leads there. Names of securables are case-insensitive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fuse4dbricks.errors import ConfigError
from fuse4dbricks.paths import RemotePath

#: Catalog, schema, volume.
LEVELS = 3

#: What stands between names: commas, and the spaces that a shell variable may have in their place.
_BETWEEN = re.compile(r"[,\s]+")
#: Names cannot hold these (databricks-api section 2).
_NOT_IN_NAMES = re.compile(r"[/\x00-\x20\x7f]")

Pattern = tuple[str, ...]


def parse_name(text: str) -> tuple[str, ...]:
    """``catalog[.schema[.volume]]`` in parts; back quotes, as in SQL, may stand round each.

    Raises:
        ConfigError: it is not of that form.
    """
    parts = tuple(part.removeprefix("`").removesuffix("`") for part in text.split("."))
    if len(parts) > LEVELS or not all(parts) or any(_NOT_IN_NAMES.search(part) for part in parts):
        raise ConfigError(
            f"{text[:200]!r} is no name of the form CATALOG, CATALOG.SCHEMA or CATALOG.SCHEMA.VOLUME"
        )
    return parts


def parse_patterns(texts: Iterable[str]) -> tuple[Pattern, ...]:
    """Names between commas, in which ``*`` and ``?`` stand for any characters of one part; lower case.

    Raises:
        ConfigError: one of them is no name.
    """
    names = (name for text in texts for name in _BETWEEN.split(text) if name)
    return tuple(parse_name(name.lower()) for name in names)


@dataclass(frozen=True, slots=True)
class Visibility:
    """The filter of a mount.

    Attributes:
        allowed: when there are any, nothing else is shown.
        denied: not shown, even if allowed.
    """

    allowed: tuple[Pattern, ...] = ()
    denied: tuple[Pattern, ...] = ()

    def shows(self, path: RemotePath) -> bool:
        """Whether there is anything at ``path`` for anybody."""
        if not self.allowed and not self.denied:
            return True
        parts = path.folded[:LEVELS]
        if any(len(pattern) <= len(parts) and _agree(pattern, parts) for pattern in self.denied):
            return False
        return not self.allowed or any(_agree(pattern, parts) for pattern in self.allowed)


def _agree(pattern: Pattern, parts: tuple[str, ...]) -> bool:
    """Whether they are the same as far as both go."""
    return all(fnmatchcase(part, wanted) for wanted, part in zip(pattern, parts, strict=False))


#: No filter.
EVERYTHING = Visibility()
