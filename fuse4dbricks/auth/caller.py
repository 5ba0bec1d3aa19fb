"""Which process the request being answered came from; for ``--auth-from-process-env`` alone."""

from __future__ import annotations

from contextvars import ContextVar

#: 0 when it is not known: the kernel names no process for reads, nor for one outside our PID namespace.
CALLER_PID: ContextVar[int] = ContextVar("caller_pid", default=0)
