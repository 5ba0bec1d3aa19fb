"""Files API through the SDK."""

from __future__ import annotations

import io

from databricks.sdk import WorkspaceClient

from tests.support.workspace import VOLUME, Served


def test_upload_download_list_delete(workspace: Served, client: WorkspaceClient) -> None:
    client.files.upload(f"{VOLUME}/new/a b?#%.txt", io.BytesIO(b"hello"))

    assert (workspace.volume / "new" / "a b?#%.txt").read_bytes() == b"hello"
    reply = client.files.download(f"{VOLUME}/new/a b?#%.txt")
    assert reply.contents is not None
    assert reply.contents.read() == b"hello"
    assert [
        (entry.name, entry.file_size) for entry in client.files.list_directory_contents(f"{VOLUME}/new")
    ] == [("a b?#%.txt", 5)]
    client.files.delete(f"{VOLUME}/new/a b?#%.txt")
    assert not list(client.files.list_directory_contents(f"{VOLUME}/new"))
    assert workspace.journal.leaked_authorization == 0
