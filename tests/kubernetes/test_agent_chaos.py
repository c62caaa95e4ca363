"""Everything at once: agents killed, the API server killed, the registry failing, the list edited all the while."""

from __future__ import annotations

import contextlib
import hashlib
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures import faulty
from tests.fixtures.agents import Agent, soon
from tests.kubernetes.caches import Cache, line
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from wasme.image.layouts import Draft


@pytest.mark.parametrize("rounds", [8, pytest.param(120, marks=pytest.mark.soak)])
def test_it_comes_right_in_the_end(
    control_plane: ControlPlane, api: Api, namespace: str, agents: Callable[..., list[Agent]],
    faulty_registry: faulty.Registry, holds_image: Callable[..., Draft], rounds: int,
) -> None:  # fmt: skip
    """No file is ever half there, and when all is quiet every node holds what the list says, and says so, once."""
    chance = random.Random(11)
    cache = Cache(api, namespace)
    names = [f"demo/a{number}" for number in range(10)]
    drafts = {
        f"{faulty_registry.host}/{name}:v1": holds_image(faulty_registry, name, "v1", 50_000 + size)
        for size, name in enumerate(names)
    }
    nodes = agents(control_plane, namespace, "alpha", "beta", flags=("--grace-period", "0s"))

    def edit(chosen: list[str]) -> None:
        lines = [line(f"shop-{number % 2}", "auth", ref, drafts[ref]) for number, ref in enumerate(chosen[::2])]
        cache.write(images="\n".join(chosen), filters="\n".join(lines))

    def restart_server() -> None:
        control_plane.kill()
        time.sleep(chance.uniform(0, 0.5))
        control_plane.start()

    def break_registry() -> None:
        faulty_registry.fault(chance.choice(["GET .*/blobs/", "HEAD"]), lambda handler: handler.answer(503), times=5)

    for number in range(rounds):
        edit(chance.sample(sorted(drafts), 5))
        if number % 4 == 3:
            restart_server()
        else:
            chance.choice([break_registry, lambda: None])()
        time.sleep(chance.uniform(0, 0.3))
        victim = chance.choice(nodes)
        victim.kill()
        for node in nodes:
            only_whole(node.directory)
        victim.start()
    faulty_registry.heal()
    last = sorted(drafts)[:6]
    edit(last)
    modules = {drafts[ref].module.digest for ref in last}
    for node in nodes:
        assert soon(lambda node=node: cache.held(node.name) == modules, 90), node.log[-30:]  # type: ignore[misc]
        assert soon(lambda node=node: set(files(node.directory)) == {each.removeprefix("sha256:") for each in modules})  # type: ignore[misc]  # fmt: skip
        only_whole(node.directory)
        assert cache.status(node.name)["ready"] == ["shop-0", "shop-1"]
        assert {path.name for path in (node.directory / "ready").iterdir()} == {"shop-0", "shop-1"}
        assert not [text for text in node.log if "a bug in wasme" in text or "Traceback" in text]
    assert cache.status("alpha")["observed"] == cache.version()


def files(directory: Path) -> dict[str, bytes]:
    """All files under their final names; one that is taken away meanwhile is none."""
    found = {}
    for path in directory.iterdir():
        if re.fullmatch("[0-9a-f]{64}", path.name):
            with contextlib.suppress(FileNotFoundError):
                found[path.name] = path.read_bytes()
    return found


def only_whole(directory: Path) -> None:
    """Each file that a proxy could open is what its name says."""
    for name, content in files(directory).items():
        assert hashlib.sha256(content).hexdigest() == name
