"""`wasme cache status` about agents that are dead: what they told last stays on the API server."""

from datetime import UTC, datetime, timedelta

from tests.fixtures.agents import soon
from wasme.deploy.cache import lateness
from wasme.deploy.cache.statuses import holdings


def test_an_agent_that_died(api, cluster, kube_run, installed, start, image, nodes, monkeypatch):
    """An agent that was there and has not read the list since it changed is told, with since when; one that has read
    it is not, however long ago it told something.
    """
    monkeypatch.setattr(lateness, "PATIENCE", timedelta(minutes=10))
    nodes("n-1", "n-2")
    first, second = start("n-1", "n-2")
    assert soon(lambda: len(holdings(cluster, installed)) == 2)
    first.stop()
    line = image("apps")
    place = f"/api/v1/namespaces/{installed.namespace}/configmaps/{installed.name}"
    api.patch(place, {"data": {"images": line.ref}})
    assert soon(lambda: holdings(cluster, installed)["n-2"].holds(line.module))
    where = f"--cache-namespace={installed.namespace}"
    early = kube_run("cache", "status", where, "--output=json").json["nodes"]
    assert [each["problems"] for each in early] == [[], []]
    monkeypatch.setattr(lateness, "PATIENCE", timedelta(0))
    assert soon(lambda: "has not read" in kube_run("cache", "status", where).stdout)
    dead, alive = kube_run("cache", "status", where, "--output=json").json["nodes"]
    assert dead["problems"] == [f"its agent has not read the list since {dead['told']}, and what it told is old"]
    told = datetime.fromisoformat(dead["told"])
    assert timedelta(0) <= datetime.now(UTC) - told < timedelta(minutes=5)
    assert (alive["problems"], alive["held"]) == ([], 1)
    second.stop()
    monkeypatch.setattr(lateness, "datetime", _Later)
    row = next(line for line in kube_run("cache", "status", where).stdout.splitlines() if line.startswith("n-2"))
    assert row.split() == ["n-2", "True", "0.1.0", "1/1", "3h"]


class _Later(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(hours=3, minutes=5)


def test_the_pods_of_agents(api, cluster, kube_run, installed, start, nodes, pods):
    """A node whose agent's pod is not ready, or is gone where the DaemonSet has pods at all, is told, whatever the
    agent told before.
    """
    nodes("n-1", "n-2")
    start("n-1", "n-2")
    assert soon(lambda: len(holdings(cluster, installed)) == 2)
    place = f"/apis/apps/v1/namespaces/{installed.namespace}/daemonsets/{installed.name}"
    daemon_set = api.get(place)
    counts = {"desiredNumberScheduled": 2, "currentNumberScheduled": 2, "numberMisscheduled": 0, "numberReady": 0}
    api.patch(f"{place}/status", {"status": counts})
    (pod,) = pods(daemon_set, "n-1", ready=False)
    where = f"--cache-namespace={installed.namespace}"
    seen = kube_run("cache", "status", where, "--output=json").json["nodes"]
    assert [each["problems"] for each in seen] == [
        [f"pod {pod['metadata']['name']} is not ready"],
        ["no pod of the agent is there"],
    ]
