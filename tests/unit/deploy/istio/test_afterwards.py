"""What comes after the workloads never hides what became of them."""

from __future__ import annotations

import logging

import pytest

from wasme.deploy.cluster import Outcome, Outcomes
from wasme.deploy.istio.afterwards import Afterwards
from wasme.errors import ClusterError, DeployFailed


def _fails() -> int:
    raise ClusterError("the cache may not be read")


def test_a_workload_comes_first(caplog: pytest.LogCaptureFixture) -> None:
    """A workload's own error is raised, and the one of what came after is a warning; what came later is done still."""
    after = Afterwards()
    assert after.do(_fails, 7) == 7
    assert after.do(lambda: 3, 7) == 3
    outcomes: Outcomes[str, int] = Outcomes((Outcome("web", error=DeployFailed("it is gone")), Outcome("api", 1)))
    with caplog.at_level(logging.WARNING), pytest.raises(DeployFailed, match="it is gone"):
        after.require(outcomes, str, "undeploying x")
    assert next(each.message for each in caplog.records) == "the cache may not be read"


def test_alone_it_is_the_error() -> None:
    """Where all workloads are done, what failed afterwards is raised; where nothing failed, the results come."""
    done: Outcomes[str, int] = Outcomes((Outcome("api", 1),))
    after = Afterwards()
    after.do(_fails, 0)
    with pytest.raises(ClusterError, match="the cache may not be read"):
        after.require(done, str, "undeploying x")
    assert Afterwards().require(done, str, "undeploying x") == [1]
