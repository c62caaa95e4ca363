"""kubeconfig files, read as kubectl reads them
(https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/).

$KUBECONFIG may name several files. They are merged: the first one that names a cluster, a user, a context or a current
context wins, and relative paths count from the file they stand in. What comes out is one ``Access``: everything needed
to open connections, as one user.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from wasme.deploy.cluster.access import Access, Plugin, is_address, is_host
from wasme.errors import ClusterUnreachable

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

NONE = "set KUBECONFIG, or give --kubeconfig FILE"
MEND = "mend the kubeconfig: kubectl config view shows it"


class _Cluster(msgspec.Struct, rename="kebab"):
    server: str | None = None
    certificate_authority: str | None = None
    certificate_authority_data: str | None = None
    insecure_skip_tls_verify: bool | None = None
    tls_server_name: str | None = None
    proxy_url: str | None = None


class _Variable(msgspec.Struct):
    name: str
    value: str = ""


class _Exec(msgspec.Struct, rename="camel"):
    command: str = ""
    args: list[str] | None = None
    env: list[_Variable] | None = None
    api_version: str | None = None
    provide_cluster_info: bool | None = None
    install_hint: str | None = None


class _User(msgspec.Struct, rename="kebab"):
    client_certificate: str | None = None
    client_certificate_data: str | None = None
    client_key: str | None = None
    client_key_data: str | None = None
    token: str | None = None
    token_file: str | None = msgspec.field(default=None, name="tokenFile")
    username: str | None = None
    password: str | None = None
    exec: _Exec | None = None
    auth_provider: Any = None
    as_: str | None = msgspec.field(default=None, name="as")
    as_uid: str | None = None
    as_groups: list[str] | None = None
    as_user_extra: dict[str, list[str]] | None = None


class _Context(msgspec.Struct):
    cluster: str | None = None
    user: str | None = None
    namespace: str | None = None


Entry = TypeVar("Entry", _Cluster, _User, _Context)


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
    """Several kubeconfig files as one: entries by name, each with the file it stands in."""

    clusters: Mapping[str, tuple[Any, Path]]
    users: Mapping[str, tuple[Any, Path]]
    contexts: Mapping[str, tuple[Any, Path]]
    current: str


def merged(paths: Sequence[Path]) -> Files:
    """Read and merge; of entries with one name the first counts.

    Raises:
        ClusterUnreachable: a file is missing, cannot be read, is no YAML or no kubeconfig.
    """
    entries: dict[str, dict[str, tuple[Any, Path]]] = {"clusters": {}, "users": {}, "contexts": {}}
    current = ""
    for path in paths:
        found = _yaml(path)
        for many, into in entries.items():
            for entry in found.get(many) or []:
                if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                    raise _wrong(f"{path}: an entry of {many} has no name")
                into.setdefault(entry["name"], (entry.get(many[:-1]), path))
        named = found.get("current-context")
        if not current and isinstance(named, str):
            current = named
    return Files(entries["clusters"], entries["users"], entries["contexts"], current)


def select(files: Files, context: str, origin: str) -> Access:
    """The access of one context.

    Raises:
        ClusterUnreachable: the context, or what it names, is not there or not what it must be; a file that an entry
            names cannot be read.
    """
    name = context or files.current
    if not name:
        raise _wrong(f"{origin} names no current context", "kubectl config use-context NAME, or --context NAME")
    if name not in files.contexts:
        known = ", ".join(sorted(files.contexts)) or "none"
        raise _wrong(f"{origin} has no context {name}", f"it has: {known}")
    chosen = _entry(files.contexts, name, _Context, "context")
    cluster_name, user_name = chosen.cluster or "", chosen.user or ""
    if cluster_name not in files.clusters:
        raise _wrong(f"{origin}: the context {name} names the cluster {cluster_name or '(none)'}, which is not there")
    if user_name and user_name not in files.users:
        raise _wrong(f"{origin}: the context {name} names the user {user_name}, who is not there")
    cluster = _entry(files.clusters, cluster_name, _Cluster, "cluster")
    cluster_path = files.clusters[cluster_name][1]
    user, user_path = _User(), cluster_path
    if user_name:
        user, user_path = _entry(files.users, user_name, _User, "user"), files.users[user_name][1]
    if not is_address(cluster.server or "", "https", "http"):
        raise _wrong(f"{cluster_path}: the cluster {cluster_name} has no server address (https://HOST:PORT)")
    if cluster.tls_server_name and not is_host(cluster.tls_server_name):
        raise _wrong(f"{cluster_path}: tls-server-name of the cluster {cluster_name} is no name of a host")
    if user.auth_provider and not (user.exec or user.token):
        raise _wrong(
            f"{user_path}: the user {user_name} has an auth-provider, which Kubernetes took out in 1.26",
            "use the provider's exec plugin: log in again with its own tool",
        )
    return Access(
        server=(cluster.server or "").rstrip("/"),
        context=name,
        namespace=chosen.namespace or "default",
        user=user_name,
        origin=origin,
        ca=_pem("certificate-authority", cluster.certificate_authority_data, cluster.certificate_authority,
                cluster_path, cluster_name),
        insecure=bool(cluster.insecure_skip_tls_verify),
        server_name=cluster.tls_server_name or "",
        proxy=cluster.proxy_url or "",
        certificate=_pem("client-certificate", user.client_certificate_data, user.client_certificate, user_path,
                         user_name),
        key=_pem("client-key", user.client_key_data, user.client_key, user_path, user_name),
        token=user.token or "",
        token_file=user_path.parent / user.token_file if user.token_file else None,
        username=user.username or "",
        password=user.password or "",
        plugin=_plugin(user.exec, user_path, user_name) if user.exec else None,
        impersonate=_impersonation(user, user_path, user_name),
    )  # fmt: skip


def _wrong(message: str, hint: str = MEND) -> ClusterUnreachable:
    """The error for a file that cannot be used; names out of it stay on one line."""
    return ClusterUnreachable(" ".join(message.split()), hint=" ".join(hint.split()))


def _entry(among: Mapping[str, tuple[Any, Path]], name: str, form: type[Entry], what: str) -> Entry:
    value, path = among[name]
    try:
        return msgspec.convert(value or {}, form)
    except msgspec.ValidationError as error:
        # Its text has types and places, and no values.
        raise _wrong(f"{path}: {what} {name}: {error}") from error


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    content = _file(path, "the kubeconfig")
    try:
        # The C loader where there is one: files of many clusters are large.
        found = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        # Not the text around it: it may be a secret.
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark is not None else ""
        raise _wrong(f"{path} is no YAML{where}", "a kubeconfig is meant; is this the right file?") from error
    if found is None:
        return {}
    if not isinstance(found, dict) or not {"clusters", "contexts", "users", "current-context"} & found.keys():
        raise _wrong(f"{path} is no kubeconfig", "is this the right file?")
    for many in ("clusters", "users", "contexts"):
        if not isinstance(found.get(many) or [], list):
            raise _wrong(f"{path}: {many} is no list")
    return found


def _file(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "no such name"
        raise _wrong(f"cannot read {what}, {path}: {why.lower()}", NONE) from error


def _pem(name: str, data: str | None, file: str | None, path: Path, owner: str) -> bytes | None:
    """``NAME-data`` (base64) before ``NAME`` (a file, relative to the kubeconfig), as kubectl."""
    if data:
        try:
            return base64.b64decode(data, validate=False)
        except (binascii.Error, ValueError) as error:
            raise _wrong(f"{path}: {name}-data of {owner} is no base64") from error
    return _file(path.parent / file, f"the {name} of {owner}") if file else None


def _plugin(found: _Exec, path: Path, owner: str) -> Plugin:
    command = found.command
    if not command:
        raise _wrong(f"{path}: exec of the user {owner} names no command")
    if "/" in command and not command.startswith("/"):
        command = str(path.parent / command)
    return Plugin(
        command=command,
        args=tuple(found.args or ()),
        env={each.name: each.value for each in found.env or ()},
        api_version=found.api_version or "client.authentication.k8s.io/v1",
        provide_cluster_info=bool(found.provide_cluster_info),
        install_hint=found.install_hint or "",
    )


def _impersonation(user: _User, path: Path, owner: str) -> tuple[tuple[str, str], ...]:
    headers = [("Impersonate-User", user.as_ or ""), ("Impersonate-Uid", user.as_uid or "")]
    headers += [("Impersonate-Group", each) for each in user.as_groups or ()]
    for name, values in (user.as_user_extra or {}).items():
        headers += [(f"Impersonate-Extra-{name}", each) for each in values]
    given = [(name, value) for name, value in headers if value]
    if not all(each.isascii() and each.isprintable() for pair in given for each in pair):
        raise _wrong(f"{path}: the user {owner} impersonates somebody whose name no header can hold")
    return tuple(given)
