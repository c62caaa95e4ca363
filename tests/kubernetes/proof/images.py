"""Modules out of images, as istio-agent and Envoy Gateway take them: three shapes and no others."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

_DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
_OCI = "application/vnd.oci.image.manifest.v1+json"
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_RAW = "application/vnd.module.wasm.content.layer.v1+wasm"
_TARBALLS = {_DOCKER: "application/vnd.docker.image.rootfs.diff.tar.gzip",
             _OCI: "application/vnd.oci.image.layer.v1.tar+gzip"}  # fmt: skip
_FILE = "plugin.wasm"


class Unusable(Exception):
    """The mesh would not take this; the message says why."""


def module(url: str, sha256: str = "", login: tuple[str, str] | None = None) -> bytes:
    """The module behind ``oci://HOST/REPO[:TAG][@sha256:…]`` (or without a scheme), or an http URL.

    Args:
        sha256: 64 hex digits: of an image's manifest, or of the module that http brings.
        login: user and password of a pull secret.
    """
    if url.startswith(("http://", "https://")):
        content = _get(url, {}, None)
        if sha256 and hashlib.sha256(content).hexdigest() != sha256:
            raise Unusable(f"{url} is not what sha256 says")
        return content
    host, repository, reference = _parts(url.removeprefix("oci://"))
    if sha256 and "@" in url and not url.endswith(f"@sha256:{sha256}"):
        raise Unusable("sha256 and the digest of the url differ")
    base = f"http://{host}/v2/{repository}"
    content, kind = _manifest(base, reference, login)
    if kind in _INDEXES:
        entries = [each for each in json.loads(content)["manifests"]
                   if each.get("platform", {}).get("architecture", "amd64") == "amd64"]  # fmt: skip
        if not entries:
            raise Unusable("the index has nothing for linux/amd64")
        content, kind = _manifest(base, entries[0]["digest"], login)
    digest = hashlib.sha256(content).hexdigest()
    if reference.startswith("sha256:") and reference != f"sha256:{digest}":
        raise Unusable("the manifest is not the one that was asked for")
    if sha256 and digest != sha256:
        raise Unusable(f"the manifest has the digest {digest}, sha256 says {sha256}")
    return _from_layers(base, kind, json.loads(content)["layers"], login)


def _from_layers(base: str, kind: str, layers: list[dict[str, Any]], login: tuple[str, str] | None) -> bytes:
    raw = [each for each in layers if each["mediaType"] == _RAW]
    if kind == _OCI and len(layers) == 2 and raw:
        return _blob(base, raw[0]["digest"], login)
    last = layers[-1]
    if kind not in _TARBALLS or last["mediaType"] != _TARBALLS[kind]:
        raise Unusable(f"no shape that the agent reads: {kind}, layers {[each['mediaType'] for each in layers]}")
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(_blob(base, last["digest"], login)))) as archive:
        for member in archive:
            if member.isfile() and member.name.rpartition("/")[2] == _FILE:
                stream = archive.extractfile(member)
                assert stream
                return stream.read()
    raise Unusable(f"no {_FILE} in the last layer")


def _parts(name: str) -> tuple[str, str, str]:
    """Host, repository and tag or digest."""
    host, _, rest = name.partition("/")
    path, _, digest = rest.partition("@")
    repository, _, tag = path.partition(":")
    return host, repository, digest or tag or "latest"


def _manifest(base: str, reference: str, login: tuple[str, str] | None) -> tuple[bytes, str]:
    accept = {"Accept": ", ".join((_OCI, _DOCKER, *_INDEXES))}
    content = _get(f"{base}/manifests/{reference}", accept, login)
    parsed = json.loads(content)
    return content, parsed.get("mediaType") or (_INDEXES[0] if "manifests" in parsed else _OCI)


def _blob(base: str, digest: str, login: tuple[str, str] | None) -> bytes:
    content = _get(f"{base}/blobs/{digest}", {}, login)
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
        raise Unusable(f"the blob {digest} is something else")
    return content


def _get(url: str, headers: dict[str, str], login: tuple[str, str] | None) -> bytes:
    if login:
        headers = {**headers, "Authorization": "Basic " + base64.b64encode(":".join(login).encode()).decode()}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            content: bytes = answer.read()
            return content
    except (urllib.error.URLError, OSError) as problem:
        raise Unusable(f"{url}: {problem}") from problem
