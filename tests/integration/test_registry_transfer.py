"""push and pull against Debian's docker-registry, and what they do when a registry is difficult."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures import faulty, modules
from tests.fixtures.faults import status
from tests.fixtures.faulty import Registry
from tests.fixtures.registries import QUICK, DockerRegistry, Run, manifest_on, stored
from tests.fixtures.tools import need
from wasme.errors import ContentMismatch, RemoteNotFound, WasmeError
from wasme.image.descriptor import describe
from wasme.image.layouts import Draft
from wasme.image.reference import Reference
from wasme.image.store import open_store
from wasme.registry import transfer
from wasme.registry.credentials import Keychain
from wasme.registry.session import Session


def test_push_and_pull_move_the_very_bytes(docker_registry: DockerRegistry, run: Run, tmp_path: Path) -> None:
    """What is pushed is what was stored, and a pull elsewhere gets the same module and manifest; lines as ever."""
    reference = stored(open_store(), f"{docker_registry.host}/move/bytes:v1", 300_000)
    image = open_store().image(reference)
    pushed = run("push", str(reference))
    assert f'msg="Pushing image {reference}"' in pushed.stderr
    assert f'msg="Pushed {reference}"' in pushed.stderr
    assert f'msg="Digest: {image.manifest.digest}"' in pushed.stderr
    assert pushed.stdout == ""
    assert manifest_on(docker_registry.host, "move/bytes", "v1") == image.manifest_bytes
    pulled = run("pull", str(reference), "--store", tmp_path / "other")
    assert f'msg="Pulling image {reference}"' in pulled.stderr
    assert f'msg="Image: {reference}"' in pulled.stderr
    assert f'msg="Digest: {image.module.digest}"' in pulled.stderr
    other = open_store(tmp_path / "other")
    assert other.module_path(reference).read_bytes() == modules.sized(300_000)
    assert other.image(reference).manifest_bytes == image.manifest_bytes


@pytest.mark.parametrize("layout", ["oci", "compat", "wasm"])
def test_every_layout_goes_there_and_back(
    docker_registry: DockerRegistry, run: Run, tmp_path: Path, layout: str
) -> None:
    """--layout decides what is pushed, and pull gets the same module and config out of each."""
    reference = stored(open_store(), f"{docker_registry.host}/layout/{layout}:v1")
    told = run("push", str(reference), "--layout", layout, "--output", "json").json
    assert told["layout"] == layout
    got = run("pull", str(reference), "--store", tmp_path, "-o", "json").json
    assert got["layout"] == layout
    assert got["manifestDigest"] == told["manifestDigest"]
    assert open_store(tmp_path).module_path(reference).read_bytes() == modules.sized(20_000)
    assert open_store(tmp_path).image(reference).config.root_ids == ("add_header",)


def test_a_digest_in_a_reference_is_honoured_bug(docker_registry: DockerRegistry, run: Run, tmp_path: Path) -> None:
    """[BUG] the original dropped a digest and pulled :latest; here name@digest and name:tag@digest get just that."""
    store = open_store()
    old = stored(store, f"{docker_registry.host}/digest/x:v1", seed=1)
    old_digest = run("push", str(old), "-o", "json").json["manifestDigest"]
    stored(store, f"{docker_registry.host}/digest/x:v1", seed=2)
    run("push", str(old))
    for name in (f"{old.name}@{old_digest}", f"{old}@{old_digest}"):
        got = run("pull", name, "--store", tmp_path / name.replace("/", "_"), "-o", "json").json
        assert got["manifestDigest"] == old_digest
        assert got["digest"] == describe(modules.sized(20_000, 1), "").digest
    missing = run("pull", f"{old.name}@sha256:{'0' * 64}", ok=False)
    assert missing.exit_code == 1
    assert "not found" in missing.stderr


def test_push_of_what_is_not_here(run: Run) -> None:
    """An unknown image is told before any request."""
    result = run("push", "localhost:1/no/such:v1", ok=False)
    assert result.exit_code == 1
    assert "no image localhost:1/no/such:v1" in result.stderr


def test_skopeo_and_wasme_read_each_other(docker_registry: DockerRegistry, run: Run, tmp_path: Path) -> None:
    """skopeo copies our image with its digest unchanged, and we pull what skopeo pushed."""
    skopeo = need("skopeo")
    reference = stored(open_store(), f"{docker_registry.host}/skopeo/ours:v1", 100_000)
    digest = run("push", str(reference), "-o", "json").json["manifestDigest"]
    here, there = f"docker://{reference}", f"docker://{docker_registry.host}/skopeo/copied:v1"
    plain = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    subprocess.run([skopeo, "copy", "-q", *plain, "--preserve-digests", here, there], check=True)
    got = run("pull", there.removeprefix("docker://"), "-o", "json", "--store", tmp_path).json
    assert got["manifestDigest"] == digest


def test_blobs_that_are_there_are_not_sent_again(faulty_registry: Registry) -> None:
    """A second push sends the manifest and nothing else."""
    store = open_store()
    reference = stored(store, f"{faulty_registry.host}/a/b:v1", 500_000)
    transfer.push(store, reference, Session(QUICK))
    faulty_registry.heal()
    transfer.push(store, reference, Session(QUICK))
    assert faulty_registry.received == len(store.image(reference).manifest_bytes)
    assert not faulty_registry.lines("POST")


def test_a_blob_is_mounted_from_a_sibling_repository(faulty_registry: Registry) -> None:
    """`wasme tag` to another repository of the same registry and push: the module does not travel."""
    store = open_store()
    first = stored(store, f"{faulty_registry.host}/team/one:v1", 500_000)
    transfer.push(store, first, Session(QUICK))
    second = Reference.parse(f"{faulty_registry.host}/team/two:v1")
    store.alias(first, second)
    faulty_registry.heal()
    transfer.push(store, second, Session(QUICK))
    assert faulty_registry.received < 2000
    assert any(key[0] == "team/two" for key in faulty_registry.blobs)
    assert transfer.pull(open_store(Path.home() / "x"), second, Session(QUICK)).module.size == 500_000


def test_a_mount_that_is_refused_becomes_an_upload(faulty_registry: Registry) -> None:
    """Without the right to read the sibling, the push still succeeds."""
    store = open_store()
    first = stored(store, f"{faulty_registry.host}/team/one:v1", 100_000)
    store.alias(first, second := Reference.parse(f"{faulty_registry.host}/team/two:v1"))
    faulty_registry.fault(r"POST .*mount=", status(403))
    transfer.push(store, second, Session(QUICK))
    assert ("team/two", "v1") in faulty_registry.manifests


def test_content_that_is_not_its_digest_is_refused(faulty_registry: Registry) -> None:
    """A file that rotted ends the push, which names it, and the upload is not continued."""
    store = open_store()
    reference = stored(store, f"{faulty_registry.host}/a/b:v1", 3_000_000)
    path = store.module_path(reference)
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[1_000_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ContentMismatch, match="is damaged"):
        transfer.push(store, reference, Session(QUICK))
    assert not list((Path.home() / ".wasme" / "uploads").glob("*.json"))


def test_429_is_waited_for_as_asked(faulty_registry: Registry, holds_image: Callable[..., Draft]) -> None:
    """Retry-After is honoured, then the pull succeeds."""
    holds_image(faulty_registry, "a/b", "v1")
    faulty_registry.fault("HEAD ", status(429, Retry_After="1"), times=1)
    begun = time.monotonic()
    transfer.pull(open_store(), Reference.parse(f"{faulty_registry.host}/a/b:v1"), Session(QUICK))
    assert time.monotonic() - begun >= 1


@pytest.mark.parametrize("closes", [True, False])
def test_an_early_refusal_of_a_large_body_is_read(faulty_registry: Registry, closes: bool) -> None:
    """A 413 that comes before the body has gone is told as such, and the rest of the body is not sent."""

    def refuses(handler: faulty.Handler) -> None:
        handler.body(1000)
        handler.head(413, {"Content-Length": "0", "Connection": "close"})
        handler.wfile.flush()
        time.sleep(0.3)
        if not closes:
            handler.body()
        handler.hang_up()

    store = open_store()
    reference = stored(store, f"{faulty_registry.host}/a/b:v1", 40_000_000)
    faulty_registry.fault("PATCH ", refuses)
    with pytest.raises(WasmeError, match="takes nothing that large: 413"):
        transfer.push(store, reference, Session(QUICK))
    assert faulty_registry.received < 20_000_000


def test_many_threads_share_one_session(faulty_registry: Registry, holds_image: Callable[..., Draft]) -> None:
    """Twenty pulls at once through one session, with Bearer: all right, and one token for all."""
    faulty_registry.auth = "bearer"
    drafts = [holds_image(faulty_registry, "a/b", f"v{number}", 20_000 + number) for number in range(20)]
    session = Session(QUICK, Keychain("scout", "s3cret"))
    found: dict[int, int] = {}

    def pull(number: int) -> None:
        store = open_store(Path.home() / f"store{number}")
        reference = Reference.parse(f"{faulty_registry.host}/a/b:v{number}")
        found[number] = transfer.pull(store, reference, session).module.size

    threads = [threading.Thread(target=pull, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: draft.module.size for number, draft in enumerate(drafts)}
    assert len(faulty_registry.lines("/token")) == 1


def test_two_processes_push_the_same_image_at_once(docker_registry: DockerRegistry) -> None:
    """Neither disturbs the other's upload."""
    store = open_store()
    reference = stored(store, f"{docker_registry.host}/at/once:v1", 3_000_000)
    command = [sys.executable, "-m", "wasme", "push", str(reference)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert manifest_on(docker_registry.host, "at/once", "v1") == store.image(reference).manifest_bytes


def test_ctrl_c_ends_a_push_at_once(faulty_registry: Registry) -> None:
    """SIGINT in the middle of an upload: exit 130 long before its time-out, one line, and a note to go on from."""
    reference = stored(open_store(), f"{faulty_registry.host}/a/b:v1", 30_000_000)
    reached = threading.Event()

    def slowly(handler: faulty.Handler) -> None:
        while handler.body(65536):
            reached.set()
            time.sleep(0.1)

    faulty_registry.fault("PATCH ", slowly)
    process = subprocess.Popen(
        [sys.executable, "-m", "wasme", "push", str(reference)], stderr=subprocess.PIPE, text=True
    )
    assert reached.wait(60)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    try:
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in said
    assert list((Path.home() / ".wasme" / "uploads").glob("*.json"))


def test_an_unknown_tag_is_told(docker_registry: DockerRegistry) -> None:
    """404, with the registry's own words."""
    with pytest.raises(RemoteNotFound, match=r"(MANIFEST|NAME)_UNKNOWN: "):
        transfer.pull(open_store(), Reference.parse(f"{docker_registry.host}/no/such:v1"), Session(QUICK))


def test_progress_is_told_to_the_end(faulty_registry: Registry, holds_image: Callable[..., Draft]) -> None:
    """The last call says that all bytes are here."""
    holds_image(faulty_registry, "a/b", "v1", 300_000)
    told: list[tuple[int, int]] = []
    reference = Reference.parse(f"{faulty_registry.host}/a/b:v1")
    transfer.pull(open_store(), reference, Session(QUICK), lambda done, whole: told.append((done, whole)))
    assert told[-1][0] == told[-1][1] > 300_000
