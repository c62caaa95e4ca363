"""What an agent makes of the lists that it is told, one at a time and in every order."""

from __future__ import annotations

import hashlib
import json
import os
import queue
from pathlib import Path

import pytest

from tests.fixtures.agents import soon
from wasme.cache.agent import Agent, Options
from wasme.cache.markers import Markers
from wasme.cache.sources import Listed, listed
from wasme.deploy.cache import protocol

MANIFEST = "sha256:" + "a" * 64
CONTENT = b"m" * 20
MODULE = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
REF = "localhost:1/demo/auth:v1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A node's folder with one module and the marker of the namespace ``shop``."""
    found = tmp_path / "cache"
    (found / "ready").mkdir(parents=True)
    (found / "ready" / "shop").touch()
    (found / MODULE.removeprefix("sha256:")).write_bytes(CONTENT)
    return found


def agent_of(folder: Path, name: str = protocol.NAME) -> Agent:
    """An agent that has not been started, of an API server that does not answer."""
    config = folder.parent / "kubeconfig"
    config.write_text(
        json.dumps(
            {
                "current-context": "a",
                "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
                "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}],
                "users": [{"name": "a", "user": {"token": "t"}}],
            }
        )
    )
    refs = folder.parent / "images.txt"
    refs.write_text(REF)
    return Agent(
        Options(directory=folder, ref_file=refs, kubeconfig=config, node="n", cache=name, max_size=10, grace=0.0),
        lambda *_: None,
    )


def config_map(*lines: str, images: str = REF, version: str = "7") -> Listed:
    data = {"images": images, "filters": "\n".join(lines)}
    return listed({"metadata": {"uid": "u", "resourceVersion": version}, "data": data})


def run(agent: Agent) -> None:
    """Do what the loop has to do, on this thread."""
    while True:
        try:
            agent._loop._inbox.get_nowait()()
        except queue.Empty:
            agent._settle()
            return


FILTER = f"shop/auth {REF} {MANIFEST} {MODULE}"


def test_late_look_at_the_file(folder: Path) -> None:
    """What the file says after the list was read does not count: filters, markers and modules stay."""
    agent = agent_of(folder)
    agent._begin()
    agent._take(config_map(FILTER))
    assert agent._file is not None
    agent._file.look()
    run(agent)
    assert [line.namespace for line in agent._holdings.wanted.filters] == ["shop"]
    assert agent._owner == "u"
    assert agent._settled
    assert agent._folder.file(MODULE).exists()
    assert soon(lambda: run(agent) or (folder / "ready" / "shop").exists())


def test_late_look_after_the_list_was_deleted(folder: Path) -> None:
    """Nor does it once the list has been found to be gone."""
    agent = agent_of(folder)
    agent._begin()
    agent._take(config_map(FILTER))
    agent._take(None)
    assert agent._file is not None
    agent._file.look()
    run(agent)
    assert [line.namespace for line in agent._holdings.wanted.filters] == ["shop"]
    assert not agent._settled


def test_nothing_is_removed_by_the_file(folder: Path) -> None:
    """Where there is a list to watch, no module goes before it was read, whatever the file says and the limit is."""
    agent = agent_of(folder)
    agent._begin()
    assert agent._file is not None
    agent._file.look()
    run(agent)
    assert [item.wish.ref for item in agent._holdings.items.values()] == [REF]
    for _ in range(2):
        agent._upkeep.collect()
        agent._upkeep.collect(pressure=True)
    assert agent._upkeep.room() <= 0
    assert agent._folder.file(MODULE).exists()
    agent._take(config_map(images=""))
    agent._upkeep.collect()
    assert not agent._folder.file(MODULE).exists(), "then it does"


OTHER = "sha256:" + "b" * 64


def restarted(folder: Path, boot: str, monkeypatch: pytest.MonkeyPatch) -> Agent:
    """An agent after this start of the node."""
    (folder.parent / "boot_id").write_text(boot + "\n")
    monkeypatch.setattr(Markers.withhold, "__defaults__", (folder.parent / "boot_id",))
    return agent_of(folder)


def end(agent: Agent) -> None:
    os.close(agent._tenancy)


def test_gate_is_closed_after_a_reboot(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node was away: no marker of before stands until the list is read, for there may be new filters. Then those
    whose modules are here come back, and those of namespaces without filters, even after another restart of the agent.
    """
    (folder / "ready" / "bank").touch()
    (folder / "ready" / "gone").touch()
    end(restarted(folder, "one", monkeypatch))
    assert not (folder / "ready").exists()
    agent = restarted(folder, "two", monkeypatch)
    agent._begin()
    agent._settle()
    assert not (folder / "ready").exists()
    agent._take(config_map(FILTER, f"bank/new {REF} {MANIFEST} {OTHER}"))
    run(agent)
    assert soon(lambda: run(agent) or (folder / "ready" / "shop").exists())
    assert (folder / "ready" / "gone").exists()
    assert not (folder / "ready" / "bank").exists()
    (folder / "ready" / "late").touch()
    agent._upkeep.save()
    end(agent)
    restarted(folder, "two", monkeypatch)
    assert (folder / "ready" / "late").exists(), "the agent's own restart closes no gate"


def test_gate_is_closed_as_soon_as_the_list_is_known(folder: Path) -> None:
    """A marker of before goes at once when a module of its namespace is not there, before any other was hashed."""
    agent = agent_of(folder)
    agent._markers.write({"shop", "bank", "slow"})
    agent._begin()
    agent._take(config_map(FILTER, f"bank/a {REF} {MANIFEST} {OTHER}", f"slow/a {REF} {MANIFEST} {OTHER} pending"))
    assert sorted(each.name for each in (folder / "ready").iterdir()) == ["shop", "slow"]
