"""What a filter is attached to: the words for it, and the label by which it is found again."""

from __future__ import annotations

import pytest

from wasme.deploy.istio.target import TargetRef, filter_label
from wasme.errors import UsageError

GATEWAY_API = "gateway.networking.k8s.io"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("Gateway/waypoint", TargetRef("Gateway", "waypoint", GATEWAY_API)),
        ("gateway/waypoint", TargetRef("Gateway", "waypoint", GATEWAY_API)),
        ("GATEWAYCLASS/istio-waypoint", TargetRef("GatewayClass", "istio-waypoint", GATEWAY_API)),
        ("service/reviews", TargetRef("Service", "reviews", "")),
        ("ServiceEntry/out", TargetRef("ServiceEntry", "out", "networking.istio.io")),
    ],
)
def test_targets(text: str, reference: TargetRef) -> None:
    """KIND/NAME names an object, the kind in any case, with its group as Istio wants it."""
    assert TargetRef.parse(text) == reference
    assert reference.rendered() == {"group": reference.group, "kind": reference.kind, "name": reference.name}


@pytest.mark.parametrize("text", ["waypoint", "Gateway", "Gateway/", "/waypoint", "Deployment/a", ""])
def test_no_targets(text: str) -> None:
    """Anything else is refused with the words that there are."""
    with pytest.raises(UsageError) as caught:
        TargetRef.parse(text)
    assert "is no target" in caught.value.message
    assert "Gateway/NAME" in str(caught.value.hint)


def test_labels() -> None:
    """An id of up to 63 characters is its own label; longer ones that begin alike have different labels."""
    assert filter_label("a" * 63) == "a" * 63
    first, second = filter_label("a" * 64), filter_label("a" * 65)
    assert first != second
    assert max(len(first), len(second)) <= 63
    assert filter_label("a" * 45 + "." + "b" * 40)[45] == "-"  # no dot before the dash
