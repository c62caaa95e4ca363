"""Tables, sizes and JSON on stdout."""

from __future__ import annotations

import json

import pytest

from wasme.cli import output
from wasme.cli.output import human_size, table


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12553, "12.6 kB"), (13939, "13.9 kB"), (999949, "999.9 kB"),
        (1_000_000, "1.0 MB"), (2_100_000_000, "2.1 GB"),
    ],
)  # fmt: skip
def test_sizes_are_decimal_si(size: int, shown: str) -> None:
    """Under 1000 in bytes, else one decimal."""
    assert human_size(size) == shown


def test_a_table_pads_all_but_the_last_column() -> None:
    """Each column is one wider than its widest cell; nothing trails."""
    rows = [("NAME", "TAG", "UPDATED"), ("a/longer", "v1", "x"), ("b", "v22", "y")]
    assert table(rows) == "NAME     TAG UPDATED\na/longer v1  x\nb        v22 y"


def test_objects_that_would_go(capsys: pytest.CaptureFixture[str]) -> None:
    """Deletions stand where kubectl does not look, so that nobody makes anew what was to go: a key of their own
    beside ``items``, or comments; a command that deletes nothing has neither."""
    gone = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "ns", "uid": "1"}, "data": {}}
    output.emit_objects([], "json", [gone])
    told = json.loads(capsys.readouterr().out)
    assert told["items"] == []
    assert told["deleted"] == [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "ns"}}]
    output.emit_objects([{"kind": "Pod"}], "yaml", [gone])
    assert capsys.readouterr().out == "# deleted: Secret ns/s\nkind: Pod\n"
    output.emit_objects([], "text", [gone])
    assert capsys.readouterr().out == "# deleted: Secret ns/s\n"
    output.emit_objects([{"kind": "Pod"}], "json")
    assert "deleted" not in json.loads(capsys.readouterr().out)
