"""What a status tells of what one look found out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wasme.errors import (
    ClusterUnreachable,
    DeployFailed,
    InputError,
    NothingMatches,
    NotServed,
    RemoteNotFound,
    RolledBack,
    Unreachable,
    WasmeError,
)
from wasme.operator.resources.conditions import TYPES, Transition, status, transitions
from wasme.operator.resources.outcome import ImageFacts, Outcome
from wasme.operator.resources.remembered import HINT, remembered
from wasme.operator.resources.report import Held, Report, TargetState

THEN, NOW = "2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z"
IMAGE = ImageFacts(
    "demo/auth:v1", "reg/demo/auth@sha256:aa", "sha256:aa", "sha256:bb", "compat", ("auth",), ("v0.2.1",)
)
OBJ = {"metadata": {"name": "auth", "generation": 2}, "spec": {"filter": {"image": "demo/auth:v1"}}}


def target(name: str, state: Any = "Succeeded", reason: str = "", kind: str = "Deployment") -> TargetState:
    return TargetState("istio", kind, "shop", name, state, reason, f"EnvoyFilter/{name}-auth")


def outcome(*targets: TargetState, held: Held | None = None, **more: Any) -> Outcome:
    report = Report(targets, held or Held(needed=True, nodes=2, held=2), **more)
    return Outcome(image=IMAGE, report=report)


def words(told: dict[str, Any]) -> dict[str, str]:
    return {each["type"]: f"{each['status']} {each['reason']}" for each in told["conditions"]}


def condition(told: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in told["conditions"] if each["type"] == name)
    return found


def test_all_is_well() -> None:
    """Every condition is True but Degraded, in their order; generation and counts are numbers."""
    told = status(None, OBJ, outcome(target("a"), target("b")), now=NOW)
    assert words(told) == {
        "Accepted": "True Accepted",
        "ImageResolved": "True Resolved",
        "Cached": "True Cached",
        "Programmed": "True Programmed",
        "Ready": "True Ready",
        "Degraded": "False AsWanted",
    }
    assert tuple(words(told)) == TYPES
    assert told["observedGeneration"] == 2
    assert all(each["observedGeneration"] == 2 for each in told["conditions"])
    assert told["nodes"] == {"total": 2, "cached": 2, "summary": "2/2"}
    assert told["workloads"] == {"a": {"state": "Succeeded"}, "b": {"state": "Succeeded"}}
    assert told["targetCount"] == 2
    assert told["image"]["module"] == "sha256:bb"
    assert "reason" not in told
    assert condition(told, "Ready")["message"] == "2 of 2 targets have the filter as wanted"


def refused(error: WasmeError, reason: str = "") -> Outcome:
    return Outcome(refused=error, refused_as=reason)


CASES: list[tuple[str, Outcome, dict[str, str]]] = [
    ("wrong spec", refused(InputError("must provide spec.filter")),
     {"Accepted": "False InvalidSpec", "ImageResolved": "Unknown NotAccepted", "Cached": "Unknown NotAccepted",
      "Programmed": "False NotAccepted", "Ready": "False InvalidSpec", "Degraded": "False AsWanted"}),
    ("id taken", refused(InputError("the id is taken"), "IdTaken"),
     {"Accepted": "False IdTaken", "Ready": "False IdTaken"}),
    ("kind not served", refused(NotServed("no EnvoyFilter")), {"Accepted": "False KindNotServed"}),
    ("no image", Outcome(image_problem=RemoteNotFound("gone"), retrying=True),
     {"Accepted": "True Accepted", "ImageResolved": "False ImageNotFound", "Cached": "Unknown ImageNotResolved",
      "Programmed": "False ImageNotResolved", "Ready": "False ImageNotFound", "Degraded": "True Retrying"}),
    ("registry down, image known",
     Outcome(image=IMAGE, image_problem=Unreachable("down"), report=Report((target("a"),))),
     {"ImageResolved": "True Kept", "Ready": "True Ready", "Degraded": "True ImageNotChecked"}),
    ("a node lacks it", outcome(target("a"), held=Held(needed=True, nodes=2, held=1, missing=(("n2", "no agent"),))),
     {"Cached": "False NodesMissing", "Programmed": "False NotCached", "Ready": "False NodesMissing"}),
    ("no node will", outcome(target("a", "Pending"), held=Held(needed=True, nodes=2, final=True)),
     {"Cached": "False CacheFailed", "Ready": "False CacheFailed"}),
    ("no file", outcome(target("a"), held=Held()), {"Cached": "True NotNeeded", "Ready": "True Ready"}),
    ("one failed", outcome(target("a"), target("b", "Failed", "no")),
     {"Programmed": "False TargetsFailed", "Ready": "False TargetsFailed"}),
    ("one to come", outcome(target("a"), target("b", "Pending")), {"Programmed": "False TargetsPending"}),
    ("rollout", outcome(target("a", "Pending"), progress="step 1 of 3"), {"Programmed": "False RollingOut"}),
    ("nothing matches", outcome(held=Held()), {"Programmed": "False NoTargets", "Ready": "False NoTargets"}),
    ("nothing is there", outcome(held=Held(), problem=NothingMatches("x")),
     {"Accepted": "True Accepted", "Programmed": "False NoTargets", "Ready": "False NoTargets"}),
    ("all failed", outcome(held=Held(), problem=DeployFailed("x")),
     {"Accepted": "True Accepted", "Cached": "Unknown TargetsFailed", "Programmed": "False TargetsFailed",
      "Ready": "False TargetsFailed"}),
    ("cannot be carried", outcome(held=Held(), problem=NotServed("no EnvoyFilter")),
     {"Accepted": "False KindNotServed", "Cached": "Unknown NotAccepted", "Programmed": "False NotAccepted",
      "Ready": "False KindNotServed"}),
    ("moving", Outcome(image=IMAGE, report=Report((target("a", "Pending"),)), former=True),
     {"Accepted": "True Accepted", "Cached": "Unknown Moving", "Programmed": "False Moving", "Ready": "False Moving"}),
    ("suspended", Outcome(suspended=True),
     {"Accepted": "True Accepted", "ImageResolved": "Unknown Suspended", "Ready": "Unknown Suspended"}),
    ("no answer", Outcome(problem=ClusterUnreachable("no answer"), retrying=True),
     {"Ready": "Unknown ClusterUnreachable", "Degraded": "True Retrying"}),
    ("removing", Outcome(removing=True, problem=ClusterUnreachable("x")), {"Ready": "False Removing"}),
]  # fmt: skip


@pytest.mark.parametrize(("found", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_way_it_can_stand(found: Outcome, expected: dict[str, str]) -> None:
    """Each condition answers its own question, and Ready gives the first reason why not."""
    told = words(status(None, OBJ, found, now=NOW))
    assert {name: told[name] for name in expected} == expected


def turned_back(known: ImageFacts | None = IMAGE, **more: Any) -> Outcome:
    report = Report((target("a", "Failed", "x"),), problem=RolledBack("it crashes", hint="mend it"))
    return Outcome(image=known, report=report, **more)


def test_what_was_turned_back_is_remembered() -> None:
    """As long as generation and image are the same, also when the image cannot be looked up or the server does not
    answer; not for another generation, another image, or one that was not turned back."""
    told = status(None, OBJ, turned_back(), now=THEN)
    assert words(told)["Programmed"] == "False RolledBack"
    for away in (
        Outcome(image_problem=Unreachable("down"), retrying=True),
        Outcome(image=IMAGE, problem=ClusterUnreachable("no answer"), retrying=True),
    ):
        told = status(told, OBJ, away, now=NOW)
        assert words(told)["Programmed"] == "False RolledBack"
        assert words(told)["Degraded"] == "True Retrying"
        assert condition(told, "Programmed")["lastTransitionTime"] == THEN
        error = remembered(told, 2, "sha256:aa")
        assert error is not None
        assert (error.message, condition(told, "Programmed")["message"]) == ("it crashes (mend it)",) * 2
    assert remembered(told, 3, "sha256:aa") is None
    assert remembered(told, 2, "sha256:ab") is None
    assert remembered(told, 2, "") is not None
    newer = {**OBJ, "metadata": {"name": "auth", "generation": 3}}
    other = ImageFacts("demo/auth:v1", "reg/demo/auth@sha256:ab", "sha256:ab", "sha256:bb")
    down = Outcome(image_problem=Unreachable("down"))
    assert words(status(told, newer, down, now=NOW))["Programmed"] == "False ImageNotResolved"
    gone = Outcome(image=other, problem=ClusterUnreachable("no answer"))
    assert words(status(told, OBJ, gone, now=NOW))["Programmed"] == "Unknown ClusterUnreachable"
    assert words(status(told, OBJ, Outcome(suspended=True), now=NOW))["Programmed"] == "Unknown Suspended"
    assert words(status(told, OBJ, refused(InputError("x"), "IdTaken"), now=NOW))["Programmed"] == "False NotAccepted"
    assert remembered(status(told, OBJ, outcome(target("a")), now=NOW), 2, "sha256:aa") is None


@pytest.mark.parametrize("hint", ["", HINT])
def test_what_is_remembered_says_the_same_again(hint: str) -> None:
    """However long it is: a new operator writes no status because of it."""
    for text in ("it crashes", "ü" * 3000):
        first = Report((target("a", "Failed", "x"),), problem=RolledBack(text, hint=hint))
        told = status(None, OBJ, Outcome(image=IMAGE, report=first), now=THEN)
        error = remembered(told, 2, "sha256:aa")
        again = Report((target("a", "Failed", "x"),), problem=error)
        assert status(told, OBJ, Outcome(image=IMAGE, report=again), now=NOW) == told


@pytest.mark.parametrize(
    "told", [None, {}, {"conditions": 3}, {"conditions": [{"type": "Programmed", "reason": "RolledBack"}]},
             {"image": 3, "conditions": [3]}],
)  # fmt: skip
def test_nothing_is_remembered_of_nonsense(told: Any) -> None:
    """A status of somebody else's."""
    assert remembered(told, 2, "sha256:aa") is None


def test_the_originals_words() -> None:
    """status.reason is the error alone; the condition's message has the hint, unless that is about flags."""
    error = InputError("must provide spec.filter", hint="it names the image")
    told = status(None, OBJ, refused(error), now=NOW)
    assert told["reason"] == "must provide spec.filter"
    assert condition(told, "Accepted")["message"] == "must provide spec.filter (it names the image)"
    told = status(None, OBJ, refused(InputError("no", hint="--as envoyfilter carries any text")), now=NOW)
    assert condition(told, "Accepted")["message"] == "no"


def test_a_change_has_a_time_and_nothing_else_has() -> None:
    """lastTransitionTime changes with the status word only: not with reason or message, nor with the generation."""
    first = status(None, OBJ, outcome(target("a", "Pending")), now=THEN)
    newer = {**OBJ, "metadata": {"name": "auth", "generation": 3}}
    second = status(first, newer, outcome(target("a", "Failed", "no")), now=NOW)
    assert second["observedGeneration"] == 3
    assert {each["lastTransitionTime"] for each in second["conditions"]} == {THEN}
    third = status(second, newer, outcome(target("a")), now=NOW)
    changed = {each["type"] for each in third["conditions"] if each["lastTransitionTime"] == NOW}
    assert changed == {"Programmed", "Ready"}


def test_what_worked_and_does_not_is_degraded() -> None:
    """A target that had the filter, or a node that held it: until all is well, or something else is wanted."""
    well = status(None, OBJ, outcome(target("a"), target("b")), now=THEN)
    broken = outcome(target("a"), target("b", "Failed", "gone"))
    told = status(well, OBJ, broken, now=NOW)
    assert words(told)["Degraded"] == "True Lost"
    assert status(told, OBJ, broken, now=NOW) == told
    assert words(status(told, OBJ, outcome(target("a"), target("b")), now=NOW))["Degraded"] == "False AsWanted"
    newer = {**OBJ, "metadata": {"name": "auth", "generation": 3}}
    assert words(status(told, newer, broken, now=NOW))["Degraded"] == "False AsWanted"
    less = outcome(target("a"), target("b"), held=Held(needed=True, nodes=2, held=1))
    assert words(status(well, OBJ, less, now=NOW))["Degraded"] == "True Lost"
    one_more = outcome(target("a"), target("b"), held=Held(needed=True, nodes=3, held=2))
    assert words(status(well, OBJ, one_more, now=NOW))["Degraded"] == "False AsWanted", "a node that came is no loss"


def test_what_was_not_looked_at_is_as_it_was() -> None:
    """A registry that is down, a suspended object, an API server that is silent: targets, nodes and image stay told,
    as long as the image is the one that is named; with a taken id nothing of it is there.
    """
    well = status(None, OBJ, outcome(target("a")), now=THEN)
    for found in (Outcome(image_problem=Unreachable("x")), Outcome(suspended=True), refused(InputError("x"))):
        told = status(well, OBJ, found, now=NOW)
        assert [told[name] for name in ("targets", "nodes", "workloads", "image")] == [
            well[name] for name in ("targets", "nodes", "workloads", "image")
        ]
    other = {**OBJ, "spec": {"filter": {"image": "demo/auth:v2"}}}
    assert "image" not in status(well, other, Outcome(image_problem=Unreachable("x")), now=NOW)
    assert "targets" not in status(well, OBJ, refused(InputError("x"), "IdTaken"), now=NOW)


def test_the_originals_status_is_taken_over() -> None:
    """Its generation is text, its Pending is left out, and it has fields that nobody knows: what can be kept is."""
    old = {
        "observedGeneration": "1",
        "workloads": {"a": {"state": "Failed", "reason": "x"}, "b": {"reason": "y"}, "c": 5},
        "other": {"x": 1},
    }
    told = status(old, OBJ, Outcome(suspended=True), now=NOW)
    assert told["observedGeneration"] == 2
    assert told["workloads"] == {"a": {"state": "Failed", "reason": "x"}, "b": {"state": "Pending", "reason": "y"}}
    assert "other" not in told


def test_what_is_being_removed_is_told_until_it_is_gone() -> None:
    """Of a removal the targets that are gone are told no more; one that says nothing leaves all as it was told."""
    well = status(None, OBJ, outcome(target("a"), target("b")), now=THEN)
    half = Report((target("a"), target("b", "Pending")))
    for found in (Outcome(report=half, former=True), Outcome(report=half, removing=True)):
        told = status(well, OBJ, found, now=NOW)
        assert [each["name"] for each in told["targets"]] == ["b"]
    told = status(well, OBJ, Outcome(report=Report(problem=DeployFailed("x")), former=True), now=NOW)
    assert told["targets"] == well["targets"]


def test_two_targets_of_one_name() -> None:
    """The old map knows names only: the worse of the two is told there, with its kind."""
    told = status(None, OBJ, outcome(target("a"), target("a", "Failed", "no", "Gateway")), now=NOW)
    assert told["workloads"] == {"a": {"state": "Failed", "reason": "Gateway: no"}}
    assert len(told["targets"]) == 2


def test_thousands_of_workloads_fit_into_an_object() -> None:
    """Of 20,000 those that failed are told first, the rest is counted; the whole stays far from 1.5 MB."""
    many = [target(f"workload-{index:05}-{'x' * 200}") for index in range(20_000)]
    failed = [target(f"z-{index}", "Failed", "what went wrong " * 100) for index in range(30)]
    nodes = tuple((f"node-{index}", "no agent " * 100) for index in range(5_000))
    held = Held(needed=True, nodes=5_000, missing=nodes)
    told = status(None, OBJ, outcome(*many, *failed, held=held), now=NOW)
    assert len(json.dumps(told)) < 450_000
    assert told["targetCount"] == 20_030
    assert {each["name"] for each in told["targets"]} > {each.name for each in failed}
    assert told["workloads"]["z-0"]["state"] == "Failed"
    assert all(len(each["message"].encode()) <= 2048 for each in told["conditions"])
    assert "and 4995 more" in condition(told, "Cached")["message"]


def test_a_long_error_is_cut() -> None:
    """One line of at most 2 KiB, whole characters only."""
    told = status(None, OBJ, refused(InputError("ü\n" * 5_000)), now=NOW)
    message = condition(told, "Accepted")["message"]
    assert len(message.encode()) <= 2048
    assert message.startswith("ü ü ü")
    assert message.endswith("…")
    assert told["reason"] == message


@pytest.mark.parametrize(
    "text", ["cannot reach https://me:hunter2@reg/demo", "invalid: 'me:hunter2@reg/demo:v1'", "x me:hunter2@reg@y"]
)
def test_no_login_is_told(text: str) -> None:
    """Whatever error brings a login, it is in no condition, no reason and no target; digests stay."""
    error, state = InputError(text, hint=text), target("a", "Failed", text)
    for found in (refused(error), outcome(state), outcome(target("a"), problem=error, warnings=(text,))):
        assert "hunter2" not in json.dumps(status(None, OBJ, found))
    whole = "demo/auth:v1@sha256:aa is gone"
    assert condition(status(None, OBJ, refused(InputError(whole))), "Ready")["message"] == whole


def test_transitions() -> None:
    """What changed its word; and while it is not well, its reason. A new object's Unknowns are none."""
    first = status(None, OBJ, outcome(target("a", "Pending")), now=THEN)
    told = {each.type: each for each in transitions(None, first)}
    assert set(told) == {"Accepted", "ImageResolved", "Cached", "Programmed", "Ready"}
    assert told["Ready"] == Transition("Ready", "", "False", "TargetsPending", condition(first, "Ready")["message"])
    assert transitions(first, first) == []
    second = status(first, OBJ, outcome(target("a", "Failed", "no")), now=NOW)
    assert [each.type for each in transitions(first, second)] == ["Programmed", "Ready"]
    third = status(second, OBJ, outcome(target("a")), now=NOW)
    assert [(each.type, each.was, each.well) for each in transitions(second, third)] == [
        ("Programmed", "False", True), ("Ready", "False", True),
    ]  # fmt: skip
    assert {each.type for each in transitions(None, status(None, OBJ, Outcome(suspended=True)))} == {"Accepted"}


TEXT = st.text(max_size=30)
ERRORS = st.builds(
    lambda kind, text, hint: kind(text, hint=hint),
    st.sampled_from([InputError, NotServed, Unreachable, DeployFailed, RolledBack, ClusterUnreachable]), TEXT,
    st.none() | TEXT,
)  # fmt: skip
STATES = st.builds(
    TargetState, st.sampled_from(["istio", "gloo"]), st.sampled_from(["Deployment", "Gateway"]), st.just("shop"),
    st.sampled_from("abc"), st.sampled_from(["Succeeded", "Pending", "Failed"]), TEXT, TEXT,
)  # fmt: skip
HELDS = st.builds(
    Held, st.booleans(), st.integers(0, 3), st.integers(0, 3), st.lists(st.tuples(TEXT, TEXT)).map(tuple), st.booleans()
)
REPORTS = st.builds(
    Report, st.lists(STATES, max_size=3).map(tuple), HELDS, st.none() | ERRORS, st.sampled_from(["", "step 1 of 2"]),
    st.lists(TEXT, max_size=2).map(tuple),
)  # fmt: skip
OUTCOMES = st.builds(
    Outcome, refused=st.none() | ERRORS, refused_as=st.sampled_from(["", "IdTaken"]), image=st.none() | st.just(IMAGE),
    image_problem=st.none() | ERRORS, report=st.none() | REPORTS, former=st.booleans(), problem=st.none() | ERRORS,
    retrying=st.booleans(), suspended=st.booleans(), removing=st.booleans(),
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["conditions", "type", "status", "reason", "targets", "workloads", "nodes", "cached", "state",
                         "provider", "kind", "namespace", "name", "image", "reference", "lastTransitionTime"]),
        inner, max_size=5,
    ),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@example({"workloads": {}}, [Outcome(report=Report((target("a", "Pending"),)), removing=True)])
@given(JSON, st.lists(OUTCOMES, min_size=1, max_size=3))
def test_nothing_changes_where_nothing_changed(stored: Any, outcomes: list[Outcome]) -> None:
    """From any stored status, through any outcomes: the same look again tells the same at a later time, too; and no
    transition.
    """
    told = stored
    for found in outcomes:
        told = status(told, OBJ, found, now=THEN)
    again = status(told, OBJ, outcomes[-1], now=NOW)
    assert json.dumps(again, sort_keys=True) == json.dumps(told, sort_keys=True)
    assert transitions(told, again) == []
    json.dumps(told).encode()


@settings(max_examples=200, deadline=None)
@given(OUTCOMES)
def test_ready_is_all_of_them(found: Outcome) -> None:
    """Ready is True exactly where the four others are and nothing is being deleted; a Report that says programmed is
    Programmed.
    """
    told = {each["type"]: each["status"] for each in status(None, OBJ, found)["conditions"]}
    four = all(told[name] == "True" for name in TYPES[:4])
    assert (told["Ready"] == "True") == (four and not found.removing)
    if found.report is not None and found.refused is None and not found.former and not found.removing:
        assert (told["Programmed"] == "True") == found.report.programmed
