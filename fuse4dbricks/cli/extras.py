"""What to say when a command needs packages that an ordinary installation leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fuse4dbricks.errors import UserError

#: What the extra ``demo`` in pyproject.toml brings.
DEMO_PACKAGES = frozenset({"uvicorn", "starlette", "h11", "trustme"})


@contextmanager
def demo_extra() -> Iterator[None]:
    """A block that imports or starts the local workspace.

    Raises:
        UserError: the extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in DEMO_PACKAGES:
            raise
        raise UserError(
            f"the local workspace needs {package}, which is not installed: pip install 'fuse4dbricks[demo]'"
        ) from None
