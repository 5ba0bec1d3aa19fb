"""What ``.auth/status`` says, to whom."""

from __future__ import annotations

import json
from typing import Any

from fuse4dbricks.errors import Unreachable
from fuse4dbricks.tokens import Token
from fuse4dbricks.vfs.control.tree import STATUS_INO, STATUS_JSON_INO
from tests.support.benches import Bench, Setting, bench_of
from tests.support.fakes import ADA, BOB, token_of, workspace_with
from tests.support.kernel import Kernel


async def told(bench: Bench, uid: int) -> dict[str, Any]:
    document = json.loads(await Kernel(bench.filesystem, uid).read_inode(STATUS_JSON_INO))
    assert isinstance(document, dict)
    return document


def setting() -> Setting:
    return Setting(workspace_with("ada"), environment_token=token_of("ada"))


async def test_who_reads_it_reads_of_himself() -> None:
    async with bench_of(setting()) as bench:
        ada, bob = await told(bench, ADA), await told(bench, BOB)
        assert ada["principal"] == {"id": "id-of-ada", "user_name": "ada@example.com"}
        assert (ada["answered"], ada["problem"]) == ("DATABRICKS_TOKEN", "")
        assert (bob["principal"], bob["answered"]) == (None, None)
        assert bob["problem"] == "no source has a token for you"
        # Nor is he told that somebody else has one in the environment.
        assert "DATABRICKS_TOKEN" not in {source["source"] for source in bob["sources"]}
        text = (await Kernel(bench.filesystem, ADA).read_inode(STATUS_INO)).decode()
        assert "ada@example.com (id id-of-ada)" in text
        assert token_of("ada").reveal() not in text + json.dumps(ada)


async def test_a_refused_token_is_not_the_one_that_answers() -> None:
    async with bench_of(setting()) as bench:
        bench.written.set(ADA, Token("refused"))
        status = await told(bench, ADA)
        assert status["answered"] == "DATABRICKS_TOKEN"
        bench.written.set(BOB, Token("refused"))
        assert "the workspace refuses the token" in (await told(bench, BOB))["problem"]


async def test_an_outage_is_told_as_one() -> None:
    async with bench_of(setting()) as bench:
        bench.workspace.down = Unreachable("no route")
        status = await told(bench, ADA)
        assert status["principal"] is None
        assert "cannot be asked who you are: no route" in status["problem"]
