"""deploy gloo and undeploy gloo, on a real API server with Gloo's real CRDs."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import yaml

from tests.conftest import Result
from tests.fixtures.registries import DockerRegistry
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.gateways import Gateways, meaning, written
from tests.kubernetes.images import Pushed, push

Run = Callable[..., Result]


def test_deploy_and_undeploy(
    kube_run: Run, gloo: Gateways, image: Pushed, namespace: str, control_plane: ControlPlane
) -> None:
    """The entry of the original, with the root id of the image; undeploy leaves the Gateway as it was."""
    before = gloo.make()
    result = kube_run("deploy", "gloo", image.name, "--id=myfilter", "--config=world", "-n", namespace)
    assert gloo.filters() == [
        {
            "image": image.name,
            "config": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "world"},
            "name": "myfilter",
            "rootId": "add_header",
        }
    ]
    assert 'level=info msg="appending wasm filter" filterID=myfilter' in result.stderr
    assert f'level=info msg="updated gateway" gateway={namespace}.gateway-proxy' in result.stderr
    assert 'config="world (5 bytes)"' in result.stderr
    assert result.stdout == ""
    mark = control_plane.mark()
    kube_run("undeploy", "gloo", "--id=myfilter", "-n", namespace)
    assert meaning(gloo.get()) == meaning(before)
    assert written(control_plane, mark) == [("patch", "gateway-proxy")]


def test_again_writes_nothing(
    kube_run: Run, gloo: Gateways, image: Pushed, namespace: str, control_plane: ControlPlane
) -> None:
    """[BUG] The original wrote every Gateway each time, those too that it skipped: unchanged sends no write."""
    gloo.make()
    gloo.make("tcp", tcpGateway={})
    words = ("deploy", "gloo", image.name, "--id=a", "--fail-open", "--filter-stage=authn:before", "-n", namespace)
    first = kube_run(*words)
    assert f"skipping gateway {namespace}.tcp" in first.stderr
    version, mark = gloo.get()["metadata"]["resourceVersion"], control_plane.mark()
    again = kube_run(*words)
    assert f'level=info msg="gateway is as it should be" gateway={namespace}.gateway-proxy' in again.stderr
    assert written(control_plane, mark) == []
    assert gloo.get()["metadata"]["resourceVersion"] == version
    assert gloo.filters()[0]["failOpen"] is True
    assert gloo.filters()[0]["filterStage"] == {"stage": "AuthNStage", "predicate": "Before"}
    assert "options" not in gloo.get("tcp")["spec"]


def test_others_stay(kube_run: Run, gloo: Gateways, image: Pushed, namespace: str) -> None:
    """A user's own filters, options and order stay through deploy, a changed deploy and undeploy."""
    own = [{"name": "z", "filePath": "/z.wasm"}, {"name": "b", "image": "mine:1", "filterStage": {"stage": "WafStage"}}]
    options = {"gzip": {}, "wasm": {"filters": own}}
    before = gloo.make(httpGateway={"virtualServiceNamespaces": ["x"], "options": options})
    kube_run("deploy", "gloo", image.name, "--id=m", "-n", namespace)
    result = kube_run("deploy", "gloo", image.name, "--id=m", "--config=2", "-n", namespace)
    assert "updating wasm filter" in result.stderr
    found = gloo.get()["spec"]["httpGateway"]
    assert [each for each in found["options"]["wasm"]["filters"] if each["name"] != "m"] == own
    assert found["options"]["gzip"] == {}
    kube_run("undeploy", "gloo", "--id=m", "-n", namespace)
    assert meaning(gloo.get()) == meaning(before)


def test_two_filters_on_one_gateway(kube_run: Run, gloo: Gateways, image: Pushed, namespace: str) -> None:
    """The first filter goes and the second stays; with the last one goes what wasme had made."""
    before = gloo.make()
    for each in ("b", "a"):
        kube_run("deploy", "gloo", image.name, f"--id={each}", "-n", namespace)
    assert [each["name"] for each in gloo.filters()] == ["a", "b"]
    kube_run("undeploy", "gloo", "--id=a", "-n", namespace)
    assert [each["name"] for each in gloo.filters()] == ["b"]
    kube_run("undeploy", "gloo", "--id=b", "-n", namespace)
    assert meaning(gloo.get()) == meaning(before)


def test_labels_and_namespaces_choose(kube_run: Run, gloo: Gateways, image: Pushed, namespace: str) -> None:
    """-l and -n choose the Gateways; the others are not touched."""
    gloo.make("edge", {"app": "edge"})
    gloo.make("inner", {"app": "inner"})
    kube_run("deploy", "gloo", image.name, "--id=a", "-l", "app=edge", "-n", f"{namespace},no-such-namespace")
    assert gloo.filters("inner") is None
    assert [each["name"] for each in gloo.filters("edge")] == ["a"]


def test_no_gateway(kube_run: Run, gloo: Gateways, image: Pushed, namespace: str) -> None:
    """[BUG] The original was silent where there was nothing to do: no Gateway, no HTTP, no such filter."""
    words = ("deploy", "gloo", image.name, "--id=a", "-n", namespace, "-l", "app=x")
    result = kube_run(*words, ok=False)
    assert result.exit_code == 1
    assert f"found no Gateway of Gloo with the labels app=x in the namespace {namespace}" in result.stderr
    gloo.make("tcp", {"app": "x"}, tcpGateway={})
    assert "serves HTTP" in kube_run(*words, ok=False).stderr
    gloo.make("http", {"app": "x"})
    gone = kube_run("undeploy", "gloo", "--id=never", "-n", namespace, ok=False)
    assert gone.exit_code == 1
    assert "no Gateway of Gloo has a filter never" in gone.stderr
    assert "Traceback" not in gone.stderr


@pytest.mark.parametrize("dry_run", ["--dry-run", "--dry-run=client", "--dry-run=server"])
def test_dry_runs(
    kube_run: Run, gloo: Gateways, image: Pushed, namespace: str, control_plane: ControlPlane, dry_run: str
) -> None:
    """[BUG] The original's dry run showed a made-up Gateway: ours shows the real ones, fit to commit, and stores
    nothing."""
    gloo.make()
    gloo.make("other")
    before, mark = gloo.get(), control_plane.mark()
    result = kube_run("deploy", "gloo", image.name, "--id=a", "-n", namespace, dry_run)
    shown = list(yaml.safe_load_all(result.stdout))
    assert [each["metadata"]["name"] for each in shown] == ["gateway-proxy", "other"]
    assert shown[0]["spec"]["httpGateway"]["options"]["wasm"]["filters"][0]["name"] == "a"
    assert shown[0]["metadata"].keys() <= {"name", "namespace", "annotations", "labels"}
    assert shown[0]["spec"]["bindPort"] == 8080
    assert gloo.get() == before
    sent = written(control_plane, mark)
    assert len(sent) == (2 if dry_run.endswith("server") else 0)  # and those say dryRun, or the Gateway had changed

    kube_run("deploy", "gloo", image.name, "--id=a", "-n", namespace)
    deployed = gloo.get()
    taken = kube_run("undeploy", "gloo", "--id=a", "-n", namespace, dry_run, "-o", "json")
    assert [each["metadata"]["name"] for each in taken.json["items"]] == ["gateway-proxy", "other"]
    assert "options" not in taken.json["items"][0]["spec"]["httpGateway"]
    assert gloo.get() == deployed


def test_what_is_printed(kube_run: Run, gloo: Gateways, image: Pushed, namespace: str) -> None:
    """--output json tells what was done to which Gateway."""
    gloo.make()
    words = ("deploy", "gloo", image.name, "--id=a", "-n", namespace, "-o", "json")
    change = {"kind": "Gateway", "namespace": namespace, "name": "gateway-proxy"}
    assert kube_run(*words).json == {"id": "a", "changes": [{"action": "updated", **change}]}
    assert kube_run(*words).json == {"id": "a", "changes": [{"action": "unchanged", **change}]}


def test_a_second_writer(kube_run: Run, gloo: Gateways, image: Pushed, namespace: str, api: Api) -> None:
    """Somebody who changes the Gateway all the while loses nothing, and the filter arrives."""
    gloo.make()
    stop, counted = threading.Event(), 0

    def scribble() -> None:
        nonlocal counted
        while not stop.is_set():
            counted += 1
            api.patch(gloo.path(), {"metadata": {"annotations": {"count": str(counted)}}})

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        for each in ("a", "b", "c"):
            kube_run("deploy", "gloo", image.name, f"--id={each}", "-n", namespace)
    finally:
        stop.set()
        writer.join()
    assert [each["name"] for each in gloo.filters()] == ["a", "b", "c"]
    assert gloo.get()["metadata"]["annotations"]["count"] == str(counted)


def test_a_digest(
    kube_run: Run, gloo: Gateways, image: Pushed, docker_registry: DockerRegistry, namespace: str
) -> None:
    """Gloo drops digests: alone one is refused, beside a tag it must be the tag's, and the tag is what Gloo gets."""
    gloo.make()
    alone = kube_run("deploy", "gloo", image.pinned, "--id=a", "-n", namespace, ok=False)
    assert "Gloo pulls by tag only" in alone.stderr
    assert gloo.filters() is None
    kube_run("deploy", "gloo", f"{image.name}@{image.manifest}", "--id=a", "-n", namespace)
    assert gloo.filters()[0]["image"] == image.name
    push(docker_registry, image.name, seed=1)
    moved = kube_run("deploy", "gloo", f"{image.name}@{image.manifest}", "--id=b", "-n", namespace, ok=False)
    assert f"not {image.manifest}" in moved.stderr


def test_images_that_gloo_cannot_pull(
    kube_run: Run, gloo: Gateways, docker_registry: DockerRegistry, namespace: str
) -> None:
    """A layout that Gloo cannot read, and an image that is not there, are refused before any write."""
    before = gloo.make()
    packed = push(docker_registry, layout="compat")
    result = kube_run("deploy", "gloo", packed.name, "--id=a", "-n", namespace, ok=False)
    assert "Gloo Edge cannot pull it" in result.stderr
    missing = f"{docker_registry.host}/gateways/none:v1"
    assert kube_run("deploy", "gloo", missing, "--id=a", "-n", namespace, ok=False).exit_code == 1
    assert gloo.get() == before


def test_a_file_of_the_proxies(kube_run: Run, gloo: Gateways, namespace: str) -> None:
    """--file-path needs no image, and none is looked at."""
    gloo.make()
    kube_run("deploy", "gloo", "--file-path=/filters/a.wasm", "--id=a", "-n", namespace)
    assert gloo.filters() == [{"filePath": "/filters/a.wasm", "name": "a"}]
    both = kube_run("deploy", "gloo", "some/image:v1", "--file-path=/a", "--id=a", ok=False)
    assert both.exit_code == 2


def test_a_gloo_without_the_field(
    kube_run: Run, gloo: Gateways, image: Pushed, namespace: str, control_plane: ControlPlane, api: Api
) -> None:
    """A CRD without failOpen refuses --fail-open by name, and takes the rest."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gateways.gateway.solo.io"
    crd = api.get(path)
    where = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/httpGateway/properties/options"
    field = f"{where}/properties/wasm/properties/filters/items/properties/failOpen"
    try:
        api.patch(path, [{"op": "remove", "path": field}], "json")
        gloo.make()
        result = kube_run("deploy", "gloo", image.name, "--id=a", "--fail-open", "-n", namespace, ok=False)
        assert "have no failOpen" in result.stderr
        assert "go without --fail-open" in result.stderr
        assert gloo.filters() is None
        kube_run("deploy", "gloo", image.name, "--id=a", "-n", namespace)
    finally:
        api.patch(path, {"spec": {"versions": crd["spec"]["versions"]}})


def test_no_gloo(kube_run: Run, image: Pushed, control_plane: ControlPlane, serve: Callable[[str], None]) -> None:
    """A cluster without Gloo says which CRD it lacks."""
    from tests.kubernetes.cluster import crds

    crds.remove(control_plane.api, "solo.io")
    control_plane.served.pop("gloo", None)
    for words in (("deploy", "gloo", image.name, "--id=a"), ("undeploy", "gloo", "--id=a")):
        result = kube_run(*words, ok=False)
        assert result.exit_code == 1
        assert "gateways.gateway.solo.io" in result.stderr
        assert "Traceback" not in result.stderr


def test_rights(
    kube_run: Run, gloo: Gateways, image: Pushed, namespace: str, control_plane: ControlPlane, api: Api
) -> None:
    """Without rights the missing one is named; with those on Gateways alone, and no more, it works."""
    gloo.make()
    user = f"user-{namespace}"
    kubeconfig = control_plane.kubeconfig_for(user)
    words = ("deploy", "gloo", image.name, "--id=a", "-n", namespace)
    refused = kube_run(*words, ok=False, kubeconfig=kubeconfig)
    assert "list" in refused.stderr
    assert "gateways" in refused.stderr
    group = "rbac.authorization.k8s.io"
    rule = {"apiGroups": ["gateway.solo.io"], "resources": ["gateways"], "verbs": ["list", "patch"]}
    meta = {"name": "gloo", "namespace": namespace}
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta, "rules": [rule]}
    subject = {"kind": "User", "name": user, "apiGroup": group}
    binding = {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": meta, "subjects": [subject],
               "roleRef": {"kind": "Role", "name": "gloo", "apiGroup": group}}  # fmt: skip
    api.create(role)
    api.create(binding)
    kube_run(*words, kubeconfig=kubeconfig)
    assert [each["name"] for each in gloo.filters()] == ["a"]


def proxy(api: Api, namespace: str, image: str) -> None:
    meta = {"name": "gateway-proxy-1", "namespace": namespace, "labels": {"gloo": "gateway-proxy"}}
    spec = {"containers": [{"name": "gateway-proxy", "image": image}], "terminationGracePeriodSeconds": 0}
    api.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})


@pytest.mark.parametrize(
    ("wrapper", "why"),
    [("quay.io/solo-io/gloo-envoy-wrapper:1.22.1", "Enterprise feature"),
     ("quay.io/solo-io/gloo-ee-envoy-wrapper:1.3.0", "not supported by the proxy of pod"),
     ("quay.io/solo-io/gloo-ee-envoy-wrapper:1.18.2", "")],
)  # fmt: skip
def test_the_proxies_are_asked(
    kube_run: Run, gloo: Gateways, image: Pushed, namespace: str, api: Api, wrapper: str, why: str
) -> None:
    """Proxies that would refuse the filter are told before any write; --ignore-version-check goes on."""
    gloo.make()
    proxy(api, namespace, wrapper)
    try:
        words = ("deploy", "gloo", image.name, "--id=a", "-n", namespace)
        result = kube_run(*words, ok=False)
        assert (result.exit_code, why in result.stderr) == (1 if why else 0, True)
        assert (gloo.filters() is None) == bool(why)
        ignored = kube_run(*words, "--ignore-version-check")
        assert "skipping ABI version check" in ignored.stderr
        assert len(gloo.filters()) == 1
    finally:
        api.delete(f"/api/v1/namespaces/{namespace}/pods/gateway-proxy-1")


def test_credentials_of_wasme_login(
    kube_run: Run, gloo: Gateways, login_registry: DockerRegistry, namespace: str
) -> None:
    """[BUG] The original's deploy never read what `wasme login` had stored; without it, the registry's word is told."""
    gloo.make()
    registry = login_registry
    kube_run("login", "-s", registry.host, "-u", registry.user, "-p", registry.password)
    private = push(registry)
    words = ("deploy", "gloo", private.name, "--id=a", "-n", namespace)
    kube_run(*words)
    assert gloo.filters()[0]["image"] == private.name
    kube_run("logout", registry.host)
    refused = kube_run(*words, ok=False)
    assert refused.exit_code == 1
    assert registry.host in refused.stderr
    assert registry.password not in refused.stderr


def test_as_a_provider(gloo: Gateways, image: Pushed, namespace: str, control_plane: ControlPlane, api: Api) -> None:
    """What renders is what is stored; rendering again gives nothing; a filter that is not there is taken away."""
    from wasme.deploy.cluster import connect
    from wasme.deploy.gloo.provider import Gloo, Selection
    from wasme.deploy.resolved import resolve
    from wasme.deploy.spec import FilterSpec
    from wasme.errors import Conflict
    from wasme.registry.session import Session

    before = gloo.make()
    spec = FilterSpec("a", image.name)
    with Session() as session, connect(control_plane.kubeconfig) as cluster:
        provider = Gloo(cluster, Selection((namespace,)), image=resolve(image.name, session))
        (old,) = provider.render(spec, provider.facts(spec))
        api.patch(gloo.path(), {"metadata": {"annotations": {"changed": "meanwhile"}}})
        with pytest.raises(Conflict):
            provider.apply([old])
        assert gloo.filters() is None
        (rendered,) = provider.render(spec, provider.facts(spec))
        provider.apply([rendered])
        assert gloo.get()["spec"] == rendered["spec"]
        assert provider.render(spec, provider.facts(spec)) == []
        assert provider.status("a").phase == "pending"
        provider.remove("a")
        provider.remove("a")
        assert gloo.get()["spec"] == before["spec"]
        assert provider.status("a").phase == "absent"


def test_after_the_original(kube_run: Run, gloo: Gateways, image: Pushed, namespace: str) -> None:
    """Filters that the original deployed are replaced and taken away by their name."""
    old = [{"name": "myfilter", "image": "webassemblyhub.io/demo/add-header:v0.1", "rootId": "add_header"}]
    gloo.make(httpGateway={"options": {"wasm": {"filters": old}}})
    kube_run("deploy", "gloo", image.name, "--id=myfilter", "-n", namespace)
    assert gloo.filters() == [{"name": "myfilter", "image": image.name, "rootId": "add_header"}]
    kube_run("undeploy", "gloo", "--id=myfilter", "-n", namespace)
    assert gloo.filters() == []
