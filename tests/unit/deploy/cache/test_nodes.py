"""Selecting pods as Kubernetes does."""

import pytest

from wasme.deploy.cache.nodes import is_ready, selects


def expression(operator, *values):
    return {"matchExpressions": [{"key": "app", "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        ({}, {"a": "b"}, True),
        ({"matchLabels": {"app": "x"}}, {"app": "x", "version": "1"}, True),
        ({"matchLabels": {"app": "x", "version": "1"}}, {"app": "x"}, False),
        (expression("In", "x", "y"), {"app": "y"}, True),
        (expression("In", "x"), {}, False),
        (expression("NotIn", "x"), {}, True),
        (expression("NotIn", "x"), {"app": "x"}, False),
        (expression("Exists"), {"app": ""}, True),
        (expression("Exists"), {}, False),
        (expression("DoesNotExist"), {"app": ""}, False),
        (expression("DoesNotExist"), {}, True),
        (expression("Later"), {"app": "x"}, False),
        ({"matchLabels": {"app": "x"}} | expression("NotIn", "x"), {"app": "x"}, False),
    ],
)
def test_selector(selector, labels, selected):
    """Labels and expressions must all hold; a missing label is not in any list; what is unknown selects nothing."""
    assert selects(selector, labels) is selected


def test_ready():
    """A node is ready with the condition Ready at True: Unknown, as of a dead kubelet, is not."""
    assert is_ready({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    assert not is_ready({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}})
    assert not is_ready({"status": {"conditions": [{"type": "DiskPressure", "status": "True"}]}})
    assert not is_ready({})
