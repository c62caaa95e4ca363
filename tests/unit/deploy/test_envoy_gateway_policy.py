"""EnvoyExtensionPolicies with and without filters, and how they stand: the pure half of deploy envoy-gateway."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.deploy.merging import merged
from wasme.deploy.envoy_gateway import policy as policies
from wasme.deploy.envoy_gateway.policy import Code, entry, name_for, new, patch, told, with_filter, without_filter
from wasme.deploy.envoy_gateway.standing import standing
from wasme.deploy.envoy_gateway.targets import GROUP, Target, attached, parents
from wasme.deploy.gateways import Standing
from wasme.deploy.spec import FilterSpec
from wasme.errors import ClusterError, UsageError

CODE = Code("host/a@sha256:1", "host/a:v1", "sha256:1", "sha256:2")
NAMES = st.text("abz", min_size=1, max_size=2)
EXTENSIONS = st.dictionaries(st.sampled_from(["lua", "extProc", "mergeType"]), st.just([{"x": 1}]), max_size=2)


def filter_entry(name: str) -> dict[str, Any]:
    return entry(FilterSpec(name, "host/a:v1"), CODE, None, fail_open=False)


@st.composite
def any_policy(draw: st.DrawFn) -> dict[str, Any]:
    """A user's policy, as a server stores one; the names of its filters are not those that tests deploy."""
    spec = {"targetRefs": [{"group": GROUP, "kind": "Gateway", "name": "eg"}], **draw(EXTENSIONS)}
    present = draw(st.lists(st.fixed_dictionaries({"code": st.just({})}, optional={"name": NAMES}), max_size=4))
    if present:
        spec["wasm"] = present
    meta: dict[str, Any] = {"name": "mine", "namespace": "ns", "resourceVersion": "7"}
    annotations = draw(st.dictionaries(st.sampled_from(["a.b/c", "d"]), st.text(max_size=3), max_size=2))
    if annotations:
        meta["annotations"] = annotations
    return {"metadata": meta, "spec": spec}


@given(any_policy(), st.permutations(["new-a", "new-b", "m"]), st.data())
def test_added_and_removed_is_as_before(policy: dict[str, Any], ids: list[str], data: st.DataObject) -> None:
    """Whatever a user's policy looks like: filters added and taken away in any order leave it exactly as it was, and
    each step is what its patch does."""
    before, now = copy.deepcopy(policy), policy
    for name in ids:
        after = with_filter(now, filter_entry(name), CODE)
        assert merged(now, patch(after)) == after
        now = after
    assert [each["name"] for each in now["spec"]["wasm"] if each.get("name") in ids] == ids
    assert set(told(now)) == set(ids)
    for name in data.draw(st.permutations(ids)):
        after = without_filter(now, name)
        assert merged(now, patch(after)) == after
        now = after
    assert now == before
    assert policy == before  # nothing was changed in place


def test_a_new_policy_goes_with_its_last_filter() -> None:
    """Wasme's own policy is spent when nothing is left in it, and not before."""
    made = with_filter(new(Target("Gateway", "eg"), "ns"), filter_entry("a"), CODE)
    assert not policies.is_spent(made)
    left = without_filter(made, "a")
    assert policies.is_spent(left)
    assert not policies.is_spent({**left, "spec": {**left["spec"], "extProc": [{}]}})
    assert not policies.is_spent({**left, "metadata": {"name": "mine"}})


def test_true_is_not_one() -> None:
    """A configuration of 1 in place of true is a change, though Python takes them for equal."""
    made = {**filter_entry("a"), "config": {"on": True}}
    policy = with_filter(new(Target("Gateway", "eg"), "ns"), made, CODE)
    assert with_filter(policy, made, CODE) is policy
    changed = with_filter(policy, {**made, "config": {"on": 1}}, CODE)
    assert changed["spec"]["wasm"][0]["config"]["on"] is not True


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', '{"a": 1}', '{"gone": {}}', "null"])
def test_an_annotation_that_somebody_spoiled(text: str) -> None:
    """Entries that the annotation does not clearly name are not wasme's, and stay."""
    policy = new(Target("Gateway", "eg"), "ns")
    policy["spec"]["wasm"] = [{"name": "a"}]
    policy["metadata"]["annotations"] = {policies.FILTERS: text}
    assert told(policy) == {}
    assert without_filter(policy, "a") is policy
    with pytest.raises(ClusterError, match="has not put there"):
        with_filter(policy, filter_entry("a"), CODE)


@given(
    st.lists(st.tuples(st.sampled_from(["Gateway", "HTTPRoute"]), NAMES, st.sampled_from(["", "a", "b"])), unique=True)
)
def test_names_differ(targets: list[tuple[str, str, str]]) -> None:
    """Two targets never share the name of a policy; sections included."""
    assert len({name_for(Target(*each)) for each in targets}) == len(targets)


def test_long_names() -> None:
    """The longest name of a target gives a name that Kubernetes takes."""
    name = name_for(Target("HTTPRoute", "x" * 253))
    assert len(name) <= 253
    assert name != name_for(Target("HTTPRoute", "x" * 252))


@pytest.mark.parametrize(
    ("text", "target"),
    [("Gateway/eg", Target("Gateway", "eg")), ("httproute/a.b:rule", Target("HTTPRoute", "a.b", "rule")),
     (f"{GROUP}/ListenerSet/x:http", Target("ListenerSet", "x", "http"))],
)  # fmt: skip
def test_targets(text: str, target: Target) -> None:
    """KIND/NAME, with the group before and a section behind."""
    assert Target.parse(text) == target


@pytest.mark.parametrize(
    "text", ["", "eg", "Gateway/", "/eg", "Gateway/eg:", "Service/x", "UDPRoute/x", "a/b/c/d", "x.io/Gateway/eg"]
)
def test_no_targets(text: str) -> None:
    """All else is refused in one line."""
    with pytest.raises(UsageError, match="--target"):
        Target.parse(text)


def reaching(**spec: Any) -> tuple[Target, ...]:
    policy = {"metadata": {"name": "p", "namespace": "ns"}, "spec": spec}
    return attached(policy, "ns", "Gateway", "eg", {"app": "edge"})


def test_how_policies_reach_a_target() -> None:
    """By the deprecated single reference, by references with sections, and by selectors of any kind."""
    ref = {"group": GROUP, "kind": "Gateway", "name": "eg"}
    whole, section = Target("Gateway", "eg"), Target("Gateway", "eg", "http")
    assert reaching(targetRef=ref) == (whole,)
    assert reaching(targetRefs=[{**ref, "name": "x"}, {**ref, "sectionName": "http"}, ref]) == (section, whole)
    assert reaching(targetRefs=[{**ref, "group": "example.com"}]) == ()
    assert reaching(targetSelectors=[{"kind": "Gateway", "matchLabels": {"app": "edge"}}]) == (whole,)
    assert reaching(targetSelectors=[{"kind": "HTTPRoute", "matchLabels": {"app": "edge"}}]) == ()
    for operator, values, holds in [
        ("In", ["edge"], True), ("In", ["x"], False), ("NotIn", ["edge"], False), ("NotIn", ["x"], True),
        ("Exists", [], True), ("DoesNotExist", [], False), ("Like", [], False),
    ]:  # fmt: skip
        expression = {"key": "app", "operator": operator, "values": values}
        assert bool(reaching(targetSelectors=[{"kind": "Gateway", "matchExpressions": [expression]}])) == holds


def test_policies_of_other_namespaces() -> None:
    """References stay in their namespace; selectors leave it only where they say so."""
    ref = {"group": GROUP, "kind": "Gateway", "name": "eg"}
    elsewhere = {"metadata": {"name": "p", "namespace": "other"}, "spec": {"targetRefs": [ref]}}
    assert attached(elsewhere, "ns", "Gateway", "eg", {}) == ()
    elsewhere["spec"] = {"targetSelectors": [{"kind": "Gateway"}]}
    assert attached(elsewhere, "ns", "Gateway", "eg", {}) == ()
    elsewhere["spec"] = {"targetSelectors": [{"kind": "Gateway", "namespaces": {"from": "All"}}]}
    assert attached(elsewhere, "ns", "Gateway", "eg", {}) == (Target("Gateway", "eg"),)


def test_what_a_route_hangs_on() -> None:
    """Gateways and ListenerSets, in the route's namespace unless it names another."""
    refs = [{"name": "eg", "sectionName": "http"}, {"name": "ls", "kind": "ListenerSet", "namespace": "infra"},
            {"name": "svc", "kind": "Service", "group": ""}]  # fmt: skip
    route = {"metadata": {"name": "r", "namespace": "ns"}, "spec": {"parentRefs": refs}}
    assert list(parents(route)) == [("ns", Target("Gateway", "eg", "http")), ("infra", Target("ListenerSet", "ls"))]


def condition(kind: str, holds: bool = True, reason: str = "R", message: str = "m", generation: int = 3) -> Any:
    status = "True" if holds else "False"
    return {"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": generation}


@pytest.mark.parametrize(
    ("ancestors", "expected"),
    [
        ([], Standing("pending", "Envoy Gateway has not judged it yet")),
        ([[condition("Accepted", generation=2)]], Standing("pending", "Envoy Gateway has not judged it yet")),
        ([[condition("Accepted")]], Standing("ready")),
        ([[condition("Accepted"), condition("Overridden")]], Standing("ready", "R: m")),
        ([[condition("Accepted", False, "Conflicted")]], Standing("failed", "Conflicted: m")),
        ([[condition("Accepted")], [condition("Accepted", False)]], Standing("failed", "Gateway/eg:x: R: m")),
    ],
)
def test_standing(ancestors: list[Any], expected: Standing) -> None:
    """One ancestor that refuses is a failure; what was said of an older generation does not count."""
    listed = [
        {"ancestorRef": {"kind": "Gateway", "name": "eg", "sectionName": "x"}, "conditions": each} for each in ancestors
    ]
    assert standing({"metadata": {"generation": 3}, "status": {"ancestors": listed}}) == expected
