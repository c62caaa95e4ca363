"""push and pull against Debian's docker-registry and against a registry that fails at every step."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures import faulty, modules
from tests.fixtures.faulty import Registry, cut_answer, cut_upload, hang_up, raw, stall, status
from tests.fixtures.hubs import Hub
from tests.fixtures.registries import QUICK, DockerRegistry, filter_image
from tests.fixtures.tools import need
from wasme.errors import ContentMismatch, ImageNotFound, RemoteNotFound, WasmeError
from wasme.image.content import Readable
from wasme.image.descriptor import describe
from wasme.image.layouts import Draft
from wasme.image.reference import Reference
from wasme.image.store import Store, open_store
from wasme.registry import transfer
from wasme.registry.credentials import Keychain
from wasme.registry.repository import Repository
from wasme.registry.retry import Policy
from wasme.registry.session import Session
from wasme.registry.transport import CHUNK, ConnectionOptions

Run = Callable[..., Result]
ONCE = ConnectionOptions(read_timeout=0.5, retry=Policy(attempts=1))


def stored(store: Store, name: str, size: int = 20_000, seed: int = 0) -> Reference:
    reference = Reference.parse(name)
    store.add(reference, filter_image(size, seed))
    return reference


def manifest_on(host: str, repository: str, tag: str) -> bytes:
    request = urllib.request.Request(f"http://{host}/v2/{repository}/manifests/{tag}")
    request.add_header("Accept", "application/vnd.oci.image.manifest.v1+json")
    with urllib.request.urlopen(request) as answer:
        return bytes(answer.read())


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


PUSH_STEPS = {
    "head": "HEAD /v2/a/b/blobs/",
    "post": "POST /v2/a/b/blobs/uploads/",
    "patch": "PATCH ",
    "put": "PUT /v2/a/b/blobs/",
    "manifest": "PUT /v2/a/b/manifests/",
}
PULL_STEPS = {
    "resolve": "(HEAD|GET) /v2/a/b/manifests/",
    "manifest": "GET /v2/a/b/manifests/",
    "blob": "GET /v2/a/b/blobs/",
}
FAULTS: dict[str, Callable[[], faulty.Fault]] = {
    "hangs-up": lambda: hang_up,
    "stalls": lambda: stall(1.0),
    "500": lambda: status(500),
    "503": lambda: status(503),
    "429": lambda: status(429, b"", Retry_After="0"),
    "401": lambda: status(401),
    "403": lambda: status(403),
    "404": lambda: status(404),
    "405": lambda: status(405),
    "413": lambda: status(413),
    "415": lambda: status(415),
    "page": lambda: status(200, b"<!doctype html><title>Sign in</title>", "text/html"),
    "garbage": lambda: raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "half-head": lambda: raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", PUSH_STEPS)
def test_push_fails_cleanly_at_every_step(faulty_registry: Registry, step: str, fault: str) -> None:
    """Whatever happens at whatever step: an error of wasme's or a whole push; no tag without its blobs; and once the
    registry has recovered, the same push succeeds."""
    store = open_store()
    reference = stored(store, f"{faulty_registry.host}/a/b:v1", 200_000)
    faulty_registry.fault(PUSH_STEPS[step], FAULTS[fault]())
    with contextlib.suppress(WasmeError):
        transfer.push(store, reference, Session(ONCE))
    for (repository, _), (_, manifest) in faulty_registry.manifests.items():
        for blob in (json.loads(manifest)["config"], *json.loads(manifest)["layers"]):
            assert (repository, blob["digest"]) in faulty_registry.blobs
    faulty_registry.heal()
    transfer.push(store, reference, Session(ONCE))
    assert faulty_registry.manifests["a/b", "v1"][1] == store.image(reference).manifest_bytes


PULL_CASES = [(step, fault) for step in PULL_STEPS for fault in (*FAULTS, "lies", "short")]


@pytest.mark.parametrize(("step", "fault"), [*PULL_CASES, ("blob", "cut"), ("blob", "reset")])
def test_pull_fails_cleanly_at_every_step(
    faulty_registry: Registry, holds_image: Callable[..., Draft], step: str, fault: str
) -> None:
    """Whatever happens at whatever step: nothing stands in the store that is not whole, and the next try succeeds."""
    holds_image(faulty_registry, "a/b", "v1", 200_000)
    reference = Reference.parse(f"{faulty_registry.host}/a/b:v1")
    special: dict[str, faulty.Fault] = {
        "cut": cut_answer(50),
        "reset": cut_answer(50, reset=True),
        "lies": status(200, b"x" * 200_000),
        "short": status(200, b"x" * 100),
    }
    faulty_registry.fault(PULL_STEPS[step], special.get(fault) or FAULTS[fault]())
    with pytest.raises(WasmeError):
        transfer.pull(open_store(), reference, Session(ONCE))
    store = open_store()
    assert store.entries() == []
    with pytest.raises(ImageNotFound):
        store.image(reference)
    whole = [path for path in (Path.home() / ".wasme/oci/blobs").rglob("*") if path.is_file() and not path.suffix]
    for path in whole:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    faulty_registry.heal()
    assert transfer.pull(open_store(), reference, Session(ONCE)).module.size == 200_000
    assert open_store().module_path(reference).read_bytes() == modules.sized(200_000)


def wasme(*args: object, ok: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "wasme", *map(str, args)], capture_output=True, text=True, timeout=60)
    assert (done.returncode == 0) is ok, done.stderr
    return done


SIZE = 3_000_000
SLACK = 64 * 1024


@pytest.mark.parametrize("arrived", [0, 1, 100_000, 1_500_000, SIZE - 1])
def test_a_broken_download_goes_on_in_a_new_process(
    faulty_registry: Registry, holds_image: Callable[..., Draft], arrived: int
) -> None:
    """The second process asks for the missing part only (plus at most 64 kB): the server counts bytes."""
    draft = holds_image(faulty_registry, "a/b", "v1", SIZE)
    reference = Reference.parse(f"{faulty_registry.host}/a/b:v1")
    faulty_registry.fault(f"GET /v2/a/b/blobs/{draft.module.digest}", cut_answer(arrived), times=1)
    with pytest.raises(WasmeError):
        transfer.pull(open_store(), reference, Session(ONCE))
    faulty_registry.heal()
    wasme("pull", reference)
    assert faulty_registry.sent <= SIZE - arrived + SLACK
    assert open_store().module_path(reference).read_bytes() == modules.sized(SIZE)


def test_a_broken_download_goes_on_in_the_same_process(
    faulty_registry: Registry, holds_image: Callable[..., Draft]
) -> None:
    """Three cuts in one pull cost three requests and no byte twice."""
    draft = holds_image(faulty_registry, "a/b", "v1", SIZE)
    reference = Reference.parse(f"{faulty_registry.host}/a/b:v1")
    faulty_registry.fault(f"GET /v2/a/b/blobs/{draft.module.digest}", cut_answer(600_000), times=3)
    transfer.pull(open_store(), reference, Session(QUICK))
    assert faulty_registry.sent <= SIZE + SLACK
    assert len(faulty_registry.lines(draft.module.digest)) == 4


def test_a_registry_without_ranges_is_read_again(faulty_registry: Registry, holds_image: Callable[..., Draft]) -> None:
    """Where Range is ignored the blob comes whole again, and is right in the end."""
    faulty_registry.takes_ranges = False
    draft = holds_image(faulty_registry, "a/b", "v1", SIZE)
    reference = Reference.parse(f"{faulty_registry.host}/a/b:v1")
    faulty_registry.fault(f"GET /v2/a/b/blobs/{draft.module.digest}", cut_answer(600_000), times=1)
    transfer.pull(open_store(), reference, Session(QUICK))
    assert open_store().module_path(reference).read_bytes() == modules.sized(SIZE)


@pytest.mark.parametrize("arrived", [0, 2, 100_000, 1_500_000, SIZE - 1])
def test_a_broken_upload_goes_on_in_a_new_process(faulty_registry: Registry, arrived: int) -> None:
    """The second process sends the missing part only (plus at most 64 kB): the server counts bytes."""
    store = open_store()
    reference = stored(store, f"{faulty_registry.host}/a/b:v1", SIZE)
    faulty_registry.fault("PATCH ", cut_upload(arrived), times=1)
    with pytest.raises(WasmeError):
        transfer.push(store, reference, Session(ONCE))
    notes = list((Path.home() / ".wasme" / "uploads").glob("*.json"))
    assert [note.stat().st_mode & 0o777 for note in notes] == [0o600]
    faulty_registry.heal()
    wasme("push", reference)
    assert faulty_registry.received <= SIZE - arrived + SLACK
    assert faulty_registry.manifests["a/b", "v1"][1] == store.image(reference).manifest_bytes
    assert not list((Path.home() / ".wasme" / "uploads").glob("*.json"))


@pytest.mark.parametrize("damage", ["other bytes", "forgotten at the end"])
def test_a_broken_upload_that_cannot_be_used_is_begun_anew(faulty_registry: Registry, damage: str) -> None:
    """What the registry kept is damaged, or it forgets the upload before the last request: sent once more, whole."""
    store = open_store()
    reference = stored(store, f"{faulty_registry.host}/a/b:v1", SIZE)
    faulty_registry.fault("PATCH ", cut_upload(1_000_000), times=1)
    with pytest.raises(WasmeError):
        transfer.push(store, reference, Session(ONCE))
    faulty_registry.heal()
    if damage == "other bytes":
        max(faulty_registry.uploads.values(), key=len)[500] ^= 1
    else:
        gone = status(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}')
        faulty_registry.fault("PUT /v2/a/b/blobs/", gone, times=1)
    transfer.push(store, reference, Session(ONCE))
    assert faulty_registry.manifests["a/b", "v1"][1] == store.image(reference).manifest_bytes


def test_a_killed_push_goes_on_in_a_new_process(faulty_registry: Registry) -> None:
    """kill -9 in the middle of an upload; the next process sends what is missing."""
    store = open_store()
    reference = stored(store, f"{faulty_registry.host}/a/b:v1", 30_000_000)
    reached = threading.Event()

    def slowly(handler: faulty.Handler) -> None:
        held = handler.registry.uploads[handler.route.rpartition("/")[2]]
        while part := handler.body(65536):
            held.extend(part)
            if len(held) > 10_000_000:
                reached.set()
                time.sleep(0.05)

    faulty_registry.fault("PATCH ", slowly, times=1)
    process = subprocess.Popen([sys.executable, "-m", "wasme", "push", str(reference)], stderr=subprocess.DEVNULL)
    assert reached.wait(20)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 5
    before = -1
    while time.monotonic() < deadline and before != faulty_registry.received:
        before = faulty_registry.received
        time.sleep(0.3)
    held = max(map(len, faulty_registry.uploads.values()))
    assert 10_000_000 < held < 30_000_000
    faulty_registry.heal()
    wasme("push", reference)
    assert faulty_registry.received <= 30_000_000 - held + SLACK


def test_a_broken_upload_goes_on_in_the_same_process(faulty_registry: Registry) -> None:
    """Three cuts in one push cost no byte twice."""
    store = open_store()
    reference = stored(store, f"{faulty_registry.host}/a/b:v1", SIZE)
    faulty_registry.fault("PATCH ", cut_upload(600_000), times=3)
    transfer.push(store, reference, Session(QUICK))
    assert faulty_registry.received <= SIZE + SLACK


@pytest.mark.parametrize("ability", ["keeps_partial", "takes_patch"])
def test_registries_that_cannot_resume_get_the_blob_all_the_same(faulty_registry: Registry, ability: str) -> None:
    """A registry that drops broken uploads, or knows no PATCH, is served too."""
    setattr(faulty_registry, ability, False)
    store = open_store()
    reference = stored(store, f"{faulty_registry.host}/a/b:v1", SIZE)
    if ability == "keeps_partial":
        faulty_registry.fault("PATCH ", cut_upload(600_000), times=1)
    transfer.push(store, reference, Session(QUICK))
    assert ("a/b", "v1") in faulty_registry.manifests


class Stops:
    """A source that breaks off, as a killed process does, after one block."""

    def __init__(self, opened: AbstractContextManager[Readable]) -> None:
        self.opened = opened
        self.left = 2

    def __enter__(self) -> Stops:
        self.stream = self.opened.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.__exit__(None, None, None)

    def read(self, size: int, /) -> bytes:
        self.left -= 1
        if not self.left:
            raise RuntimeError("killed")
        return self.stream.read(size)


def test_our_hub_goes_on_with_a_broken_upload(open_hub: Hub) -> None:
    """What our hub kept of a broken upload is not sent again."""
    store = open_store()
    reference = stored(store, f"{open_hub.host}/go/on:v1", SIZE)
    module = store.image(reference).module
    with pytest.raises(RuntimeError):
        Repository(Session(ONCE), reference).push(module, lambda offset: Stops(store.fetch(module, offset)))
    time.sleep(0.3)  # the hub notices the broken connection
    offsets: list[int] = []

    def opener(offset: int) -> AbstractContextManager[Readable]:
        offsets.append(offset)
        return store.fetch(module, offset)

    Repository(Session(QUICK), reference).push(module, opener)
    assert len(offsets) == 1
    assert offsets[0] >= CHUNK - SLACK
    transfer.push(store, reference, Session(QUICK))
    assert transfer.pull(open_store(Path.home() / "x"), reference, Session(QUICK)).module.size == SIZE


def test_docker_registry_forgets_a_broken_upload_and_gets_a_new_one(docker_registry: DockerRegistry) -> None:
    """docker-registry answers 404 for an upload whose PATCH broke; the push begins anew and succeeds."""
    store = open_store()
    reference = stored(store, f"{docker_registry.host}/forget/it:v1", SIZE)
    broken = Repository(Session(ONCE), reference)
    module = store.image(reference).module

    with pytest.raises(RuntimeError):
        broken.push(module, lambda offset: Stops(store.fetch(module, offset)))
    assert list((Path.home() / ".wasme" / "uploads").glob("*.json"))
    transfer.push(store, reference, Session(QUICK))
    assert manifest_on(docker_registry.host, "forget/it", "v1") == store.image(reference).manifest_bytes


def test_a_commit_whose_answer_is_lost_is_no_failure(faulty_registry: Registry) -> None:
    """The registry has the blob, the answer to the last PUT never comes: the push goes on without sending again."""

    def commits_and_hangs_up(handler: faulty.Handler) -> None:
        repository = handler.route.split("/blobs/")[0].removeprefix("/v2/")
        held = handler.registry.uploads.pop(handler.route.rpartition("/")[2])
        handler.registry.blobs[repository, handler.query["digest"][0]] = bytes(held) + handler.body()
        handler.hang_up()

    store = open_store()
    reference = stored(store, f"{faulty_registry.host}/a/b:v1", SIZE)
    faulty_registry.fault("PUT /v2/a/b/blobs/", commits_and_hangs_up, times=2)
    transfer.push(store, reference, Session(QUICK))
    assert faulty_registry.received < SIZE + SLACK


def test_content_that_is_not_its_digest_is_refused(faulty_registry: Registry) -> None:
    """A registry that computes another digest ends the push with that reason, and the upload is not continued."""
    store = open_store()
    reference = stored(store, f"{faulty_registry.host}/a/b:v1", SIZE)
    path = store.module_path(reference)
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[1_000_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ContentMismatch, match="DIGEST_INVALID"):
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
    reference = stored(store, f"{docker_registry.host}/at/once:v1", SIZE)
    command = [sys.executable, "-m", "wasme", "push", str(reference)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert manifest_on(docker_registry.host, "at/once", "v1") == store.image(reference).manifest_bytes


def test_ctrl_c_ends_a_push_at_once(faulty_registry: Registry) -> None:
    """SIGINT in the middle of an upload: exit 130 within a second or two, one line, and a note to go on from."""
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
    assert reached.wait(20)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    try:
        _, said = process.communicate(timeout=5)
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
