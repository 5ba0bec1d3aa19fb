"""What a filter of securables shows and hides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuse4dbricks.errors import ConfigError
from fuse4dbricks.paths import ROOT, RemotePath
from fuse4dbricks.visibility import Visibility, parse_name, parse_patterns


def shown(path: str, *, allow: str = "", deny: str = "") -> bool:
    parts = tuple(path.split("/")) if path else ()
    return Visibility(parse_patterns([allow]), parse_patterns([deny])).shows(RemotePath(parts))


@pytest.mark.parametrize(
    ("path", "allow", "deny", "is_shown"),
    [
        ("main/sales/raw/d/f", "", "", True),
        ("", "main.sales.raw", "*", True),
        # A name stands for what is below it, and is reached through what is above it.
        ("main", "main.sales.raw", "", True),
        ("main/sales", "main.sales.raw", "", True),
        ("main/sales/raw", "main.sales.raw", "", True),
        ("main/sales/raw/d/f", "main.sales.raw", "", True),
        ("main/sales/other", "main.sales.raw", "", False),
        ("main/hr", "main.sales.raw", "", False),
        ("other", "main.sales.raw", "", False),
        ("main/any/thing/f", "main", "", True),
        # Denied wins, and leaves what is above it.
        ("main/secret", "", "main.secret", False),
        ("main/secret/v/f", "", "main.secret", False),
        ("main", "", "main.secret", True),
        ("main/open/v", "", "main.secret", True),
        ("main/sales/raw", "main.sales.raw", "main", False),
        ("main/sales/raw", "main", "main.sales.raw", False),
        # Case, on both sides.
        ("MAIN/Sales/raw", "main.SALES", "", True),
        ("main/SECRET", "", "Main.Secret", False),
        # Inside a volume, names are its own affair.
        ("main/sales/raw/secret", "", "*.*.secret", True),
        # Patterns are of one part.
        ("main/hr/public_2024", "main.hr.public_*", "", True),
        ("main/hr/private", "main.hr.public_*", "", False),
        ("dev_1/s", "dev_?", "", True),
        ("dev_10/s", "dev_?", "", False),
        ("any/tmp/v", "", "*.tmp", False),
        ("mainly/x", "main", "", False),
        ("main/sales/raw", "hr, main.sales  other", "", True),
        ("main/my-schema", "`main`.`my-schema`", "", True),
    ],
)
def test_a_filter(path: str, allow: str, deny: str, is_shown: bool) -> None:
    assert shown(path, allow=allow, deny=deny) is is_shown


@pytest.mark.parametrize("text", ["a.b.c.d", "a..b", ".a", "a.", "a/b", "a.b\x7f", "``"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_name(text)
    with pytest.raises(ConfigError):
        parse_patterns(["fine", f"fine,{text}"])


names = st.sampled_from(["a", "b", "C"])
securables = st.lists(names, min_size=1, max_size=3)
lists = st.lists(securables.map(".".join), max_size=3)


@given(st.lists(names, min_size=1, max_size=4), lists, lists)
def test_what_is_shown_can_be_walked_to_and_nothing_denied_is(
    parts: list[str], allow: list[str], deny: list[str]
) -> None:
    rule = Visibility(parse_patterns(allow), parse_patterns(deny))
    path = RemotePath(tuple(parts))
    if rule.shows(path):
        assert rule.shows(path.parent)
        assert not any(path.full_name.lower().startswith(name.lower() + ".") for name in deny)
        assert path.full_name.lower() not in {name.lower() for name in deny}
    assert rule.shows(ROOT)
