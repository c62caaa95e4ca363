"""What a deployment learns of an image, from real registries: digests, root ids, needs; nothing is stored."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures import faulty, modules
from tests.fixtures.hubs import Hub
from tests.fixtures.registries import ONCE, QUICK, DockerRegistry, filter_image
from wasme.deploy import resolved
from wasme.deploy.resolved import ResolvedImage, resolve
from wasme.errors import (
    ContentMismatch,
    ImageError,
    InvalidReference,
    ModuleRefused,
    RemoteNotFound,
    Unauthorized,
    Unreachable,
    UnsupportedImage,
    WasmeError,
)
from wasme.image import layouts, media_types
from wasme.image.content import from_bytes
from wasme.image.copy import copy_image
from wasme.image.descriptor import describe
from wasme.image.layouts import Draft
from wasme.image.pullers import istio_agent
from wasme.image.reference import Reference
from wasme.image.runtime_config import RuntimeConfig
from wasme.registry.credentials import Keychain
from wasme.registry.repository import Repository
from wasme.registry.retry import Policy
from wasme.registry.session import Session
from wasme.registry.transport import ConnectionOptions

MODULE = "sha256:" + hashlib.sha256(modules.sized(20_000)).hexdigest()


def session(user: str = "", password: str = "", **led: str) -> Session:
    """A user's way to registries; names with an underscore for the dot are led elsewhere."""
    return Session(QUICK, Keychain(user, password), {name.replace("_", "."): host for name, host in led.items()})


def push(name: str, draft: Draft, user: str = "", password: str = "") -> None:
    """Push a draft under a name."""
    reference = Reference.parse(name)
    copy_image(draft, reference, Repository(session(user, password), reference), reference)


def asked(image: str, **led: str) -> ResolvedImage:
    """Resolve without credentials."""
    return resolve(image, session(**led))


@pytest.mark.parametrize("layout", ["oci", "compat", "wasm"])
def test_layouts(docker_registry: DockerRegistry, home: Path, layout: str) -> None:
    """Whatever the layout, the module's digest is that of the bare module, which names its file on the nodes; the
    manifest's is the registry's; and nothing is written on this machine."""
    name = f"{docker_registry.host}/resolved/{layout}:v1"
    draft = filter_image(layout=layout)
    push(name, draft)
    before = sorted(home.rglob("*"))
    found = asked(name)
    assert found.module.digest == MODULE
    assert found.module.size == 20_000
    assert found.manifest.digest == draft.descriptor.digest
    assert found.layout == layout
    assert found.root_ids == ("add_header",)
    assert found.abi_versions == ("v0.2.1",)
    assert found.needs.abi == "0.2.1"
    assert found.typed == name
    assert found.pinned == f"{docker_registry.host}/resolved/{layout}@{draft.descriptor.digest}"
    assert istio_agent(found.pulled).can == (layout != "wasm")
    assert sorted(home.rglob("*")) == before


def test_hub(open_hub: Hub) -> None:
    """Our own hub gives the same."""
    name = f"{open_hub.host}/team/resolved:v1"
    draft = filter_image()
    push(name, draft)
    found = asked(name)
    assert (found.module.digest, found.manifest.digest) == (MODULE, draft.descriptor.digest)


def test_registry_map(docker_registry: DockerRegistry) -> None:
    """A name that is led elsewhere stays what was typed, and its address is where the cluster finds it."""
    draft = filter_image()
    push(f"{docker_registry.host}/mirror/hxpmark/auth:0.01", draft)
    found = asked("webassemblyhub.io/hxpmark/auth:0.01", webassemblyhub_io=f"{docker_registry.host}/mirror")
    assert found.typed == "webassemblyhub.io/hxpmark/auth:0.01"
    assert found.pinned == f"{docker_registry.host}/mirror/hxpmark/auth@{draft.descriptor.digest}"


def test_digest(docker_registry: DockerRegistry) -> None:
    """[Weakness of the original: a digest was dropped.] It wins over a tag that has moved since."""
    name = f"{docker_registry.host}/resolved/moved"
    first, second = filter_image(), filter_image(21_000)
    push(f"{name}:v1", first)
    push(f"{name}:v1", second)
    assert asked(f"{name}:v1").manifest.digest == second.descriptor.digest
    assert asked(f"{name}:v1@{first.descriptor.digest}").module.digest == MODULE
    assert asked(f"{name}@{first.descriptor.digest}").module.digest == MODULE


def test_index(docker_registry: DockerRegistry) -> None:
    """Of an index the child that Istio runs is taken, and pinned by its own digest: so all platforms run one module."""
    name = f"{docker_registry.host}/resolved/index"
    child = filter_image()
    push(f"{name}:child", child)
    index = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_INDEX,
            "manifests": [
                {
                    "mediaType": media_types.OCI_MANIFEST,
                    "digest": child.descriptor.digest,
                    "size": child.descriptor.size,
                    "platform": {"os": "wasip1", "architecture": "wasm"},
                }
            ],
        }
    ).encode()
    described = describe(index, media_types.OCI_INDEX)
    reference = Reference.parse(f"{name}:all")
    repository = Repository(session(), reference)
    repository.push(described, from_bytes(index))
    repository.tag(described, reference)
    found = asked(f"{name}:all")
    assert found.manifest.digest == child.descriptor.digest
    assert found.index == described.digest
    assert found.pinned == f"{name}@{child.descriptor.digest}"
    # By its child's digest Istio's agent can pull it, though it would find no entry of its platform in the index.
    assert istio_agent(found.pulled).can


def test_login(login_registry: DockerRegistry) -> None:
    """A private image is read with the user's credentials; without them the registry's name is in the error."""
    name = f"{login_registry.host}/resolved/private:v1"
    push(name, filter_image(), "scout", "s3cret")
    assert resolve(name, session("scout", "s3cret")).module.digest == MODULE
    with pytest.raises(Unauthorized) as caught:
        asked(name)
    assert login_registry.host in f"{caught.value.message} {caught.value.hint}"


def test_refused_module(docker_registry: DockerRegistry) -> None:
    """A module that Envoy would not load is refused before anything is touched, with the image's name."""
    name = f"{docker_registry.host}/resolved/broken:v1"
    push(name, layouts.build("oci", b"\0asm\1\0\0\0", RuntimeConfig()))
    with pytest.raises(ModuleRefused, match="resolved/broken:v1: "):
        asked(name)
    push(name, layouts.build("oci", b"no module", RuntimeConfig()))
    with pytest.raises(WasmeError, match="resolved/broken:v1: "):
        asked(name)


def test_no_filter(docker_registry: DockerRegistry) -> None:
    """An image without a filter, and a name without an image, are told to be such."""
    reference = Reference.parse(f"{docker_registry.host}/resolved/empty:v1")
    repository = Repository(session(), reference)
    config = describe(b"{}", media_types.OCI_CONFIG)
    repository.push(config, from_bytes(b"{}"))
    blob = {"mediaType": config.media_type, "digest": config.digest, "size": config.size}
    manifest = {"schemaVersion": 2, "mediaType": media_types.OCI_MANIFEST, "config": blob, "layers": [blob]}
    content = json.dumps(manifest).encode()
    described = describe(content, media_types.OCI_MANIFEST)
    repository.push(described, from_bytes(content))
    repository.tag(described, reference)
    with pytest.raises(UnsupportedImage, match="the image holds no filter"):
        asked(str(reference))
    with pytest.raises(RemoteNotFound):
        asked(f"{docker_registry.host}/resolved/oci:absent")
    with pytest.raises(RemoteNotFound):
        asked(f"{docker_registry.host}/resolved/nothing:v1")
    with pytest.raises(InvalidReference):
        asked("UPPER:v1")
    with pytest.raises(Unreachable, match=r"webassemblyhub\.io has closed"):
        asked("webassemblyhub.io/hxpmark/auth:0.01")


def test_a_registry_that_lies(faulty_registry: faulty.Registry, holds_image: Callable[..., Draft]) -> None:
    """Other bytes than promised are an error, never a module."""
    draft = holds_image(faulty_registry, "a/b", "v1")
    layer = draft.blobs[1][0]
    faulty_registry.blobs["a/b", layer.digest] = modules.sized(20_000, seed=1)
    with pytest.raises(ContentMismatch, match=layer.digest):
        asked(f"{faulty_registry.host}/a/b:v1")


def test_nobody_there() -> None:
    """A registry that is down is told in one line."""
    with pytest.raises(Unreachable) as caught:
        resolve("127.0.0.1:1/a/b:v1", Session(ONCE, Keychain()))
    assert "127.0.0.1:1" in caught.value.message
    assert "\n" not in caught.value.message


def test_dockers_hub_is_called_by_its_name() -> None:
    """A cluster is told docker.io, which its programs know, not the name of a server."""
    reference = Reference.parse("add-header")
    assert resolved._address(reference, session()) == "docker.io/library/add-header"


def test_too_large_a_module(docker_registry: DockerRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a limit is ever held in memory, whatever a registry has."""
    name = f"{docker_registry.host}/resolved/large:v1"
    push(name, filter_image())
    monkeypatch.setattr("wasme.deploy.resolved.LARGEST_MODULE", 10_000)
    for layout in ("oci", "compat"):
        push(name, filter_image(layout=layout))
        with pytest.raises(ImageError, match="its module has more than"):
            asked(name)


def test_a_registry_that_never_answers(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Who waits for a registry that took the connection and says nothing is told so, once, while it lasts; a registry
    that answers in time is not spoken of.
    """
    monkeypatch.setattr(resolved, "SILENCE", 0.1)
    caplog.set_level("INFO")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        hasty = Session(ConnectionOptions(read_timeout=0.3, retry=Policy(attempts=3, base=0.01)), Keychain())
        with pytest.raises(Unreachable):
            resolve(f"{host}/me/x:v1", hasty)
    (told,) = [each for each in caplog.records if each.getMessage() == "waiting for the registry"]
    assert getattr(told, "fields", None) == {"registry": host, "image": f"{host}/me/x:v1"}
    caplog.clear()
    monkeypatch.setattr(resolved, "SILENCE", 1.0)
    with resolved.waiting_for("example.com", "example.com/x:v1"):
        pass
    time.sleep(1.3)
    assert caplog.records == []
