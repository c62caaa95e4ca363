"""Which kind of object carries a filter, changing it, targets, and what each kind cannot carry."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import yaml

from tests.fixtures.registries import DockerRegistry
from tests.kubernetes import meshes
from tests.kubernetes.cluster import crds
from tests.kubernetes.meshes import USER_VOLUME, Mesh, lines

CARRIERS = ("envoyfilter", "wasmplugin", "trafficextension")


@pytest.fixture
def image(docker_registry: DockerRegistry) -> meshes.Pushed:
    return meshes.push(docker_registry, layout="compat")


def carriers(mesh: Mesh) -> dict[str, set[str]]:
    return {each: set(mesh.filters(f"{each}s")) for each in CARRIERS if mesh.filters(f"{each}s")}


@pytest.mark.parametrize(
    ("words", "kind", "reason"),
    [
        ((), "trafficextension", "it is the newest kind that the API server serves"),
        (("--cache-timeout=0",), "envoyfilter", "--cache-timeout is about the node cache"),
        (("--vm-id=x",), "envoyfilter", "a VM id"),
        (("--config", "no json"), "envoyfilter", "the configuration"),
    ],
)
def test_auto_says_what_it_takes_and_why(
    mesh: Mesh, image: meshes.Pushed, words: tuple[str, ...], kind: str, reason: str
) -> None:
    """--as auto takes the newest kind served, an EnvoyFilter where only that will do; the log names kind and reason.
    Only an EnvoyFilter installs the cache."""
    mesh.workload("web")
    flags = [each for each in mesh.flags if "cache" not in each]
    told = mesh.run("deploy", "istio", image.name, "--id=test", *flags, *words, "--log-format=text", "--dry-run")
    rendered = list(yaml.safe_load_all(told.stdout))
    assert rendered[-1]["kind"].lower() == kind
    assert any(f"deploying as {rendered[-1]['kind']}" in each and reason in each for each in lines(told.stderr))


def test_auto_keeps_the_kind_that_is_there(mesh: Mesh, image: meshes.Pushed) -> None:
    """A filter that is a WasmPlugin stays one, though a newer kind is served; the cache is not installed for it."""
    mesh.workload("web")
    mesh.deploy(image.name, "--as", "wasmplugin")
    flags = [each for each in mesh.flags if "cache" not in each]
    mesh.run("deploy", "istio", image.name, "--id=test", *flags)
    assert carriers(mesh) == {"wasmplugin": {"web-test"}}
    assert mesh.cache_data() == {}
    assert mesh.annotations("web") == {}


def test_a_change_of_kind_leaves_one_object_and_never_none(mesh: Mesh, image: meshes.Pushed) -> None:
    """[BUG of others: both copies ran] From each kind to each other one: the new one is written before the old one is
    deleted (audit log), the volume goes when no file on the node is needed any more, and the cache forgets it."""
    mesh.workload("web")
    before = mesh.template("web")
    for kind in ("envoyfilter", "trafficextension", "wasmplugin", "envoyfilter"):
        mark = mesh.plane.mark()
        (written, *_) = mesh.deploy(image.name, "--as", kind, "--output=json").json["changes"]
        assert carriers(mesh) == {kind: {"web-test"}}
        before_it = mesh.plane.audit(mark)
        assert written["restarts"] == any(
            event["verb"] == "patch" and "/deployments/web" in event["requestURI"] for event in before_it
        )
        asked = [each for each in mesh.writes(mark) if each.endswith("/web-test")]
        assert [each.partition(" ")[0] for each in asked] in (["patch"], ["patch", "delete"])
        assert (USER_VOLUME in mesh.annotations("web")) == (kind == "envoyfilter")
        if kind != "envoyfilter":
            assert mesh.template("web") == before
            assert mesh.cache_data()["filters"] == ""


def test_another_filter_keeps_the_volume_when_one_changes_its_kind(mesh: Mesh, image: meshes.Pushed) -> None:
    """Only the last filter that needs the node's files takes the volume with it."""
    mesh.workload("web")
    mesh.deploy(image.name, id="one")
    mesh.deploy(image.name, id="two")
    marked = mesh.template("web")
    mesh.deploy(image.name, "--as", "wasmplugin", id="one")
    assert mesh.template("web") == marked


def service(mesh: Mesh, name: str) -> None:
    spec = {"ports": [{"port": 80}]}
    metadata = {"name": name, "namespace": mesh.namespace}
    mesh.api.create({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})


def test_targets_get_one_object(mesh: Mesh, image: meshes.Pushed, serve: Any) -> None:
    """--target attaches one object, called as the filter, to a waypoint, and no workload is looked at; undeploying
    takes it."""
    serve("gateway-api/v1.6.1")
    listener = {"name": "mesh", "port": 15008, "protocol": "HBONE"}
    mesh.api.create({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                     "metadata": {"name": "waypoint", "namespace": mesh.namespace},
                     "spec": {"gatewayClassName": "istio-waypoint", "listeners": [listener]}})  # fmt: skip
    service(mesh, "web")
    flags = [each for each in mesh.flags if "cache" not in each]
    words = ("deploy", "istio", image.name, "--id=test", *flags, "--target", "Gateway/waypoint", "--target=service/web")
    mesh.run(*words)
    (found,) = mesh.filters("trafficextensions").values()
    assert found["metadata"]["name"] == "test"
    assert found["spec"]["targetRefs"] == [
        {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"},
        {"group": "", "kind": "Service", "name": "web"},
    ]
    mark = mesh.plane.mark()
    mesh.run(*words)
    assert mesh.writes(mark) == []
    mesh.undeploy()
    assert carriers(mesh) == {}


@pytest.mark.parametrize(
    ("target", "said", "hint"),
    [
        ("Service/webb", "there is no Service webb in the namespace", "similar names there: web"),
        ("Gateway/typo", "there is no Gateway typo in the namespace", "there is no Gateway at all"),
        ("GatewayClass/waypoint", "Istio heeds a filter for GatewayClass/waypoint only in its own namespace",
         "--namespace istio"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_a_target_that_is_not_there_is_refused(
    mesh: Mesh, image: meshes.Pushed, serve: Any, target: str, said: str, hint: str, words: tuple[str, ...]
) -> None:
    """A filter at nothing would run nowhere, in silence: it is refused before anything is written, and it is told
    what is there."""
    serve("gateway-api/v1.6.1")
    service(mesh, "web")
    flags = [each for each in mesh.flags if "cache" not in each]
    mark = mesh.plane.mark()
    told = mesh.run("deploy", "istio", image.name, "--id=test", *flags, "--target", target, *words, ok=False)
    assert (told.exit_code, said in told.stderr, hint in told.stderr) == (1, True, True)
    assert mesh.writes(mark) == []
    assert carriers(mesh) == {}


def test_a_gateway_class_is_for_the_namespace_of_istio(mesh: Mesh, image: meshes.Pushed, serve: Any) -> None:
    """There it is looked for in the whole cluster."""
    serve("gateway-api/v1.6.1")
    name = f"class-{mesh.namespace}"
    words = ("deploy", "istio", image.name, "--id=test", "--istio-namespace", mesh.istio, "--namespace", mesh.istio,
             "--target", f"GatewayClass/{name}", "--as=trafficextension")  # fmt: skip
    assert f"there is no GatewayClass {name}" in mesh.run(*words, ok=False).stderr
    group = "gateway.networking.k8s.io"
    mesh.api.create({"apiVersion": f"{group}/v1", "kind": "GatewayClass", "metadata": {"name": name},
                     "spec": {"controllerName": "istio.io/mesh-controller"}})  # fmt: skip
    try:
        mesh.run(*words)
    finally:
        mesh.api.delete(f"/apis/{group}/v1/gatewayclasses/{name}")


def test_a_kind_of_target_that_is_not_served_is_believed(mesh: Mesh, image: meshes.Pushed) -> None:
    """A kind may come with a CRD that is installed later than the filter: that it is missing is a warning."""
    missing = "serviceentries.networking.istio.io"
    crds.remove(mesh.api, missing)
    mesh.plane.served.pop("istio", None)
    flags = [each for each in mesh.flags if "cache" not in each]
    told = mesh.run("deploy", "istio", image.name, "--id=test", *flags, "--target", "ServiceEntry/outside")
    assert missing in told.stderr
    assert carriers(mesh) == {"trafficextension": {"test"}}


def test_what_reaches_every_namespace_is_told(mesh: Mesh, image: meshes.Pushed) -> None:
    """What lies in Istio's own namespace selects pods of all: said once for all workloads, and never elsewhere."""
    for name in ("one", "two"):
        mesh.api.create(meshes.deployment(name, mesh.istio))
        mesh.workload(name)
    flags = ("--istio-namespace", mesh.istio, "--as=wasmplugin", "--id=test")
    told = mesh.run("deploy", "istio", image.name, *flags, "--namespace", mesh.istio)
    assert told.stderr.count("selects pods of all namespaces") == 1
    told = mesh.run("deploy", "istio", image.name, *flags, "--namespace", mesh.namespace)
    assert "selects pods of all namespaces" not in told.stderr


def test_what_a_target_cannot_have_is_refused(mesh: Mesh, image: meshes.Pushed) -> None:
    """A module on the node needs pods of ours; the way out is named, and works."""
    service(mesh, "web")
    refused = mesh.deploy(image.name, "--target", "Service/web", ok=False)
    assert "--target does not go with a module on the node" in refused.stderr
    assert "--cache-mode none" in refused.stderr
    mesh.deploy(image.name, "--target", "Service/web", "--cache-mode=none")
    (found,) = mesh.filters().values()
    assert "targetRefs" in found["spec"]
    assert "oci://" in json.dumps(found["spec"])


@pytest.mark.parametrize(
    ("carrier", "words", "said"),
    [
        ("wasmplugin", ("--vm-id=x",), "cannot carry a VM id"),
        ("trafficextension", ("--config", "text"), "cannot be carried as an object: it is no JSON"),
        ("envoyfilter", ("--phase=authn",), "an EnvoyFilter cannot carry the phase authn"),
        ("envoyfilter", ("--patch-context=sideways",), "unknown patch context sideways, must be one of the following"),
        ("envoyfilter", ("-t", "job"), "unknown workload type job, must be deployment or daemonset"),
        ("envoyfilter", ("--cache-repo=quay.io/solo-io/wasme",), "is solo.io's"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    mesh: Mesh, image: meshes.Pushed, carrier: str, words: tuple[str, ...], said: str
) -> None:
    """One line says what, and no request changes anything."""
    mesh.workload("web")
    mark = mesh.plane.mark()
    refused = mesh.deploy(image.name, "--as", carrier, *words, ok=False)
    assert refused.exit_code in (1, 2)
    assert said in refused.stderr
    assert mesh.writes(mark) == []


def test_image_volume(mesh: Mesh, docker_registry: DockerRegistry, image: meshes.Pushed) -> None:
    """The image itself is the volume, by digest; another image changes the template, and undeploying takes it away.
    An image that is no container image is refused."""
    mesh.workload("web")
    before = mesh.template("web")
    mesh.deploy(image.name, "--cache-mode=image-volume")
    (volume,) = json.loads(mesh.annotations("web")[USER_VOLUME])
    assert volume["image"]["reference"] == f"{image.name.rpartition(':')[0]}@{image.manifest}"
    newer = meshes.push(docker_registry, seed=5, layout="compat")
    mesh.deploy(newer.name, "--cache-mode=image-volume")
    assert newer.manifest in mesh.annotations("web")[USER_VOLUME]
    assert mesh.cache_data() == {}
    plain = meshes.push(docker_registry, seed=6)
    assert "cannot be a volume" in mesh.deploy(plain.name, "--cache-mode=image-volume", ok=False).stderr
    mesh.undeploy()
    assert mesh.template("web") == before


def test_from_the_node_cache_to_an_image_volume_and_back(mesh: Mesh, image: meshes.Pushed) -> None:
    """A change of --cache-mode leaves nothing of the one before, and the file that the proxy is told is the new one."""
    mesh.workload("web")
    mesh.deploy(image.name)
    told = mesh.deploy(image.name, "--cache-mode=image-volume")
    assert "no filter until they are made anew" in told.stderr
    assert [each["name"] for each in json.loads(mesh.annotations("web")[USER_VOLUME])] == ["wasme-test"]
    assert "wasme.io/cache" not in mesh.template("web")["labels"]
    assert "/var/local/lib/wasme/test/plugin.wasm" in json.dumps(mesh.filters())
    assert mesh.cache_data()["filters"] == ""
    mesh.deploy(image.name)
    assert "wasme-cache/" in json.dumps(mesh.filters())
    assert json.loads(mesh.annotations("web")[USER_VOLUME])[0]["name"] == "cache-dir"
    assert "wasme-test" not in json.dumps(mesh.template("web")), "neither the image volume nor its label is left"
    selector = mesh.filters()["web-test"]["spec"]["workloadSelector"]["labels"]
    assert selector == mesh.template("web")["labels"] == {"app": "web", "wasme.io/cache": "wasme-cache"}
    mesh.undeploy()
    assert USER_VOLUME not in mesh.annotations("web")


def test_a_shared_credential_goes_with_the_filter(mesh: Mesh, login_registry: DockerRegistry, home: Any) -> None:
    """--share-credentials gives Istio's agent a pull secret with the command's own credential for that registry and no
    other; a second deployment writes nothing, undeploying deletes it, and the password is in no line."""
    auth = base64.b64encode(f"{login_registry.user}:{login_registry.password}".encode()).decode()
    other = base64.b64encode(b"me:elsewhere").decode()
    (home / ".wasme").mkdir(exist_ok=True)
    auths = {login_registry.host: {"auth": auth}, "other.example.com": {"auth": other}}
    (home / ".wasme" / "credentials.json").write_text(json.dumps({"auths": auths}))
    image = meshes.push(login_registry, layout="compat")
    mesh.workload("web")
    words = (image.name, "--as", "wasmplugin", "--share-credentials")
    told = mesh.deploy(*words, "-v")
    (plugin,) = mesh.filters("wasmplugins").values()
    path = f"/api/v1/namespaces/{mesh.namespace}/secrets/{plugin['spec']['imagePullSecret']}"
    content = json.loads(base64.b64decode(mesh.api.get(path)["data"][".dockerconfigjson"]))
    assert list(content["auths"]) == [login_registry.host]
    assert login_registry.password not in told.stderr
    mark = mesh.plane.mark()
    mesh.deploy(*words)
    assert mesh.writes(mark) == []
    mesh.undeploy()
    assert mesh.api.find(path) is None


@pytest.mark.parametrize("carrier", ["wasmplugin", "trafficextension"])
def test_a_pull_secret_that_istio_could_not_use_is_refused(mesh: Mesh, image: meshes.Pushed, carrier: str) -> None:
    """[issue: it was taken, and every request refused with 403] One that is not there, or holds no Docker
    configuration, is told before anything is written; one of the right kind is taken, and the registry on this
    machine is told to be nobody's there."""
    mesh.workload("web")
    words = (image.name, "--as", carrier, "--pull-secret", "pull")
    mark = mesh.plane.mark()
    missing = mesh.deploy(*words, ok=False)
    assert f"there is no Secret {mesh.namespace}/pull to pull with" in missing.stderr
    assert mesh.writes(mark) == []
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull", "namespace": mesh.namespace}}
    mesh.api.create({**secret, "stringData": {"username": "u", "password": "p"}})
    opaque = mesh.deploy(*words, ok=False)
    assert f"Secret {mesh.namespace}/pull is no kubernetes.io/dockerconfigjson, which Istio reads" in opaque.stderr
    assert carriers(mesh) == {}
    mesh.api.delete(f"/api/v1/namespaces/{mesh.namespace}/secrets/pull")
    mesh.api.create(
        {**secret, "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": '{"auths":{}}'}}
    )
    told = mesh.deploy(*words)
    assert "Istio's agent pulls the image from " in told.stderr
    assert carriers(mesh) == {carrier: {"web-test"}}


def test_credentials_that_nobody_would_get_are_refused(mesh: Mesh, image: meshes.Pushed) -> None:
    """[issue: the flag was dropped silently] With --cache-mode none the agent pulls by what an EnvoyFilter says, which
    has no place for credentials."""
    mesh.workload("web")
    for flag in ("--share-credentials", "--pull-secret=x"):
        told = mesh.deploy(image.name, "--cache-mode=none", flag, ok=False)
        assert "an EnvoyFilter cannot hand a pull secret or credentials to Istio's agent" in told.stderr
    assert carriers(mesh) == {}
    assert "Istio's agent pulls the image from " in mesh.deploy(image.name, "--cache-mode=none").stderr


def test_no_filter_selects_pods_by_what_goes_with_another(mesh: Mesh, image: meshes.Pushed) -> None:
    """A filter that needs no volume, or another one, does not select by a volume's label: it goes on selecting the pods
    that are made when the other filter, and its label, are gone."""
    mesh.workload("web")
    mesh.deploy(image.name, "--cache-mode=image-volume", id="volume")
    mesh.deploy(image.name, id="node")
    mesh.deploy(image.name, "--as", "wasmplugin", id="agent")
    mesh.undeploy(id="volume")
    template = mesh.template("web")["labels"]
    selector = mesh.filters()["web-node"]["spec"]["workloadSelector"]["labels"]
    assert selector == template == {"app": "web", "wasme.io/cache": "wasme-cache"}
    mesh.deploy(image.name, "--as", "trafficextension", id="node")
    assert mesh.template("web")["labels"] == {"app": "web"}
    for kind, name in (("trafficextensions", "web-node"), ("wasmplugins", "web-agent")):
        assert mesh.filters(kind)[name]["spec"]["selector"]["matchLabels"] == {"app": "web"}


def test_pods_keep_the_filter_until_they_are_made_anew(mesh: Mesh, image: meshes.Pushed, pods: Any, api: Any) -> None:
    """A WasmPlugin that becomes an EnvoyFilter stays while pods run that have no volume yet, since nothing else filters
    their requests; when they are gone, the same command takes it away."""
    web = mesh.workload("web")
    mesh.deploy(image.name, "--as", "wasmplugin")
    (pod,) = pods(web, "nowhere")
    told = mesh.deploy(image.name, "--cache-timeout=1s")
    assert "stays until the workload's pods are made anew" in told.stderr
    assert carriers(mesh) == {"envoyfilter": {"web-test"}, "wasmplugin": {"web-test"}}
    assert "--as=envoyfilter" in told.stderr
    plain = [each for each in mesh.flags if "cache" not in each]
    again = mesh.run("deploy", "istio", image.name, "--id=test", *plain, "--cache-timeout=1s", "--cache-namespace",
                     mesh.cache)  # fmt: skip
    assert "deploying as EnvoyFilter" in again.stderr, "auto goes on with the kind that was written last"
    assert carriers(mesh) == {"envoyfilter": {"web-test"}, "wasmplugin": {"web-test"}}
    path = f"/api/v1/namespaces/{mesh.namespace}/pods/{pod['metadata']['name']}"
    api.patch(path, {"metadata": {"labels": {"wasme.io/cache": "wasme-cache"}}})  # as a new pod has it
    mesh.deploy(image.name, "--cache-timeout=1s")
    assert carriers(mesh) == {"envoyfilter": {"web-test"}}
