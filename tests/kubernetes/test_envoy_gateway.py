"""deploy and undeploy envoy-gateway, on a real API server with the real CRDs of Envoy Gateway and the Gateway API."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable

import pytest
import yaml

from tests.conftest import Result
from tests.fixtures.registries import DockerRegistry
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.gateways import ACCEPTED, GATEWAY_API, World, written
from tests.kubernetes.images import Pushed, push
from wasme.deploy.envoy_gateway.configuration import parse

Run = Callable[..., Result]


def test_deploy_and_undeploy(
    kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str, control_plane: ControlPlane
) -> None:
    """One policy on the Gateway, pinned by digest, that the API server takes; and nothing is left of it after."""
    envoy_gateway.gateway()
    result = kube_run(
        "deploy", "envoy-gateway", image.name, "--id=auth", '--config={"b": 1, "a": "<x>"}', "-n", namespace,
        "--env-from-host=TOKEN,ZONE",
    )  # fmt: skip
    policy = envoy_gateway.policies()["wasme-gateway-eg"]
    assert policy["spec"] == {
        "targetRefs": [{"group": GATEWAY_API, "kind": "Gateway", "name": "eg"}],
        "wasm": [
            {
                "name": "auth",
                "rootID": "add_header",
                "code": {
                    "type": "Image",
                    "image": {"url": image.pinned, "sha256": image.manifest.removeprefix("sha256:")},
                },
                "config": {"a": "<x>", "b": 1},
                "failOpen": False,
                "env": {"hostKeys": ["TOKEN", "ZONE"]},
            }
        ],
    }
    assert policy["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "wasme"}
    told = json.loads(policy["metadata"]["annotations"]["wasme.io/filters"])
    assert told == {"auth": {"image": image.name, "manifest": image.manifest, "module": image.module}}
    assert r'config="{\"a\":\"\\u003cx\\u003e\",\"b\":1} (27 bytes)"' in result.stderr
    assert f'msg="created EnvoyExtensionPolicy" policy={namespace}/wasme-gateway-eg' in result.stderr
    mark = control_plane.mark()
    kube_run("undeploy", "envoy-gateway", "--id=auth", "-n", namespace)
    assert envoy_gateway.policies() == {}
    assert written(control_plane, mark) == [("delete", "wasme-gateway-eg")]


@pytest.mark.parametrize(
    "typed",
    ['{"z": [1.50, 2.0, 1e21, -0.0, 1e-7, 9223372036854775808, true, null], "a": "<é\\u2028&>", "A": {"": {}}}',
     '"text"', "5", "[[], {}]", "34957637675977190.0", '{"é": 1, "z": 2, "\\ud83d\\ude00": 3, "\\uffff": 4}'],
)  # fmt: skip
def test_the_bytes_that_the_filter_gets(
    kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str, control_plane: ControlPlane, typed: str
) -> None:
    """What the command shows is byte for byte what the API server serves, which Envoy Gateway hands to the filter."""
    envoy_gateway.gateway()
    words = ("deploy", "envoy-gateway", image.name, "--id=a", f"--config={typed}", "-n", namespace)
    kube_run(*words)
    raw = raw_get(control_plane, f"{envoy_gateway.base}/wasme-gateway-eg")
    configuration = parse(typed)
    assert configuration is not None
    assert b'"config":' + configuration.received + b"," in raw
    mark = control_plane.mark()
    kube_run(*words)
    assert written(control_plane, mark) == []


def raw_get(plane: ControlPlane, path: str) -> bytes:
    context = ssl.create_default_context(cafile=str(plane.ca))
    connection = http.client.HTTPSConnection(plane.url.removeprefix("https://"), context=context, timeout=20)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {plane.token}"})
        return connection.getresponse().read()
    finally:
        connection.close()


def test_a_text_is_no_configuration(kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str) -> None:
    """A bare text would arrive with quotes: it is refused, and nothing is written."""
    envoy_gateway.gateway()
    result = kube_run("deploy", "envoy-gateway", image.name, "--id=a", "--config=world", "-n", namespace, ok=False)
    assert "Envoy Gateway passes JSON only" in result.stderr
    assert envoy_gateway.policies() == {}


def test_filters_of_one_target_share_a_policy(
    kube_run: Run, envoy_gateway: World, image: Pushed, docker_registry: DockerRegistry, namespace: str,
    control_plane: ControlPlane,
) -> None:  # fmt: skip
    """Filters keep the order of their deployment through changes; each goes alone, and the policy with the last."""
    envoy_gateway.gateway()
    for each in ("z", "a", "m"):
        kube_run("deploy", "envoy-gateway", image.name, f"--id={each}", "-n", namespace)
    assert list(envoy_gateway.policies()) == ["wasme-gateway-eg"]
    newer = push(docker_registry, seed=3)
    kube_run("deploy", "envoy-gateway", newer.name, "--id=z", "--fail-open", "-n", namespace)
    assert envoy_gateway.filters() == ["z", "a", "m"]
    first = envoy_gateway.policies()["wasme-gateway-eg"]["spec"]["wasm"][0]
    assert first["code"]["image"]["url"] == newer.pinned
    assert first["failOpen"] is True
    mark = control_plane.mark()
    again = kube_run("deploy", "envoy-gateway", newer.name, "--id=z", "--fail-open", "-n", namespace)
    assert 'level=info msg="EnvoyExtensionPolicy is as it should be"' in again.stderr
    assert written(control_plane, mark) == []
    for gone, left in (("a", ["z", "m"]), ("z", ["m"])):
        kube_run("undeploy", "envoy-gateway", f"--id={gone}", "-n", namespace)
        assert envoy_gateway.filters() == left
    kube_run("undeploy", "envoy-gateway", "--id=m", "-n", namespace)
    assert envoy_gateway.policies() == {}


def test_deployed_at_once(
    kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str, control_plane: ControlPlane
) -> None:
    """Ten filters put on one target at the same time are all there: nobody's list is overwritten."""
    from wasme.deploy.cluster import connect
    from wasme.deploy.envoy_gateway.provider import EnvoyGateway, Wanted
    from wasme.deploy.envoy_gateway.selection import Selection
    from wasme.deploy.resolved import resolve
    from wasme.deploy.spec import FilterSpec
    from wasme.registry.session import Session

    envoy_gateway.gateway()
    with Session() as session:
        found = resolve(image.name, session)
    failed: list[BaseException] = []
    barrier = threading.Barrier(10)

    def deploy(number: int) -> None:
        try:
            with connect(control_plane.kubeconfig, namespace=namespace) as cluster:
                provider = EnvoyGateway(cluster, Selection(namespace=namespace), Wanted(found))
                barrier.wait(60)
                provider.deploy(FilterSpec(f"f{number}", image.name))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=deploy, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sorted(envoy_gateway.filters()) == [f"f{number}" for number in range(10)]


def test_a_second_writer(kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str, api: Api) -> None:
    """Somebody who changes the policy all the while loses nothing, and the filters arrive and go."""
    envoy_gateway.gateway()
    kube_run("deploy", "envoy-gateway", image.name, "--id=first", "-n", namespace)
    stop, counted = threading.Event(), 0

    def scribble() -> None:
        nonlocal counted
        while not stop.is_set():
            counted += 1
            api.patch(f"{envoy_gateway.base}/wasme-gateway-eg", {"metadata": {"annotations": {"count": str(counted)}}})
            time.sleep(0.005)

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        kube_run("deploy", "envoy-gateway", image.name, "--id=second", "-n", namespace)
        kube_run("undeploy", "envoy-gateway", "--id=first", "-n", namespace)
    finally:
        stop.set()
        writer.join()
    assert envoy_gateway.filters() == ["second"]
    assert envoy_gateway.policies()["wasme-gateway-eg"]["metadata"]["annotations"]["count"] == str(counted)


def test_as_a_provider(envoy_gateway: World, image: Pushed, namespace: str, control_plane: ControlPlane) -> None:
    """What renders is what is stored; rendering again gives nothing; a filter that is not there is taken away."""
    from wasme.deploy.cluster import connect
    from wasme.deploy.envoy_gateway.provider import EnvoyGateway, Wanted
    from wasme.deploy.envoy_gateway.selection import Selection
    from wasme.deploy.resolved import resolve
    from wasme.deploy.spec import FilterSpec
    from wasme.registry.session import Session

    envoy_gateway.gateway()
    spec = FilterSpec("a", image.name)
    with Session() as session, connect(control_plane.kubeconfig) as cluster:
        provider = EnvoyGateway(cluster, Selection(namespace=namespace), Wanted(resolve(image.name, session)))
        assert provider.status("a").phase == "absent"
        (rendered,) = provider.render(spec, provider.facts(spec))
        provider.apply([rendered])
        stored = envoy_gateway.policies()["wasme-gateway-eg"]
        assert stored["spec"] == rendered["spec"]
        assert provider.render(spec, provider.facts(spec)) == []
        assert provider.status("a").phase == "pending"
        provider.remove("a")
        provider.remove("a")
        assert envoy_gateway.policies() == {}


@pytest.mark.parametrize("dry_run", ["--dry-run", "--dry-run=server"])
def test_dry_runs(
    kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str, control_plane: ControlPlane, dry_run: str
) -> None:
    """A dry run prints policies fit to commit and stores nothing; what it prints deploys the same."""
    envoy_gateway.gateway()
    words = ("deploy", "envoy-gateway", image.name, "--id=a", "-n", namespace)
    shown = yaml.safe_load(kube_run(*words, dry_run).stdout)
    assert envoy_gateway.policies() == {}
    assert shown["metadata"].keys() == {"name", "namespace", "labels", "annotations"}
    envoy_gateway.api.create(shown)
    mark = control_plane.mark()
    kube_run(*words)
    assert written(control_plane, mark) == []
    before = envoy_gateway.policies()
    result = kube_run("undeploy", "envoy-gateway", "--id=a", "-n", namespace, dry_run)
    assert "would delete EnvoyExtensionPolicy" in result.stderr
    assert envoy_gateway.policies() == before


def test_images(kube_run: Run, envoy_gateway: World, docker_registry: DockerRegistry, namespace: str) -> None:
    """The packed layout is taken; the single application/wasm layer, which Envoy Gateway cannot pull, is refused."""
    envoy_gateway.gateway()
    words = ("-n", namespace, "--id=a")
    kube_run("deploy", "envoy-gateway", push(docker_registry, layout="compat").name, *words)
    result = kube_run("deploy", "envoy-gateway", push(docker_registry, layout="wasm").name, *words, ok=False)
    assert "Envoy Gateway cannot pull it" in result.stderr


def test_pull_secrets(kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str, api: Api) -> None:
    """The Secret must be there and of docker's kind; then it stands in the policy, and unchanged is unchanged."""
    envoy_gateway.gateway()
    words = ("deploy", "envoy-gateway", image.name, "--id=a", "-n", namespace, "--pull-secret=pull")
    assert f"there is no Secret {namespace}/pull" in kube_run(*words, ok=False).stderr
    meta = {"name": "pull", "namespace": namespace}
    api.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"username": "u"}})
    assert "is no kubernetes.io/dockerconfigjson" in kube_run(*words, ok=False).stderr
    api.delete(f"/api/v1/namespaces/{namespace}/secrets/pull")
    kind = "kubernetes.io/dockerconfigjson"
    data = {".dockerconfigjson": '{"auths": {}}'}
    api.create({"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": meta, "stringData": data})
    kube_run(*words)
    found = envoy_gateway.policies()["wasme-gateway-eg"]["spec"]["wasm"][0]["code"]["image"]["pullSecretRef"]
    assert found == {"group": "", "kind": "Secret", "name": "pull"}
    again = kube_run(*words, "-o", "json")
    assert again.json["changes"][0]["action"] == "unchanged"


def test_a_namespace_that_is_going(
    kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str, api: Api
) -> None:
    """In a namespace that is being deleted nothing can be made: the API server's word is told; what is there goes."""
    envoy_gateway.gateway()
    kube_run("deploy", "envoy-gateway", image.name, "--id=a", "-n", namespace)
    envoy_gateway.gateway("other")
    api.delete(f"/api/v1/namespaces/{namespace}")
    result = kube_run("deploy", "envoy-gateway", image.name, "--id=b", "--name=other", "-n", namespace, ok=False)
    assert result.exit_code == 1
    assert "terminat" in result.stderr
    kube_run("undeploy", "envoy-gateway", "--id=a", "-n", namespace)
    assert envoy_gateway.policies() == {}


def test_rights(
    kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str, control_plane: ControlPlane, api: Api
) -> None:
    """Without rights the missing one is named; with those in the namespace alone, and no more, it works."""
    envoy_gateway.gateway()
    user = f"user-{namespace}"
    kubeconfig = control_plane.kubeconfig_for(user)
    words = ("deploy", "envoy-gateway", image.name, "--id=a", "-n", namespace)
    assert "gateways" in kube_run(*words, ok=False, kubeconfig=kubeconfig).stderr
    group = "rbac.authorization.k8s.io"
    meta = {"name": "eg", "namespace": namespace}
    rules = [
        {"apiGroups": [GATEWAY_API], "resources": ["gateways"], "verbs": ["list", "get"]},
        {"apiGroups": ["gateway.envoyproxy.io"], "resources": ["envoyextensionpolicies"],
         "verbs": ["list", "get", "create", "patch", "delete"]},
    ]  # fmt: skip
    subject = {"kind": "User", "name": user, "apiGroup": group}
    api.create({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta, "rules": rules})
    api.create({"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": meta, "subjects": [subject],
                "roleRef": {"kind": "Role", "name": "eg", "apiGroup": group}})  # fmt: skip
    kube_run(*words, kubeconfig=kubeconfig)
    assert envoy_gateway.filters() == ["a"]
    kube_run("undeploy", "envoy-gateway", "--id=a", "-n", namespace, kubeconfig=kubeconfig)
    assert envoy_gateway.policies() == {}


def test_no_envoy_gateway(kube_run: Run, image: Pushed, control_plane: ControlPlane) -> None:
    """A cluster without Envoy Gateway says which CRD it lacks."""
    from tests.kubernetes.cluster import crds

    crds.remove(control_plane.api, "gateway.envoyproxy.io")
    control_plane.served.pop("envoy-gateway", None)
    for words in (("deploy", "envoy-gateway", image.name, "--id=a"), ("undeploy", "envoy-gateway", "--id=a")):
        result = kube_run(*words, ok=False)
        assert result.exit_code == 1
        assert "envoyextensionpolicies.gateway.envoyproxy.io" in result.stderr
        assert "Traceback" not in result.stderr


def test_an_older_envoy_gateway(kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str, api: Api) -> None:
    """A CRD without env and mergeType refuses --env-from-host by name, and goes without merging."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/envoyextensionpolicies.gateway.envoyproxy.io"
    crd = api.get(path)
    spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec"
    rules = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"]
    removed = [
        {"op": "remove", "path": f"{spec}/properties/wasm/items/properties/env"},
        {"op": "remove", "path": f"{spec}/properties/mergeType"},
        {"op": "replace", "path": f"{spec}/x-kubernetes-validations",
         "value": [each for each in rules if "mergeType" not in each["rule"]]},
    ]  # fmt: skip
    envoy_gateway.gateway()
    envoy_gateway.route()
    try:
        api.patch(path, removed, "json")
        words = ("deploy", "envoy-gateway", image.name, "--id=a", "-n", namespace)
        assert "have no spec.wasm.env" in kube_run(*words, "--env-from-host=X", ok=False).stderr
        kube_run(*words, "--target=HTTPRoute/backend")
        assert "mergeType" not in envoy_gateway.policies()["wasme-httproute-backend"]["spec"]
    finally:
        api.patch(path, {"spec": {"versions": crd["spec"]["versions"]}})


@pytest.mark.parametrize(
    ("version", "runs"), [("docker.io/envoyproxy/envoy:distroless-v1.38.0", True), ("envoyproxy/envoy:v1.16.2", False)]
)
def test_the_proxies_are_asked(
    kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str, api: Api, version: str, runs: bool
) -> None:
    """A Gateway whose Envoy is too old for the module is told before any write; --ignore-version-check goes on."""
    envoy_gateway.gateway()
    owner = "gateway.envoyproxy.io/owning-gateway"
    labels = {f"{owner}-name": "eg", f"{owner}-namespace": namespace}
    meta = {"name": "envoy-eg-1", "namespace": namespace, "labels": labels}
    spec = {"containers": [{"name": "envoy", "image": version}], "terminationGracePeriodSeconds": 0}
    api.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    words = ("deploy", "envoy-gateway", image.name, "--id=a", "-n", namespace)
    result = kube_run(*words, ok=False)
    assert (result.exit_code == 0) == runs
    if not runs:
        assert f"not supported by the proxy of pod {namespace}/envoy-eg-1" in result.stderr
        assert envoy_gateway.policies() == {}
        kube_run(*words, "--ignore-version-check")


def test_the_verdict(kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str) -> None:
    """--wait waits for Envoy Gateway's word on what is stored now: accepted, refused with its reason, or silence."""
    envoy_gateway.gateway()
    words = ("deploy", "envoy-gateway", image.name, "--id=a", "-n", namespace)
    silent = kube_run(*words, "--wait=300ms", ok=False)
    assert "has not judged it yet after 0.3 seconds" in silent.stderr
    envoy_gateway.judge("wasme-gateway-eg", ACCEPTED)
    assert "EnvoyExtensionPolicy is accepted" in kube_run(*words).stderr
    kube_run(*words, "--fail-open")  # what was said of the older generation does not count
    timer = threading.Timer(0.7, envoy_gateway.judge, ("wasme-gateway-eg", ACCEPTED))
    timer.start()
    assert "EnvoyExtensionPolicy is accepted" in kube_run(*words, "--fail-open", "--wait=20s").stderr
    timer.join()
    refused = {"type": "Accepted", "status": "False", "reason": "Invalid", "message": "Wasm: could not\nfetch"}
    envoy_gateway.judge("wasme-gateway-eg", refused)
    result = kube_run(*words, "--fail-open", ok=False)
    assert "Invalid: Wasm: could not fetch" in result.stderr
    overridden = {"type": "Overridden", "status": "True", "reason": "Overridden", "message": "by these: [x]"}
    envoy_gateway.judge("wasme-gateway-eg", ACCEPTED, overridden)
    assert "by these: [x]" in kube_run(*words, "--fail-open").stderr
