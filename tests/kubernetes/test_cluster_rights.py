"""What a user of a real API server may do: missing rights are named, refused credentials explained."""

from __future__ import annotations

import datetime
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.cluster.samples import config_map
from wasme.deploy.cluster import Schema, connect, parallel
from wasme.deploy.cluster.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    NODE,
    POD,
    WASM_PLUGIN,
)
from wasme.errors import ClusterForbidden


def test_missing_rights_are_named(control_plane: ControlPlane, namespace: str, api: Api) -> None:
    """A user without rights learns verb, resource and namespace of each; with the right it works."""
    kubeconfig = control_plane.kubeconfig_for(f"eve-{namespace}", namespace=namespace)
    with connect(kubeconfig) as eve:
        assert eve.namespace == namespace
        with pytest.raises(ClusterForbidden) as refused:
            eve.apply(config_map(namespace))
        assert refused.value.message == (
            f"apply ConfigMap {namespace}/x: eve-{namespace} has no right to patch configmaps "
            f"in the namespace {namespace}"
        )
        assert refused.value.hint is not None
        assert f"kubectl -n {namespace} create role wasme --verb=patch --resource=configmaps" in refused.value.hint
        with pytest.raises(ClusterForbidden, match="has no right to list nodes in the whole cluster"):
            eve.list(NODE)
        with pytest.raises(ClusterForbidden, match=r"to list deployments\.apps in the whole cluster"):
            eve.list(DEPLOYMENT)
        _grant(api, namespace, f"eve-{namespace}", "get", "patch")
        wait_until(lambda: not _refused(lambda: eve.get(CONFIG_MAP, "x", namespace)), 30, "no right")
        # An apply that makes the object needs create as well as patch.
        with pytest.raises(ClusterForbidden, match="has no right to create configmaps in the namespace"):
            eve.apply(config_map(namespace))


def _grant(api: Api, namespace: str, user: str, *verbs: str) -> None:
    meta = {"name": user, "namespace": namespace}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta}
    api.create({**role, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": list(verbs)}]})
    api.create(
        {
            **role,
            "kind": "RoleBinding",
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }
    )


def test_rights_survive_a_restart(control_plane: ControlPlane, namespace: str, api: Api) -> None:
    """A server that has just started refuses rights that it has not read yet: that is waited for, and fails nothing."""
    control_plane.require_own()
    user = f"ada-{namespace}"
    _grant(api, namespace, user, "get", "patch", "create")
    applied: list[int] = []

    def trouble() -> None:
        wait_until(lambda: len(applied) >= 60, 60, "nothing is applied")
        control_plane.kill()
        control_plane.start()

    with connect(control_plane.kubeconfig_for(user)) as cluster:
        wait_until(lambda: not _refused(lambda: cluster.apply(config_map(namespace))), 30, "no right")

        def work(number: int) -> None:
            cluster.apply(config_map(namespace, f"x{number}"))
            applied.append(number)
            time.sleep(0.02)

        thread = threading.Thread(target=trouble)
        thread.start()
        outcomes = parallel(work, range(400))
        thread.join()
    assert [str(each.error) for each in outcomes.failures] == []


def _refused(work: Callable[[], object]) -> bool:
    try:
        work()
    except ClusterForbidden:
        return True
    return False


def test_credentials_that_are_not_taken(control_plane: ControlPlane, tmp_path: Path) -> None:
    """A wrong token is a 401 that names user and file, and does not show the token."""
    file = tmp_path / "kubeconfig"
    file.write_text(control_plane.kubeconfig.read_text().replace(control_plane.token, "geheim-0815"))
    with connect(file) as cluster, pytest.raises(ClusterForbidden) as refused:
        cluster.list(POD)
    assert "does not accept these credentials: the user user of " in refused.value.message
    assert "geheim" not in refused.value.message


def test_an_expired_certificate_is_told(control_plane: ControlPlane, tmp_path: Path) -> None:
    """The server says only 401 to a client certificate that has ended; the message says when it did."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    ended = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "jane")]))
        .issuer_name(x509.load_pem_x509_certificate(control_plane.ca.read_bytes()).subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ended - datetime.timedelta(days=30))
        .not_valid_after(ended)
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(control_plane._ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for name, content in {"jane.crt": certificate.public_bytes(pem), "jane.key": secret}.items():
        (tmp_path / name).write_bytes(content)
    config = json.loads(control_plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"client-certificate": "jane.crt", "client-key": "jane.key"}
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(config))
    with connect(file) as cluster, pytest.raises(ClusterForbidden) as refused:
        cluster.list(POD)
    assert f"the client certificate expired on {ended:%Y-%m-%d %H:%M} UTC" in refused.value.message


def test_a_user_of_one_namespace_knows_the_schema(control_plane: ControlPlane, serve: Callable[..., None]) -> None:
    """Who may not read CRDs learns the same from the server's description."""
    serve("istio/1.30.3")
    paths = ("spec.failStrategy", "spec.vmConfig.env.valueFrom", "spec.pluginConfig.any", "spec.none", "spec.url.none")
    user = control_plane.kubeconfig_for("norights")

    def learn() -> Schema | None:
        try:
            with connect(user) as cluster:
                return cluster.served().schema(WASM_PLUGIN)
        except ClusterForbidden:
            return None

    # The server writes its description some time after it serves a kind.
    wait_until(lambda: learn() is not None, 20, "no description")
    learnt = learn()
    with connect(control_plane.kubeconfig) as admin:
        known = admin.served().schema(WASM_PLUGIN)
    assert known is not None
    assert learnt is not None
    assert [learnt.has(path) for path in paths] == [known.has(path) for path in paths]
    assert learnt.enum("spec.phase") == known.enum("spec.phase") != ()
