"""Numbers are declared once."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from fuse4dbricks.telemetry.metrics import DECLARED, Metrics

PACKAGE = Path(__file__).resolve().parents[2] / "fuse4dbricks"


def test_counts_by_labels() -> None:
    metrics = Metrics()
    metrics.count("remote.calls", kind="head")
    metrics.count("remote.calls", kind="head", status="2xx")
    metrics.add("remote.calls", 5, kind="listing")
    assert metrics.get("remote.calls") == 7
    assert metrics.get("remote.calls", kind="head") == 2
    assert metrics.get("remote.calls", status="2xx", kind="head") == 1
    assert metrics.get("remote.calls", kind="range") == 0
    assert metrics.get("remote.bytes") == 0


def test_the_order_of_labels_does_not_matter() -> None:
    metrics = Metrics()
    metrics.count("remote.calls", a="1", b="2")
    metrics.count("remote.calls", b="2", a="1")
    assert list(metrics) == [("remote.calls", {"a": "1", "b": "2"}, 2)]


def test_an_undeclared_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        Metrics().count("remote.callz")


def test_every_name_that_is_counted_in_the_source_is_declared_and_counted() -> None:
    counted = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and file.name != "metrics.py":
                counted.add(node.value)
    calls = {
        node.args[0].value
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"count", "add"}
        and ast.unparse(node.func.value).endswith("metrics")
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    assert calls <= set(DECLARED)
    assert set(DECLARED) <= counted, "declared, and nobody counts it"
