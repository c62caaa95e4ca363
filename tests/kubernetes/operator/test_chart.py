"""The Helm chart, rendered by the real helm: the same objects as the manifests, taken by a real API server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tests.conftest import Result
from tests.kubernetes.cluster.api import Api, place
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.conftest import new_namespace
from tests.kubernetes.operator.installed import CRD, config_map, daemon_set, deployment, mutations
from wasme import __version__
from wasme.deploy.cache.manifests import CHOSEN
from wasme.deploy.cache.options import CacheOptions, format_chosen
from wasme.operator.installation.manifests import OperatorOptions, crds, objects

CHART = Path(__file__).parents[3] / "charts" / "wasme"
KEEP = {"helm.sh/resource-policy": "keep"}
Object = dict[str, Any]
Run = Callable[..., Result]


def by_name(found: list[Object]) -> dict[tuple[str, str], Object]:
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def rendered(run_helm: Callable[..., str], *words: str) -> dict[tuple[str, str], Object]:
    text = run_helm("template", "wasme", CHART, "--kube-version=1.33", *words)
    return by_name([each for each in yaml.safe_load_all(text) if each])


def hooks(found: dict[tuple[str, str], Object]) -> dict[tuple[str, str], Object]:
    """What is no part of the release, but made when it goes."""
    return {key: obj for key, obj in found.items() if "helm.sh/hook" in (obj["metadata"].get("annotations") or {})}


def wanted(**settings: Any) -> dict[tuple[str, str], Object]:
    """The manifests, as the chart has them: with Helm's labels, and without the namespace, which Helm makes itself."""
    (definition,) = crds()
    definition["metadata"]["annotations"] = KEEP
    _, *others = msgspec.json.decode(msgspec.json.encode(objects(OperatorOptions(**{"log_level": "info", **settings}))))
    for each in others:
        each["metadata"]["labels"] |= {"app.kubernetes.io/instance": "wasme", "helm.sh/chart": f"wasme-{__version__}"}
    return by_name([definition, *others])


def test_it_renders_what_the_manifests_are(run_helm: Callable[..., str]) -> None:
    """With the values as they come it is the manifests, object by object and field by field."""
    expected = wanted()
    found = rendered(run_helm)
    assert set(found) - set(hooks(found)) == set(expected)
    for key, obj in expected.items():
        assert found[key] == obj, key


def test_values_are_what_the_flags_are(run_helm: Callable[..., str]) -> None:
    """Each value of an install's flags gives what the flag gives, the note of what was chosen among it."""
    values = {
        "wasmeOperator": {"replicas": 1, "logLevel": "warn"},
        "wasmeCache": {"priorityClassName": ""},
        "registryMap": {"webassemblyhub.io": "hub.example.com/a"},
    }
    image = {"registry": "registry.example.com/x", "repository": "own", "tag": "7", "pullPolicy": "Always"}
    for part in ("wasmeOperator", "wasmeCache"):
        values[part]["image"] = image
    options = CacheOptions(
        namespace="filters", repo="registry.example.com/x/own", tag="7", pull_policy="Always", priority_class=""
    )
    expected = wanted(
        cache=options, replicas=1, log_level="warn", registry_map={"webassemblyhub.io": "hub.example.com/a"}
    )
    sets = [word for key, value in values.items() for word in ("--set-json", f"{key}={json.dumps(value)}")]
    found = rendered(run_helm, "--namespace", "filters", *sets)
    assert set(found) - set(hooks(found)) == set(expected)
    for key, obj in expected.items():
        if key[0] == "DaemonSet":
            note = found[key]["metadata"]["annotations"].pop(CHOSEN)
            assert json.loads(note) == json.loads(format_chosen(options.chosen))
            obj["metadata"]["annotations"].pop(CHOSEN)
        assert found[key] == obj, key


def test_the_originals_values_are_known(run_helm: Callable[..., str]) -> None:
    """registry, repository, tag, pullPolicy, pullSecret, resources and env reach both containers."""
    one = {
        "image": {"registry": "quay.example.com", "repository": "w", "tag": "v", "pullSecret": "regcred"},
        "resources": {"limits": {"memory": "1Gi"}},
        "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    }
    words = [word for key in ("wasmeOperator", "wasmeCache") for word in ("--set-json", f"{key}={json.dumps(one)}")]
    found = rendered(run_helm, *words)
    for key in (("Deployment", "wasme-operator"), ("DaemonSet", "wasme-cache")):
        pod = found[key]["spec"]["template"]["spec"]
        assert pod["imagePullSecrets"] == [{"name": "regcred"}]
        (container,) = pod["containers"]
        assert container["image"] == "quay.example.com/w:v"
        assert container["resources"]["limits"]["memory"] == "1Gi"
        assert {"name": "HTTPS_PROXY", "value": "http://proxy:3128"} in container["env"]


def test_pods_go_where_the_values_say(run_helm: Callable[..., str]) -> None:
    """Node selectors, tolerations and affinity of both, beside what they always have; arguments after the others."""
    one = {
        "nodeSelector": {"pool": "a"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "serviceAccount": {"annotations": {"example.com/role": "x"}},
        "extraArgs": ["--log-format=text"],
    }
    words = [word for key in ("wasmeOperator", "wasmeCache") for word in ("--set-json", f"{key}={json.dumps(one)}")]
    found = rendered(run_helm, *words)
    for key in (("Deployment", "wasme-operator"), ("DaemonSet", "wasme-cache")):
        pod = found[key]["spec"]["template"]["spec"]
        assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "pool": "a"}
        assert (pod["tolerations"], pod["affinity"]) == (one["tolerations"], one["affinity"])
        assert pod["containers"][0]["args"][-1] == "--log-format=text"
        assert found["ServiceAccount", key[1]]["metadata"]["annotations"] == {"example.com/role": "x"}


def test_what_is_optional(run_helm: Callable[..., str]) -> None:
    """Monitors and network policies come when they are asked for, and select pods and ports that there are."""
    plain = set(rendered(run_helm))
    asked = ("podMonitor.create=true", "networkPolicy.create=true", "wasmeOperator.podDisruptionBudget.create=false")
    found = rendered(run_helm, *[word for each in asked for word in ("--set", each)])
    names = ("wasme-operator", "wasme-cache")
    assert set(found) - plain == {(kind, name) for kind in ("PodMonitor", "NetworkPolicy") for name in names}
    assert plain - set(found) == {("PodDisruptionBudget", "wasme-operator")}
    for kind, name in (("Deployment", "wasme-operator"), ("DaemonSet", "wasme-cache")):
        template = found[kind, name]["spec"]["template"]
        ports = {each["name"] for each in template["spec"]["containers"][0]["ports"]}
        monitor, policy = found["PodMonitor", name]["spec"], found["NetworkPolicy", name]["spec"]
        assert monitor["selector"] == policy["podSelector"]
        assert template["metadata"]["labels"].items() >= policy["podSelector"]["matchLabels"].items()
        assert {monitor["podMetricsEndpoints"][0]["port"]} == {policy["ingress"][0]["ports"][0]["port"]} == ports


def test_wrong_values_are_refused(run_helm: Callable[..., str]) -> None:
    """A misspelt value and one of another type end before anything is rendered."""
    for word in ("wasmeOperator.replica=3", "wasmeOperator.logLevel=loud", "wasmeCache.image.pullPolicy=Sometimes"):
        told = run_helm("template", "wasme", CHART, "--kube-version=1.33", "--set", word, ok=False)
        assert "values don't meet the specifications of the schema" in told
    run_helm("lint", CHART, "--strict", "--kube-version=1.33")


def test_install_upgrade_uninstall(
    api: Api, cleared: None, run_helm: Callable[..., str], kube_run: Run, control_plane: ControlPlane
) -> None:
    """The server takes all of it; an upgrade keeps the cache's lines; wasme leaves Helm's objects to Helm."""
    namespace = new_namespace(api, "chart")
    where = ("--namespace", namespace)
    run_helm("install", "wasme", CHART, *where, "--dry-run=server")
    assert api.find(deployment(namespace)) is None
    run_helm("install", "wasme", CHART, *where)
    for each in [*crds(), *objects(OperatorOptions(CacheOptions(namespace=namespace)))]:
        assert api.find(place(each)) is not None
    wait_until(lambda: api.find("/apis/wasme.io/v1/filterdeployments"), 60, "FilterDeployment is not served")
    lines = {"images": "localhost:1/demo/auth:v1"}
    api.patch(config_map(namespace), {"data": lines})
    run_helm("upgrade", "wasme", CHART, *where, "--set", "wasmeCache.resources.limits.cpu=1")
    assert api.get(config_map(namespace))["data"] == lines
    live = api.get(daemon_set(namespace))
    assert live["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "1"
    mark = control_plane.mark()
    place_of = ("--cache-namespace", namespace)
    for words in (
        ("operator", "install", "-n", namespace, "--wait=0"),
        ("operator", "uninstall", "-n", namespace),
        ("cache", "install", *place_of),
        ("cache", "uninstall", *place_of, "--force"),
    ):
        told = kube_run(*words, ok=False)
        assert "belongs to Helm's release wasme" in told.stderr, words
        assert "helm upgrade wasme" in told.stderr or "helm uninstall wasme" in told.stderr
    assert mutations(control_plane, mark) == []
    run_helm("uninstall", "wasme", *where, "--no-hooks")  # which need a kubelet
    assert api.find(deployment(namespace)) is None
    assert api.find(CRD) is not None  # with every FilterDeployment


def test_it_takes_kubectls_objects_over(api: Api, cleared: None, run_helm: Callable[..., str], kube_run: Run) -> None:
    """What another install made, the definition among it, becomes the release's with --take-ownership."""
    namespace = new_namespace(api, "chart")
    where = ("--namespace", namespace)
    kube_run("operator", "install", "-n", namespace, "--wait=0")
    assert "cannot be imported into the current release" in run_helm("install", "wasme", CHART, *where, ok=False)
    run_helm("install", "wasme", CHART, *where, "--take-ownership")
    assert api.get(CRD)["metadata"]["annotations"]["meta.helm.sh/release-name"] == "wasme"


def test_a_second_operator_is_refused(
    api: Api, cleared: None, run_helm: Callable[..., str], kube_run: Run, control_plane: ControlPlane
) -> None:
    """A cluster has one operator, whoever installed it: Helm writes nothing beside one in another namespace."""
    first, second = new_namespace(api, "chart"), new_namespace(api, "chart")
    kube_run("operator", "install", "-n", first, "--wait=0")
    mark = control_plane.mark()
    told = run_helm("install", "wasme", CHART, "--namespace", second, "--take-ownership", ok=False)
    assert f"there is an operator in the namespace {first} already" in told
    assert mutations(control_plane, mark, agent="Helm/") == []
    run_helm("install", "wasme", CHART, "--namespace", first, "--take-ownership")
    assert mutations(control_plane, mark, agent="Helm/") != []
    run_helm("upgrade", "wasme", CHART, "--namespace", first)
