"""FilterDeployments in gateways, on a real API server with the real CRDs of Gloo, Envoy Gateway and the Gateway API."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.kubernetes.cluster import crds
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.gateways import ACCEPTED, LUA, WASM, World, meaning, written
from tests.kubernetes.gateways import Gateways as Edge
from tests.unit.deploy.istio.samples import MANIFEST, image
from wasme.deploy.cluster import Cluster, connect
from wasme.deploy.spec import FilterSpec, PluginSettings
from wasme.errors import DeployFailed, LeadershipLost, NotServed
from wasme.operator.resources.report import Report
from wasme.operator.resources.wanted import EnvoyGatewayTarget, GlooTarget, Image, Key, TargetReference, Wanted
from wasme.operator.targets.gateways import JUDGING, Gateways

IMAGE = image()
PULLED = "registry.example.com:5000/mirror/team/auth"
POLICY = "wasme-gateway-eg"


@pytest.fixture
def cluster(control_plane: ControlPlane) -> Iterator[Cluster]:
    with connect(control_plane.kubeconfig) as opened:
        yield opened


@pytest.fixture
def gateways(cluster: Cluster) -> Gateways:
    return Gateways(cluster)


def in_gloo(namespace: str, id: str = "auth", config: str = "world", **labels: str) -> Wanted:  # noqa: A002
    """A FilterDeployment for Gloo."""
    spec = FilterSpec(id, IMAGE.typed, config=config)
    return Wanted(Key(namespace, "fd"), "uid", 1, spec, Image(IMAGE.typed), gloo=GlooTarget(labels))


def on(namespace: str, *names: str, id: str = "auth", config: str = '{"mode":"strict"}') -> Wanted:  # noqa: A002
    """A FilterDeployment for Gateways of Envoy Gateway."""
    references = tuple(TargetReference("Gateway", *name.split(":")[:1], section=name.partition(":")[2])
                       for name in names)  # fmt: skip
    spec = FilterSpec(id, IMAGE.typed, config=config)
    target = EnvoyGatewayTarget(references)
    return Wanted(Key(namespace, "fd"), "uid", 1, spec, Image(IMAGE.typed), envoy_gateway=target)


def states(report: Report) -> dict[str, tuple[str, str]]:
    return {each.name: (each.state, each.reason) for each in report.targets}


def test_gloo_from_nothing_to_ready(
    gateways: Gateways, gloo: Edge, api: Api, namespace: str, control_plane: ControlPlane
) -> None:
    """The entry is written once; what Gloo says of the Gateway becomes the target's state; again nothing is sent."""
    gloo.make()
    first = gateways.reconcile(in_gloo(namespace), IMAGE)
    (entry,) = gloo.filters()
    assert (entry["name"], entry["image"], entry["rootId"]) == ("auth", f"{PULLED}:v1", "add_header")
    assert entry["config"]["value"] == "world"
    (target,) = first.targets
    assert (target.provider, target.kind, target.namespace, target.object) == (
        "gloo", "Gateway", namespace, "Gateway/gateway-proxy")  # fmt: skip
    assert (target.state, first.changed, first.again, first.programmed) == ("Pending", True, JUDGING, False)
    mark = control_plane.mark()
    for state, reason, expected in (
        ("Rejected", "bad config", ("Failed", "Gloo rejects it: bad config")),
        ("Accepted", "", ("Succeeded", "")),
    ):
        api.patch(gloo.path(), {"status": {"statuses": {"gloo-system": {"state": state, "reason": reason}}}})
        report = gateways.reconcile(in_gloo(namespace), IMAGE)
        assert states(report) == {"gateway-proxy": expected}
        assert (report.changed, report.again) == (False, None)
    assert report.programmed
    assert written(control_plane, mark) == []


def test_an_old_judgement_is_not_believed(gateways: Gateways, gloo: Edge, api: Api, namespace: str) -> None:
    """Gloo's status names no generation: right after a change it is of what was there before, so it is waited for."""
    gloo.make()
    api.patch(gloo.path(), {"status": {"statuses": {"gloo-system": {"state": "Accepted", "reason": ""}}}})
    report = gateways.reconcile(in_gloo(namespace), IMAGE)
    assert states(report)["gateway-proxy"][0] == "Pending"
    assert states(gateways.reconcile(in_gloo(namespace), IMAGE)) == {"gateway-proxy": ("Succeeded", "")}


def test_gloo_drift_is_mended_and_others_stay(gateways: Gateways, gloo: Edge, namespace: str) -> None:
    """An entry that somebody has changed or taken away comes back; others' entries are left alone."""
    own = {"name": "theirs", "filePath": "/z.wasm"}
    gloo.make(httpGateway={"options": {"wasm": {"filters": [own]}}})
    gateways.reconcile(in_gloo(namespace), IMAGE)
    good = gloo.filters()
    assert own in good
    for broken in ([own, {**good[0], "image": "evil:1"}], [own]):
        gloo.api.patch(gloo.path(), {"spec": {"httpGateway": {"options": {"wasm": {"filters": broken}}}}})
        assert gateways.reconcile(in_gloo(namespace), IMAGE).changed
        assert sorted(gloo.filters(), key=lambda each: each["name"]) == good


def test_gloo_gateways_that_are_not_meant_any_more(
    gateways: Gateways, gloo: Edge, api: Api, namespace: str, control_plane: ControlPlane
) -> None:
    """Labels decide: a Gateway that loses them loses the filter, one that gets them gets it, other namespaces none."""
    one = gloo.make("one", {"app": "edge"})
    gloo.make("two", {"app": "edge"})
    elsewhere = Edge(api, _another(api))
    elsewhere.make("three", {"app": "edge"})
    wanted = in_gloo(namespace, app="edge")
    assert set(states(gateways.reconcile(wanted, IMAGE))) == {"one", "two"}
    api.patch(gloo.path("one"), {"metadata": {"labels": {"app": "none"}}})
    mark = control_plane.mark()
    report = gateways.reconcile(wanted, IMAGE)
    assert (report.removed, set(states(report))) == (("Gateway/one",), {"two"})
    assert written(control_plane, mark) == [("patch", "one")]
    assert meaning(gloo.get("one"))["spec"] == meaning(one)["spec"]
    api.patch(gloo.path("two"), {"metadata": {"labels": {"app": "none"}}})
    last = gateways.reconcile(wanted, IMAGE)
    assert (last.removed, last.targets, last.programmed) == (("Gateway/two",), (), False)
    assert isinstance(last.problem, DeployFailed)
    assert f"found no Gateway of Gloo with the labels app=edge in the namespace {namespace}" in last.problem.message
    assert last.problem.hint is None, "flags of the command line say nothing to who writes objects"
    assert elsewhere.filters("three") is None


def test_gloo_removal(gateways: Gateways, gloo: Edge, namespace: str, control_plane: ControlPlane) -> None:
    """Everything of the id in the namespace goes, whatever labels it was put there for; twice writes nothing."""
    before = [gloo.make("one", {"app": "edge"}), gloo.make("two")]
    gateways.reconcile(in_gloo(namespace), IMAGE)
    gateways.reconcile(in_gloo(namespace, id="other", app="edge"), IMAGE)
    report = gateways.remove(namespace, "auth", "gloo")
    assert (sorted(report.removed), report.problem, report.changed) == (["Gateway/one", "Gateway/two"], None, True)
    assert [each["name"] for each in gloo.filters("one")] == ["other"]
    mark = control_plane.mark()
    assert gateways.remove(namespace, "auth", "gloo") == Report()
    assert written(control_plane, mark) == []
    gateways.remove(namespace, "other", "gloo")
    assert [meaning(gloo.get(name)) for name in ("one", "two")] == [meaning(each) for each in before]


def test_envoy_gateway_from_nothing_to_ready(
    gateways: Gateways, envoy_gateway: World, namespace: str, control_plane: ControlPlane
) -> None:
    """One policy of wasme's on the target; its conditions become the target's state; again nothing is sent."""
    envoy_gateway.gateway()
    first = gateways.reconcile(on(namespace, "eg"), IMAGE)
    (entry,) = envoy_gateway.policies()[POLICY]["spec"]["wasm"]
    assert entry["code"]["image"] == {"url": f"{PULLED}@{MANIFEST}", "sha256": MANIFEST.removeprefix("sha256:")}
    assert (entry["config"], entry["failOpen"]) == ({"mode": "strict"}, False)
    (target,) = first.targets
    assert (target.provider, target.kind, target.name, target.object) == (
        "envoyGateway", "Gateway", "eg", f"EnvoyExtensionPolicy/{POLICY}")  # fmt: skip
    assert (states(first)["eg"], first.changed) == (("Pending", "Envoy Gateway has not judged it yet"), True)
    assert "ownerReferences" not in envoy_gateway.policies()[POLICY]["metadata"], "a policy is shared by filters"
    mark = control_plane.mark()
    refused = {"type": "Accepted", "status": "False", "reason": "Invalid", "message": "no such image"}
    overridden = {"type": "Overridden", "status": "True", "reason": "Overridden", "message": "by HTTPRoute/x"}
    envoy_gateway.judge(POLICY, refused)
    assert states(gateways.reconcile(on(namespace, "eg"), IMAGE)) == {"eg": ("Failed", "Invalid: no such image")}
    envoy_gateway.judge(POLICY, ACCEPTED, overridden)
    report = gateways.reconcile(on(namespace, "eg"), IMAGE)
    assert states(report) == {"eg": ("Succeeded", "")}
    assert report.warnings == ("Gateway eg: Overridden: by HTTPRoute/x",)
    assert report.programmed
    envoy_gateway.judge(POLICY, ACCEPTED, old=True)
    assert states(gateways.reconcile(on(namespace, "eg"), IMAGE))["eg"][0] == "Pending"
    assert written(control_plane, mark) == []


def test_envoy_gateway_drift_and_changes(gateways: Gateways, envoy_gateway: World, namespace: str) -> None:
    """A changed configuration, a foreign edit and a deleted policy are made right at the next look."""
    envoy_gateway.gateway()
    gateways.reconcile(on(namespace, "eg"), IMAGE)
    gateways.reconcile(on(namespace, "eg", config='{"mode":"lax"}'), IMAGE)
    good = envoy_gateway.policies()[POLICY]["spec"]["wasm"]
    assert good[0]["config"] == {"mode": "lax"}
    envoy_gateway.api.patch(f"{envoy_gateway.base}/{POLICY}", {"spec": {"wasm": [{**good[0], "failOpen": True}]}})
    assert gateways.reconcile(on(namespace, "eg", config='{"mode":"lax"}'), IMAGE).changed
    assert envoy_gateway.policies()[POLICY]["spec"]["wasm"] == good
    envoy_gateway.api.delete(f"{envoy_gateway.base}/{POLICY}")
    assert gateways.reconcile(on(namespace, "eg", config='{"mode":"lax"}'), IMAGE).changed
    assert envoy_gateway.policies()[POLICY]["spec"]["wasm"] == good


def test_references_that_are_not_wanted_any_more(gateways: Gateways, envoy_gateway: World, namespace: str) -> None:
    """A reference that was taken out of the object loses the filter, and the policy with its last filter."""
    for name in ("eg", "two"):
        envoy_gateway.gateway(name)
    gateways.reconcile(on(namespace, "eg", "two"), IMAGE)
    gateways.reconcile(on(namespace, "two", id="other"), IMAGE)
    report = gateways.reconcile(on(namespace, "eg"), IMAGE)
    assert report.removed == ("EnvoyExtensionPolicy/wasme-gateway-two",)
    assert envoy_gateway.filters("wasme-gateway-two") == ["other"]
    gateways.reconcile(on(namespace, "two"), IMAGE)
    assert set(envoy_gateway.policies()) == {"wasme-gateway-two"}
    assert envoy_gateway.filters("wasme-gateway-two") == ["other", "auth"]


def test_one_target_that_cannot_take_it_stops_no_other(
    gateways: Gateways, envoy_gateway: World, namespace: str
) -> None:
    """A target that is missing fails by itself, and gets the filter when it comes; sections have names of their own."""
    envoy_gateway.gateway("two")
    wanted = on(namespace, "missing", "two:http", "two:alt", "two:none")
    report = gateways.reconcile(wanted, IMAGE)
    told = states(report)
    assert told["missing"] == ("Failed", f"there is no Gateway/missing in the namespace {namespace}")
    assert told["two:none"] == ("Failed", "Gateway/two has no section none")
    assert {told[name][0] for name in ("two:http", "two:alt")} == {"Pending"}
    assert (report.problem, report.programmed) == (None, False)
    envoy_gateway.gateway("missing")
    assert states(gateways.reconcile(wanted, IMAGE))["missing"][0] == "Pending"
    assert envoy_gateway.filters("wasme-gateway-missing") == ["auth"]


def test_a_target_that_fails_keeps_what_it_has(gateways: Gateways, envoy_gateway: World, namespace: str) -> None:
    """A wanted target whose policy cannot be changed now is not taken for one that is unwanted."""
    envoy_gateway.gateway()
    gateways.reconcile(on(namespace, "eg"), IMAGE)
    envoy_gateway.api.patch(f"{envoy_gateway.base}/{POLICY}", {"metadata": {"finalizers": ["test.wasme.io/hold"]}})
    envoy_gateway.api.delete(f"{envoy_gateway.base}/{POLICY}")
    try:
        report = gateways.reconcile(on(namespace, "eg", config='{"mode":"lax"}'), IMAGE)
        assert states(report)["eg"][0] == "Failed"
        assert "is being deleted" in states(report)["eg"][1]
        assert (report.removed, envoy_gateway.filters()) == ((), ["auth"])
    finally:
        envoy_gateway.api.patch(f"{envoy_gateway.base}/{POLICY}", {"metadata": {"finalizers": None}})


def test_a_user_s_policy(gateways: Gateways, envoy_gateway: World, namespace: str) -> None:
    """A user's policy is in the way; once it has the filter, by `--into`, the filter is kept right in there."""
    envoy_gateway.gateway()
    before = envoy_gateway.policy("mine", wasm=[WASM], lua=[LUA])
    refused = gateways.reconcile(on(namespace, "eg"), IMAGE)
    assert "mine is on Gateway/eg already" in states(refused)["eg"][1]
    envoy_gateway.api.delete(f"{envoy_gateway.base}/mine")
    gateways.reconcile(on(namespace, "eg"), IMAGE)
    ours = envoy_gateway.policies()[POLICY]
    envoy_gateway.api.delete(f"{envoy_gateway.base}/{POLICY}")
    envoy_gateway.policy("mine", wasm=[WASM, *ours["spec"]["wasm"]], lua=[LUA])
    noted = {"annotations": {"wasme.io/filters": ours["metadata"]["annotations"]["wasme.io/filters"]}}
    envoy_gateway.api.patch(f"{envoy_gateway.base}/mine", {"metadata": noted})
    assert not gateways.reconcile(on(namespace, "eg"), IMAGE).changed
    report = gateways.reconcile(on(namespace, "eg", config='{"mode":"lax"}'), IMAGE)
    assert report.targets[0].object == "EnvoyExtensionPolicy/mine"
    assert envoy_gateway.policies()["mine"]["spec"]["wasm"][1]["config"] == {"mode": "lax"}
    assert gateways.remove(namespace, "auth", "envoyGateway").removed == ("EnvoyExtensionPolicy/mine",)
    assert envoy_gateway.policies()["mine"]["spec"] == before["spec"]


def test_envoy_gateway_removal(
    gateways: Gateways, envoy_gateway: World, namespace: str, control_plane: ControlPlane
) -> None:
    """All policies of the id go, and nothing of others; twice writes nothing."""
    for name in ("eg", "two"):
        envoy_gateway.gateway(name)
    theirs = envoy_gateway.policy("theirs", target="Gateway/three", wasm=[{**WASM, "name": "auth"}])
    gateways.reconcile(on(namespace, "eg", "two"), IMAGE)
    report = gateways.remove(namespace, "auth", "envoyGateway")
    assert sorted(report.removed) == [f"EnvoyExtensionPolicy/wasme-gateway-{name}" for name in ("eg", "two")]
    mark = control_plane.mark()
    assert gateways.remove(namespace, "auth", "envoyGateway") == Report()
    assert written(control_plane, mark) == []
    assert {name: each["spec"] for name, each in envoy_gateway.policies().items()} == {"theirs": theirs["spec"]}


def test_nothing_is_said_where_nothing_changed(
    gateways: Gateways, envoy_gateway: World, gloo: Edge, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A change is told; looks that find all as it should be, one a minute for ever, are not, by whatever part."""
    gloo.make()
    gloo.make("tcp", tcpGateway={})
    envoy_gateway.gateway()
    for wanted in (in_gloo(namespace), on(namespace, "eg")):
        nowhere = replace(IMAGE, root_ids=(), address="127.0.0.1:5000/auth")
        for config, told in (("1", True), ("1", False), ("2", True), ("2", False)):
            caplog.clear()
            with caplog.at_level("INFO"):
                report = gateways.reconcile(replace(wanted, filter=replace(wanted.filter, config=config)), nowhere)
            said = [each.getMessage() for each in caplog.records if each.name.startswith("wasme")]
            assert bool(said) == told, said
            warned = ["Gateway tcp is left out: it has no spec.httpGateway"] if wanted.gloo else []
            assert list(report.warnings[1:]) == warned
            assert "127.0.0.1" in report.warnings[0]


def test_pull_secret(gateways: Gateways, envoy_gateway: World, api: Api, namespace: str) -> None:
    """A Secret that is missing is told, and only until it comes; it is of the same namespace."""
    envoy_gateway.gateway()
    wanted = on(namespace, "eg")
    wanted = replace(wanted, image=replace(wanted.image, pull_secret="regcred"))
    report = gateways.reconcile(wanted, IMAGE)
    assert report.problem is not None
    assert report.problem.message == f"there is no Secret {namespace}/regcred to pull with"
    assert envoy_gateway.policies() == {}
    meta = {"name": "regcred", "namespace": namespace}
    data = {".dockerconfigjson": '{"auths":{}}'}
    kind = "kubernetes.io/dockerconfigjson"
    api.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": kind, "stringData": data})
    assert gateways.reconcile(wanted, IMAGE).problem is None
    code = envoy_gateway.policies()[POLICY]["spec"]["wasm"][0]["code"]
    assert code["image"]["pullSecretRef"]["name"] == "regcred"


def test_many_at_once_on_one_gateway(gateways: Gateways, envoy_gateway: World, gloo: Edge, namespace: str) -> None:
    """Ten FilterDeployments of one Gateway, all at once: each has its filter, and none another's."""
    envoy_gateway.gateway()
    gloo.make()
    reports: list[Report] = []

    def work(number: int) -> None:
        reports.append(gateways.reconcile(on(namespace, "eg", id=f"f{number}"), IMAGE))
        reports.append(gateways.reconcile(in_gloo(namespace, id=f"f{number}"), IMAGE))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(each.problem is None and each.targets[0].state == "Pending" for each in reports)
    assert len(reports) == 20
    assert (
        sorted(envoy_gateway.filters())
        == sorted(each["name"] for each in gloo.filters())
        == [f"f{n}" for n in range(10)]
    )


def test_not_served_and_served_later(
    gateways: Gateways, control_plane: ControlPlane, serve: Callable[[str], None], namespace: str, api: Api,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Without the CRD that is the problem, and removing is done; the CRD that comes later is seen without a restart."""
    control_plane.served.pop("gloo", None)
    crds.remove(api, "solo.io")
    report = gateways.reconcile(in_gloo(namespace), IMAGE)
    assert isinstance(report.problem, NotServed)
    assert "gateways.gateway.solo.io is missing" in report.problem.message
    assert "install Gloo Edge" in (report.problem.hint or "")
    assert gateways.remove(namespace, "auth", "gloo") == Report()
    serve("gloo/v1.22.1")
    Edge(api, namespace).make()
    monkeypatch.setattr("wasme.operator.targets.gateways.FRESH", 0.0)
    assert states(gateways.reconcile(in_gloo(namespace), IMAGE))["gateway-proxy"][0] == "Pending"


def test_nothing_is_written_without_the_lease(
    cluster: Cluster, envoy_gateway: World, gloo: Edge, namespace: str, control_plane: ControlPlane
) -> None:
    """A lease that is lost stops the whole look, and is no target's reason; reading what is right goes on."""

    def lost() -> None:
        raise LeadershipLost("somebody else holds it")

    envoy_gateway.gateway()
    gloo.make()
    Gateways(cluster).reconcile(on(namespace, "eg"), IMAGE)
    mark, idle = control_plane.mark(), Gateways(cluster.guarded(lost))
    assert not idle.reconcile(on(namespace, "eg"), IMAGE).changed
    for wanted in (on(namespace, "eg", config='{"mode":"lax"}'), in_gloo(namespace)):
        with pytest.raises(LeadershipLost):
            idle.reconcile(wanted, IMAGE)
    with pytest.raises(LeadershipLost):
        idle.remove(namespace, "auth", "envoyGateway")
    assert written(control_plane, mark) == []


def test_what_a_gateway_has_no_place_for(gateways: Gateways, envoy_gateway: World, namespace: str) -> None:
    """A filter that cannot be carried is refused by its field, and what runs stays as it is."""
    envoy_gateway.gateway()
    gateways.reconcile(on(namespace, "eg"), IMAGE)
    wanted = on(namespace, "eg")
    refused = {"failurePolicy": PluginSettings(fail_policy="reload"), "env": PluginSettings(env={"A": "1"})}
    for field, settings in refused.items():
        report = gateways.reconcile(replace(wanted, filter=replace(wanted.filter, settings=settings)), IMAGE)
        assert report.problem is not None
        assert report.problem.message.startswith(f"spec.filter.{field}: Envoy Gateway has no")
    plain = gateways.reconcile(on(namespace, config="world"), IMAGE)
    assert plain.problem is not None
    assert plain.problem.message.startswith("spec.filter.config is no JSON")
    assert envoy_gateway.filters() == ["auth"]


def _another(api: Api) -> str:
    from tests.kubernetes.conftest import new_namespace

    return new_namespace(api)
