"""A real API server with its etcd, on loopback, for the length of a test session."""

from __future__ import annotations

import base64
import contextlib
import datetime
import http.client
import json
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.ports import free_port
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.programs import etcd, program

_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "None", "users": ["system:apiserver"]}, {"level": "Metadata"}],
}


class ControlPlane:
    """kube-apiserver and etcd as processes of this one.

    Attributes:
        url, token, ca: what a client needs to be the administrator.
        kubeconfig: the same as a file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = program("kube-apiserver")
        self._etcd = etcd()
        self._port, self._etcd_port, self._peer_port = (free_port() for _ in range(3))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.url = f"https://127.0.0.1:{self._port}"
        self.token = secrets.token_hex(16)
        self.kubeconfig = folder / "kubeconfig"
        self.audit_log = folder / "audit.log"
        self.ca = folder / "ca.crt"
        self._prepare()
        self.api = Api(self.url, self.ca, self.token)
        self.served: dict[str, object] = {}
        """What `crds.serve` has made it serve, by folder."""

    @property
    def version(self) -> str:
        told: str = self.api.get("/version")["gitVersion"]
        return told

    def start(self) -> None:
        """Start what is not running, and wait until it is ready."""
        if "etcd" not in self._processes:
            client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._peer_port}"
            self._run(
                "etcd", self._etcd, "--data-dir", self._folder / "etcd", "--unsafe-no-fsync",
                "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
                "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
            )  # fmt: skip
        if "kube-apiserver" not in self._processes:
            self._start_server()
        self._wait_ready()

    def require_own(self) -> None:
        """Skip the test unless the server may be stopped: for those whose other threads do it."""

    def stop(self) -> None:
        """Stop the API server; etcd and the data stay, and `start` goes on with them."""
        self._end("kube-apiserver")

    def kill(self) -> None:
        """As `stop`, without any good-bye."""
        self._processes["kube-apiserver"].kill()
        self._end("kube-apiserver")

    def pause(self) -> None:
        """Let the API server stand still: connections stay open, nothing is answered."""
        self._processes["kube-apiserver"].send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._processes["kube-apiserver"].send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop everything."""
        for name in list(self._processes):
            self._end(name)

    @contextlib.contextmanager
    def controllers(self) -> Iterator[subprocess.Popen[bytes]]:
        """A real kube-controller-manager: Deployments make Pods, owners are followed; nothing runs the Pods."""
        port = free_port()
        self._run(
            "kube-controller-manager", program("kube-controller-manager"), "--kubeconfig", self.kubeconfig,
            "--authentication-kubeconfig", self.kubeconfig, "--authorization-kubeconfig", self.kubeconfig,
            "--service-account-private-key-file", self._folder / "sa.key", "--use-service-account-credentials=false",
            "--controllers=*,-node-ipam-controller,-cloud-node-lifecycle-controller,-node-route-controller"
            ",-node-lifecycle-controller,-taint-eviction-controller",
            "--leader-elect=false", "--bind-address=127.0.0.1", f"--secure-port={port}",
            "--cert-dir", self._folder / "controllers", "--kube-api-qps=500", "--kube-api-burst=500",
        )  # fmt: skip
        try:
            yield self._processes["kube-controller-manager"]
        finally:
            self._end("kube-controller-manager")

    def kubeconfig_for(self, user: str, *groups: str, namespace: str = "") -> Path:
        """The kubeconfig of a user who may do only what RBAC objects give to that name."""
        file = self._folder / f"kubeconfig-{user}"
        certificate, key = self._client_certificate(user, groups)
        self._write_kubeconfig(
            file, {"client-certificate-data": _base64(certificate), "client-key-data": _base64(key)}, namespace
        )
        return file

    def compact(self) -> None:
        """Let etcd forget everything but the present, as it does of itself every five minutes."""
        revision = self._ask_etcd("maintenance/status", {})["header"]["revision"]
        self._ask_etcd("kv/compaction", {"revision": revision})

    def backup(self) -> Callable[[], None]:
        """Keep what is stored now; what is returned puts it back, versions too. The server is stopped for each."""
        stored, kept = self._folder / "etcd", self._folder / "etcd.kept"

        def copied(source: Path, target: Path) -> None:
            for name in ("kube-apiserver", "etcd"):
                self._end(name)
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)
            self.start()

        copied(stored, kept)
        return lambda: copied(kept, stored)

    def rewrite(self, resource: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change an object where etcd keeps it, as a server of long ago may have left it there.

        Args:
            resource: its key below ``/registry``; of a kind that is stored as JSON.
            change: is given the object.
        """
        key = _base64(f"/registry/{resource}".encode())
        (found,) = self._ask_etcd("kv/range", {"key": key})["kvs"]
        stored = json.loads(base64.b64decode(found["value"]))
        change(stored)
        self._ask_etcd("kv/put", {"key": key, "value": _base64(json.dumps(stored).encode())})

    def _ask_etcd(self, path: str, body: dict[str, Any]) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._etcd_port, timeout=10)
        try:
            connection.request("POST", f"/v3/{path}", json.dumps(body))
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        assert answer.status == 200, content
        return json.loads(content)

    def mark(self) -> int:
        """Now, for `audit`."""
        return self.audit_log.stat().st_size if self.audit_log.exists() else 0

    def audit(self, since: int = 0, *, agent: str = "wasme/") -> list[dict[str, Any]]:
        """What was asked of the server since a mark, by clients whose user agent begins so."""
        with self.audit_log.open("rb") as log:
            log.seek(max(0, since - 1))
            content = log.read()
        # The server may be in the middle of a line, and may have been so at the mark: such a line does not count.
        begun = content.find(b"\n") + 1 if since else 0
        events = [json.loads(line) for line in content[begun : content.rfind(b"\n") + 1].splitlines()]
        return [event for event in events if event.get("userAgent", "").startswith(agent)]

    def log(self, name: str = "kube-apiserver") -> str:
        """What a process of it has said."""
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def _prepare(self) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec, rsa
        from cryptography.x509.oid import NameOID

        self._folder.mkdir(parents=True, exist_ok=True)
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        account = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pkcs8 = serialization.PrivateFormat.PKCS8
        (self._folder / "sa.key").write_bytes(account.private_bytes(pem, pkcs8, plain))
        public = serialization.PublicFormat.SubjectPublicKeyInfo
        (self._folder / "sa.pub").write_bytes(account.public_key().public_bytes(pem, public))

        self._ca_key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wasme tests")])
        self._sign = lambda subject, key, *more: _signed(subject, key, name, self._ca_key, *more)
        ca = self._sign(name, self._ca_key.public_key(), x509.BasicConstraints(ca=True, path_length=None))
        (self._folder / "ca.crt").write_bytes(ca.public_bytes(pem))
        server_key = ec.generate_private_key(ec.SECP256R1())
        import ipaddress

        names = x509.SubjectAlternativeName(
            [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        )
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        server = self._sign(subject, server_key.public_key(), names)
        (self._folder / "server.crt").write_bytes(server.public_bytes(pem))
        (self._folder / "server.key").write_bytes(server_key.private_bytes(pem, pkcs8, plain))
        for secret in ("sa.key", "server.key"):
            (self._folder / secret).chmod(0o600)
        (self._folder / "tokens.csv").write_text(f'{self.token},admin,admin,"system:masters"\n')
        (self._folder / "audit.json").write_text(json.dumps(_POLICY))
        self._write_kubeconfig(self.kubeconfig, {"token": self.token})

    def _client_certificate(self, user: str, groups: tuple[str, ...]) -> tuple[bytes, bytes]:
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, user)])
        certificate = self._sign(subject, key.public_key(), x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]))
        pem = serialization.Encoding.PEM
        secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return certificate.public_bytes(pem), secret

    def _write_kubeconfig(self, file: Path, user: dict[str, Any], namespace: str = "") -> None:
        cluster = {"server": self.url, "certificate-authority": str(self.ca)}
        context = {"cluster": "test", "user": "user", **({"namespace": namespace} if namespace else {})}
        file.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "clusters": [{"name": "test", "cluster": cluster}],
                    "users": [{"name": "user", "user": user}],
                    "contexts": [{"name": "test", "context": context}],
                }
            )
        )
        file.chmod(0o600)

    def _start_server(self) -> None:
        folder = self._folder
        self._run(
            "kube-apiserver", self._server, f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            f"--tls-cert-file={folder}/server.crt", f"--tls-private-key-file={folder}/server.key",
            f"--client-ca-file={folder}/ca.crt", f"--cert-dir={folder}/certs", "--bind-address=127.0.0.1",
            f"--secure-port={self._port}", "--advertise-address=127.0.0.1", "--service-cluster-ip-range=10.96.0.0/16",
            "--allow-privileged=true", "--authorization-mode=RBAC", f"--token-auth-file={folder}/tokens.csv",
            "--disable-admission-plugins=ServiceAccount", "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder}/sa.pub", f"--service-account-signing-key-file={folder}/sa.key",
            f"--audit-policy-file={folder}/audit.json", f"--audit-log-path={self.audit_log}",
            "--audit-log-maxsize=2000", "--shutdown-delay-duration=0s", "--endpoint-reconciler-type=none",
            "--event-ttl=10m",
        )  # fmt: skip

    def _run(self, name: str, *argv: object) -> None:
        log = (self._folder / f"{name}.log").open("ab")
        with log:
            self._processes[name] = subprocess.Popen(
                [str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder,
                env={"PATH": os.environ.get("PATH", ""), "HOME": str(self._folder), "GOMAXPROCS": "4"},
            )  # fmt: skip

    def _end(self, name: str) -> None:
        process = self._processes.pop(name)
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _wait_ready(self, seconds: float = 90) -> None:
        wait_until(self._is_ready, seconds, lambda: f"the API server is not ready: {self.log()[-2000:]}")

    def _is_ready(self) -> bool:
        for name, process in self._processes.items():
            if process.poll() is not None:
                pytest.fail(f"{name} ended: {self.log(name)[-2000:]}")
        context = ssl.create_default_context(cafile=str(self._folder / "ca.crt"))
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=context, timeout=5)
        try:
            connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {self.token}"})
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


def wait_until(holds: Callable[[], object], seconds: float, told: Callable[[], str] | str) -> None:
    """Ask until something holds; fails the test in words otherwise."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            pytest.fail(f"after {seconds} s: {told if isinstance(told, str) else told()}")
        time.sleep(0.05)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _signed(subject: Any, key: Any, issuer: Any, issuer_key: Any, *extensions: Any) -> Any:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(issuer_key, hashes.SHA256())
