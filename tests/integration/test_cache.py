"""The node cache without a cluster: images of the command line and of a file."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures import faulty, modules
from tests.fixtures.agents import Agent, soon
from tests.fixtures.registries import Run
from wasme.image.layouts import Draft

Start = Callable[..., Agent]
Put = Callable[..., Draft]
TYPE = "application/vnd.module.wasm.content.layer.v1+wasm"


def test_reference_of_the_command_line(start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """A reference is pulled at the start, told on stdout, written as a file of mode 0644, and served by its digest."""
    module = holds_image(faulty_registry, "demo/auth", "v1").module.digest
    old = os.umask(0o077)
    try:
        agent = start_agent(f"{faulty_registry.host}/demo/auth:v1")
    finally:
        os.umask(old)
    assert soon(lambda: agent.stdout == [f"added digest {module}"])
    assert agent.file(module).read_bytes() == modules.sized(20_000)
    assert stat.S_IMODE(agent.file(module).stat().st_mode) == 0o644
    assert stat.S_IMODE(agent.directory.stat().st_mode) == 0o755
    status, headers, body = agent.get("/" + module.removeprefix("sha256:"))
    assert (status, body) == (200, modules.sized(20_000))
    assert headers["content-type"] == TYPE
    assert headers["etag"] == f'"{module}"'
    assert headers["last-modified"] == "Sat, 01 Jan 2000 00:00:00 GMT"
    assert agent.get(f"/any/path/{module.removeprefix('sha256:')}")[0] == 200
    assert len(faulty_registry.lines("GET .*/blobs/")) == 1, "served from disk, not from the registry"
    begun = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - begun < 10


def test_reference_that_cannot_be_had(start_agent: Start, faulty_registry: faulty.Registry) -> None:
    """[BUG] A reference of the command line that cannot be had ends the agent with 1, and the cause is told."""
    agent = start_agent(f"{faulty_registry.host}/demo/none:v1")
    assert agent.wait() == 1
    assert any(line.startswith("Error: can't add image") and "manifest unknown" in line for line in agent.log)
    assert agent.stdout == []


def test_nothing_to_hold(run: Run) -> None:
    """Without references, file and API server the daemon has nothing to do, and says so in the original's words."""
    done = run("cache", "--disable-kube", "--port", "0", ok=False)
    assert done.exit_code == 2
    assert "invalid number of arguments" in done.stderr


def test_only_exact_words_are_commands(run: Run) -> None:
    """`install`, `uninstall`, `status` are commands, before and after flags; any other word is an image."""
    for word in ("install", "uninstall", "status"):
        assert f"wasme cache {word}" in run("cache", word, "--help").stdout
    helped = run("cache", "--clear-cache", "--help").stdout
    assert "wasme cache [name[:tag|@digest] ...] [flags]" in helped
    assert "--ref-file" in helped
    done = run("cache", "--port", "0", "--", "Status", ok=False)
    assert "can't add image Status: invalid reference format" in done.stderr


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--port", "70000"), "not a port"),
        (("--max-size", "much"), "not a size"),
        (("--on-demand", "always"), "not one of"),
        (("--registry-map", "a/b=c"), "not the name of a registry"),
        (("--prot", "1"), "unknown flag: --prot"),
    ],
)
def test_wrong_flags(run: Run, flags: tuple[str, ...], told: str) -> None:
    """A flag's value that means nothing is refused before anything starts."""
    done = run("cache", "--disable-kube", *flags, "demo", ok=False)
    assert done.exit_code == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_reference_file(start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, tmp_path: Path) -> None:
    """[BUG] The file's references are held, blank lines passed over, one that is wrong blocks none; changes count."""
    one, two = holds_image(faulty_registry, "demo/one", "v1"), holds_image(faulty_registry, "demo/two", "v1", 30_000)
    host, file = faulty_registry.host, tmp_path / "images.txt"
    file.write_text(f"\n  {host}/demo/one:v1 \n\n???\n{host}/demo/gone:v1\n")
    agent = start_agent("--ref-file", file)
    assert soon(lambda: agent.file(one.module.digest).exists())
    assert agent.logged("caching image failed: invalid reference format")
    assert soon(lambda: any("manifest unknown" in line and "demo/gone" in line for line in agent.log))
    assert any("caching image failed: " in line and "demo/gone" in line for line in agent.log)
    assert agent.logged(f"detected refs [{host}/demo/one:v1 ??? {host}/demo/gone:v1]")
    assert agent.logged(f"pulling ref {host}/demo/one:v1")
    assert agent.logged(f"writing image to {agent.file(one.module.digest)}")
    assert agent.logged(f"starting writing images to {agent.directory}, reading from {file}")
    beside = tmp_path / "next"
    beside.write_text(f"{host}/demo/two:v1\n")
    beside.replace(file)  # as the kubelet does it
    assert soon(lambda: agent.file(two.module.digest).exists())


def test_reference_file_that_comes_late(
    start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, tmp_path: Path
) -> None:
    """A file that is not there yet is told once and read when it comes."""
    module = holds_image(faulty_registry, "demo/auth", "v1").module.digest
    agent = start_agent("--ref-file", tmp_path / "images.txt")
    assert agent.logged("failed parsing refs file")
    (tmp_path / "images.txt").write_text(f"{faulty_registry.host}/demo/auth:v1")
    assert soon(lambda: agent.file(module).exists())
    assert sum("failed parsing refs file" in line for line in agent.log) == 1


def test_moved_tag_is_followed(
    start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, tmp_path: Path
) -> None:
    """[BUG] A tag that is pushed anew is noticed; the old module stays, for an old filter may still name its file."""
    first = holds_image(faulty_registry, "demo/auth", "v1").module.digest
    agent = start_agent(f"{faulty_registry.host}/demo/auth:v1", "--tag-interval", "300ms", "--grace-period", "0s")
    second = holds_image(faulty_registry, "demo/auth", "v1", 25_000).module.digest
    assert soon(lambda: agent.file(second).exists())
    assert soon(lambda: agent.get("/" + f"{faulty_registry.host}/demo/auth:v1")[1]["etag"] == f'"{second}"')
    time.sleep(3)
    assert agent.file(first).exists()


def test_digests_are_honoured_and_not_asked_for_again(
    start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put
) -> None:
    """[BUG] name:tag@digest is that image, whatever the tag stands for, and is looked up once."""
    first = holds_image(faulty_registry, "demo/auth", "v1")
    holds_image(faulty_registry, "demo/auth", "v1", 25_000)
    ref = f"{faulty_registry.host}/demo/auth:v1@{first.descriptor.digest}"
    agent = start_agent(ref, "--tag-interval", "200ms")
    assert soon(lambda: agent.stdout == [f"added digest {first.module.digest}"])
    asked = len(faulty_registry.requests)
    time.sleep(1)
    assert len(faulty_registry.requests) == asked


@pytest.mark.parametrize("layout", ["oci", "compat", "wasm"])
def test_every_layout(start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, layout: str) -> None:
    """What lies in the folder is the bare module, however the image packs it."""
    draft = holds_image(faulty_registry, "demo/auth", "v1", 50_000, layout=layout)
    agent = start_agent(f"{faulty_registry.host}/demo/auth:v1")
    assert agent.file(draft.module.digest).read_bytes() == modules.sized(50_000)


def test_one_download_for_one_module(
    start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, tmp_path: Path
) -> None:
    """Twenty names of one module, wanted at once, download it once; a restart downloads nothing."""
    names = [f"demo/a{number}" for number in range(20)]
    for name in names:
        draft = holds_image(faulty_registry, name, "v1", 400_000)
    file = tmp_path / "images.txt"
    file.write_text("\n".join(f"{faulty_registry.host}/{name}:v1" for name in names))
    agent = start_agent("--ref-file", file)
    assert soon(lambda: 'images{state="held"} 20' in metrics(agent))
    assert sum(draft.module.digest in line for line in faulty_registry.lines("GET .*/blobs/")) == 1
    agent.stop()
    faulty_registry.heal()
    agent.start()
    assert soon(lambda: 'images{state="held"} 20' in metrics(agent))
    assert not faulty_registry.lines("GET")


def test_restart_without_registry(
    start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, tmp_path: Path
) -> None:
    """After a restart, what is on disk is held although the registry is down."""
    module = holds_image(faulty_registry, "demo/auth", "v1").module.digest
    file = tmp_path / "images.txt"
    file.write_text(f"{faulty_registry.host}/demo/auth:v1")
    agent = start_agent("--ref-file", file)
    assert soon(lambda: 'images{state="held"} 1' in metrics(agent))
    memory = agent.directory / ".wasme-cache.json"
    assert soon(lambda: memory.exists() and module in memory.read_text()), "it is kept a second later"
    agent.kill()
    faulty_registry.fault(".*", lambda handler: handler.answer(500))
    agent.start()
    assert soon(lambda: 'images{state="held"} 1' in metrics(agent))
    assert agent.get("/" + module.removeprefix("sha256:"))[0] == 200


def test_no_directory(start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """[BUG] Without a folder modules lie in a temporary one, so that what is called added can be had; it goes away."""
    module = holds_image(faulty_registry, "demo/auth", "v1").module
    agent = start_agent(f"{faulty_registry.host}/demo/auth:v1", "--directory=")
    found = re.search(r"starting writing images to (\S+),", "\n".join(agent.log))
    assert found
    assert Path(found[1], module.hex).exists()
    assert agent.get(f"/{module.hex}")[2] == modules.sized(20_000)
    agent.stop()
    assert not Path(found[1]).exists()


def test_any_spelling_of_a_name(start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """[BUG] A listed image is found under any spelling of its name, and its registry is not asked again for that."""
    module = holds_image(faulty_registry, "demo/auth", "latest").module
    agent = start_agent(f"{faulty_registry.host}/demo/auth")
    asked = len(faulty_registry.requests)
    for name in ("demo/auth", "demo/auth:latest"):
        status, headers, _ = agent.get(f"/{faulty_registry.host}/{name}")
        assert (status, headers["etag"]) == (200, f'"{module.digest}"')
    assert len(faulty_registry.requests) == asked


def test_clear_cache(start_agent: Start, tmp_path: Path, faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """[BUG] --clear-cache empties the folder it means, of modules and of nothing else, and touches no other folder."""
    holds_image(faulty_registry, "demo/auth", "v1")
    directory = tmp_path / "node"
    directory.mkdir()
    module, foreign = directory / ("a" * 64), directory / "notes.txt"
    here = Path.cwd() / ("b" * 64)
    for path in (module, foreign):
        path.write_text("x")
    assert not here.exists()
    start_agent(f"{faulty_registry.host}/demo/auth:v1", "--clear-cache", directory=directory)
    assert not module.exists()
    assert foreign.exists()


def test_login_and_no_secret_in_the_log(
    start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, tmp_path: Path
) -> None:
    """Flags and mounted files log in; a file that changes counts at once; no secret is told anywhere."""
    module = holds_image(faulty_registry, "demo/auth", "v1").module.digest
    host = faulty_registry.host
    faulty_registry.auth = "bearer"
    file, refs = tmp_path / "config.json", tmp_path / "images.txt"
    refs.write_text(f"{host}/demo/auth:v1")
    file.write_text(f'{{"auths": {{"{host}": {{"username": "scout", "password": "wrong-one"}}}}}}')
    agent = start_agent("--ref-file", refs, "-c", file, "--log-format", "logfmt", "-v")
    assert agent.logged("caching image failed")
    assert not agent.file(module).exists()
    file.write_text(f'{{"auths": {{"{host}": {{"username": "scout", "password": "s3cret"}}}}}}')
    assert soon(lambda: agent.file(module).exists(), 20)
    told = "\n".join([*agent.log, metrics(agent)])
    assert "s3cret" not in told
    assert "wrong-one" not in told
    other = start_agent(f"{host}/demo/auth:v1", "-u", "scout", "-p", "s3cret")
    assert soon(lambda: other.stdout == [f"added digest {module}"])
    assert "s3cret" not in "\n".join(other.log)


def test_registry_map(start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """A reference of a registry that has moved is pulled from where it is now, and keeps its name."""
    module = holds_image(faulty_registry, "mirror/demo/auth", "v1").module.digest
    led = f"webassemblyhub.io=http://{faulty_registry.host}/mirror"
    agent = start_agent("webassemblyhub.io/demo/auth:v1", "--registry-map", led)
    assert soon(lambda: agent.stdout == [f"added digest {module}"])
    assert agent.get("/webassemblyhub.io/demo/auth:v1")[0] == 200


def test_health_and_metrics(start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """Probes and metrics have paths of their own; an image of such a name is asked for by its registry or tag."""
    holds_image(faulty_registry, "demo/auth", "v1")
    agent = start_agent(f"{faulty_registry.host}/demo/auth:v1")
    assert agent.get("/healthz")[0] == 200
    assert agent.get("/readyz")[0] == 200
    status, headers, body = agent.get("/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    lines = body.decode().splitlines()
    assert 'wasme_cache_images{state="held"} 1' in lines
    assert 'wasme_cache_pulls_total{result="ok"} 1' in lines
    assert "wasme_cache_pull_seconds_count 1" in lines
    names = {line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")}
    told = {line.split(" ")[2] for line in lines if line.startswith("# TYPE")}
    assert {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in names} <= told
    assert agent.get("/healthz:latest")[0] == 400  # docker.io/library/healthz:latest, which cannot be had here


def metrics(agent: Agent) -> str:
    return agent.get("/metrics")[2].decode()
