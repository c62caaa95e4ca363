"""kubeconfig files, read as kubectl reads them
(https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/).

lightkube reads one file; $KUBECONFIG may name several. Here they are merged: the first file that names a cluster, a
user, a context or a current context wins, and relative paths count from the file they stand in. What comes out is one
``Access``: everything needed to open connections, as one user.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wasme.errors import ClusterUnreachable

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

NONE = "set KUBECONFIG, or give --kubeconfig FILE"


@dataclass(frozen=True, slots=True)
class Plugin:
    """A program that gives credentials: ``users[].user.exec``."""

    command: str
    args: tuple[str, ...]
    env: Mapping[str, str]
    api_version: str
    provide_cluster_info: bool = False
    install_hint: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """One server and one user. Certificates and keys are PEM bytes. Its ``repr`` shows no secret."""

    server: str
    context: str = ""
    namespace: str = "default"
    user: str = ""
    origin: str = ""
    ca: bytes | None = None
    insecure: bool = False
    server_name: str = ""
    proxy: str = field(default="", repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    username: str = ""
    password: str = field(default="", repr=False)
    plugin: Plugin | None = field(default=None, repr=False)
    impersonate: tuple[tuple[str, str], ...] = ()


def find(kubeconfig: Path | None, context: str, environ: Mapping[str, str]) -> Access:
    """The access that kubectl would use.

    Args:
        kubeconfig: ``--kubeconfig``: this file and no other.
        context: ``--context``; empty for the file's current one.
        environ: the environment: KUBECONFIG (several files, joined as PATH is), HOME, KUBERNETES_SERVICE_*.

    Raises:
        ClusterUnreachable: no file, a file that cannot be read, a context that is not there.
    """
    if kubeconfig is not None:
        return select(merged([kubeconfig]), context, str(kubeconfig))
    named = [Path(each) for each in environ.get("KUBECONFIG", "").split(os.pathsep) if each]
    if named:
        there = [path for path in named if path.exists()]
        if not there:
            raise ClusterUnreachable(f"no such kubeconfig: {', '.join(map(str, named))} ($KUBECONFIG)", hint=NONE)
        return select(merged(there), context, os.pathsep.join(map(str, there)))
    inside = in_cluster(environ) if not context else None
    if inside is not None:
        return inside
    path = Path(environ.get("HOME") or "~").expanduser() / ".kube" / "config"
    if not path.exists():
        raise ClusterUnreachable(f"no cluster to talk to: $KUBECONFIG is not set and {path} does not exist", hint=NONE)
    return select(merged([path]), context, str(path))


def in_cluster(environ: Mapping[str, str], account: Path = SERVICE_ACCOUNT) -> Access | None:
    """The access of a pod's service account; None outside of a pod."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "")
    token = account / "token"
    if not host or not port or not token.exists():
        return None
    space = account / "namespace"
    return Access(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        context="in-cluster",
        namespace=(_file(space, "the pod's namespace").decode().strip() if space.exists() else "") or "default",
        user="the pod's service account",
        origin=str(account),
        ca=_file(account / "ca.crt", "the pod's certificate authority"),
        token_file=token,
    )


@dataclass(frozen=True, slots=True)
class Files:
    """Several kubeconfig files as one."""

    clusters: Mapping[str, tuple[dict[str, Any], Path]]
    users: Mapping[str, tuple[dict[str, Any], Path]]
    contexts: Mapping[str, tuple[dict[str, Any], Path]]
    current: str


def merged(paths: Sequence[Path]) -> Files:
    """Read and merge; of entries with one name the first counts.

    Raises:
        ClusterUnreachable: a file is missing, cannot be read, is no YAML or no kubeconfig.
    """
    clusters: dict[str, tuple[dict[str, Any], Path]] = {}
    users: dict[str, tuple[dict[str, Any], Path]] = {}
    contexts: dict[str, tuple[dict[str, Any], Path]] = {}
    current = ""
    for path in paths:
        found = _yaml(path)
        for into, many, one in (
            (clusters, "clusters", "cluster"),
            (users, "users", "user"),
            (contexts, "contexts", "context"),
        ):
            for entry in found.get(many) or []:
                if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                    raise ClusterUnreachable(
                        f"{path}: an entry of {many} has no name", hint="kubectl config view shows the file"
                    )
                value = entry.get(one) or {}
                if not isinstance(value, dict):
                    raise ClusterUnreachable(
                        f"{path}: {many} {entry['name']} is no mapping", hint="kubectl config view shows the file"
                    )
                into.setdefault(entry["name"], (value, path))
        current = current or str(found.get("current-context") or "")
    return Files(clusters, users, contexts, current)


def select(files: Files, context: str, origin: str) -> Access:
    """The access of one context.

    Raises:
        ClusterUnreachable: the context, or what it names, is not there; a file that an entry names cannot be read.
    """
    name = context or files.current
    if not name:
        raise ClusterUnreachable(
            f"{origin} names no current context", hint="kubectl config use-context NAME, or --context NAME"
        )
    if name not in files.contexts:
        known = ", ".join(sorted(files.contexts)) or "none"
        raise ClusterUnreachable(f"{origin} has no context {name}", hint=f"it has: {known}")
    chosen, _ = files.contexts[name]
    cluster_name, user_name = str(chosen.get("cluster") or ""), str(chosen.get("user") or "")
    if cluster_name not in files.clusters:
        raise ClusterUnreachable(
            f"{origin}: the context {name} names the cluster {cluster_name or '(none)'}, which is not there",
            hint="mend the kubeconfig",
        )
    if user_name and user_name not in files.users:
        raise ClusterUnreachable(
            f"{origin}: the context {name} names the user {user_name}, who is not there", hint="mend the kubeconfig"
        )
    cluster, cluster_path = files.clusters[cluster_name]
    user, user_path = files.users.get(user_name, ({}, Path()))
    server = str(cluster.get("server") or "")
    if not is_address(server, "https", "http"):
        raise ClusterUnreachable(
            f"{cluster_path}: the cluster {cluster_name} has no server address (https://HOST:PORT)",
            hint="mend the kubeconfig",
        )
    if user.get("auth-provider") and not (user.get("exec") or user.get("token")):
        raise ClusterUnreachable(
            f"{user_path}: the user {user_name} has an auth-provider, which Kubernetes took out in 1.26",
            hint="use the provider's exec plugin: log in again with its own tool",
        )
    token_file = user.get("tokenFile")
    return Access(
        server=server.rstrip("/"),
        context=name,
        namespace=str(chosen.get("namespace") or "default"),
        user=user_name,
        origin=origin,
        ca=_pem(cluster, "certificate-authority", cluster_path, cluster_name),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        server_name=str(cluster.get("tls-server-name") or ""),
        proxy=str(cluster.get("proxy-url") or ""),
        certificate=_pem(user, "client-certificate", user_path, user_name),
        key=_pem(user, "client-key", user_path, user_name),
        token=str(user.get("token") or ""),
        token_file=user_path.parent / str(token_file) if token_file else None,
        username=str(user.get("username") or ""),
        password=str(user.get("password") or ""),
        plugin=_plugin(user, user_path, user_name),
        impersonate=_impersonation(user),
    )


def is_address(text: str, *schemes: str) -> bool:
    """Whether a text is a URL of a host, with one of these schemes."""
    try:
        parts = urlsplit(text)
        return bool(parts.scheme in schemes and parts.hostname and parts.port != 0) and not set(text) & set(" \t\r\n\\")
    except ValueError:
        return False


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        # The C loader where there is one: files of many clusters are large.
        found = yaml.load(_file(path, "the kubeconfig"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # Not the text around it: it may be a secret.
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark is not None else ""
        raise ClusterUnreachable(
            f"{path} is no YAML{where}", hint="a kubeconfig is meant; is this the right file?"
        ) from error
    if found is None:
        return {}
    if not isinstance(found, dict) or not any(
        each in found for each in ("clusters", "contexts", "users", "current-context")
    ):
        raise ClusterUnreachable(f"{path} is no kubeconfig", hint="is this the right file?")
    for many in ("clusters", "users", "contexts"):
        if not isinstance(found.get(many) or [], list):
            raise ClusterUnreachable(f"{path}: {many} is no list", hint="kubectl config view shows the file")
    return found


def _file(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ClusterUnreachable(
            f"cannot read {what}, {path}: {(error.strerror or 'error').lower()}", hint=NONE
        ) from error


def _pem(entry: Mapping[str, Any], name: str, path: Path, owner: str) -> bytes | None:
    """``NAME-data`` (base64) before ``NAME`` (a file, relative to the kubeconfig), as kubectl."""
    data = entry.get(f"{name}-data")
    if data:
        try:
            return base64.b64decode(str(data), validate=False)
        except (binascii.Error, ValueError) as error:
            raise ClusterUnreachable(
                f"{path}: {name}-data of {owner} is no base64", hint="mend the kubeconfig"
            ) from error
    file = entry.get(name)
    return _file(path.parent / str(file), f"the {name} of {owner}") if file else None


def _plugin(user: Mapping[str, Any], path: Path, owner: str) -> Plugin | None:
    found = user.get("exec")
    if not found:
        return None
    if not isinstance(found, dict) or not found.get("command"):
        raise ClusterUnreachable(f"{path}: exec of the user {owner} names no command", hint="mend the kubeconfig")
    command = str(found["command"])
    if "/" in command and not command.startswith("/"):
        command = str(path.parent / command)
    env = {
        str(each.get("name")): str(each.get("value", ""))
        for each in found.get("env") or []
        if isinstance(each, dict) and each.get("name")
    }
    return Plugin(
        command=command,
        args=tuple(str(each) for each in found.get("args") or []),
        env=env,
        api_version=str(found.get("apiVersion") or "client.authentication.k8s.io/v1"),
        provide_cluster_info=bool(found.get("provideClusterInfo")),
        install_hint=str(found.get("installHint") or ""),
    )


def _impersonation(user: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    headers = []
    if user.get("as"):
        headers.append(("Impersonate-User", str(user["as"])))
    if user.get("as-uid"):
        headers.append(("Impersonate-Uid", str(user["as-uid"])))
    headers += [("Impersonate-Group", str(each)) for each in user.get("as-groups") or []]
    for name, values in (user.get("as-user-extra") or {}).items():
        headers += [(f"Impersonate-Extra-{name}", str(each)) for each in values]
    return tuple(headers)
