"""`--dry-run`: kubectl's values, and the original's switch."""

from __future__ import annotations

import pytest

from wasme.cli.flags import flag
from wasme.cli.kinds import KINDS
from wasme.cli.words import normalise
from wasme.errors import UsageError


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("client", "client"), ("server", "server"), ("none", ""), ("true", "client"), ("false", ""), ("1", "client"),
    ],
)  # fmt: skip
def test_each_value_means_one_thing(word: str, meant: str) -> None:
    """client and server are themselves; the original's true is client, its false and kubectl's none are no dry run."""
    assert KINDS["dryRun"].read([word]) == meant


def test_bare_it_is_client_and_takes_no_word_after_it() -> None:
    """Without `=` it is the client's, and what follows stays a positional."""
    made = flag("--dry-run", kind="dryRun", help="x")
    assert normalise(["--dry-run", "server"], {"--dry-run": made}) == (["--dry-run=true"], ["server"])
    assert made.type_cast_value(None, ["true"]) == "client"  # type: ignore[arg-type]
    assert made.type_cast_value(None, ()) == ""  # type: ignore[arg-type]


def test_another_word_is_refused_by_name() -> None:
    """A value that is none is a wrong call that names the values there are."""
    with pytest.raises(UsageError, match="not one of client, server, none"):
        flag("--dry-run", kind="dryRun", help="x").type_cast_value(None, ["sever"])  # type: ignore[arg-type]
