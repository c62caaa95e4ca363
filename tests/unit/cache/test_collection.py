"""Which files may go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wasme.cache.collection import choose

_NAMES = st.sampled_from("abcdefgh")
_SIZES = st.dictionaries(_NAMES, st.integers(0, 100))


def test_grace() -> None:
    """A module goes when it has been unneeded for the grace period at two looks, not before."""
    first = choose({"a": 1, "b": 1}, {"b"}, set(), {}, now=100, grace=10, limit=0)
    assert first == ((), {"a": 100})
    assert choose({"a": 1, "b": 1}, {"b"}, set(), first.unneeded, now=109, grace=10, limit=0).remove == ()
    assert choose({"a": 1, "b": 1}, {"b"}, set(), first.unneeded, now=110, grace=10, limit=0).remove == ("a",)


def test_needed_again() -> None:
    """A module that was needed in between starts anew."""
    assert choose({"a": 1}, {"a"}, set(), {"a": 1}, now=100, grace=10, limit=0) == ((), {})


def test_limit_takes_the_longest_unneeded_first() -> None:
    """Beyond the limit modules go without grace, those unneeded the longest first, spared ones last, and no more than
    must.
    """
    sizes = {"a": 10, "b": 10, "c": 10, "d": 10}
    since = {"a": 50.0, "b": 40.0}
    assert choose(sizes, {"d"}, {"c"}, since, now=51, grace=1000, limit=30).remove == ("b",)
    assert choose(sizes, {"d"}, {"c"}, since, now=51, grace=1000, limit=15).remove == ("b", "a", "c")


def test_clock_set_back() -> None:
    """A time in the future counts as now, so that a clock that was wrong keeps nothing for ever."""
    assert choose({"a": 1}, set(), set(), {"a": 9e9}, now=100, grace=10, limit=0).unneeded == {"a": 100}


def test_full_disk() -> None:
    """With no room left all that nobody needs goes at once; what may be in use stays."""
    choice = choose({"a": 1, "b": 1, "c": 1}, {"b"}, {"c"}, {}, now=1, grace=1000, limit=0, pressure=True)
    assert choice.remove == ("a",)


@given(_SIZES, st.sets(_NAMES), st.sets(_NAMES), st.dictionaries(_NAMES, st.floats(0, 200)), st.floats(0, 200),
       st.floats(0, 50), st.integers(0, 300), st.booleans())  # fmt: skip
def test_nothing_needed_goes(
    sizes: dict[str, int], needed: set[str], spared: set[str], unneeded: dict[str, float], now: float, grace: float,
    limit: int, pressure: bool,
) -> None:  # fmt: skip
    """Whatever the state: only files that are there go, each once, none that is needed, and in the end the limit is
    kept or nothing is left to take.
    """
    choice = choose(sizes, needed, spared, unneeded, now=now, grace=grace, limit=limit, pressure=pressure)
    gone = set(choice.remove)
    assert len(gone) == len(choice.remove)
    assert gone <= sizes.keys() - needed
    assert not gone & choice.unneeded.keys()
    left = sum(size for name, size in sizes.items() if name not in gone)
    assert not limit or left <= limit or sizes.keys() - gone <= needed
