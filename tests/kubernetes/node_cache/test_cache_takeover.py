"""What an older install left is taken over; what is somebody else's stays."""

import pytest

from tests.kubernetes.node_cache.reading import daemon_set, mutations, originals_daemon_set, told
from wasme.deploy.cache.ensure import ensure
from wasme.deploy.cache.image import IMAGE
from wasme.deploy.cache.options import CacheOptions
from wasme.errors import CacheError


@pytest.fixture
def options(namespace):
    """A cache in a namespace that is there."""
    return CacheOptions(namespace=namespace)


def test_originals_install_is_taken_over(cluster, api, options, caplog, control_plane):
    """A DaemonSet of the original's gets our whole spec, its ConfigMap keeps its lines, and then nothing is written."""
    api.create(originals_daemon_set(options))
    api.create(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": options.name, "namespace": options.namespace},
            "data": {"images": "webassemblyhub.io/hxpmark/auth:0.01"},
        }
    )
    before = daemon_set(api, options)
    caplog.set_level("INFO")
    ensure(cluster, options)
    live = daemon_set(api, options)
    assert live["metadata"]["uid"] == before["metadata"]["uid"]
    assert [each["name"] for each in live["spec"]["template"]["spec"]["volumes"]] == ["cache-dir", "config"]
    container = live["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == IMAGE
    assert "command" not in container
    assert container["env"][0]["name"] == "NODE_HOSTNAME"
    kept = api.get(f"/api/v1/namespaces/{options.namespace}/configmaps/{options.name}")
    assert kept["data"] == {"images": "webassemblyhub.io/hxpmark/auth:0.01"}
    assert told(caplog)[-1][0] == "cache daemonset updated"
    mark = control_plane.mark()
    ensure(cluster, options)
    assert mutations(control_plane, mark) == []


def test_selector_of_an_older_install(cluster, api, options):
    """A DaemonSet whose selector nobody can change (the operator's chart had others) is made anew."""
    old = originals_daemon_set(options)
    old["spec"]["selector"] = {"matchLabels": {"app": "wasme-cache", "daemonset": "wasme-cache"}}
    old["spec"]["template"]["metadata"]["labels"] = {"app": "wasme-cache", "daemonset": "wasme-cache"}
    before = api.create(old)
    ensure(cluster, options)
    live = daemon_set(api, options)
    assert live["metadata"]["uid"] != before["metadata"]["uid"]
    assert live["spec"]["selector"] == {"matchLabels": {"app": "wasme-cache"}}


def test_role_binding_of_an_older_install(cluster, api, options):
    """A RoleBinding to another role, which nobody can change, is made anew."""
    group = "rbac.authorization.k8s.io"
    place = f"/apis/{group}/v1/namespaces/{options.namespace}/rolebindings/{options.name}"
    api.create(
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": options.name, "namespace": options.namespace},
            "subjects": [{"kind": "ServiceAccount", "name": options.name, "namespace": options.namespace}],
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "wasme-cache"},
        }
    )
    ensure(cluster, options)
    assert api.get(place)["roleRef"] == {"apiGroup": group, "kind": "Role", "name": options.name}


def test_somebody_elses_daemon_set_stays(cluster, api, options):
    """--cache-name with the name of another DaemonSet is refused, before anything of it is changed."""
    other = originals_daemon_set(options)
    other["spec"]["template"]["spec"]["volumes"][0] = {"name": "cache-dir", "emptyDir": {}}
    before = api.create(other)
    with pytest.raises(CacheError, match="is no node cache, so it stays as it is"):
        ensure(cluster, options)
    assert daemon_set(api, options)["spec"] == before["spec"]
