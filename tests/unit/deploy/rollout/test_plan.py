"""Which workloads belong to which step of a rollout."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasme.cli.kinds import KINDS, ROLLOUT
from wasme.deploy.rollout.plan import DEFAULT, Share, grouped, parse
from wasme.errors import UsageError


@pytest.mark.parametrize(
    ("text", "count", "sizes"),
    [
        ("1,25%,100%", 40, [1, 9, 30]),
        ("1,25%,100%", 1, [1]),
        ("1,25%,100%", 4, [1, 3]),
        ("1,25%,100%", 5, [1, 1, 3]),
        ("10%", 5, [1, 4]),
        ("1%", 1000, [10, 990]),
        ("3", 10, [3, 7]),
        (" 2 , 50% ", 10, [2, 3, 5]),
        ("100%", 7, [7]),
        ("50", 7, [7]),
    ],
)
def test_steps(text: str, count: int, sizes: list[int]) -> None:
    """A share says how many are changed when its step is over; what the last one leaves is a step of its own."""
    groups = grouped(list(range(count)), parse(text))
    assert [len(each) for each in groups] == sizes
    assert [item for each in groups for item in each] == list(range(count))


@pytest.mark.parametrize("text", ["", "0", "0%", "101%", "5,5", "50%,20%", "a", "1,,2", "-1", "1.5", "1;2", "9" * 30])
def test_wrong_steps(text: str) -> None:
    """What is no list of growing numbers and percentages is refused with an example, never with a traceback."""
    with pytest.raises(UsageError, match=r"^--rollout: ") as caught:
        parse(text)
    assert DEFAULT in (caught.value.hint or "")


@given(st.integers(0, 500), st.lists(st.builds(Share, st.integers(1, 100), st.booleans()), max_size=6))
def test_every_item_once(count: int, shares: list[Share]) -> None:
    """Whatever the shares, each workload is in exactly one step, in order, and no step is empty."""
    groups = grouped(list(range(count)), shares)
    assert [item for each in groups for item in each] == list(range(count))
    assert all(groups)


@pytest.mark.parametrize(("word", "meant"), [("true", DEFAULT), ("false", ""), ("1", "1"), ("2,50%", "2,50%")])
def test_flag(word: str, meant: str) -> None:
    """``--rollout`` alone is the usual steps; ``--rollout=1`` is one workload first, not a yes."""
    assert ROLLOUT == DEFAULT
    assert KINDS["steps"].read([word]) == meant
