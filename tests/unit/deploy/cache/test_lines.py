"""Edits of the cache's ConfigMap: pure, and careful with what others wrote."""

import pytest

from wasme.deploy.cache import protocol
from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.cache.registration import activated, with_lines, without

A = "sha256:" + "a" * 64
B = "sha256:" + "b" * 64
C = "sha256:" + "c" * 64
D = "sha256:" + "d" * 64
ONE = FilterLine("ns", "one", "r/x:1", A, B)
TWO = FilterLine("ns", "two", "r/x:1", A, B)
OTHER = FilterLine("ns", "one", "r/x:2", C, D)


def test_first_filter_and_back():
    """A filter into the ConfigMap that the original made, and out again, leaves `images` as it was."""
    data, lines, images = with_lines({"images": ""}, [ONE])
    assert data == {"images": "r/x:1", "added": "r/x:1", "filters": ONE.text}
    assert (lines, images) == ((ONE,), ("r/x:1",))
    assert without(data, [ONE].__contains__) == {"images": "", "added": "", "filters": ""}


def test_again_changes_nothing():
    """The same filter again adds no line, and the data is equal, so no write follows."""
    data, *_ = with_lines({"images": ""}, [ONE, ONE])
    again, lines, images = with_lines(data, [ONE])
    assert again == data
    assert (lines, images) == ((), ())


def test_a_reference_stays_while_another_filter_names_it():
    """`images` loses a reference with its last filter only."""
    data, *_ = with_lines({"images": ""}, [ONE, TWO])
    assert data["images"] == "r/x:1"
    left = without(data, [ONE].__contains__)
    assert left["images"] == "r/x:1"
    assert left["filters"] == TWO.text
    assert without(left, [TWO].__contains__)["images"] == ""


def test_a_reference_that_somebody_listed_stays():
    """A reference that stood in `images` before wasme came is not wasme's to remove."""
    data, _, images = with_lines({"images": "r/x:1"}, [ONE])
    assert images == ()
    assert "added" not in data
    assert without(data, [ONE].__contains__)["images"] == "r/x:1"


def test_two_images_of_one_filter():
    """A filter on its way from one image to another has a line for each; the old one goes alone."""
    data, *_ = with_lines({"images": ""}, [ONE])
    data, lines, _ = with_lines(data, [OTHER])
    assert lines == (OTHER,)
    assert protocol.parse_wanted(data).filters == (ONE, OTHER)
    left = without(data, [ONE].__contains__)
    assert protocol.parse_wanted(left).filters == (OTHER,)
    assert left["images"] == "r/x:2"


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_lines_of_others_stay(end):
    """Comments, unreadable lines, blank lines, other keys: kept, whatever ends the text."""
    before = {"images": f"# by hand\nmine:1{end}", "filters": f"rubbish{end}", "notes": "x"}
    data, *_ = with_lines(before, [ONE])
    assert data["images"].split() == ["#", "by", "hand", "mine:1", "r/x:1"]
    assert protocol.parse_wanted(data).images == ("mine:1", "r/x:1")
    assert protocol.parse_wanted(data).filters == (ONE,)
    after = without(data, lambda line: True)
    assert protocol.parse_wanted(after).images == ("mine:1",)
    assert after["images"].startswith("# by hand\nmine:1")
    assert after["filters"].strip() == "rubbish"
    assert after["notes"] == "x"


def test_undo_looks_at_its_own_references_too():
    """What an undo added to `images` goes even if its line was taken away by somebody else meanwhile."""
    data, _, images = with_lines({"images": ""}, [ONE])
    data = {**data, "filters": ""}
    assert without(data, [ONE].__contains__, images) == {"images": "", "added": "", "filters": ""}


def test_without_anything_there():
    """Taking away from an empty ConfigMap changes nothing."""
    assert without({}, [ONE].__contains__) == {}
    assert without({"images": "a"}, [ONE].__contains__, ["a"]) == {"images": "a"}


def test_pending_lines_are_activated():
    """The mark goes from the lines that are meant and no others; what was taken away comes back; again is no change."""
    data, *_ = with_lines({"filters": "rubbish"}, [ONE._replace(pending=True), TWO._replace(pending=True)])
    assert data["filters"] == f"rubbish\n{ONE.text} pending\n{TWO.text} pending"
    now = activated(data, [ONE])
    assert now["filters"] == f"rubbish\n{ONE.text}\n{TWO.text} pending"
    assert activated(now, [ONE]) == now
    assert activated({}, [ONE]) == {"filters": ONE.text, "images": "r/x:1", "added": "r/x:1"}
    assert activated({}, []) == {}


def test_a_line_is_one_whether_pending_or_not():
    """A filter that is asked for again is neither listed twice nor made to wait again."""
    data, *_ = with_lines({}, [ONE])
    assert with_lines(data, [ONE._replace(pending=True)])[:2] == (data, ())
    waiting, *_ = with_lines({}, [ONE._replace(pending=True)])
    assert with_lines(waiting, [ONE])[:2] == (waiting, ())
