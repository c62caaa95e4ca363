"""The installed cache with real agents, each a process of its own that is nobody but the cache's ServiceAccount."""

import base64
import json
import time
import uuid

import pytest

from tests.fixtures.agents import soon
from tests.fixtures.registries import stored
from wasme.deploy.cache import manifests, protocol, secrets
from wasme.deploy.cache.ensure import ensure
from wasme.deploy.cache.holding import hold
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.cache.registration import forget, register, wanted
from wasme.deploy.cache.waiting import holdings
from wasme.deploy.cluster.connect import connect
from wasme.errors import CacheError, ClusterForbidden
from wasme.image.store import open_store
from wasme.registry import transfer
from wasme.registry.auth import Credential
from wasme.registry.credentials import Keychain
from wasme.registry.session import Session
from wasme.registry.transport import ConnectionOptions


@pytest.fixture
def cluster(control_plane):
    with connect(control_plane.kubeconfig) as found:
        yield found


@pytest.fixture
def installed(cluster, namespace):
    """A cache as `wasme cache install` makes it."""
    return ensure(cluster, CacheOptions(namespace=namespace))


@pytest.fixture
def account(api, control_plane, installed, tmp_path):
    """The kubeconfig of the installed ServiceAccount: what a pod of the DaemonSet is to the API server."""
    return account_of(api, control_plane, installed, tmp_path)


def account_of(api, control_plane, options, folder):
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    place = f"/api/v1/namespaces/{options.namespace}/serviceaccounts/{options.name}/token"
    token = api.call("POST", place, asked)["status"]["token"]
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "node",
        "clusters": [
            {"name": "c", "cluster": {"server": control_plane.url, "certificate-authority": str(control_plane.ca)}}
        ],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "node", "context": {"cluster": "c", "user": "u"}}],
    }
    file = folder / f"account-{uuid.uuid4().hex[:6]}"
    file.write_text(json.dumps(content))
    file.chmod(0o600)
    return file


@pytest.fixture
def start(agents, control_plane, installed, account):
    """``start("n-1", "n-2")``: agents of the installed cache."""
    return lambda *names, **settings: agents(
        control_plane, installed.namespace, *names, **{"kubeconfig": account, **settings}
    )


@pytest.fixture
def productpage(api, nodes, pods, bookinfo):
    """``productpage(namespace, *nodes)``: the sample's pods there, and the selector that finds them."""

    def call(namespace, *names):
        workload = bookinfo(namespace)["productpage-v1"]
        pods(workload, *names)
        return [(namespace, workload["spec"]["selector"])]

    return call


@pytest.fixture
def image(docker_registry):
    """``image()`` pushes a filter to a real registry; its line for the namespace `apps`."""

    def call(namespace="apps", name="test", *, registry=docker_registry, seed=0):
        ref = f"{registry.host}/cache/{uuid.uuid4().hex[:8]}:v1"
        with Session(ConnectionOptions(), Keychain(registry.user, registry.password)) as session:
            pushed = transfer.push(open_store(), stored(open_store(), ref, seed=seed), session)
        return FilterLine(namespace, name, ref, pushed.manifest.digest, pushed.module.digest)

    return call


def events(api, options, ref):
    found = api.list(f"/api/v1/namespaces/{options.namespace}/events")
    return [each for each in found if each["metadata"].get("annotations", {}).get("cache.wasme.io/image_ref") == ref]


def data(api, options):
    return api.get(f"/api/v1/namespaces/{options.namespace}/configmaps/{options.name}")["data"]


def test_one_event_within_thirty_seconds(api, cluster, installed, start, image):
    """The original's acceptance test: installed twice, a reference set in the ConfigMap gives one ImageAdded event.

    [BUG] It gave another one each two seconds: five seconds later there is still one.
    """
    ensure(cluster, installed)
    start("n-1")
    line = image()
    place = f"/api/v1/namespaces/{installed.namespace}/configmaps/{installed.name}"
    api.patch(place, {"data": {"images": line.ref}})
    assert soon(lambda: events(api, installed, line.ref), 30)
    time.sleep(5)
    (event,) = events(api, installed, line.ref)
    assert (event["reason"], event["source"]["host"]) == ("ImageAdded", "n-1")


def test_three_nodes(cluster, api, installed, start, image, nodes, productpage, namespace):
    """[BUG] more than one node never succeeded: three nodes hold the file and the marker when `hold` returns."""
    nodes("n-1", "n-2", "n-3")
    running = start("n-1", "n-2", "n-3")
    line = image(namespace)
    begun = time.monotonic()
    hold(cluster, installed, [line], productpage(namespace, "n-1", "n-2", "n-3"), 60)
    took = time.monotonic() - begun
    for agent in running:
        assert agent.file(line.module).stat().st_size == 20_000
        assert (agent.directory / "ready" / namespace).exists()
    assert took < 10
    states = holdings(cluster, installed)
    assert sorted(states) == ["n-1", "n-2", "n-3"]
    assert all(state.holds(line.module) and state.ready == (namespace,) for state in states.values())
    assert data(api, installed)["images"] == line.ref


def test_three_nodes_with_one_dead(cluster, installed, start, image, nodes, productpage, namespace, caplog):
    """A node that died with its agent is named in a warning and not waited for."""
    nodes("n-1", "n-2", "n-3")
    running = start("n-1", "n-2", "n-3")
    selectors = productpage(namespace, "n-1", "n-2", "n-3")
    running[2].kill()
    nodes("n-3", ready=False)
    line = image(namespace)
    hold(cluster, installed, [line], selectors, 60)
    assert all(agent.file(line.module).exists() for agent in running[:2])
    (record,) = [
        record for record in caplog.records if record.levelname == "WARNING" and "nodes" in record.getMessage()
    ]
    assert record.fields == {"nodes": "n-3"}


def test_a_ready_node_without_an_agent(cluster, api, installed, start, image, nodes, productpage, namespace):
    """A ready node whose agent is dead is named at the timeout; the ConfigMap is as before, and a retry waits again.

    [BUG] The original left the reference registered, so that the retry did not wait, and proxies were pointed at a
    file that was not there.
    """
    nodes("n-1", "n-2")
    start("n-1")
    selectors = productpage(namespace, "n-1", "n-2")
    line = image(namespace)
    for _ in range(2):
        with pytest.raises(CacheError) as caught:
            hold(cluster, installed, [line], selectors, 1.5)
        assert "timed out after 1.5s (last err: 1 of 2 nodes does not hold image" in caught.value.message
        assert "n-2: its agent has told nothing yet" in caught.value.message
        assert wanted(cluster, installed) == protocol.Wanted()
    start("n-2")
    hold(cluster, installed, [line], selectors, 30)


def test_an_image_that_is_nowhere(cluster, installed, start, image, nodes, productpage, namespace):
    """404 at the registry ends the wait on all nodes within seconds, and the reason is the registry's."""
    nodes("n-1", "n-2")
    start("n-1", "n-2")
    line = image(namespace)
    missing = line._replace(ref=line.ref.replace("/cache/", "/nowhere/"))
    begun = time.monotonic()
    with pytest.raises(CacheError) as caught:
        hold(cluster, installed, [missing], productpage(namespace, "n-1", "n-2"), 60)
    assert time.monotonic() - begun < 20
    assert "no node can pull it: " in caught.value.message
    assert "(on n-1, n-2)" in caught.value.message
    assert wanted(cluster, installed) == protocol.Wanted()


def test_a_new_image_and_back(cluster, installed, start, image, nodes, productpage, namespace):
    """A changed image is on the node beside the old one, until the old line is forgotten."""
    nodes("n-1")
    (agent,) = start("n-1")
    selectors = productpage(namespace, "n-1")
    old, new = image(namespace), image(namespace, seed=1)
    hold(cluster, installed, [old], selectors, 30)
    hold(cluster, installed, [new], selectors, 30)
    assert agent.file(old.module).exists()
    assert agent.file(new.module).exists()
    assert forget(cluster, installed, namespace, "test", keep=[new]) == (old,)
    assert soon(lambda: [each.ref for each in holdings(cluster, installed)["n-1"].images].count(old.ref) == 0)
    assert wanted(cluster, installed).images == (new.ref,)


def test_private_image(cluster, api, installed, start, image, nodes, productpage, namespace, login_registry):
    """Without a credential the wait ends at 401 with the flag that helps; with a pull secret the nodes hold the image.

    The agents' Secret holds that registry's entry alone, and goes with the last filter that needed it.
    """
    nodes("n-1", "n-2")
    start("n-1", "n-2")
    selectors = productpage(namespace, "n-1", "n-2")
    line = image(namespace, registry=login_registry)
    with pytest.raises(CacheError) as caught:
        hold(cluster, installed, [line], selectors, 60)
    assert "--pull-secret" in caught.value.hint
    auth = base64.b64encode(f"{login_registry.user}:{login_registry.password}".encode()).decode()
    content = {"auths": {"other.example.com": {"auth": "eDp5"}, login_registry.host: {"auth": auth}}}
    encoded = base64.b64encode(json.dumps(content).encode()).decode()
    api.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "regcred", "namespace": namespace},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": encoded},
        }
    )
    name = secrets.share_secret(cluster, installed, namespace, "regcred", login_registry.host)
    place = f"/api/v1/namespaces/{installed.namespace}/secrets/{name}"
    shared = json.loads(base64.b64decode(api.get(place)["data"][".dockerconfigjson"]))
    assert shared == {"auths": {login_registry.host: {"auth": auth}}}
    before = api.get(place)["metadata"]["resourceVersion"]
    assert secrets.share_secret(cluster, installed, namespace, "regcred", login_registry.host) == name
    assert api.get(place)["metadata"]["resourceVersion"] == before
    hold(cluster, installed, [line], selectors, 60)
    forget(cluster, installed, namespace, "test")
    assert api.find(place) is None


def test_shared_credentials(cluster, installed, start, image, nodes, productpage, namespace, login_registry):
    """Who is logged in on the command line can let the agents be that for one registry."""
    nodes("n-1")
    start("n-1")
    line = image(namespace, registry=login_registry, seed=2)
    credential = Credential(login_registry.user, login_registry.password)
    secrets.share_credential(cluster, installed, namespace, login_registry.host, credential)
    hold(cluster, installed, [line], productpage(namespace, "n-1"), 60)


def test_pull_secret_that_is_not_there(cluster, installed, namespace):
    """A pull secret that does not exist is told with its namespace."""
    with pytest.raises(CacheError, match=f"pull secret {namespace}/nothing: there is no such Secret"):
        secrets.share_secret(cluster, installed, namespace, "nothing", "r.example.com")


RIGHTS = [
    (("configmaps", "list"), "the cache's list cannot be watched"),
    (("configmaps", "watch"), "the cache's list cannot be watched"),
    (("configmaps", "create"), "the node's status cannot be written"),
    (("configmaps", "patch"), "the node's status cannot be written"),
    (("events", "create"), "event cannot be written"),
    (("secrets", "list"), "pull secrets cannot be read"),
]


def test_the_table_of_rights_is_whole():
    """Each right of the agents' Role is one that a test below takes away."""
    rules = manifests.role(CacheOptions())["rules"]
    assert sorted((resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]) == (
        sorted(right for right, _ in RIGHTS)
    )


@pytest.mark.parametrize(
    ("right", "told"), RIGHTS, ids=lambda value: "-".join(value) if isinstance(value, tuple) else ""
)
def test_each_right_is_needed(api, cluster, installed, start, image, login_registry, right, told):
    """Without any one of its rights the agent fails at something and says at what; with it again it goes on."""
    place = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{installed.namespace}/roles/{installed.name}"
    whole = api.get(place)["rules"]
    resource, verb = right
    fewer = [
        rule | {"verbs": [each for each in rule["verbs"] if resource not in rule["resources"] or each != verb]}
        for rule in whole
    ]
    api.patch(place, {"rules": [rule for rule in fewer if rule["verbs"]]})
    time.sleep(0.3)  # the authorizer follows by a watch
    line = image(registry=login_registry, seed=3)
    register(cluster, installed, [line])
    (agent,) = start("n-1")
    assert agent.logged(told), agent.log
    (failed,) = [text for text in agent.log if told in text][:1]
    assert resource in failed
    assert f"cannot {verb}" in failed


def test_the_whole_role_is_enough(api, cluster, installed, start, image, nodes, productpage, namespace, login_registry):
    """With its Role as installed the agent is refused nothing, whatever it has to do."""
    nodes("n-1")
    (agent,) = start("n-1")
    credential = Credential(login_registry.user, login_registry.password)
    secrets.share_credential(cluster, installed, namespace, login_registry.host, credential)
    line = image(namespace, registry=login_registry, seed=4)
    hold(cluster, installed, [line], productpage(namespace, "n-1"), 60)
    assert soon(lambda: events(api, installed, line.ref))
    assert [text for text in agent.log if "forbidden" in text or "cannot" in text] == []


DEPLOYER = [
    ("configmaps", "get"),
    ("configmaps", "list"),
    ("configmaps", "watch"),
    ("configmaps", "update"),
    ("secrets", "get"),
    ("secrets", "create"),
    ("secrets", "patch"),
    ("pods", "list"),
]


@pytest.mark.parametrize("without", [None, *DEPLOYER], ids=lambda right: "-".join(right or ()))
def test_a_deployers_rights(
    api, control_plane, installed, start, image, nodes, productpage, namespace, login_registry, without
):
    """Who may not install deploys with the rights that the page on the node cache tells, and with no fewer of them."""
    nodes("n-1")
    start("n-1")
    selectors = productpage(namespace, "n-1")
    user = f"deployer-{uuid.uuid4().hex[:6]}"
    rights = [right for right in DEPLOYER if right != without]
    rules = [{"apiGroups": [""], "resources": [resource], "verbs": [verb]} for resource, verb in rights]
    grant(api, namespace, user, rules)
    auth = base64.b64encode(f"{login_registry.user}:{login_registry.password}".encode()).decode()
    content = base64.b64encode(json.dumps({"auths": {login_registry.host: {"auth": auth}}}).encode()).decode()
    api.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "regcred", "namespace": namespace},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": content},
        }
    )
    line = image(namespace, registry=login_registry, seed=5)

    def deploy():
        with connect(control_plane.kubeconfig_for(user)) as own:
            options = ensure(own, CacheOptions(namespace=installed.namespace))
            secrets.share_secret(own, options, namespace, "regcred", login_registry.host)
            hold(own, options, [line], selectors, 30)

    if without is None:
        deploy()
        return
    with pytest.raises(ClusterForbidden) as caught:
        deploy()
    # Who cannot even see that there is a cache is told the first right of those who install one.
    assert ("daemonsets" if without == ("configmaps", "get") else without[0]) in caught.value.message


def grant(api, namespace, user, rules):
    group = "rbac.authorization.k8s.io"
    metadata = {"name": user, "namespace": namespace}
    api.apply({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules})
    bound = {
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        "roleRef": {"apiGroup": group, "kind": "Role", "name": user},
    }
    api.apply({"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": metadata} | bound)


def test_status_and_uninstall(api, cluster, kube_run, installed, start, image, nodes, productpage, namespace):
    """`status` tells each node; `uninstall` refuses while a filter is deployed, and then leaves nothing of ours."""
    nodes("n-1", "n-2")
    nodes("n-3", ready=False)
    running = start("n-1", "n-2")
    line = image(namespace)
    hold(cluster, installed, [line], productpage(namespace, "n-1", "n-2"), 60)
    api.patch(
        f"/api/v1/namespaces/{installed.namespace}/configmaps/{installed.name}",
        {"data": {"images": f"{line.ref}\n127.0.0.1:1/no/where:1"}},
    )
    assert soon(lambda: all(any(e.error for e in s.images) for s in holdings(cluster, installed).values()))
    where = f"--cache-namespace={installed.namespace}"
    rows = [row.split(maxsplit=4) for row in kube_run("cache", "status", where).stdout.splitlines()]
    by_node = {row[0]: row[1:] for row in rows}
    assert by_node["NODE"] == ["READY", "AGENT", "HELD", "PROBLEM"]
    assert by_node["n-1"][:3] == by_node["n-2"][:3] == ["True", "0.1.0", "1/2"]
    assert by_node["n-1"][3].startswith("127.0.0.1:1/no/where:1: ")
    assert by_node["n-3"][:3] == ["False", "none", "0/2"]
    seen = kube_run("cache", "status", where, "--output=json").json
    assert seen["filters"] == [f"{namespace}/test"]
    views = {each["node"]: each for each in seen["nodes"]}
    assert views["n-1"]["namespaces"] == [namespace]
    assert views["n-3"]["problems"] == ["no agent has told anything"]

    refused = kube_run("cache", "uninstall", where, ok=False)
    assert f"1 filter still loads modules from it: {namespace}/test" in refused.stderr
    forget(cluster, installed, namespace, "test")
    for each in running:
        each.stop()
    others = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "namespace": installed.namespace}}
    api.create(others)
    dry = kube_run("cache", "uninstall", where, "--dry-run").stdout.splitlines()
    assert dry == [
        f"{kind} {installed.namespace}/{name}"
        for kind, name in [
            ("DaemonSet", "wasme-cache"),
            ("RoleBinding", "wasme-cache"),
            ("Role", "wasme-cache"),
            ("ServiceAccount", "wasme-cache"),
            ("ConfigMap", "wasme-cache"),
            ("ConfigMap", "wasme-cache-n-1"),
            ("ConfigMap", "wasme-cache-n-2"),
        ]
    ]
    told = kube_run("cache", "uninstall", where).stdout
    assert "modules stay on the nodes, in /var/local/lib/wasme-cache" in told
    left = api.list(f"/api/v1/namespaces/{installed.namespace}/configmaps")
    assert sorted(each["metadata"]["name"] for each in left if each["metadata"]["name"] != "kube-root-ca.crt") == [
        "mine"
    ]
    again = kube_run("cache", "uninstall", where).stdout
    assert again == f"there is no cache wasme-cache.{installed.namespace}\n"
    gone = kube_run("cache", "status", where, ok=False)
    assert "there is no cache" in gone.stderr


def test_uninstall_takes_its_own_namespace(api, cluster, kube_run):
    """A namespace that install made goes if nothing else lives there, and stays with a reason if something does."""
    for other in (False, True):
        options = CacheOptions(namespace=f"wasme-{uuid.uuid4().hex[:8]}")
        ensure(cluster, options)
        if other:
            metadata = {"name": "mine", "namespace": options.namespace}
            api.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})
        result = kube_run("cache", "uninstall", f"--cache-namespace={options.namespace}")
        found = api.find(f"/api/v1/namespaces/{options.namespace}")
        assert ("deletionTimestamp" in found["metadata"]) is not other
        assert ("it also has Secret mine" in result.stderr) is other


def test_uninstall_leaves_what_is_not_a_cache(api, kube_run, namespace):
    """--cache-name with somebody else's name deletes nothing of theirs."""
    metadata = {"name": "web", "namespace": namespace}
    for kind in ("ConfigMap", "ServiceAccount"):
        api.create({"apiVersion": "v1", "kind": kind, "metadata": metadata})
    result = kube_run("cache", "uninstall", f"--cache-namespace={namespace}", "--cache-name=web")
    assert "not made by wasme, so it stays" in result.stderr
    assert api.find(f"/api/v1/namespaces/{namespace}/configmaps/web")
    assert api.find(f"/api/v1/namespaces/{namespace}/serviceaccounts/web")
