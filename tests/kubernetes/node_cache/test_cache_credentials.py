"""Credentials that went out of date: which one, and whose, `wasme cache status` tells."""

import base64
import json

import pytest

from tests.kubernetes.node_cache.reading import Cache, grant
from wasme.deploy.cache import secrets
from wasme.deploy.cache.ensure import ensure
from wasme.deploy.cache.overview import overview
from wasme.deploy.cache.protocol import FilterLine, ImageStatus
from wasme.deploy.cache.registration import register
from wasme.deploy.cluster.connect import connect
from wasme.registry.auth import Credential

REF = "registry.example.com/filters/auth:v1"
REFUSED = "401 unauthorized"


def line(namespace):
    return FilterLine(namespace, "auth", REF, "sha256:" + "a" * 64, "sha256:" + "b" * 64)


@pytest.fixture
def cache(api, cluster, namespace, nodes):
    """An installed cache whose one agent, which is this test, is refused by the registry."""
    nodes("n-1")
    cache = Cache(api, namespace)
    ensure(cluster, cache.options)
    register(cluster, cache.options, [line(namespace), line("apps")])
    image = line("apps")
    cache.tell("n-1", ImageStatus(REF, image.manifest, error=REFUSED, kind="Unauthorized", permanent=True))
    return cache


def problem(cluster, cache):
    return [each for each in overview(cluster, cache.options).problems if REF in each]


def test_a_refusal_names_the_secret_that_was_copied(cluster, api, cache, namespace):
    """An agent's 401 is told with the namespaces that need the image, and what each one's credential was copied from.

    A token that the source renews (ECR, twelve hours) is not copied again until the next deployment.
    """
    auths = {"registry.example.com": {"auth": base64.b64encode(b"AWS:old").decode()}}
    content = base64.b64encode(json.dumps({"auths": auths}).encode()).decode()
    api.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "regcred", "namespace": namespace},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": content},
        }
    )
    secrets.share_secret(cluster, cache.options, namespace, "regcred", "registry.example.com")
    assert problem(cluster, cache) == [
        f"{REF} is refused to agents: namespace apps gave no pull secret; namespace {namespace} gave a copy of its "
        "Secret regcred, which a new deployment copies anew"
    ]
    secrets.share_credential(cluster, cache.options, "apps", "registry.example.com", Credential("me", "secret-word"))
    (told,) = problem(cluster, cache)
    assert ": namespace apps gave a credential, which a new deployment copies anew; namespace " in told
    assert "secret-word" not in told
    secrets.share_credential(cluster, cache.options, namespace, "registry.example.com", Credential("AWS", "old"))
    assert "regcred" not in problem(cluster, cache)[0]


def test_who_may_not_read_secrets_is_told_the_namespaces(control_plane, cluster, api, cache, namespace):
    """Without the right to the copies the namespaces are told all the same; other errors are told as they are."""
    read = ["get", "list"]
    rules = [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": read},
        {"apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": read},
    ]
    grant(api, namespace, "reader", rules)
    with connect(control_plane.kubeconfig_for("reader")) as own:
        assert problem(own, cache) == [
            f"{REF} is refused to agents: namespace apps needs it; namespace {namespace} needs it"
        ]
    cache.tell("n-1", ImageStatus(REF, line("apps").manifest, error=REFUSED, kind="Unreachable"))
    assert problem(cluster, cache) == []
