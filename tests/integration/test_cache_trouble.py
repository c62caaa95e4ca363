"""The node cache in trouble: registries that are slow, dead or lie, disks that are full, `kill -9`, changed files."""

from __future__ import annotations

import hashlib
import os
import random
import re
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures import faulty, modules
from tests.fixtures.agents import Agent, soon
from tests.fixtures.ports import free_port
from wasme.image.layouts import Draft

Start = Callable[..., Agent]
Put = Callable[..., Draft]
_MODULE = re.compile(r"[0-9a-f]{64}")


def files(directory: Path) -> dict[str, bytes]:
    """All files under their final names; one may go while they are read."""
    contents = ((path.name, _content(path)) for path in directory.iterdir() if _MODULE.fullmatch(path.name))
    return {name: content for name, content in contents if content is not None}


def only_whole(directory: Path) -> None:
    """Each file that a proxy could open is what its name says."""
    for name, content in files(directory).items():
        assert hashlib.sha256(content).hexdigest() == name


def parts(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if path.name.endswith(".part")]


def held(agent: Agent, number: int) -> bool:
    return f'wasme_cache_images{{state="held"}} {number}\n' in agent.get("/metrics")[2].decode()


@pytest.fixture
def refs(tmp_path: Path) -> Callable[..., Path]:
    """A file of references."""

    def write(*lines: str) -> Path:
        beside = tmp_path / "next"
        beside.write_text("\n".join(lines))
        return beside.replace(tmp_path / "images.txt")

    return write


def test_slow_and_dead_registries_hold_up_nobody(
    start_agent: Start, faulty_registry: faulty.Registry, stranger: faulty.Registry, holds_image: Put,
    refs: Callable[..., Path],
) -> None:  # fmt: skip
    """[BUG] While one registry stalls with twenty images and another is dead, a third gives its image at once."""
    gate = threading.Event()
    stranger.fault(".*", lambda handler: gate.wait(90) and handler.answer(404))
    module = holds_image(faulty_registry, "demo/auth", "v1").module.digest
    dead = f"127.0.0.1:{free_port()}"
    slow = [f"{stranger.host}/slow/{number}:v1" for number in range(20)]
    gone = [f"{dead}/dead/{number}:v1" for number in range(20)]
    agent = start_agent("--ref-file", refs(*slow, *gone, f"{faulty_registry.host}/demo/auth:v1"))
    assert soon(lambda: agent.file(module).exists(), 15), "an agent waits for an answer for 30 s"
    begun = time.monotonic()
    assert agent.stop() == 0, "a registry that stalls does not hold up the end either"
    assert time.monotonic() - begun < 15
    gate.set()


def test_black_hole(start_agent: Start, refs: Callable[..., Path]) -> None:
    """Of thirty images of a registry that answers nothing at all, each has its error in about one time-out."""
    hole = socket.create_server(("127.0.0.1", 0), backlog=0)
    fill = [socket.socket() for _ in range(4)]
    for sock in fill:
        sock.setblocking(False)
        sock.connect_ex(hole.getsockname())
    host = f"127.0.0.1:{hole.getsockname()[1]}"
    agent = start_agent("--ref-file", refs(*(f"{host}/demo/a{number}:v1" for number in range(30))))
    assert soon(lambda: 'images{state="failed"} 30' in agent.get("/metrics")[2].decode(), 35)
    assert agent.logged("did not answer in time")
    begun = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - begun < 15
    for sock in (hole, *fill):
        sock.close()


def test_lying_registry(
    start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, refs: Callable[..., Path]
) -> None:
    """[BUG] A blob that is not what its digest says gets no name, is told, and is asked for again until it is right."""
    draft = holds_image(faulty_registry, "demo/auth", "v1", 300_000)
    right = modules.sized(300_000)
    faulty_registry.fault("GET .*/blobs/", lambda handler: handler.answer(200, right[:-1] + b"!"))
    agent = start_agent("--ref-file", refs(f"{faulty_registry.host}/demo/auth:v1"))
    assert agent.logged("caching image failed")
    assert not agent.file(draft.module.digest).exists()
    assert soon(lambda: not parts(agent.directory))
    faulty_registry.heal()
    assert soon(lambda: agent.file(draft.module.digest).exists())
    only_whole(agent.directory)


def test_manifest_of_a_giant(
    start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, refs: Callable[..., Path]
) -> None:
    """A manifest that promises more than any module may have is refused before anything is downloaded."""
    draft = holds_image(faulty_registry, "demo/auth", "v1")
    giant = draft.manifest.replace(b'"size":20000', b'"size":999999999999')
    assert giant != draft.manifest
    faulty_registry.put_image("demo/auth", "v1", manifest=giant, media_type=draft.descriptor.media_type)
    agent = start_agent("--ref-file", refs(f"{faulty_registry.host}/demo/auth:v1"))
    assert agent.logged("the limit is 268435456")
    assert not faulty_registry.lines("GET .*/blobs/")


def test_registry_that_comes_back(
    start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, refs: Callable[..., Path]
) -> None:
    """What failed is tried again with growing pauses, told once, and held when the registry is back."""
    module = holds_image(faulty_registry, "demo/auth", "v1").module.digest
    asked: list[float] = []

    def gone(handler: faulty.Handler) -> None:
        if handler.command == "HEAD":
            asked.append(time.monotonic())
        handler.answer(404)

    faulty_registry.fault(".*", gone)
    agent = start_agent("--ref-file", refs(f"{faulty_registry.host}/demo/auth:v1"))
    assert soon(lambda: len(asked) >= 3)
    assert asked[1] - asked[0] > 0.7
    assert asked[2] - asked[1] > 1.4
    assert sum("caching image failed" in line for line in agent.log) == 1
    faulty_registry.heal()
    assert soon(lambda: agent.file(module).exists())


def test_end_in_the_middle_of_a_download(
    start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, refs: Callable[..., Path]
) -> None:
    """SIGTERM while a module is half here leaves nothing of it, and says no word of an error."""
    holds_image(faulty_registry, "demo/auth", "v1", 300_000)
    gate = threading.Event()

    def halting(handler: faulty.Handler) -> None:
        handler.head(200, {"Content-Length": "300000"})
        handler.write(modules.sized(300_000)[:100_000])
        handler.wfile.flush()
        gate.wait(90)

    faulty_registry.fault("GET .*/blobs/", halting)
    agent = start_agent("--ref-file", refs(f"{faulty_registry.host}/demo/auth:v1"))
    assert soon(lambda: parts(agent.directory))
    begun = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - begun < 15
    gate.set()
    assert not parts(agent.directory)
    assert not any("level=error" in line for line in agent.log)


def test_partial_file_of_the_original(
    start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, tmp_path: Path
) -> None:
    """[BUG] A file that another agent left half written, or that is no file, is not taken for the module."""
    draft = holds_image(faulty_registry, "demo/auth", "v1")
    other = holds_image(faulty_registry, "demo/other", "v1", 30_000)
    directory = tmp_path / "node"
    directory.mkdir()
    (directory / draft.module.digest.removeprefix("sha256:")).write_bytes(modules.sized(20_000)[:9_000])
    (directory / other.module.digest.removeprefix("sha256:")).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_text("not ours")
    host = faulty_registry.host
    agent = start_agent(f"{host}/demo/auth:v1", f"{host}/demo/other:v1", directory=directory)
    assert agent.file(draft.module.digest).read_bytes() == modules.sized(20_000)
    assert not agent.file(other.module.digest).is_symlink()
    assert agent.file(other.module.digest).read_bytes() == modules.sized(30_000)
    assert (tmp_path / "elsewhere").read_text() == "not ours"


def _content(file: Path) -> bytes | None:
    """What is in a file; None while it is not there, which it may be from one moment to the next."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


def test_file_changed_behind_its_back(start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """A module that is changed, cut off or removed while the agent runs is never served, and is pulled again."""
    module = holds_image(faulty_registry, "demo/auth", "v1").module.digest
    agent = start_agent(f"{faulty_registry.host}/demo/auth:v1", "--check-interval", "500ms")
    right = modules.sized(20_000)
    for spoil in (
        lambda file: file.write_bytes(right[:-1] + b"!"),
        lambda file: file.write_bytes(right[:100]),
        lambda file: file.unlink(),
    ):
        spoil(agent.file(module))
        status, _, body = agent.get("/" + module.removeprefix("sha256:"))
        assert status == 404 or body == right
        assert soon(lambda: _content(agent.file(module)) == right)
    assert "wasme_cache_damaged_files_total 3" in agent.get("/metrics")[2].decode()


def test_rot_that_shows_no_sign(start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """Content that changes while size and times stay is found by hashing."""
    module = holds_image(faulty_registry, "demo/auth", "v1").module.digest
    agent = start_agent(f"{faulty_registry.host}/demo/auth:v1", "--check-interval", "1s")
    file = agent.file(module)
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    with file.open("r+b") as opened:
        opened.seek(500)
        opened.write(b"rotten")
    os.utime(file, ns=times)
    assert soon(lambda: _content(file) == modules.sized(20_000))


@pytest.mark.parametrize("rounds", [5, pytest.param(150, marks=pytest.mark.soak)])
def test_kill_at_any_moment(
    start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, refs: Callable[..., Path], rounds: int
) -> None:
    """[BUG] However often the agent is killed, no file is ever half there, nothing half is left, and in the end all
    are held.
    """
    drafts = [holds_image(faulty_registry, f"demo/a{number}", "v1", 400_000 + number) for number in range(12)]
    file = refs(*(f"{faulty_registry.host}/demo/a{number}:v1" for number in range(12)))
    chance = random.Random(7)
    agent = start_agent("--ref-file", file)
    for _ in range(rounds):
        time.sleep(chance.uniform(0, 0.12))
        agent.kill()
        only_whole(agent.directory)
        agent.start()
    assert soon(lambda: held(agent, 12))
    only_whole(agent.directory)
    assert files(agent.directory).keys() == {draft.module.hex for draft in drafts}
    assert not parts(agent.directory)


def test_next_agent_in_the_same_folder(
    start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, refs: Callable[..., Path], tmp_path: Path
) -> None:
    """An agent that starts while its predecessor still runs waits for its end, touches nothing before, and goes on."""
    module = holds_image(faulty_registry, "demo/auth", "v1", 300_000).module.digest
    file = refs(f"{faulty_registry.host}/demo/auth:v1")
    first = start_agent("--ref-file", file, directory=tmp_path / "node")
    assert soon(lambda: held(first, 1))
    second = start_agent("--ref-file", file, "--clear-cache", directory=tmp_path / "node", name="again", wait=False)
    assert second.logged("waiting for the agent before this one to end")
    time.sleep(0.5)
    assert second.running
    assert not second.url
    assert first.file(module).exists()
    first.kill()
    assert soon(lambda: second.url)
    assert soon(lambda: held(second, 1))


def test_another_cache_in_the_same_folder(
    start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, refs: Callable[..., Path], tmp_path: Path
) -> None:
    """An agent with another list ends with one line, and takes nothing away from the one whose folder it is."""
    module = holds_image(faulty_registry, "demo/auth", "v1", 300_000).module.digest
    first = start_agent("--ref-file", refs(f"{faulty_registry.host}/demo/auth:v1"), directory=tmp_path / "node")
    assert soon(lambda: held(first, 1))
    (tmp_path / "others").write_text("")
    words = ("--ref-file", tmp_path / "others", "--grace-period", "0s", "--clear-cache")
    second = start_agent(*words, directory=tmp_path / "node", name="other")
    assert second.wait() == 1
    (told,) = [line for line in second.log if "Error" in line]
    assert "in use by another node cache" in told
    assert str(tmp_path / "others") in told
    assert first.file(module).exists()
    first.stop()
    third = start_agent(*words, directory=tmp_path / "node", name="other")
    assert third.url, "a folder whose agent has ended is free"


def test_full_disk(
    start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, refs: Callable[..., Path]
) -> None:
    """A disk that is full is told, nothing half is left, and the image comes as soon as there is room."""
    module = holds_image(faulty_registry, "demo/auth", "v1", 500_000).module.digest
    small = holds_image(faulty_registry, "demo/small", "v1", 5_000).module.digest
    refs()
    agent = start_agent("--ref-file", refs())
    hard = resource.prlimit(agent.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (100_000, hard))
    refs(f"{faulty_registry.host}/demo/auth:v1", f"{faulty_registry.host}/demo/small:v1")
    assert agent.logged("the disk is full")
    assert soon(lambda: agent.file(small).exists())
    assert not agent.file(module).exists()
    assert soon(lambda: not parts(agent.directory))
    resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert soon(lambda: agent.file(module).exists())
    only_whole(agent.directory)


def test_folder_that_cannot_be_written(start_agent: Start, tmp_path: Path) -> None:
    """A folder that is a file is told in words."""
    (tmp_path / "taken").write_text("")
    agent = start_agent("demo/auth:v1", directory=tmp_path / "taken")
    assert agent.wait() == 1
    assert any("cannot be written" in line for line in agent.log)
    assert not any("Traceback" in line for line in agent.log)


def test_collection(
    start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, refs: Callable[..., Path]
) -> None:
    """A module that no image needs goes after the grace period and not before; foreign files never do."""
    one = holds_image(faulty_registry, "demo/one", "v1").module.digest
    two = holds_image(faulty_registry, "demo/two", "v1", 30_000).module.digest
    lines = [f"{faulty_registry.host}/demo/{name}:v1" for name in ("one", "two")]
    agent = start_agent("--ref-file", refs(*lines), "--grace-period", "3s")
    assert soon(lambda: held(agent, 2))
    foreign = [agent.directory / name for name in ("notes.txt", "f" * 63, ("e" * 64) + ".bak", "A" * 64)]
    for file in foreign:
        file.write_text("not ours")
    left = agent.directory / ("d" * 64)  # what the original left behind
    left.write_text("half")
    begun = time.monotonic()
    refs(lines[1])
    assert agent.logged(f"detected refs [{lines[1]}]")
    assert soon(lambda: not agent.file(one).exists())
    assert time.monotonic() - begun > 2.9
    assert agent.file(two).exists()
    assert soon(lambda: not left.exists())
    assert all(file.exists() for file in foreign)


def test_size_limit(
    start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, refs: Callable[..., Path]
) -> None:
    """Beyond the size limit what is not needed goes at once, the oldest first; what is needed stays."""
    drafts = [holds_image(faulty_registry, f"demo/a{number}", "v1", 40_000 + number) for number in range(3)]
    lines = [f"{faulty_registry.host}/demo/a{number}:v1" for number in range(3)]
    agent = start_agent("--ref-file", refs(*lines), "--max-size", "100kB")
    assert soon(lambda: held(agent, 3))
    refs(lines[2])
    assert soon(lambda: len(files(agent.directory)) == 2)
    assert agent.file(drafts[2].module.digest).exists()


def test_sigint_and_sigterm_while_starting(start_agent: Start, stranger: faulty.Registry) -> None:
    """A signal while the first reference is still waited for ends the agent at once, with success."""
    gate = threading.Event()
    stranger.fault(".*", lambda handler: gate.wait(90) and handler.answer(404))
    for sign in (signal.SIGTERM, signal.SIGINT):
        agent = start_agent(f"{stranger.host}/demo/auth:v1", wait=False)
        assert agent.logged("pulling ref")
        begun = time.monotonic()
        assert agent.stop(sign) == 0
        assert time.monotonic() - begun < 15
    gate.set()
