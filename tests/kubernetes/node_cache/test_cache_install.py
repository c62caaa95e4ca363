"""Installing the node cache on a real API server: order, words, what is written and what is left alone."""

import concurrent.futures
import threading
import uuid

import pytest

from tests.kubernetes.cluster.api import ApiRefused
from tests.kubernetes.node_cache.reading import daemon_set, grant, mutations, told
from wasme import __version__
from wasme.deploy.cache import manifests, protocol
from wasme.deploy.cache.ensure import ensure
from wasme.deploy.cache.image import IMAGE
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.cache.registration import register
from wasme.deploy.cluster.connect import connect
from wasme.errors import CacheError, ClusterForbidden, InputError

WORDS = ["namespace", "configmap", "service account", "role", "rolebinding", "daemonset"]


@pytest.fixture
def options(namespace):
    """A cache in a namespace that is there."""
    return CacheOptions(namespace=namespace)


@pytest.fixture
def fresh(api):
    """A cache in a namespace that is not there."""
    name = f"wasme-{uuid.uuid4().hex[:8]}"
    yield CacheOptions(namespace=name)
    if api.find(f"/api/v1/namespaces/{name}"):
        api.delete(f"/api/v1/namespaces/{name}")


def test_first_install_then_second(cluster, api, fresh, caplog, control_plane):
    """All six objects are made in the original's order and words; again, unchanged, sends no mutating request."""
    caplog.set_level("INFO")
    ensure(cluster, fresh)
    fields = {"cache": f"wasme-cache.{fresh.namespace}", "image": IMAGE}
    assert told(caplog) == [(f"cache {word} created", fields) for word in WORDS]
    caplog.clear()
    mark = control_plane.mark()
    ensure(cluster, fresh)
    assert [text for text, _ in told(caplog)] == [
        "cache namespace already exists",
        "cache configmap already exists",
        "cache service account already exists",
        "cache role updated",
        "cache rolebinding updated",
        "cache daemonset updated",
    ]
    assert mutations(control_plane, mark) == []


def test_daemon_set_has_what_the_original_lacked(cluster, api, options):
    """[BUG] NODE_HOSTNAME was never set and --cache-name never passed: both are, and the API server takes the rest."""
    ensure(cluster, options)
    live = daemon_set(api, options)
    pod = live["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["image"] == IMAGE == f"ghcr.io/wasme/wasme:{__version__}"
    assert container["env"] == [
        {"name": "NODE_HOSTNAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}},
        {"name": "MALLOC_ARENA_MAX", "value": "2"},
    ]
    assert pod["priorityClassName"] == "system-node-critical"
    assert container["args"] == [
        "cache", "--directory", "/var/local/lib/wasme-cache", "--ref-file", "/etc/wasme-cache/images.txt",
        "--cache-ns", options.namespace, "--cache-name", "wasme-cache",
    ]  # fmt: skip
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["ports"] == [{"name": "http", "containerPort": 9979, "protocol": "TCP"}]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsGroup": 0,
        "runAsUser": 0,
    }
    assert container["resources"]["limits"] == {"cpu": "500m", "memory": "256Mi"}
    assert container["resources"]["requests"] == {"cpu": "50m", "memory": "128Mi"}
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert live["spec"]["selector"] == {"matchLabels": {"app": "wasme-cache"}}


def test_edits_are_undone_or_kept(cluster, api, options):
    """What wasme says of an object is put back; what it says nothing of stays."""
    ensure(cluster, options)
    place = f"/apis/apps/v1/namespaces/{options.namespace}/daemonsets/{options.name}"
    changed = {"image": "example.com/other:1", "name": options.name}
    pod = {"containers": [changed], "terminationGracePeriodSeconds": 7}
    api.patch(place, {"spec": {"template": {"spec": pod}}}, "strategic-merge")
    role = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{options.namespace}/roles/{options.name}"
    api.patch(role, {"rules": []})
    ensure(cluster, options)
    spec = api.get(place)["spec"]["template"]["spec"]
    assert spec["containers"][0]["image"] == IMAGE
    assert spec["terminationGracePeriodSeconds"] == 7
    assert api.get(role)["rules"] == manifests.role(options)["rules"]


def test_what_install_chose_stays(cluster, api, options):
    """A deployment without --cache-repo keeps the image, policy and command that the install chose; install resets."""
    chosen = CacheOptions(
        namespace=options.namespace, repo="registry.example.com/wasme", tag="7", pull_policy="Always",
        custom_command=("cache", "-x"),
    )  # fmt: skip
    ensure(cluster, chosen, keep=False)
    now = ensure(cluster, options)
    container = daemon_set(api, options)["spec"]["template"]["spec"]["containers"][0]
    assert now.image == container["image"] == "registry.example.com/wasme:7"
    assert container["imagePullPolicy"] == "Always"
    assert container["args"] == ["cache", "-x"]
    ensure(cluster, CacheOptions(namespace=options.namespace, tag="8"))
    container = daemon_set(api, options)["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "registry.example.com/wasme:8"
    ensure(cluster, options, keep=False)
    container = daemon_set(api, options)["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == IMAGE
    assert container["args"][0:2] == ["cache", "--directory"]


def test_terminating_objects_are_an_error(cluster, api, options, fresh):
    """Whatever is being deleted is told with what it waits for; nothing is written into it."""
    ensure(cluster, options)
    place = f"/apis/apps/v1/namespaces/{options.namespace}/daemonsets/{options.name}"
    api.patch(place, {"metadata": {"finalizers": ["example.com/hold"]}})
    api.delete(place)
    with pytest.raises(CacheError) as caught:
        ensure(cluster, options)
    assert caught.value.message == (
        f"ensuring daemonset: DaemonSet {options.namespace}/wasme-cache is being deleted (it waits for "
        "example.com/hold)"
    )
    api.patch(place, {"metadata": {"finalizers": None}})


def test_terminating_namespace_is_an_error(cluster, api, fresh):
    """A namespace on its way out is told as that, not as the 403 that the API server would give."""
    ensure(cluster, fresh)
    api.delete(f"/api/v1/namespaces/{fresh.namespace}")  # no controller takes its finalizer away
    with pytest.raises(CacheError) as caught:
        ensure(cluster, fresh)
    assert caught.value.message == (
        f"ensuring namespace: Namespace {fresh.namespace} is being deleted (it waits for kubernetes)"
    )
    assert "again" in caught.value.hint


def test_originals_image_is_refused(cluster, options, control_plane):
    """--cache-repo quay.io/solo-io/wasme is refused in one line, and no request is sent."""
    mark = control_plane.mark()
    with pytest.raises(CacheError) as caught:
        ensure(cluster, CacheOptions(namespace=options.namespace, repo="quay.io/solo-io/wasme", tag="0.0.33"))
    assert "\n" not in caught.value.message
    assert "quay.io/solo-io/wasme is solo.io's" in caught.value.message
    assert [event for event in control_plane.audit(mark) if options.namespace in event["requestURI"]] == []


def test_names_that_kubernetes_refuses():
    """A name that cannot be an object's and a label's is told with its flag before a request."""
    with pytest.raises(InputError, match="--cache-name: 'Wasme'"):
        CacheOptions(name="Wasme")
    with pytest.raises(InputError, match="--cache-namespace"):
        CacheOptions(namespace="a" * 64)
    with pytest.raises(InputError, match="--cache-image-pull-policy: 'Sometimes' is none of Always"):
        CacheOptions(pull_policy="Sometimes")


def test_no_rights(control_plane, options):
    """Without rights the message names the object that was tried and the right that is missing."""
    with connect(control_plane.kubeconfig_for("nobody-at-all")) as cluster, pytest.raises(ClusterForbidden) as caught:
        ensure(cluster, options)
    assert caught.value.message.startswith("ensuring daemonset: ")
    assert "daemonsets" in caught.value.message


def test_applying_the_printed_objects_again_empties_no_list(kube_run, api, cluster, options):
    """Who keeps `--dry-run` in git and applies it again and again takes no image away from the nodes."""
    import yaml

    where = f"--cache-namespace={options.namespace}"
    documents = list(yaml.safe_load_all(kube_run("cache", "install", where, "--dry-run").stdout))
    line = FilterLine("apps", "f", "r.example.com/f:1", "sha256:" + "a" * 64, "sha256:" + "b" * 64)
    for _ in range(2):
        for each in documents:
            api.apply(each, manager="gitops")
        register(cluster, options, [line]).activate()
    kept = api.get(f"/api/v1/namespaces/{options.namespace}/configmaps/{options.name}")
    assert protocol.parse_wanted(kept["data"]) == protocol.Wanted((line.ref,), (line,))


def test_ten_at_once_on_a_new_cluster(control_plane, api, fresh):
    """Ten first deployments at the same moment make one cache, and no line of its ConfigMap is lost in between."""
    start = threading.Barrier(10)

    def one(number):
        line = FilterLine("apps", f"f{number}", f"r.example.com/f:{number}", "sha256:" + "a" * 64, "sha256:" + "b" * 64)
        with connect(control_plane.kubeconfig) as own:
            start.wait()
            ensure(own, fresh)
            register(own, fresh, [line]).activate()
        return line

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        lines = list(pool.map(one, range(10)))
    kept = api.get(f"/api/v1/namespaces/{fresh.namespace}/configmaps/{fresh.name}")
    assert sorted(protocol.parse_wanted(kept["data"]).filters) == sorted(lines)


def test_who_may_not_install_may_deploy(control_plane, cluster, api, options, caplog):
    """With rights on the ConfigMap alone a deployment takes the cache as it is, with the missing right in a warning.

    Asking for another image is refused all the same, and so is installing.
    """
    ensure(cluster, options)
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "update"]}]
    grant(api, options.namespace, "deployer", rules)
    with connect(control_plane.kubeconfig_for("deployer")) as own:
        assert ensure(own, options) == options
        (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
        assert "taken as it is" in record.getMessage()
        assert "daemonsets" in record.fields["reason"]
        with pytest.raises(ClusterForbidden):
            ensure(own, options, keep=False)
        with pytest.raises(ClusterForbidden):
            ensure(own, CacheOptions(namespace=options.namespace, tag="2"))


def test_install_forgets_nodes_that_are_gone(kube_run, api, cluster, options, nodes):
    """What a node told that is no more is deleted by the next install; what the others told stays."""
    nodes("n-here")
    ensure(cluster, options)
    owner = api.get(f"/api/v1/namespaces/{options.namespace}/configmaps/{options.name}")["metadata"]["uid"]
    for node in ("n-here", "n-gone"):
        api.apply(protocol.status_object(options.name, options.namespace, owner, protocol.NodeStatus(node)))
    kube_run("cache", "install", f"--cache-namespace={options.namespace}")
    left = {each["metadata"]["name"] for each in api.list(f"/api/v1/namespaces/{options.namespace}/configmaps")}
    assert left - {"kube-root-ca.crt"} == {"wasme-cache", "wasme-cache-n-here"}


def test_install_command(kube_run, api, fresh):
    """`wasme cache install` makes what --dry-run printed, with the registry map in the ConfigMap."""
    import yaml

    where = f"--cache-namespace={fresh.namespace}"
    dry = kube_run("cache", "install", where, "--registry-map", "webassemblyhub.io=hub.example.com/x", "--dry-run")
    documents = list(yaml.safe_load_all(dry.stdout))
    assert [each["kind"] for each in documents] == [
        "Namespace", "ConfigMap", "ServiceAccount", "Role", "RoleBinding", "DaemonSet",
    ]  # fmt: skip
    assert api.find(f"/api/v1/namespaces/{fresh.namespace}") is None
    kube_run("cache", "install", where, "--registry-map", "webassemblyhub.io=hub.example.com/x", "--dry-run=server")
    assert api.find(f"/api/v1/namespaces/{fresh.namespace}") is None
    kube_run("cache", "install", where, "--registry-map", "webassemblyhub.io=hub.example.com/x")
    kept = api.get(f"/api/v1/namespaces/{fresh.namespace}/configmaps/wasme-cache")
    assert protocol.parse_wanted(kept["data"]).registry_map == {"webassemblyhub.io": "hub.example.com/x"}
    kube_run("cache", "install", where, "--registry-map", "webassemblyhub.io=other.example.com")
    kept = api.get(f"/api/v1/namespaces/{fresh.namespace}/configmaps/wasme-cache")
    assert protocol.parse_wanted(kept["data"]).registry_map == {"webassemblyhub.io": "other.example.com"}
    seen = kube_run("cache", "install", where, "--dry-run=server", "--output=json").json
    assert [each["kind"] for each in seen["items"]][-1] == "DaemonSet"
    assert "managedFields" not in seen["items"][-1]["metadata"]
    with pytest.raises(ApiRefused):
        api.get(f"/apis/apps/v1/namespaces/{fresh.namespace}/daemonsets/other")


def test_install_refuses_the_originals_image(kube_run):
    """The command says in one line that the image is the original's, and what to do."""
    result = kube_run("cache", "install", "--cache-repo=quay.io/solo-io/wasme", "--cache-tag=0.0.33", ok=False)
    assert result.exit_code == 1
    assert "is solo.io's" in result.stderr
    assert "leave --cache-repo away" in result.stderr
