"""JSON of any depth is read, whatever is nested too deep in it cut away, and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from wasme.deploy.cluster import depth
from wasme.deploy.cluster.depth import CUT, LEVELS, cut, decode, holds_cut, shallow, was_cut


def nested(levels: int, opening: str = '{"a":', closing: str = "}") -> str:
    return opening * levels + "1" + closing * levels


def walked(value: Any) -> tuple[int, Any]:
    """How deep it goes, and what is at the end."""
    levels = 0
    while isinstance(value, dict | list):
        value, levels = (value["a"] if isinstance(value, dict) else value[0]), levels + 1
    return levels, value


@pytest.mark.parametrize("levels", [1200, 4000, 9000])
@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]"), ('[{"a":', "}]")])
def test_what_is_too_deep_is_cut(levels: int, opening: str, closing: str) -> None:
    """Its beginning stays, and all that stands beside it, brackets and quotes in texts too."""
    beside = r'"[{\"}]\\"'
    found = decode(f'{{"x":{beside},"deep":{nested(levels, opening, closing)},"y":[{beside},{{}}]}}'.encode())
    assert (found["x"], found["y"]) == ('[{"}]\\', ['[{"}]\\', {}])
    assert walked(found["deep"]) == (LEVELS - 1, CUT)
    assert was_cut({"metadata": {}, "spec": {"filter": {"config": found}}}) == "spec.filter.config"
    assert holds_cut(msgspec.json.encode(found))


def test_what_is_not_too_deep_stays() -> None:
    """To the last level, and by the same object where it was decoded already."""
    body = nested(LEVELS).encode()
    assert cut(body) == body
    value = decode(body)
    assert shallow(value) is value
    assert was_cut(value) == ""
    assert not holds_cut(body)
    assert walked(decode(cut(nested(LEVELS + 1).encode()))) == (LEVELS, CUT)


@pytest.mark.parametrize("levels", [LEVELS + 1, 900])
def test_what_can_be_decoded_and_not_be_walked(levels: int) -> None:
    """A decoded value is cut the same way."""
    assert walked(shallow(decode(nested(levels).encode()))) == (LEVELS, CUT)


@pytest.mark.parametrize("body", [b"[" * 5000, b'{"a":' * 5000 + b'"', b"[" * 5000 + b"}" * 4000, b"]" * 10, b'"'])
def test_no_json_is_no_json(body: bytes) -> None:
    """However deep it is."""
    with pytest.raises(msgspec.DecodeError):
        depth.decode(body)
