"""A local workspace for tests.

Use it so, in a ``conftest.py`` beside the tests (importing a fixture is how pytest shares one)::

    from tests.support.workspace import workspace

    __all__ = ["workspace"]

and in the tests::

    def test_x(workspace: Served) -> None:
        (workspace.volume / "a.txt").write_bytes(b"hello")       # /Volumes/main/sales/raw/a.txt
        client = …(workspace.url, workspace.token)               # user someone@example.com may do everything
        workspace.faults.add(Status(status=503, retry_after="1"), kind="fs.files.get", times=2)
        workspace.counts["fs.files.get"], workspace.log[-1].range
        workspace.journal.wait_until(lambda j: j.get_in_flight()["fs.files.get"] == 1)   # blocks: no sleeps

Or start one by hand, over any folder of CATALOG/SCHEMA/VOLUME/…::

    with serve(tmp_path, open_to_all=False) as ws:              # nobody may do anything …
        token = ws.people.add_user("alice@example.com", groups=["readers"])
        ws.grants.let_read("main.sales.raw", "alice@example.com")   # … but what is granted

What there is:

* ``ws.url``, ``ws.cloud_url``, ``ws.token``, ``ws.user``; with ``tls=True`` also ``ws.authority_file`` (PEM to trust).
* ``ws.behaviour``: one field per odd behaviour of the real service; assign at any time
  (``bad_token = 401``, ``etag = True``, ``page_size = 3``, ``catalog_page_size``, ``empty_pages``, ``layout = "flat"``,
  ``presigned = "not_enabled"``, …). All of them are explained at ``devworkspace.settings.Behaviour``.
* ``ws.people``: ``add_user``, ``add_service_principal``, ``issue_token(user, lifetime=…)``, ``revoke_token``.
* ``ws.grants``: ``grant``, ``revoke``, ``let_read(volume, who)``, ``set_owner``, ``open_to_all = False``.
* ``ws.state.metadata.change("main", omit=["created_at"], comment="…")``: fields of catalogs, schemas, volumes.
* ``ws.state.hostile.add("/Volumes/main/sales/raw", {"name": ".."}, …)``: raw JSON entries in a listing.
* ``ws.entra.approve(user_code, user)``, ``.decline``, ``.answer_next_with("slow_down")``; authority ``ws.authority``.
* ``ws.faults``: ``add(effect, kind=…, path=…, range=…, user=…, skip=…, every=…, times=…, probability=…)`` gives an
  object with ``fired`` (assert that it is > 0) and ``remove()``; ``clear()``. Effects: ``Latency Status Page Redirect
  Json Reset Hang IgnoreRange OtherRange Headers EndlessPages`` in ``devworkspace.effects``, ``Bandwidth Drip DripHeaders
  ShortBody LongBody Gzip Garbled`` in ``devworkspace.body_effects``, ``ConcurrencyGate QpsGate`` in
  ``devworkspace.gates`` (match them with ``kind=FILES_API_KINDS``). ``Hang`` lasts until removed.
* ``ws.go_down()`` and ``ws.come_back()``: an outage (connections dropped, new ones refused) and its end, same ports.
* ``ws.counts`` (calls by kind), ``ws.log`` (records), ``ws.journal.get_bytes()``, ``get_peaks()``, ``get_in_flight()``,
  ``clear()``, ``wait_until``, ``leaked_authorization`` (must stay 0).
* kinds: ``scim.me``, ``uc.catalogs.list|get``, ``uc.schemas.list|get``, ``uc.volumes.list|get``, ``uc.permissions.get``,
  ``uc.effective_permissions.get``, ``fs.files.get|head|put|delete``, ``fs.directories.list|head|put|delete``,
  ``fs.download_url``, ``cloud.get``, ``oidc.*``, ``entra.*``, ``other``.
* a source of files other than a folder: ``serve(tree=SyntheticTree(…))`` in ``devworkspace.synthetic``: huge files,
  folders of a million entries, content that names its version.

To change a file "remotely", write it on disk; Last-Modified has whole seconds, so move its mtime with ``os.utime``
when a test needs the change to be seen by time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fuse4dbricks.devworkspace.server import LocalWorkspace

VOLUME = "/Volumes/main/sales/raw"
VOLUME_NAME = "main.sales.raw"


class Served(LocalWorkspace):
    """A local workspace that knows where its one volume lies on disk."""

    @property
    def volume(self) -> Path:
        """The folder of ``main.sales.raw``."""
        return self.settings.root.joinpath(*VOLUME_NAME.split("."))


def serve(root: Path | None = None, **options: Any) -> Served:
    """A workspace over a folder (made, with an empty volume ``main.sales.raw``), to be entered with ``with``."""
    if root is not None:
        root.joinpath(*VOLUME_NAME.split(".")).mkdir(parents=True, exist_ok=True)
    return Served(root, **options)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Served]:
    """A running workspace with the empty volume ``main.sales.raw``."""
    with serve(tmp_path / "tree") as running:
        yield running
