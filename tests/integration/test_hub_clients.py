"""Real clients against a real hub: skopeo with and without accounts, and the calls of wasme 0.0.33."""

import base64
import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from tests.fixtures.hubs import Hub
from tests.fixtures.tools import need

CONFIG_TYPE = "application/vnd.module.wasm.config.v1+json"
LAYER_TYPE = "application/vnd.module.wasm.content.layer.v1+wasm"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
DOCKER_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def original_image(module: bytes) -> tuple[bytes, bytes]:
    """(config, manifest) in the original's bytes: no mediaType, the config again as layer 0."""
    config = b'{"type":"envoy_proxy","abiVersions":["v0-097b"],"config":{"rootIds":["add_header"]}}'
    first = {
        "mediaType": CONFIG_TYPE,
        "digest": digest(config),
        "size": len(config),
        "annotations": {"org.opencontainers.image.title": "runtime-config.json"},
    }
    second = {
        "mediaType": LAYER_TYPE,
        "digest": digest(module),
        "size": len(module),
        "annotations": {"org.opencontainers.image.title": "filter.wasm"},
    }
    manifest = {
        "schemaVersion": 2,
        "config": first,
        "layers": [first, second],
        "annotations": {"module.wasm.runtime/abi_version": "v0-097b", "module.wasm.runtime/type": "envoy_proxy"},
    }
    return config, json.dumps(manifest, separators=(",", ":")).encode()


def push_as_the_original(hub: Hub, repository: str, tag: str, module: bytes, user: tuple[str, str] | None) -> bytes:
    """The requests of 0.0.33: HEAD, POST, one PUT to the Location for each child, HEAD and PUT of the manifest."""
    config, manifest = original_image(module)
    for content in (config, config, module):  # the config goes up twice
        if hub.ask("HEAD", f"/v2/{repository}/blobs/{digest(content)}", user=user).status == 404:
            place = hub.ask("POST", f"/v2/{repository}/blobs/uploads/", user=user).headers["location"]
            done = hub.ask("PUT", f"{place}?digest={digest(content)}", content, user=user)
            assert (done.status, done.headers["docker-content-digest"]) == (201, digest(content))
    assert hub.ask("HEAD", f"/v2/{repository}/manifests/{tag}", user=user).status in (200, 404)
    done = hub.ask(
        "PUT", f"/v2/{repository}/manifests/{tag}", manifest, headers={"Content-Type": MANIFEST_TYPE}, user=user
    )
    assert (done.status, done.headers["docker-content-digest"]) == (201, digest(manifest))
    return manifest


def skopeo(*arguments: str | Path, ok: bool = True) -> str:
    done = subprocess.run(
        [need("skopeo"), "--insecure-policy", *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode == 0) is ok, done.stderr
    return done.stdout if ok else done.stderr


def layout(folder: Path) -> Path:
    """A small OCI layout with one tar layer, as other tools push."""
    import gzip
    import io
    import tarfile

    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        entry = tarfile.TarInfo("plugin.wasm")
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b"\0asm"))
    layer = gzip.compress(tar.getvalue(), mtime=0)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest(tar.getvalue())]},
        }
    ).encode()
    kinds = ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip")
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": kinds[0], "digest": digest(config), "size": len(config)},
            "layers": [{"mediaType": kinds[1], "digest": digest(layer), "size": len(layer)}],
        }
    ).encode()
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for content in (layer, config, manifest):
        (blobs / digest(content).partition(":")[2]).write_bytes(content)
    entry_of = {
        "mediaType": MANIFEST_TYPE,
        "digest": digest(manifest),
        "size": len(manifest),
        "annotations": {"org.opencontainers.image.ref.name": "v1"},
    }
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry_of]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


@pytest.mark.parametrize(("form", "kind"), [("oci", MANIFEST_TYPE), ("v2s2", DOCKER_TYPE)])
def test_skopeo_pushes_and_pulls(open_hub: Hub, tmp_path: Path, form: str, kind: str) -> None:
    """OCI and Docker manifests, there and back, with the same digest."""
    source = layout(tmp_path / "source")
    there = f"docker://{open_hub.host}/demo/image:v1"
    skopeo("copy", "--format", form, "--dest-tls-verify=false", f"oci:{source}:v1", there)
    assert open_hub.ask("HEAD", "/v2/demo/image/manifests/v1").headers["content-type"] == kind
    told = json.loads(skopeo("inspect", "--tls-verify=false", there))
    assert told["RepoTags"] == ["v1"]
    skopeo("copy", "--src-tls-verify=false", there, f"dir:{tmp_path / 'back'}")
    assert digest((tmp_path / "back" / "manifest.json").read_bytes()) == told["Digest"]
    skopeo("delete", "--tls-verify=false", there)
    assert open_hub.ask("GET", "/v2/demo/image/manifests/v1").status == 404


def test_skopeo_with_an_account(hub: Hub, tmp_path: Path) -> None:
    """Right and wrong password, another's name space, and a pull without any account."""
    hub.add_user("demo", "secret")
    source = layout(tmp_path / "source")
    there = f"docker://{hub.host}/demo/image:v1"
    push = ("copy", "--dest-tls-verify=false", f"oci:{source}:v1")
    assert "authentication" in skopeo(*push, there, ok=False) or "unauthorized" in skopeo(*push, there, ok=False)
    wrong = skopeo(*push, "--dest-creds", "demo:wrong", there, ok=False)
    assert "unauthorized" in wrong or "invalid username/password" in wrong
    foreign = skopeo(*push, "--dest-creds", "demo:secret", f"docker://{hub.host}/other/image:v1", ok=False)
    assert "demo may push under demo/ only" in foreign
    skopeo(*push, "--dest-creds", "demo:secret", there)
    skopeo("copy", "--src-tls-verify=false", there, f"dir:{tmp_path / 'anonymous'}")
    skopeo("copy", "--src-tls-verify=false", "--src-creds", "demo:wrong", there, f"dir:{tmp_path / 'x'}", ok=False)
    assert json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{hub.host}/demo/image"))["Tags"] == ["v1"]


def test_the_originals_image_comes_back_as_it_was(hub: Hub) -> None:
    """A manifest without mediaType, pushed the way 0.0.33 does, served byte for byte under its Content-Type."""
    user = hub.add_user("demo", "secret")
    manifest = push_as_the_original(hub, "demo/add-header", "v0.1", b"\0asm" * 100, user)
    answer = hub.ask("GET", "/v2/demo/add-header/manifests/v0.1")
    assert (answer.body, answer.headers["content-type"]) == (manifest, MANIFEST_TYPE)


def test_the_originals_push_probe_finds_a_basic_challenge(hub: Hub) -> None:
    """Its probe of /v2/ must not meet a token challenge without a scope, on which it fails."""
    answer = hub.ask("GET", "/v2/")
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic realm=")
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


def test_login_asks_harbors_current_user(hub: Hub) -> None:
    """`wasme login` prints username and realname; times must parse as RFC 3339."""
    from datetime import datetime

    hub.add_user("demo", "secret", "--realname", "De Mo", "--email", "demo@example.org")
    answer = hub.ask("GET", "/api/users/current", user=("demo", "secret"))
    told = answer.json
    assert (answer.status, told["username"], told["realname"]) == (200, "demo", "De Mo")
    assert datetime.fromisoformat(told["creation_time"])
    assert "password" not in answer.body.decode()
    for user in (("demo", "wrong"), None):
        assert hub.ask("GET", "/api/users/current", user=user).status == 401


def test_list_published_and_search_of_the_original(open_hub: Hub) -> None:
    """Its request sequence gives every tag, with the hub's size and the manifest's digest."""
    manifests = {}
    for repository, tag in (("demo/add-header", "v0.1"), ("demo/add-header", "v0.2"), ("mark/auth", "0.01")):
        module = b"\0asm" + f"{repository}{tag}".encode()
        manifests[repository, tag] = (push_as_the_original(open_hub, repository, tag, module, None), module)
    config = len(original_image(b"")[0])
    found = {}
    for project in open_hub.ask("GET", "/api/projects").json:
        assert project["repo_count"] > 0
        repositories = open_hub.ask("GET", f"/api/repositories?project_id={project['project_id']}").json
        for repository in repositories:
            for tag in open_hub.ask("GET", f"/api/repositories/{repository['name']}/tags?detail=true").json:
                found[repository["name"], tag["name"]] = (tag["digest"], tag["size"])
                assert tag["annotations"]["module.wasm.runtime/type"] == "envoy_proxy"
    assert found == {
        key: (digest(manifest), len(manifest) + 2 * config + len(module))
        for key, (manifest, module) in manifests.items()
    }
    searched = open_hub.ask("GET", "/api/search?q=auth").json["repository"]
    assert [(each["repository_name"], each["project_name"], each["tags_count"]) for each in searched] == [
        ("mark/auth", "mark", 1)
    ]
    assert open_hub.ask("GET", "/api/repositories/no/such/tags").status == 404


def test_without_a_page_size_harbors_lists_are_whole(open_hub: Hub) -> None:
    """[BUG] of the original: real Harbor answered ten, and it never asked for more."""
    for number in range(12):
        push_as_the_original(open_hub, f"user{number:02}/filter", "v1", b"\0asm", None)
    whole = open_hub.ask("GET", "/api/projects")
    assert (len(whole.json), whole.headers["x-total-count"]) == (12, "12")
    page = open_hub.ask("GET", "/api/projects?page=2&page_size=5")
    assert [each["name"] for each in page.json] == [f"user{number:02}" for number in range(5, 10)]
    assert page.headers["x-total-count"] == "12"
    assert 'page=1&page_size=5>; rel="prev"' in page.headers["link"]
    assert 'page=3&page_size=5>; rel="next"' in page.headers["link"]


def test_one_search_tells_everything(open_hub: Hub) -> None:
    """Name, tag, size, both digests and the moment, in one answer; pages by cursor."""
    manifest = push_as_the_original(open_hub, "demo/add-header", "v0.1", b"\0asm-1", None)
    push_as_the_original(open_hub, "demo/add-header", "v0.2", b"\0asm-2", None)
    config = len(original_image(b"")[0])
    first = open_hub.ask("GET", "/api/v1/search?q=header&n=1").json
    (result,) = first["results"]
    updated = result.pop("updated")
    assert result == {
        "name": "demo/add-header",
        "tag": "v0.1",
        "size": len(manifest) + 2 * config + 6,
        "digest": digest(manifest),
        "moduleDigest": digest(b"\0asm-1"),
    }
    assert updated.endswith("Z")
    second = open_hub.ask("GET", f"/api/v1/search?q=header&n=1&cursor={first['next']}").json
    assert [each["tag"] for each in second["results"]] == ["v0.2"]
    assert "next" not in second
    assert open_hub.ask("GET", "/api/v1/search?q=nothing").json == {"results": []}


def test_the_front_page_lists_repositories_and_runs_no_script(open_hub: Hub) -> None:
    push_as_the_original(open_hub, "demo/add-header", "v0.1", b"\0asm", None)
    answer = open_hub.ask("GET", "/")
    assert f"wasme pull {open_hub.host}/demo/add-header:v0.1" in answer.body.decode()
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    attack = open_hub.ask("GET", "/", headers={"Host": '"><script>alert(1)</script>'})
    assert b"<script>" not in attack.body


def test_credentials_do_not_reach_the_log(hub: Hub) -> None:
    hub.add_user("demo", "verysecretpassword")
    for password in ("verysecretpassword", "wrongsecretpassword"):
        hub.ask("POST", "/v2/demo/x/blobs/uploads/", user=("demo", password))
    encoded = base64.b64encode(b"demo:verysecretpassword").decode()
    hub.stop()
    assert not [line for line in hub.log if "secretpassword" in line or encoded in line]
