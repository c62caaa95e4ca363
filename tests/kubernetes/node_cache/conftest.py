"""An installed cache and its agents, for the tests here."""

import uuid

import pytest

from tests.fixtures.registries import stored
from tests.kubernetes.cluster import accounts
from wasme.deploy.cache.ensure import ensure
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.cluster.connect import connect
from wasme.image.store import open_store
from wasme.registry import transfer
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
    return accounts.account(api, control_plane, installed.namespace, installed.name, tmp_path)


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
