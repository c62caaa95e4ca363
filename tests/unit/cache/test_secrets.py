"""What a labelled Secret is good for."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping

import pytest

from wasme.cache.secrets import PullSecret, credential_in, from_list


def secret(values: Mapping[str, str]) -> PullSecret:
    return PullSecret("pull", {key: b64encode(value.encode()).decode() for key, value in values.items()})


def docker(content: object) -> PullSecret:
    return secret({".dockerconfigjson": json.dumps(content)})


def test_docker_config() -> None:
    """Docker's format gives the pair of this registry and of no other; Docker's own hub has many names."""
    both = docker({"auths": {"https://a.example/v1/": {"auth": b64encode(b"me:pw").decode()}}})
    found = credential_in(both, "a.example")
    assert found is not None
    assert (found.username, found.password, found.origin) == ("me", "pw", "the Secret pull")
    assert credential_in(both, "b.example") is None
    hub = docker({"auths": {"https://index.docker.io/v1/": {"username": "me", "password": "pw"}}})
    assert credential_in(hub, "docker.io") is not None


def test_pair() -> None:
    """A pair is for the registry that stands beside it, and for none where none does."""
    pair = {"username": "me", "password": "pw\n"}
    found = credential_in(secret({**pair, "registry": "a.example:5000"}), "a.example:5000")
    assert found is not None
    assert (found.username, found.password) == ("me", "pw")
    assert credential_in(secret({**pair, "registry": "a.example:5000"}), "a.example") is None
    assert credential_in(secret(pair), "a.example") is None


def test_no_program_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper that a Secret names is not a program of this node's."""
    import subprocess

    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a program was run"))
    assert credential_in(docker({"credsStore": "evil", "credHelpers": {"a.example": "evil"}}), "a.example") is None


@pytest.mark.parametrize(
    "data",
    [
        {".dockerconfigjson": "%"},
        {".dockerconfigjson": b64encode(b"[" * 100_000).decode()},
        {".dockerconfigjson": b64encode(b"[]").decode()},
        {".dockerconfigjson": b64encode(b'{"auths": {"a.example": {"auth": "?"}}}').decode()},
        {"username": b64encode(b"\xff").decode(), "registry": "YQ=="},
        {},
    ],
)
def test_nonsense(data: dict[str, str]) -> None:
    """A Secret that cannot be read is passed over."""
    assert credential_in(PullSecret("pull", data), "a.example") is None


def test_list() -> None:
    """A list as the API server gives it; what is not as it should be is left out."""
    assert from_list({}) == []
    items = [{"metadata": {"name": "a"}, "data": {"x": "eA==", "y": None}}, {"metadata": None}]
    assert from_list({"items": items}) == [PullSecret("a", {"x": "eA=="}), PullSecret("", {})]
