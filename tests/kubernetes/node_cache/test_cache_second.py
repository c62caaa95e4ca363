"""A second cache would share the folder on the nodes with the first one, so there is none."""

import uuid

import pytest

from tests.kubernetes.conftest import new_namespace
from tests.kubernetes.node_cache.reading import daemon_set, grant, mutations, originals_daemon_set
from wasme.deploy.cache.ensure import ensure
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.others import others
from wasme.deploy.cluster.connect import connect
from wasme.errors import CacheError


@pytest.fixture
def second():
    """A cache in a namespace that is not there."""
    return CacheOptions(namespace=f"wasme-{uuid.uuid4().hex[:8]}")


def test_a_second_cache_is_refused(cluster, control_plane, installed, second):
    """Elsewhere, or under another name beside it, a second cache is refused with the flags of the first; no write."""
    mark = control_plane.mark()
    for other in (second, CacheOptions("other", installed.namespace)):
        with pytest.raises(CacheError) as caught:
            ensure(cluster, other)
        assert caught.value.message == (
            f"ensuring daemonset: DaemonSet {installed.namespace}/wasme-cache is a node cache already: two would "
            "delete each other's files, since the folder on the nodes is one, /var/local/lib/wasme-cache"
        )
        assert f"--cache-namespace={installed.namespace} --cache-name=wasme-cache" in caught.value.hint
    assert mutations(control_plane, mark) == []
    ensure(cluster, installed)


def test_the_command_and_its_rehearsal_refuse_it(kube_run, api, installed, second):
    """`wasme cache install` refuses it before it makes a namespace, and so does --dry-run=server."""
    for more in ((), ("--dry-run=server",)):
        refused = kube_run("cache", "install", f"--cache-namespace={second.namespace}", *more, ok=False)
        assert refused.exit_code == 1
        assert f"{installed.namespace}/wasme-cache is a node cache already" in refused.stderr
    assert api.find(f"/api/v1/namespaces/{second.namespace}") is None
    kube_run("cache", "install", f"--cache-namespace={second.namespace}", "--dry-run")


def test_the_originals_counts_too(cluster, api, namespace, second):
    """The original's DaemonSet, which has no label, is found by the folder that its agents write."""
    theirs = CacheOptions(namespace=namespace)
    api.create(originals_daemon_set(theirs))
    with pytest.raises(CacheError, match=f"{namespace}/wasme-cache is a node cache already"):
        ensure(cluster, second)
    ensure(cluster, theirs)


def test_what_else_mounts_the_folder_is_no_cache(cluster, api, namespace):
    """A DaemonSet that mounts the folder without being a cache, to set labels on it, is in nobody's way."""
    own = new_namespace(api)
    other = originals_daemon_set(CacheOptions("relabel", namespace))
    other["spec"]["template"]["spec"]["containers"][0]["args"] = ["chcon", "-R", "/var/local/lib/wasme-cache"]
    api.create(other)
    ensure(cluster, CacheOptions(namespace=own))


def test_who_may_not_look_elsewhere_installs(control_plane, api, installed, namespace):
    """Whoever has rights in one namespace alone is not kept from installing there."""
    own = new_namespace(api)
    grant(api, own, "installer", [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])
    options = CacheOptions(namespace=own)
    with connect(control_plane.kubeconfig_for("installer")) as cluster:
        assert others(cluster, options) == []
        ensure(cluster, options)
    assert daemon_set(api, options)["metadata"]["name"] == "wasme-cache"


def test_status_tells_of_another(kube_run, api, installed):
    """Two caches that are there all the same are told by `wasme cache status`; both go on being kept up to date."""
    own = new_namespace(api)
    theirs = CacheOptions(namespace=own)
    api.create(originals_daemon_set(theirs))
    told = kube_run("cache", "status", f"--cache-namespace={installed.namespace}", "--output=json").json
    assert [problem for problem in told["problems"] if f"DaemonSet {own}/wasme-cache" in problem]
