"""Whose credential an image is asked for with, and where its registry's name leads: nobody gets what is not his."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable

import pytest

from tests.fixtures import faulty
from tests.unit.operator.test_images import World, wanted, world
from wasme.errors import Unauthorized, Unreachable
from wasme.image.layouts import Draft
from wasme.operator.resources.outcome import ImageFacts

__all__ = ["world"]

Put = Callable[..., Draft]


def docker_config(host: str, user: str, password: str) -> str:
    return json.dumps({"auths": {host: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}}})


@pytest.mark.parametrize("kind", ["docker", "pair"])
def test_pull_secret(
    world: World, faulty_registry: faulty.Registry, holds_image: Put, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A private image needs the pull secret, of either kind; who has none or another one is refused, although somebody
    else has looked at the image. Nothing of it is logged.
    """
    caplog.set_level(logging.DEBUG)
    holds_image(faulty_registry, "demo/auth", "v1")
    faulty_registry.auth = "basic"
    host, user, password = faulty_registry.host, faulty_registry.user, faulty_registry.password
    if kind == "docker":
        world.secrets.put("shop", "pull", _dockerconfigjson=docker_config(host, user, password))
    else:
        world.secrets.put("shop", "pull", username=user, password=password + "\n")
    world.secrets.put("shop", "wrong", username=user, password="wr0ng-one")
    mine = wanted(f"{host}/demo/auth:v1", pull_secret="pull")
    status = {"image": ImageFacts.of(world.images.resolve(mine)).as_status()}
    asked = world.secrets.asked
    world.images.resolve(mine, status)
    assert world.secrets.asked == asked, "at rest no Secret is read"
    for other in ({}, {"pull_secret": "wrong"}):
        with pytest.raises(Unauthorized):
            world.images.resolve(wanted(f"{host}/demo/auth:v1", "other", **other), status)
    assert password not in caplog.text
    assert "wr0ng-one" not in caplog.text


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (None, "missing pull secret: shop/pull"),
        ({}, "missing pull secret: shop/pull: it is no Secret for pulling"),
        ({"username": "scout"}, "its keys are username"),
        ({"_dockerconfigjson": "{}"}, "it has no"),
        ({"_dockerconfigjson": "not json with s3cret"}, "is not JSON"),
        ({"_dockerconfigjson": docker_config("elsewhere.example", "a", "s3cret")}, "only for elsewhere.example"),
    ],
)  # fmt: skip
def test_missing_pull_secret(
    world: World, faulty_registry: faulty.Registry, data: dict[str, str] | None, told: str
) -> None:
    """[BUG] A Secret that is not there, without data or without a key is told in the original's words, and harms nobody
    else; what it holds is not told.
    """
    if data is not None:
        world.secrets.put("shop", "pull", **data)
    with pytest.raises(Unauthorized) as caught:
        world.images.resolve(wanted(f"{faulty_registry.host}/demo/auth:v1", pull_secret="pull"))
    assert caught.value.message.startswith("missing pull secret: shop/pull")
    if told != "it has no":
        assert told in caught.value.message
    assert "s3cret" not in caught.value.message
    assert caught.value.hint
    assert not faulty_registry.requests


def test_webassembly_hub(world: World, faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """An old reference without a registry map has an error that says which line to add where; once it is there the
    FilterDeployment is called, and has its image.
    """
    draft = holds_image(faulty_registry, "filters/demo/auth", "v1")
    old, other = (
        wanted("webassemblyhub.io/demo/auth:v1"),
        wanted(f"{faulty_registry.host}/filters/demo/auth:v1", "other"),
    )
    with pytest.raises(Unreachable) as caught:
        world.images.resolve(old)
    assert caught.value.hint
    assert "ConfigMap wasme/wasme-cache" in caught.value.hint
    line = caught.value.hint.partition("registryMap: ")[2].strip('"')
    world.images.resolve(other)
    world.listed(line.replace("HOST/PREFIX", f"{faulty_registry.host}/filters"))
    assert world.called == [old.key]
    found = world.images.resolve(old)
    assert found.module.digest == draft.module.digest
    assert found.address == f"{faulty_registry.host}/filters/demo/auth"
    assert found.typed == "webassemblyhub.io/demo/auth:v1"


def test_list_leads_no_credential_away(faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """Whoever may edit the cache's list gets no credential of a registry that he leads to himself; where the operator's
    own map leads it, it goes along.
    """
    holds_image(faulty_registry, "demo/auth", "v1")
    faulty_registry.auth = "basic"
    config = docker_config("private.example", faulty_registry.user, faulty_registry.password)
    mine = wanted("private.example/demo/auth:v1", pull_secret="pull")
    led, own = World(), World({"private.example": faulty_registry.host})
    for each in (led, own):
        each.secrets.put("shop", "pull", _dockerconfigjson=config)
    led.listed(json.dumps({"private.example": faulty_registry.host}))
    with pytest.raises(Unauthorized, match="missing pull secret"):
        led.images.resolve(mine)
    assert not faulty_registry.requests
    assert own.images.resolve(mine).layout == "oci"
