"""The agents where the API server, its rights and the registries' logins give trouble."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import faulty
from tests.fixtures.agents import Agent, soon
from tests.kubernetes.caches import NAME, Cache, line
from tests.kubernetes.cluster.accounts import wait_granted
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from wasme.deploy.cache import manifests
from wasme.deploy.cache.options import CacheOptions
from wasme.image.layouts import Draft

Agents = Callable[..., list[Agent]]
Put = Callable[..., Draft]
RULES = manifests.role(CacheOptions())["rules"]


@pytest.fixture
def cache(api: Api, namespace: str) -> Cache:
    return Cache(api, namespace)


def counted(agent: Agent, name: str) -> int:
    """A metric, all its labels together; ``name`` is an expression."""
    text = agent.get("/metrics")[2].decode()
    return sum(int(each) for each in re.findall(rf"^wasme_cache_{name} (\d+)$", text, re.MULTILINE))


def user(control_plane: ControlPlane, cache: Cache, rules: list[dict[str, Any]]) -> Path:
    """The kubeconfig of somebody with these rights in the cache's namespace."""
    name = f"agent-{cache.namespace}"
    meta = {"name": "agent", "namespace": cache.namespace}
    group = "rbac.authorization.k8s.io"
    if rules:
        cache.api.apply({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta, "rules": rules})
        cache.api.apply(
            {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": meta,
             "roleRef": {"apiGroup": group, "kind": "Role", "name": "agent"},
             "subjects": [{"apiGroup": group, "kind": "User", "name": name}]}
        )  # fmt: skip
        wait_granted(cache.api, name, cache.namespace, rules)
    return control_plane.kubeconfig_for(name)


def test_server_restarted(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry, holds_image: Put
) -> None:
    """The API server is killed and comes back: what is held stays and is served, what changes then is noticed, even
    where the server does not remember the version that was seen last (410).
    """
    one, two = holds_image(faulty_registry, "demo/one", "v1"), holds_image(faulty_registry, "demo/two", "v1", 30_000)
    host = faulty_registry.host
    cache.write(images=f"{host}/demo/one:v1")
    (agent,) = agents(control_plane, cache.namespace, "alpha")
    assert soon(lambda: one.module.digest in cache.held("alpha"))
    lists = counted(agent, 'api_requests_total{result="200",verb="GET"}')
    control_plane.kill()
    try:
        assert agent.logged("cannot be watched")
        assert agent.get("/" + one.module.hex)[0] == 200
        assert agent.get("/healthz")[0] == 200
    finally:
        control_plane.start()
    cache.write(images=f"{host}/demo/one:v1\n{host}/demo/two:v1")
    assert soon(lambda: two.module.digest in cache.held("alpha"), 60)
    assert one.module.digest in cache.held("alpha")
    assert counted(agent, 'api_requests_total{result="200",verb="GET"}') > lists, "the list was read anew"
    assert agent.file(one.module.digest).exists()


def test_server_away_at_the_start(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry, holds_image: Put,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Without an API server the mounted file is read; once there is one, its list counts and removes nothing before."""
    one, two = holds_image(faulty_registry, "demo/one", "v1"), holds_image(faulty_registry, "demo/two", "v1", 30_000)
    host = faulty_registry.host
    cache.write(images=f"{host}/demo/two:v1")
    control_plane.stop()
    try:
        (agent,) = agents(control_plane, cache.namespace, "alpha", flags=("--ref-file", tmp_path / "images.txt"))
        assert agent.get("/readyz")[0] == 503
        (tmp_path / "images.txt").write_text(f"{host}/demo/one:v1")  # it would be read after three seconds
        assert soon(lambda: agent.file(one.module.digest).exists())
        assert soon(lambda: agent.get("/readyz")[0] == 200)
    finally:
        control_plane.start()
    assert soon(lambda: agent.file(two.module.digest).exists(), 60)
    assert soon(lambda: cache.held("alpha") == {two.module.digest})


def test_server_stands_still(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry, holds_image: Put
) -> None:
    """An API server that answers nothing for a while holds up neither HTTP nor the end of an agent."""
    one = holds_image(faulty_registry, "demo/one", "v1")
    cache.write(images=f"{faulty_registry.host}/demo/one:v1")
    first, second = agents(control_plane, cache.namespace, "alpha", "beta", flags=("--tag-interval", "300ms"))
    assert soon(lambda: one.module.digest in cache.held("alpha") & cache.held("beta"))
    control_plane.pause()
    try:
        moved = holds_image(faulty_registry, "demo/one", "v1", 30_000)
        assert soon(lambda: first.file(moved.module.digest).exists())
        assert first.get("/" + moved.module.hex)[0] == 200
        begun = time.monotonic()
        assert second.stop() == 0
        assert time.monotonic() - begun < 10, "a request that is not answered takes longer"
    finally:
        control_plane.resume()
    assert soon(lambda: moved.module.digest in cache.held("alpha"), 60)


def test_server_in_a_black_hole(
    control_plane: ControlPlane, cache: Cache, start_agent: Callable[..., Agent], faulty_registry: faulty.Registry,
    holds_image: Put, tmp_path: Path,
) -> None:  # fmt: skip
    """An API server whose address answers nothing at all: the file is read, and the end is quick."""
    module = holds_image(faulty_registry, "demo/one", "v1").module.digest
    (tmp_path / "images.txt").write_text(f"{faulty_registry.host}/demo/one:v1")
    with socket.create_server(("127.0.0.1", 0), backlog=0) as hole, contextlib.ExitStack() as stack:
        for _ in range(4):
            fill = stack.enter_context(socket.socket())
            fill.setblocking(False)
            fill.connect_ex(hole.getsockname())
        reach = json.loads(control_plane.kubeconfig.read_text())
        reach["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{hole.getsockname()[1]}"
        config = tmp_path / "kubeconfig"
        config.write_text(json.dumps(reach))
        agent = start_agent("--kubeconfig", config, "--ref-file", tmp_path / "images.txt", kube=True)
        assert soon(lambda: agent.file(module).exists())
        begun = time.monotonic()
        assert agent.stop() == 0
        assert time.monotonic() - begun < 10, "a connection that is not answered takes longer"


def test_rights_that_install_gives_are_enough(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry, holds_image: Put
) -> None:
    """With the Role of `wasme cache install` and nothing more, an agent does all its work: no request is refused."""
    draft = holds_image(faulty_registry, "demo/auth", "v1")
    faulty_registry.auth = "basic"
    secret(cache, "pull", faulty_registry.host, faulty_registry.password)
    (agent,) = agents(control_plane, cache.namespace, "alpha", kubeconfig=user(control_plane, cache, RULES))
    cache.write(filters=line("shop", "auth", f"{faulty_registry.host}/demo/auth:v1", draft))
    assert soon(lambda: draft.module.digest in cache.held("alpha"))
    assert soon(lambda: len(cache.events()) == 1)
    assert counted(agent, 'api_requests_total{result="403".*') == 0
    assert not any("level=warning" in line_ for line_ in agent.log)


def test_no_rights(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry, holds_image: Put,
    tmp_path: Path,
) -> None:  # fmt: skip
    """An agent without rights says which one is missing, goes on by the mounted file, and takes up what is granted."""
    one, two = holds_image(faulty_registry, "demo/one", "v1"), holds_image(faulty_registry, "demo/two", "v1", 30_000)
    host = faulty_registry.host
    (tmp_path / "images.txt").write_text(f"{host}/demo/one:v1")
    (agent,) = agents(
        control_plane, cache.namespace, "alpha", kubeconfig=user(control_plane, cache, []),
        flags=("--ref-file", tmp_path / "images.txt"),
    )  # fmt: skip
    assert agent.logged('cannot list resource \\"configmaps\\"')
    assert soon(lambda: agent.file(one.module.digest).exists())
    assert agent.logged("event cannot be written")
    cache.write(images=f"{host}/demo/two:v1")
    user(control_plane, cache, RULES)
    assert soon(lambda: agent.file(two.module.digest).exists(), 90)  # who is refused asks each minute in the end
    assert soon(lambda: two.module.digest in cache.held("alpha"), 90)


def test_list_but_no_watch(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry, holds_image: Put
) -> None:
    """Where the right to watch alone is missing, the list is read, the right is named, and the server is left alone."""
    draft = holds_image(faulty_registry, "demo/one", "v1")
    rules = [{**rule, "verbs": [verb for verb in rule["verbs"] if verb != "watch"]} for rule in RULES]
    cache.write(images=f"{faulty_registry.host}/demo/one:v1")
    (agent,) = agents(control_plane, cache.namespace, "alpha", kubeconfig=user(control_plane, cache, rules))
    assert soon(lambda: draft.module.digest in cache.held("alpha"))
    assert agent.logged('cannot watch resource \\"configmaps\\"')
    before = counted(agent, refused := 'api_requests_total{result="403",verb="WATCH"}')
    time.sleep(4)
    assert 1 <= before <= counted(agent, refused) < before + 6


def test_role_of_the_original(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry, holds_image: Put,
    tmp_path: Path,
) -> None:  # fmt: skip
    """In a cluster that the original installed, where an agent may only write Events, it does what the original did."""
    one = holds_image(faulty_registry, "demo/one", "v1")
    ref = f"{faulty_registry.host}/demo/one:v1"
    (tmp_path / "images.txt").write_text(ref)
    rules = [{"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}]
    agents(
        control_plane, cache.namespace, "alpha", kubeconfig=user(control_plane, cache, rules),
        flags=("--ref-file", tmp_path / "images.txt"),
    )  # fmt: skip
    assert soon(lambda: [event["reason"] for event in cache.events(ref)] == ["ImageAdded"])
    (event,) = cache.events(ref)
    assert event["metadata"]["annotations"]["cache.wasme.io/image_digest"] == one.module.digest


def test_token_that_changes(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry, holds_image: Put,
    tmp_path: Path,
) -> None:  # fmt: skip
    """The token's file is read again: one that is renewed under the agent counts, and is never told."""
    draft = holds_image(faulty_registry, "demo/auth", "v1")
    reach = json.loads(control_plane.kubeconfig.read_text())
    token = tmp_path / "token"
    token.write_text("expired-token")
    reach["users"][0]["user"] = {"tokenFile": str(token)}
    config = tmp_path / "kubeconfig"
    config.write_text(json.dumps(reach))
    cache.write(images=f"{faulty_registry.host}/demo/auth:v1")
    (agent,) = agents(control_plane, cache.namespace, "alpha", kubeconfig=config)
    assert agent.logged("does not know the agent: 401")
    token.write_text(control_plane.token + "\n")
    assert soon(lambda: draft.module.digest in cache.held("alpha"), 90)
    told = "\n".join([*agent.log, agent.get("/metrics")[2].decode()])
    assert "expired-token" not in told
    assert control_plane.token not in told


def secret(cache: Cache, name: str, host: str, password: str, *, label: str = "true", kind: str = "docker") -> None:
    """A pull secret beside the cache."""
    values = {"username": "scout", "password": password, "registry": host}
    if kind == "docker":
        values = {".dockerconfigjson": json.dumps({"auths": {host: {"username": "scout", "password": password}}})}
    elif kind == "bare":
        del values["registry"]
    cache.api.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/dockerconfigjson" if kind == "docker" else "Opaque",
            "metadata": {
                "name": name,
                "namespace": cache.namespace,
                "labels": {"cache.wasme.io/pull-secret": label},
            },
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
        }
    )


def test_private_images(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry, holds_image: Put
) -> None:
    """[BUG] Labelled Secrets open private registries, wrong ones beside them do no harm, and none is ever told; they
    are read when a pull needs them and not otherwise; what they opened, strangers do not get opened by name.
    """
    mark = control_plane.mark()
    one, two = holds_image(faulty_registry, "demo/one", "v1"), holds_image(faulty_registry, "demo/two", "v1", 30_000)
    host = faulty_registry.host
    (agent,) = agents(control_plane, cache.namespace, "alpha")
    cache.write(images=f"{host}/demo/one:v1")
    assert soon(lambda: one.module.digest in cache.held("alpha"))
    assert not [event for event in control_plane.audit(mark) if about_secrets(event, cache)]
    faulty_registry.auth = "basic"
    cache.write(images=f"{host}/demo/two:v1")
    assert soon(lambda: any(each.get("error") for each in cache.images("alpha")))
    assert agent.get(f"/{host}/demo/one:v1")[0] == 400
    secret(cache, "a-wrong", host, "wrong-one")
    secret(cache, "b-elsewhere", "registry.example.com", "other-one")
    secret(cache, "c-unlabelled", host, faulty_registry.password, label="false")
    secret(cache, "d-for-nobody", host, faulty_registry.password, kind="bare")
    time.sleep(6)
    assert two.module.digest not in cache.held("alpha")
    secret(cache, "e-right", host, faulty_registry.password, kind="opaque")
    cache.write(images=f"{host}/demo/two:v1\n")
    assert soon(lambda: two.module.digest in cache.held("alpha"), 60)
    assert [event for event in control_plane.audit(mark) if about_secrets(event, cache)]
    told = "\n".join(
        [*agent.log, agent.get("/metrics")[2].decode(), json.dumps(cache.status("alpha")), json.dumps(cache.events())]
    )
    for word in (faulty_registry.password, "wrong-one", "other-one"):
        assert word not in told
        assert base64.b64encode(word.encode()).decode() not in told


def about_secrets(event: dict[str, Any], cache: Cache) -> bool:
    found = event.get("objectRef", {})
    return bool(found.get("resource") == "secrets" and found.get("namespace") == cache.namespace)


def test_many_images_many_writes(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry, holds_image: Put
) -> None:
    """A hundred images that come at once are told with few writes of the status, and one Event each."""
    refs = []
    for number in range(100):
        holds_image(faulty_registry, f"demo/a{number}", "v1", 10_000 + number)
        refs.append(f"{faulty_registry.host}/demo/a{number}:v1")
    agents(control_plane, cache.namespace, "alpha")
    mark, begun = control_plane.mark(), time.monotonic()
    cache.write(images="\n".join(refs))
    assert soon(lambda: len(cache.held("alpha")) == 100, 60)
    assert soon(lambda: len(cache.events()) == 100, 60)
    writes = [event for event in control_plane.audit(mark) if event["verb"] == "patch"
              and event["objectRef"].get("name") == f"{NAME}-alpha"]  # fmt: skip
    assert len(writes) < 10 + 5 * (time.monotonic() - begun), "five in a second are the most"
