"""What a server refuses, in words: the right, the field, the owner, the CRD."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wasme.deploy.cluster.answers import Answer, Asking
from wasme.deploy.cluster.kinds import CONFIG_MAP, DEPLOYMENT, ENVOY_FILTER, TRAFFIC_EXTENSION, Kind
from wasme.deploy.cluster.refusals import absent, refusal
from wasme.errors import ClusterError, ClusterForbidden, ClusterUnreachable, Conflict, NotServed, ObjectRefused

ASKING = Asking("apply", "Deployment shop/web", "https://cluster:6443")


def _answer(code: int, message: str = "", reason: str = "", **details: Any) -> Answer:
    status = {"kind": "Status", "code": code, "message": message, "reason": reason, "details": details}
    return Answer(code, {}, json.dumps(status).encode())


def _error(answer: Answer, kind: Kind = DEPLOYMENT) -> ClusterError:
    error = refusal(answer, ASKING, kind)
    assert "\n" not in error.message
    assert error.message.startswith("apply Deployment shop/web: ")
    return error


@pytest.mark.parametrize(
    ("message", "told", "hint"),
    [
        (
            'deployments.apps "web" is forbidden: User "eve" cannot patch resource "deployments" '
            'in API group "apps" in the namespace "shop"',
            "eve has no right to patch deployments.apps in the namespace shop",
            "kubectl -n shop create role wasme --verb=patch --resource=deployments.apps",
        ),
        (
            'nodes is forbidden: User "system:serviceaccount:a:b" cannot list resource "nodes" '
            'in API group "" at the cluster scope',
            "system:serviceaccount:a:b has no right to list nodes in the whole cluster",
            "kubectl create clusterrole wasme --verb=list --resource=nodes",
        ),
        (
            'pods "w" is forbidden: User "eve" cannot create resource "pods/portforward" '
            'in API group "" in the namespace "shop"',
            "eve has no right to create pods/portforward in the namespace shop",
            "--verb=create --resource=pods/portforward",
        ),
    ],
)
def test_a_missing_right_is_named(message: str, told: str, hint: str) -> None:
    """403 names user, verb, resource and namespace, and how to grant it."""
    error = _error(_answer(403, message))
    assert isinstance(error, ClusterForbidden)
    assert error.message.endswith(told)
    assert error.hint is not None
    assert hint in error.hint


def test_403_of_a_rule_is_no_missing_right() -> None:
    """A namespace that goes, a quota, a webhook: refused, and not for want of a right."""
    for message in (
        'deployments.apps "web" is forbidden: unable to create new content '
        "in namespace shop because it is being terminated",
        'pods "w" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=4, limited: pods=4',
        'admission webhook "policy.example" denied the request: no hostPath here',
    ):
        error = _error(_answer(403, message))
        assert isinstance(error, ObjectRefused)
        assert message.split(":")[-1] in error.message


def test_401_tells_whose_login() -> None:
    """401 says which credentials were not taken."""
    error = refusal(
        _answer(401, "Unauthorized"), ASKING, DEPLOYMENT, login="the user jane: the token expired on 1970-01-01"
    )
    assert isinstance(error, ClusterForbidden)
    assert "the user jane: the token expired" in error.message


def test_fields_of_a_validation() -> None:
    """422 tells each field with its reason, once, and leaves out the object's own echo."""
    causes = [
        {"field": "spec", "message": "Invalid value: low must not be above high"},
        {"field": "<nil>", "message": "Invalid value: null: some validation rules were not checked"},
        {"field": "spec", "message": "Invalid value: low must not be above high"},
        {"field": "spec.selector", "message": "Required value"},
    ]
    error = _error(_answer(422, "…", "Invalid", causes=causes))
    assert isinstance(error, ObjectRefused)
    assert error.message.count("low must not be above high") == 1
    assert "spec.selector: Required value" in error.message


def test_a_schema_that_does_not_fit_is_refused() -> None:
    """A patch of an unknown field is a 500 of some servers: it is a refusal all the same."""
    error = _error(_answer(500, "failed to create typed patch object: .spec.foo: field not declared in schema"))
    assert isinstance(error, ObjectRefused)
    assert ".spec.foo: field not declared in schema" in error.message


def test_conflicts_name_owner_and_field() -> None:
    """A conflict of server-side apply names every owner with the fields."""
    causes = [
        {"reason": "FieldManagerConflict", "field": field, "message": f'conflict with "{who}" using apps/v1'}
        for who, field in [("helm", ".spec.a"), ("kubectl", ".spec.b"), ("helm", ".spec.c")]
    ]
    error = _error(_answer(409, "Apply failed with 3 conflicts", "Conflict", causes=causes))
    assert isinstance(error, Conflict)
    assert ".spec.a, .spec.c belong to helm; .spec.b belongs to kubectl" in error.message


@pytest.mark.parametrize(
    ("message", "reason", "told"),
    [
        ("Operation cannot be fulfilled on x: the object has been modified", "Conflict", "somebody else changed it"),
        ('configmaps "x" already exists', "AlreadyExists", "it exists already"),
        (
            "Precondition failed: UID in precondition: a, UID in object meta: b",
            "Conflict",
            "made anew by somebody else",
        ),
        ("object is being deleted: namespaces already exists", "Conflict", "object is being deleted"),
    ],
)
def test_other_conflicts(message: str, reason: str, told: str) -> None:
    """409 of any sort is a Conflict that says which."""
    error = _error(_answer(409, message, reason))
    assert isinstance(error, Conflict)
    assert told in error.message


def test_404_names_what_is_missing() -> None:
    """A kind that is not served names its CRD; a namespace that is not there is told as such."""
    for kind, crd in (
        (ENVOY_FILTER, "envoyfilters.networking.istio.io"),
        (TRAFFIC_EXTENSION, "trafficextensions.extensions.istio.io"),
    ):
        for answer in (
            Answer(404, {}, b"404 page not found\n"),
            _answer(404, "the server could not find the requested resource"),
        ):
            error = _error(answer, kind)
            assert isinstance(error, NotServed)
            assert f"the CRD {crd} is missing" in error.message
            assert not absent(answer)
    missing = _answer(404, 'namespaces "shop" not found', "NotFound", name="shop", kind="namespaces")
    assert _error(missing, CONFIG_MAP).message.endswith("there is no namespace shop")
    assert absent(_answer(404, 'configmaps "x" not found', "NotFound", name="x", kind="configmaps"))
    assert isinstance(_error(Answer(404, {}, b"<html>"), CONFIG_MAP), NotServed)


@pytest.mark.parametrize("code", [302, 418, 500, 502, 503])
def test_no_server_of_kubernetes(code: int) -> None:
    """An answer that is no Status is told as such."""
    error = _error(Answer(code, {}, b"<html>no</html>"))
    assert "as an API server does" in error.message or "sends elsewhere" in error.message


def test_an_unwell_server() -> None:
    """5xx and 429 are a server that is not well; a webhook that does not answer is named."""
    assert isinstance(_error(_answer(503, "apiserver not ready")), ClusterUnreachable)
    assert isinstance(_error(_answer(429, "too many requests")), ClusterUnreachable)
    error = _error(_answer(500, 'Internal error occurred: failed calling webhook "v.istio.io": connection refused'))
    assert error.hint is not None
    assert "webhook" in error.hint


def test_a_message_is_bounded() -> None:
    """A server that sends megabytes of message gets one bounded line."""
    assert len(_error(_answer(403, "x\n" * 100_000)).message) < 2000


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"kind": "Pod', b"[1]", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_an_answer_that_is_no_object(body: bytes) -> None:
    """HTML, half of a JSON, nothing: one line that says so."""
    with pytest.raises(ClusterError) as refused:
        Answer(200, {}, body).object(ASKING)
    assert "https://cluster:6443 answered" in refused.value.message
    assert refused.value.hint
