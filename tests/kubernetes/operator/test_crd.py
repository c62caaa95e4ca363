"""The definition of FilterDeployment on a real API server, as kubectl's users meet it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.operator.kubectl import Kubectl, KubectlFailed
from tests.kubernetes.operator.samples import ANYWHERE
from wasme.operator.resources.conditions import status
from wasme.operator.resources.outcome import ImageFacts, Outcome
from wasme.operator.resources.report import Held, Report, State, TargetState
from wasme.operator.resources.resource import read
from wasme.operator.resources.schema import NAME, crd

pytestmark = pytest.mark.usefixtures("definition")

ANY = "type.googleapis.com/google.protobuf."
IMAGE = "registry.example.com/demo/auth:v1"


@pytest.fixture
def kubectl(control_plane: ControlPlane, tmp_path: Path) -> Kubectl:
    return Kubectl(control_plane, tmp_path).when_found("fdep")


def fdep(namespace: str, filter_: Any = None, deployment: Any = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "wasme.io/v1",
        "kind": "FilterDeployment",
        "metadata": {"name": "auth", "namespace": namespace},
        "spec": {
            "filter": {"image": IMAGE} | (filter_ or {}),
            "deployment": {"istio": {}} if deployment is None else deployment,
            **spec,
        },
    }


def place(namespace: str, name: str = "auth") -> str:
    return f"/apis/wasme.io/v1/namespaces/{namespace}/filterdeployments/{name}"


def istio(**fields: Any) -> dict[str, Any]:
    return {"istio": fields}


def test_the_users_own_file_is_applied(kubectl: Kubectl, api: Api, namespace: str) -> None:
    """add-header.yaml of the walk-through, word for word: stored as it is, nothing is added, and applied again it
    changes nothing.
    """
    assert "created" in kubectl("apply", "-n", namespace, "-f", "-", given=ANYWHERE)
    stored = api.get(place(namespace, "add-header"))
    assert stored["spec"] == {
        "deployment": {"istio": {"kind": "Deployment", "labels": {"app": "productpage"}}},
        "filter": {
            "config": {"@type": f"{ANY}StringValue", "value": "world"},
            "image": "webassemblyhub.io/hxpmark/add-header:v0.0.1",
        },
    }
    assert "unchanged" in kubectl("apply", "-n", namespace, "-f", "-", given=ANYWHERE)
    assert read(stored).filter.config == "world"


OLD = {
    "all fields": (
        {
            "id": "myfilter", "image": "webassemblyhub.io/demo/x:v1", "rootID": "add_header", "patchContext": "INBOUND",
            "config": {"@type": f"{ANY}Struct", "value": {"a": {"b": [1, "c"]}}},
            "imagePullOptions": {"pullSecret": "creds", "insecureSkipVerify": True, "plainHttp": True},
        },
        istio(kind="DAEMONSET", labels={"app": "x"}, istioNamespace="istio-system"),
    ),
    "bytes": ({"config": {"@type": f"{ANY}BytesValue", "value": "d29ybGQ="}}, istio(kind="statefulset", labels={})),
    "another type": ({"config": {"@type": f"{ANY}Int64Value", "value": "5"}}, istio(kind="Deployment")),
    "what Helm leaves empty": (
        {"id": "", "rootID": "", "patchContext": "", "imagePullOptions": {}},
        istio(kind="Deployment", istioNamespace=""),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("filter_", "deployment"), OLD.values(), ids=OLD)
def test_objects_of_the_original(
    kubectl: Kubectl, api: Api, namespace: str, filter_: dict[str, Any], deployment: dict[str, Any]
) -> None:
    """Every field that the original had is taken as it is written, and stays so."""
    obj = fdep(namespace, filter_, deployment)
    kubectl("apply", "-f", "-", given=obj)
    assert api.get(place(namespace))["spec"] == obj["spec"]


def test_null_is_nothing(kubectl: Kubectl, api: Api, namespace: str) -> None:
    """As for the original's reader, a field that is null is one that is not there."""
    given = fdep(namespace, {"config": None, "rootID": None, "imagePullOptions": None}, istio(labels=None, kind=None))
    kubectl("apply", "-f", "-", given=given)
    stored = api.get(place(namespace))
    assert stored["spec"] == fdep(namespace)["spec"]


@pytest.mark.parametrize("config", ["text", 5, 1.5, True, ["a"], {"a": {"b": [1, None]}}, {"@type": "x"}, ""])
def test_config_takes_any_value(kubectl: Kubectl, api: Api, namespace: str, config: Any) -> None:
    """Text, object, number, list: stored as written; what no filter can get is told by a condition, not refused."""
    kubectl("apply", "-f", "-", given=fdep(namespace, {"config": config}))
    assert api.get(place(namespace))["spec"]["filter"]["config"] == config


NEW = {
    "mesh": fdep(
        "", {"pullSecret": "creds", "pullPolicy": "Always", "sha256": f"sha256:{'0' * 64}", "failurePolicy": "Reload",
             "phase": "AuthN", "priority": -2, "env": {"A": "1"}, "config": {"a": 1}, "id": "a.b-c"},
        istio(name="web", istiodName="istiod-1", ignoreVersionCheck=True, ports=[80, 8080], provider="EnvoyFilter",
              cache={"mode": "ImageVolume"}, kind="StatefulSet"),
        rollout={"steps": ["1", "25%", "7", "100%"], "pauseSeconds": 0, "timeoutSeconds": 5}, suspend=True,
    ),
    "targetRefs": fdep("", None, istio(targetRefs=[{"kind": "Gateway", "name": "waypoint"}], kind="", labels={})),
    "gloo": fdep("", {"failurePolicy": "Open"}, {"gloo": {"labels": {"a": "b"}}}),
    "envoyGateway": fdep("", {"patchContext": ""}, {"envoyGateway": {"targetRefs": [
        {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "eg", "sectionName": "https"}]}}),
    "the same Secret twice": fdep("", {"pullSecret": "a", "imagePullOptions": {"pullSecret": "a"}}),
}  # fmt: skip


@pytest.mark.parametrize("obj", NEW.values(), ids=NEW)
def test_new_fields(kubectl: Kubectl, api: Api, namespace: str, obj: dict[str, Any]) -> None:
    """All new fields are taken, stored as written without a default added, and read."""
    obj["metadata"]["namespace"] = namespace
    kubectl("apply", "-f", "-", given=obj)
    stored = api.get(place(namespace))
    assert stored["spec"] == obj["spec"]
    read(stored)


REFS = [{"kind": "Gateway", "name": "x"}]
REFUSED: list[tuple[Any, Any, dict[str, Any], str]] = [
    ({"id": "My_Filter"}, None, {}, "must be lower-case letters, digits, '-' and '.', with a letter or digit at both"),
    ({"id": "x" * 254}, None, {}, "spec.filter.id: Too long: may not be more than 253 bytes"),
    ({"patchContext": "sideways"}, None, {}, "must be one of any, inbound, outbound and gateway"),
    ({"sha256": "abc"}, None, {}, "must be the module's SHA-256: 64 hexadecimal digits"),
    ({"pullSecret": "a", "imagePullOptions": {"pullSecret": "b"}}, None, {},
     "is not the same as imagePullOptions.pullSecret: name one Secret"),
    ({"pullPolicy": "Never"}, None, {}, 'spec.filter.pullPolicy: Unsupported value: "Never"'),
    ({"failurePolicy": "closed"}, None, {}, 'supported values: "Closed", "Open", "Reload"'),
    ({"phase": "AUTHN"}, None, {}, 'supported values: "AuthN", "AuthZ", "Stats"'),
    (None, {}, {}, "spec.deployment: Invalid value: \"object\": must have exactly one of istio, gloo and envoyGateway"),
    (None, {"istio": {}, "gloo": {}}, {}, "must have exactly one of istio, gloo and envoyGateway"),
    (None, istio(kind="Job"), {}, "must be one of Deployment, DaemonSet and StatefulSet"),
    (None, istio(targetRefs=REFS, labels={"a": "b"}), {}, "targetRefs stand in place of workloads: leave labels out"),
    (None, istio(targetRefs=REFS, name="web"), {}, "targetRefs stand in place of workloads: leave name out"),
    (None, istio(targetRefs=REFS, kind="Deployment"), {}, "targetRefs stand in place of workloads: leave kind out"),
    (None, istio(targetRefs=[{"kind": "Gateway"}]), {}, "spec.deployment.istio.targetRefs[0].name: Required value"),
    (None, istio(targetRefs=REFS * 17), {}, "Too many: 17: must have at most 16 items"),
    (None, istio(provider="WasmPlugin", cache={"mode": "DaemonSet"}), {}, "spec.deployment.istio.cache: Invalid value: "
     "\"object\": is for an EnvoyFilter; the image of another provider is pulled by Istio's agent"),
    (None, istio(provider="auto"), {}, 'supported values: "Auto", "EnvoyFilter", "WasmPlugin", "TrafficExtension"'),
    (None, istio(ports=[0]), {}, "should be greater than or equal to 1"),
    (None, {"envoyGateway": {}}, {}, "spec.deployment.envoyGateway.targetRefs: Required value"),
    (None, {"envoyGateway": {"targetRefs": []}}, {}, "should have at least 1 items"),
    ({"phase": "AuthN"}, {"gloo": {}}, {}, 'spec.filter.phase: Invalid value: "object": is for'),
    ({"priority": 0}, {"gloo": {}}, {}, 'spec.filter.priority: Invalid value: "object": is for'),
    ({"patchContext": "any"}, {"gloo": {}}, {}, "spec.filter.patchContext: Invalid value: \"object\": is for"),
    ({"env": {"A": "b"}}, {"gloo": {}}, {}, 'spec.filter.env: Invalid value: "object": is for'),
    ({"failurePolicy": "Reload"}, {"gloo": {}}, {}, "gateways know Closed and Open"),
    (None, {"gloo": {}}, {"rollout": {}}, "goes through workloads, which only spec.deployment.istio has"),
    (None, istio(targetRefs=REFS), {"rollout": {}}, "goes through workloads, which only spec.deployment.istio has"),
    (None, None, {"rollout": {"steps": ["1", "x"]}}, "each step must be a number of workloads from 1 on"),
    (None, None, {"rollout": {"steps": ["0"]}}, "each step must be a number of workloads from 1 on"),
    (None, None, {"rollout": {"steps": ["101%"]}}, "each step must be a number of workloads from 1 on"),
    (None, None, {"rollout": {"steps": ["25%", "10%"]}}, "the steps must grow, as in 1, 25%, 100%"),
    (None, None, {"rollout": {"steps": ["9", "10%", "10"]}}, ""),
    (None, None, {"rollout": {"steps": ["5", "5"]}}, "the steps must grow, as in 1, 25%, 100%"),
    (None, None, {"rollout": {"timeoutSeconds": 0}}, "should be greater than or equal to 1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("filter_", "deployment", "spec", "message"), REFUSED, ids=[str(case[:3])[:90] for case in REFUSED]
)
def test_each_rule(
    kubectl: Kubectl, namespace: str, filter_: Any, deployment: Any, spec: dict[str, Any], message: str
) -> None:
    """What is wrong is refused at once, with the field and words that say what to do; "" is what passes."""
    words = ("apply", "--dry-run=server", "-f", "-")
    obj = fdep(namespace, filter_, deployment, **spec)
    if not message:
        kubectl(*words, given=obj)
        return
    with pytest.raises(KubectlFailed) as refused:
        kubectl(*words, given=obj)
    assert message in str(refused.value)
    assert "rule error" not in str(refused.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [({}, "must provide spec.filter"), ({"filter": {"image": "x"}}, "must provide spec.deployment"),
     ({"deployment": {"istio": {}}}, "must provide spec.filter")],
)  # fmt: skip
def test_the_originals_words(kubectl: Kubectl, namespace: str, spec: dict[str, Any], message: str) -> None:
    """Without filter or deployment: the words that the original had for it, from the API server already."""
    with pytest.raises(KubectlFailed, match=message):
        kubectl("apply", "-f", "-", given=fdep(namespace) | {"spec": spec})


def test_a_typo_is_told(kubectl: Kubectl, namespace: str) -> None:
    """kubectl validates strictly, so a field that there is not is an error, at each depth but within config."""
    for obj, field in (
        (fdep(namespace, {"rootId": "x"}), "spec.filter.rootId"),
        (fdep(namespace, None, istio(label={})), "spec.deployment.istio.label"),
        (fdep(namespace, suspended=True), "spec.suspended"),
    ):
        with pytest.raises(KubectlFailed, match=f'unknown field "{field}"'):
            kubectl("apply", "-f", "-", given=obj)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("spec.filter", ["id", "Which of the module's filters", "<string>", "config", "The filter: which module runs",
                         "enum: Always, IfNotPresent"]),
        ("spec.filter.config", ["a text, as it is; or an object"]),
        ("spec.deployment", ["exactly one of istio, gloo and envoyGateway"]),
        ("spec.deployment.istio.cache.mode", ["DaemonSet (the default)"]),
        ("spec.rollout", ["step by step"]),
        ("status", ["conditions", "observedGeneration", "<integer>"]),
        ("status.conditions", ["-required-"]),
    ],
)  # fmt: skip
def test_explain(kubectl: Kubectl, api: Api, path: str, words: list[str]) -> None:
    """kubectl explain has something to say of every field."""
    # The server publishes what explain reads some time after it serves the kind, and may have had another schema.
    wait_until(lambda: '"ignoreVersionCheck"' in json.dumps(api.find("/openapi/v3/apis/wasme.io/v1")), 60, "not public")
    told = " ".join(kubectl("explain", f"fdep.{path}").split())
    for each in words:
        assert each in told
    assert "<no description>" not in told
    assert "<empty>" not in told


def full_status(obj: dict[str, Any]) -> dict[str, Any]:
    target = TargetState("istio", "Deployment", "x", "web", "Succeeded", "", "EnvoyFilter/web-auth")
    facts = ImageFacts(IMAGE, "reg/demo/auth@sha256:aa", "sha256:aa", "sha256:bb", "oci", ("a",), ("v0.2.1",))
    return status(None, obj, Outcome(image=facts, report=Report((target,), Held(needed=True, nodes=3, held=2))))


def test_a_status_is_stored_as_it_is_made(api: Api, namespace: str) -> None:
    """Nothing of a status is pruned, refused or defaulted; only /status writes it, and the generation stays."""
    stored = api.create(fdep(namespace))
    made = full_status(stored) | {"filterID": "auth", "reason": "r"}
    answer = api.put(f"{place(namespace)}/status", {**stored, "status": made})
    assert answer["status"] == made
    assert answer["metadata"]["generation"] == stored["metadata"]["generation"] == 1
    again = api.put(place(namespace), {**answer, "status": {}})
    assert again["status"] == made


def test_the_largest_status_is_stored(api: Api, namespace: str) -> None:
    """Of 20,000 targets with long names and long reasons as much is told as an object has room for, managedFields and
    all, twice over: with the one before as what is patched.
    """
    stored = api.create(fdep(namespace))
    states: tuple[State, ...] = ("Failed", "Pending")
    for state in states:
        many = tuple(
            TargetState("istio", "Deployment", namespace, f"{index:05}-{'x' * 230}", state, "ü" * 900, f"E/{'y' * 240}")
            for index in range(20_000)
        )
        missing = tuple((f"node-{index}", "ü" * 900) for index in range(5_000))
        found = Outcome(report=Report(many, Held(needed=True, nodes=5_000, missing=missing)))
        stored = api.put(
            f"{place(namespace)}/status", {**stored, "status": status(stored.get("status"), stored, found)}
        )
    assert 100 < len(stored["status"]["targets"]) < stored["status"]["targetCount"] == 20_000
    assert len(json.dumps(stored)) < 1_000_000


def test_columns_names_and_categories(kubectl: Kubectl, api: Api, namespace: str) -> None:
    """kubectl get fdep: image, ready, nodes and age; with -o wide what keeps it; also as fdeps and in `wasme`."""
    stored = api.create(fdep(namespace))
    api.put(f"{place(namespace)}/status", {**stored, "status": full_status(stored)})
    head, row = (line.split() for line in kubectl("get", "fdep", "-n", namespace).splitlines())
    assert head == ["NAME", "IMAGE", "READY", "NODES", "AGE"]
    assert row[:4] == ["auth", IMAGE, "False", "2/3"]
    wide = kubectl("get", "fdeps", "-n", namespace, "-o", "wide")
    assert "2 of 3 nodes hold the module" in wide
    assert "auth" in kubectl("get", "wasme", "-n", namespace)
    assert "filterdeployment" not in kubectl("get", "all", "-n", namespace)
    kubectl("wait", "--for=condition=Accepted", "fdep/auth", "-n", namespace, "--timeout=50s")


def test_the_definition_is_the_originals_but_for_what_is_new(api: Api) -> None:
    """Names, labels, scope, version and status subresource are those of the original's manifest."""
    stored = api.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{NAME}")
    assert stored["metadata"]["labels"] == {"app": "wasme", "app.kubernetes.io/name": "wasme"}
    spec = stored["spec"]
    assert (spec["group"], spec["scope"]) == ("wasme.io", "Namespaced")
    names = {name: spec["names"][name] for name in ("kind", "listKind", "plural", "singular")}
    assert names == {"kind": "FilterDeployment", "listKind": "FilterDeploymentList", "plural": "filterdeployments",
                     "singular": "filterdeployment"}  # fmt: skip
    (version,) = spec["versions"]
    assert (version["name"], version["served"], version["storage"]) == ("v1", True, True)
    assert version["subresources"] == {"status": {}}
    assert not [each for each in stored["status"]["conditions"] if each["type"] == "NonStructuralSchema"]
    before = stored["metadata"]["resourceVersion"]
    assert api.apply(crd(), manager="wasme")["metadata"]["resourceVersion"] == before, (
        "applied again it changes nothing"
    )
