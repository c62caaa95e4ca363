"""Envoy in a container: its command line, its name, and addresses that mean something else in there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wasme.deploy.container import (
    Container,
    Published,
    container_name,
    inside,
    of_the_container_itself,
    out_of_reach,
    reachable,
    shares_network,
)
from wasme.envoy.address import Address
from wasme.errors import InputError, UsageError

_DEFAULT = Address("127.0.0.1", 8080)


def test_the_containers_arguments_are_in_the_originals_order() -> None:
    """run, name, entrypoint, mount, the user's own, ports, image, Envoy's; the whole YAML is one argument."""
    ports = [Published(1), Published(2, "127.0.0.1"), Published(3, "::1")]
    container = Container("docker", "id", "image", Path("/d/f.wasm"), ports, ["--x", "y z"])
    assert container.argv("a: 1\n", ["-l", "debug"]) == [
        *("docker", "run", "--rm", "--name", "id", "--entrypoint", "envoy", "-v", "/d/f.wasm:/d/f.wasm:ro"),
        *("--x", "y z", "-p", "1:1", "-p", "127.0.0.1:2:2", "-p", "[::1]:3:3"),
        *("image", "--disable-hot-restart", "--config-yaml", "a: 1\n", "-l", "debug"),
    ]


def test_a_path_with_a_colon() -> None:
    """`-v` has no way to say it, so it is refused before docker misreads it."""
    with pytest.raises(InputError, match=r"^docker cannot mount /a:b/f\.wasm: its path holds a colon$"):
        Container("docker", "id", "image", Path("/a:b/f.wasm"), []).argv("", [])


@pytest.mark.parametrize(
    ("filter_id", "name"),
    [
        ("myfilter", "myfilter"),
        ("My_filter.v1-2", "My_filter.v1-2"),
        ("my id/x", "my-id-x"),
        ("-v /:/host", "v-host"),
        ("f", "wasme-f"),
        ("漢", "wasme-filter"),
        ("", "wasme-filter"),
        ("a\n", "wasme-a"),
    ],
)
def test_names(filter_id: str, name: str) -> None:
    """An id that docker takes stays; each other one gives a name that docker takes."""
    assert container_name(filter_id) == name
    assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", name)


@pytest.mark.parametrize(
    ("words", "shared"),
    [
        (["--network", "host"], True),
        (["-i", "--network=host"], True),
        (["--net", "host", "-i"], True),
        (["--network", "hostile"], False),
        (["--add-host", "host"], False),
        ([], False),
    ],
)
def test_the_hosts_network(words: list[str], shared: bool) -> None:
    """A container without a network of its own is told by docker's arguments."""
    assert shares_network(words) is shared


def test_where_it_listens_inside() -> None:
    """On every address of the container, whatever this machine is to have; as told in this machine's network."""
    for given in (None, Address("127.0.0.1", 8080), Address("::1", 8080)):
        assert inside(given, _DEFAULT, [], "--listen") == Address("0.0.0.0", 8080)
    assert inside(_DEFAULT, _DEFAULT, ["--network=host"], "--listen") == _DEFAULT
    for arguments in ([], ["--network=host"]):
        with pytest.raises(UsageError, match=r"^--listen: a container's port cannot be drawn, so 127\.0\.0\.1:0 needs"):
            inside(Address("127.0.0.1", 0), _DEFAULT, arguments, "--listen")


def test_where_it_is_reached() -> None:
    """At the published address; what only the container can reach, or has no number, nowhere."""
    anywhere = Address("0.0.0.0", 1)
    assert reachable(anywhere, Published.of(anywhere, None), shared=False) == Address("127.0.0.1", 1)
    assert reachable(anywhere, Published.of(anywhere, Address("10.0.0.1", 1)), shared=False) == Address("10.0.0.1", 1)
    assert reachable(Address("127.0.0.1", 1), Published(1), shared=False) is None
    assert reachable(Address("127.0.0.1", 1), Published(1), shared=True) == Address("127.0.0.1", 1)
    assert reachable(Address("0.0.0.0", 0), Published(0), shared=True) is None


def test_loopback_is_the_containers_own() -> None:
    """Each target on loopback gets one warning that names the tool's word for this machine; others get none."""
    targets = [("--upstream", Address("127.0.0.1", 3000)), ("--cluster a", Address("10.0.0.1", 1)),
               ("--cluster b", Address("localhost", 2))]  # fmt: skip
    docker, podman = (of_the_container_itself(tool, targets) for tool in ("docker", "podman"))
    assert [text.partition(":")[0] for text, _ in docker] == ["--upstream", "--cluster b"]
    assert docker[0][1].startswith("this machine is host.docker.internal:3000 there; on Linux that needs ")
    assert podman[1][1] == "this machine is host.containers.internal:2 there"


def test_listeners_out_of_reach() -> None:
    """A bootstrap's listener on loopback is published in vain; port 0 and other addresses are not told."""
    bound = [("listener", Address("127.0.0.1", 80)), ("listener", Address("0.0.0.0", 81)),
             ("admin interface", Address("127.0.0.1", 0))]  # fmt: skip
    [(text, hint)] = out_of_reach(bound)
    assert text.startswith("the listener of the bootstrap on 127.0.0.1:80 is published, but only the container")
    assert "0.0.0.0:80" in hint
