"""A refusal of an API server as one error in plain words: what, where, whose right or field, what to do.

The server's own text is quoted; what a reader needs to act is taken out of the ``Status`` object
(https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/).
"""

from __future__ import annotations

import re
from typing import Any

from wasme.deploy.cluster.answers import NOT_ONE, Answer, Asking
from wasme.deploy.cluster.kinds import Kind
from wasme.errors import ClusterError, ClusterForbidden, ClusterUnreachable, Conflict, NotServed, ObjectRefused

LONGEST = 1500

# `pods is forbidden: User "u" cannot list resource "pods" in API group "" in the namespace "x"`
_RIGHT = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]*)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]*)"| at the cluster scope)'
)
_MANAGER = re.compile(r'conflict with "(?P<manager>[^"]*)"')


def refusal(answer: Answer, asking: Asking, kind: Kind | None, *, login: str = "") -> ClusterError:
    """The error for an answer that is not 2xx.

    Args:
        answer: what the server said.
        asking: what it was asked.
        kind: the kind asked for; None for a plain path.
        login: what is known about the credentials that were shown (never a secret), for 401.
    """
    status = answer.status_object()
    message = _line(str(status.get("message", "")))
    match answer.status:
        case 401:
            return ClusterForbidden(
                f"{asking}: {asking.server} does not accept these credentials" + (f": {login}" if login else ""),
                hint="log in to the cluster again (or renew the kubeconfig's token or certificate)",
            )
        case 403:
            return _forbidden(message, asking)
        case 404:
            return _not_found(status, message, asking, kind)
        case 409:
            return _conflict(status, message, asking)
        case 400 | 422:
            return _invalid(status, message, asking)
    if 300 <= answer.status < 400:
        return ClusterError(f"{asking}: {asking.server} sends elsewhere (HTTP {answer.status})", hint=NOT_ONE)
    if not status:
        return ClusterError(
            f"{asking}: {asking.server} answered HTTP {answer.status}, not as an API server does", hint=NOT_ONE
        )
    if answer.status == 413:
        return ObjectRefused(
            f"{asking}: the object is too large for the API server", hint="make the configuration smaller"
        )
    # A patch that its schema does not allow is a 500 of some servers: "failed to create typed patch object".
    if "typed patch object" in message or "field not declared in schema" in message:
        return _invalid(status, message, asking)
    if "calling webhook" in message:
        return ClusterUnreachable(
            f"{asking}: {message}", hint="a webhook of the cluster does not answer: does its program run?"
        )
    if answer.status in {429, 500, 502, 503, 504}:
        return ClusterUnreachable(
            f"{asking}: {asking.server} answers HTTP {answer.status}: {message or 'no reason given'}",
            hint="the API server is overloaded or not well; try again later",
        )
    return ClusterError(f"{asking}: HTTP {answer.status}: {message or 'no reason given'}")


def absent(answer: Answer) -> bool:
    """Whether a 404 says that the object is not there, and not that its kind is not served."""
    details = answer.status_object().get("details")
    return answer.status == 404 and isinstance(details, dict) and bool(details.get("name"))


def expired(answer: Answer) -> bool:
    """Whether a resourceVersion or a list's token is too old: 410."""
    return answer.status == 410


def _forbidden(message: str, asking: Asking) -> ClusterError:
    right = _RIGHT.search(message)
    if right:
        verb, namespace = right["verb"], right["namespace"]
        resource = f"{right['resource']}.{right['group']}" if right["group"] else right["resource"]
        where = f"in the namespace {namespace}" if namespace else "in the whole cluster"
        grant = f"-n {namespace} create role" if namespace else "create clusterrole"
        return ClusterForbidden(
            f"{asking}: {right['user']} has no right to {verb} {resource} {where}",
            hint=f"to grant it: kubectl {grant} wasme --verb={verb} --resource={resource}, bound to that user",
        )
    if "being terminated" in message:
        return ObjectRefused(f"{asking}: {message}", hint="wait until the namespace is gone, or take another")
    if "exceeded quota" in message or "denied" in message:
        return ObjectRefused(f"{asking}: {message}", hint="a rule of this cluster says no: ask who runs it")
    return ClusterForbidden(
        f"{asking}: forbidden{': ' + message if message else ''}", hint="ask who runs the cluster for the right"
    )


def _not_found(status: dict[str, Any], message: str, asking: Asking, kind: Kind | None) -> ClusterError:
    details = status.get("details")
    if isinstance(details, dict) and details.get("name"):
        if details.get("kind") == "namespaces":
            name = details["name"]
            return ObjectRefused(f"{asking}: there is no namespace {name}", hint=f"kubectl create namespace {name}")
        return ObjectRefused(f"{asking}: {message}", hint="somebody deleted it meanwhile? run it again")
    return not_served(kind, asking)


def not_served(kind: Kind | None, asking: Asking) -> NotServed:
    """The error for a kind that the server does not have."""
    if kind is None:
        return NotServed(f"{asking}: {asking.server} has nothing there")
    if kind.group not in _BRINGS and (kind.group in {"", "apps", "batch"} or kind.group.endswith(".k8s.io")):
        return NotServed(f"{asking}: {asking.server} does not serve {kind.kind} ({kind.api_version})", hint=NOT_ONE)
    return NotServed(
        f"{asking}: the cluster does not serve {kind.kind} ({kind.api_version}): the CRD {kind.resource} is missing",
        hint=f"install {_BRINGS.get(kind.group, 'what brings it')}, or look: kubectl get crd {kind.resource}",
    )


_BRINGS = {
    "networking.istio.io": "Istio",
    "extensions.istio.io": "an Istio that has it (WasmPlugin: 1.12, TrafficExtension: 1.30)",
    "gateway.solo.io": "Gloo Edge",
    "gateway.envoyproxy.io": "Envoy Gateway",
    "gateway.networking.k8s.io": "the Gateway API's CRDs",
}


def _causes(status: dict[str, Any]) -> list[dict[str, Any]]:
    details = status.get("details")
    found = details.get("causes") if isinstance(details, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _conflict(status: dict[str, Any], message: str, asking: Asking) -> Conflict:
    owned: dict[str, list[str]] = {}
    for cause in _causes(status):
        if cause.get("reason") == "FieldManagerConflict":
            named = _MANAGER.search(str(cause.get("message", "")))
            owned.setdefault(named["manager"] if named else "somebody else", []).append(str(cause.get("field", "?")))
    if owned:
        text = "; ".join(
            f"{_some(fields)} belong{'s' if len(fields) == 1 else ''} to {who}" for who, fields in owned.items()
        )
        return Conflict(
            _line(f"{asking}: {text}"), hint="take the field out of that tool's configuration, or let it set the value"
        )
    reason = status.get("reason")
    if reason == "AlreadyExists":
        return Conflict(f"{asking}: it exists already", hint="look at it first: kubectl get, or wasme status")
    if message.rstrip().endswith("UID in object meta:"):
        return Conflict(f"{asking}: somebody deleted it meanwhile", hint="run it again")
    if "UID in precondition" in message or "UID in the precondition" in message:
        return Conflict(f"{asking}: it was deleted and made anew by somebody else meanwhile", hint="run it again")
    if "being deleted" in message:
        return Conflict(f"{asking}: {message}", hint="wait until it is gone")
    return Conflict(f"{asking}: somebody else changed it meanwhile", hint="run it again")


def _some(fields: list[str]) -> str:
    shown = ", ".join(fields[:3])
    return f"{shown} and {len(fields) - 3} more" if len(fields) > 3 else shown


def _invalid(status: dict[str, Any], message: str, asking: Asking) -> ObjectRefused:
    told: list[str] = []
    for cause in _causes(status):
        field, text = str(cause.get("field", "")), str(cause.get("message", ""))
        # An error of the whole object has the field "<nil>" and stands beside the one that says why.
        one = text if field in {"", "<nil>"} else f"{field}: {text}"
        if one and one not in told:
            told.append(one)
    text = "; ".join(told) or message or "the API server's validation says no"
    return ObjectRefused(
        _line(f"{asking}: {text}"), hint="the API server's validation says no: change what the message names"
    )


def _line(text: str) -> str:
    one = " ".join(text.split())
    return one if len(one) <= LONGEST else f"{one[:LONGEST]} …"
