"""``python -m fuse4dbricks`` is the same as the ``fuse4dbricks`` command."""

from __future__ import annotations

import sys

from fuse4dbricks.cli.main import main

sys.exit(main())
