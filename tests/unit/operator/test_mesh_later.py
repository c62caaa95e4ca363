"""What is put off: places that fail alone, and marks that may be the beginning of somebody's work."""

from __future__ import annotations

from typing import Any

import pytest

from wasme.deploy.istio.workloads import KINDS, Workload
from wasme.operator.targets.mesh.later import LONGEST, SETTLING, Later, Litter
from wasme.operator.targets.mesh.shapes import Place

PLACE, OTHER = Place("Deployment", "shop", "web"), Place("Deployment", "shop", "api")


class Clock:
    """Seconds that pass when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """At 100 s."""
    return Clock()


def workload(generation: int = 1, uid: str = "u", marks: str = "wasme-cache") -> Workload:
    meta: dict[str, Any] = {"name": "web", "namespace": "shop", "uid": uid, "generation": generation}
    spec = {"replicas": generation, "template": {"metadata": {"labels": {"wasme.io/cache": marks}}}}
    return Workload(
        KINDS["deployment"], {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}
    )


def test_each_place_is_given_once(clock: Clock) -> None:
    """Two that ask get none twice, and none of another namespace."""
    later = Later(clock)
    later.add([PLACE, OTHER])
    assert later.take("bank") == []
    assert later.take("shop", PLACE) == [PLACE]
    assert later.take("shop") == [OTHER]
    assert later.take("shop") == []


def test_what_fails_comes_again_more_and_more_seldom(clock: Clock) -> None:
    """Up to five minutes; when it went, it begins anew."""
    later = Later(clock)
    waits = []
    for _ in range(12):
        waits.append(later.failed(PLACE))
        assert later.take("shop") == []
        clock.now += waits[-1] + 0.1
        assert later.take("shop") == [PLACE]
    assert waits[0] <= 5.0 < waits[2] < waits[4]
    assert 0.75 * LONGEST <= waits[-1] <= LONGEST
    later.went(PLACE)
    assert later.failed(PLACE) <= 5.0


def test_litter_has_lain_there(clock: Clock) -> None:
    """Marks are litter when the same have lain for ten seconds; what changes meanwhile, is needed, or is of another
    workload by the name begins anew."""
    litter = Litter(clock)
    assert not litter.lies(workload(), found=True)
    assert litter.waits("shop") == litter.left(PLACE) == SETTLING
    assert litter.waits("bank") is None
    clock.now += SETTLING - 1
    assert not litter.lies(workload(), found=True)
    assert litter.waits("shop") == litter.left(PLACE) == 1, "what is left of it"
    clock.now += 1
    assert litter.lies(workload(), found=True)
    assert litter.waits("shop") is None
    assert not litter.lies(workload(2, marks="other"), found=True)
    clock.now += SETTLING
    assert not litter.lies(workload(2, "other", "other"), found=True)
    assert not litter.lies(workload(2, "other", "other"), found=False)
    clock.now += SETTLING
    assert not litter.lies(workload(2, "other", "other"), found=True)


def test_scaling_is_no_other_litter(clock: Clock) -> None:
    """A workload that is scaled, or gets another image, goes on with the time that its marks have."""
    litter = Litter(clock)
    assert not litter.lies(workload(1), found=True)
    clock.now += SETTLING
    assert litter.lies(workload(2), found=True)
    litter.forget(PLACE)
    assert litter.waits("shop") is None
    assert not litter.lies(workload(2), found=True)
