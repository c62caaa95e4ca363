"""The filter's id as a part of the names of Kubernetes objects."""

from __future__ import annotations

import pytest

from wasme.deploy.spec import object_name, require_id
from wasme.errors import UsageError


@pytest.mark.parametrize("filter_id", ["test", "a", "0", "a-b.c", "my-filter.bookinfo", "x" * 253])
def test_ids_that_are_names(filter_id: str) -> None:
    """A DNS subdomain is an id, such as the operator's NAME.NAMESPACE."""
    require_id(filter_id)


@pytest.mark.parametrize(
    ("filter_id", "hint"),
    [
        ("My_Filter", "such as my-filter"),
        ("-a", "such as a"),
        ("a.", "such as a"),
        ("a..b", "letter or digit at both ends"),
        ("a/b", "such as a-b"),
        ("ä", "lower-case letters"),
        ("a\nb", "such as a-b"),
    ],
)
def test_ids_that_are_none(filter_id: str, hint: str) -> None:
    """[Weakness of the original: a bad id failed only when the object was sent.] It is refused in one line."""
    with pytest.raises(UsageError) as caught:
        require_id(filter_id)
    assert "\n" not in caught.value.message
    assert hint in str(caught.value.hint)


def test_empty_id() -> None:
    """An empty id is told to be one."""
    with pytest.raises(UsageError, match="--id cannot be empty"):
        require_id("")


def test_workload_and_id_together() -> None:
    """The object is called WORKLOAD-ID, and that together must be a name."""
    assert object_name("productpage-v1", "test") == "productpage-v1-test"
    assert object_name("w" * 100, "i" * 152)
    with pytest.raises(UsageError, match="has 254 characters"):
        object_name("w" * 101, "i" * 152)
