"""Parts of the operator's deployment to meshes that need no cluster."""

from __future__ import annotations

import threading
import time
from typing import Any

from wasme.deploy.cluster import Outcomes
from wasme.deploy.istio.apply import Done, Step
from wasme.deploy.rollout.health import WELL, Health
from wasme.deploy.rollout.plan import Pace, Share
from wasme.errors import ClusterUnreachable, DeployFailed, InputError, LeadershipLost
from wasme.operator.informers.facts import workload
from wasme.operator.resources.wanted import Key
from wasme.operator.targets.locks import Locks
from wasme.operator.targets.mesh.around import Remembered
from wasme.operator.targets.mesh.rollouts import Aim, Rollouts
from wasme.operator.targets.mesh.shapes import Place, Shapes
from wasme.operator.targets.mesh.words import in_fields, reworded

KEY = Key("shop", "auth")
AIM = Aim("uid", 1, "sha256:1")


def deployment(generation: int = 1, uid: str = "u", **labels: str) -> dict[str, Any]:
    """A Deployment whose pods have these labels, with things in it that nobody goes by."""
    containers = [{"name": "web", "image": "web", "env": [{"name": "A", "value": "b"}]},
                  {"name": "istio-proxy", "image": "auto", "args": ["proxy", "router"]}]  # fmt: skip
    annotations = {"theirs": "1", "inject.istio.io/templates": "gateway", "wasme-backup.x": "y"}
    template = {"metadata": {"labels": {"app": "web", **labels}, "annotations": annotations},
                "spec": {"containers": containers}}  # fmt: skip
    return {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "uid": uid, "generation": generation,
                     "resourceVersion": "7", "managedFields": [{"manager": "x"}]},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template, "paused": True},
    }  # fmt: skip


def test_a_shape_is_good_for_its_generation() -> None:
    """What was read is given back as long as the generation is the same; a later one, or another object of the name, is
    to be read."""
    shapes = Shapes()
    shapes.keep(deployment())
    known = shapes.at(workload(deployment()))
    assert known is not None
    assert known.template_labels == {"app": "web"}
    assert known.template_annotations == {"inject.istio.io/templates": "gateway", "wasme-backup.x": "y"}
    assert known.object["spec"]["paused"] is True
    assert known.resource_version == "7"
    assert "managedFields" not in known.object["metadata"]
    assert [each["name"] for each in known.object["spec"]["template"]["spec"]["containers"]] == ["istio-proxy"]
    assert shapes.at(workload(deployment(2))) is None
    assert shapes.at(workload(deployment(uid="v"))) is None
    shapes.keep(deployment(2, more="1"))
    shapes.keep(deployment(1))  # an answer that was overtaken
    known = shapes.at(workload(deployment(2)))
    assert known is not None
    assert known.template_labels["more"] == "1"


def test_labels_of_a_workload_itself_come_from_its_metadata() -> None:
    """Which its generation does not count."""
    shapes = Shapes()
    shapes.keep(deployment())
    obj = deployment()
    obj["metadata"]["labels"] = {"team": "b"}
    known = shapes.at(workload(obj))
    assert known is not None
    assert known.labels == {"team": "b"}


def test_marked_shapes_are_found() -> None:
    """By any mark and by one label, until the mark or the workload is gone."""
    shapes, place = Shapes(), Place("Deployment", "shop", "web")
    shapes.keep(deployment(1, **{"wasme.io/wasme-auth": "image-volume"}))
    assert shapes.marked("shop") == [place]
    assert shapes.labelled("shop", "wasme.io/wasme-auth") == [place]
    assert shapes.marked("other") == []
    obj = deployment(2)
    del obj["spec"]["template"]["metadata"]["annotations"]
    shapes.keep(obj)
    assert shapes.marked("shop") == []
    shapes.keep(deployment(3, **{"wasme.io/cache": "x"}))
    shapes.forget(place)
    assert shapes.marked("shop") == []
    assert len(shapes) == 0


def test_one_lock_for_each_key() -> None:
    """Two of one key are one after the other, two of different keys are not, and nothing stays behind."""
    locks = Locks()
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        with locks.held("a"):
            inside += 1
            most = max(most, inside)
            time.sleep(0.01)
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert most == 1
    with locks.held("a"), locks.held("b"):
        assert len(locks._locks) == 2
    assert locks._locks == {}


def test_answers_hold_for_a_while() -> None:
    """One question in the time; what is raised is asked again."""
    now = 0.0
    remembered = Remembered(lambda: now)
    asked: list[float] = []

    def ask() -> float:
        asked.append(now)
        if len(asked) == 1:
            raise DeployFailed("no")
        return now

    for _ in range(3):
        try:
            remembered.get("x", 10.0, ask)
        except DeployFailed:
            assert asked == [0.0]
    assert len(asked) == 2
    now = 11.0
    assert remembered.get("x", 10.0, ask) == 11.0
    remembered.forget()
    assert remembered.get("x", 10.0, ask) == 11.0
    assert len(asked) == 4


def test_flags_become_fields() -> None:
    """Each flag that a FilterDeployment has a field for; others stay as they are, and so does the error's class."""
    assert in_fields("--as wasmplugin, or --cache-mode none") == (
        "spec.deployment.istio.provider wasmplugin, or spec.deployment.istio.cache.mode none"
    )
    assert in_fields("kubectl create secret --docker-server=…") == "kubectl create secret --docker-server=…"
    error = reworded(InputError("no", hint="--id says"))
    assert isinstance(error, InputError)
    assert (error.message, error.hint) == ("no", "spec.filter.id says")


class Patient:
    """Items that are well, and remember what became of them."""

    def __init__(self) -> None:
        self.back: list[str] = []
        self.away = 0

    def name(self, item: Any) -> str:
        return str(item)

    def examine(self, items: Any, *, changed: bool) -> list[Health]:
        if changed and self.away:
            self.away -= 1
            raise ClusterUnreachable("away")
        return [WELL for _ in items]

    def turn_back(self, item: Any) -> None:
        self.back.append(item)


def run(patient: Patient, work: Any, *, pause: float = 0.0, during: Any = None) -> tuple[Rollouts, list[Key]]:
    called: list[Key] = []
    rollouts = Rollouts(called.append)

    def finish(outcomes: Outcomes[Step, Done]) -> Outcomes[Step, Done]:
        return outcomes

    pace = Pace((Share(1),), pause, 5.0)
    steps: list[Any] = ["a", "b", "c"]
    begun = rollouts.begin(KEY, AIM, pace, patient, steps, work, finish)
    if during:
        during(rollouts)
    assert begun._thread is not None
    begun._thread.join(50)
    return rollouts, called


def test_a_run_that_ends_well() -> None:
    """It is done, its key was called for each step and at the end, and nothing is turned back."""
    patient, done = Patient(), []
    rollouts, called = run(patient, done.append)
    found = rollouts.of(KEY)
    assert found is not None
    assert (found.done, found.over, found.error, found.progress) == (True, True, None, "")
    assert sorted(done) == ["a", "b", "c"]
    assert called == [KEY] * 3
    assert patient.back == []


def test_a_run_that_fails_is_turned_back() -> None:
    """And remembered with its reason."""
    patient = Patient()

    def work(item: str) -> None:
        if item == "b":
            raise DeployFailed("it is full")

    rollouts, _ = run(patient, work)
    found = rollouts.of(KEY)
    assert found is not None
    assert found.error is not None
    assert "it is full" in found.error.message
    assert sorted(patient.back)[0] == "a"


def test_a_run_that_does_not_begin() -> None:
    """Where a workload is not well before, nothing was changed: it failed nothing, and is tried again later."""
    patient = Patient()
    patient.examine = lambda items, *, changed: [Health("coming", "it starts") for _ in items]  # type: ignore[method-assign,misc,assignment]
    rollouts, called = run(patient, lambda _: None)
    found = rollouts.of(KEY)
    assert found is not None
    assert found.unwell is not None
    assert "it starts" in found.unwell.message
    assert (found.over, found.done, found.error) == (True, False, None)
    assert found.until > time.monotonic() + 5
    assert called == [KEY]


def test_what_ends_a_run_from_without_turns_nothing_back() -> None:
    """A lost lease, a server that is away, and who asks for it."""

    def lost(_: str) -> None:
        raise LeadershipLost("another's")

    patients = [Patient(), Patient(), Patient()]
    patients[1].away = 1
    cases = [
        run(patients[0], lost),
        run(patients[1], lambda _: None),
        run(patients[2], lambda _: None, pause=60.0, during=lambda rollouts: rollouts.end(KEY, wait=5.0)),
    ]
    for patient, (rollouts, called) in zip(patients, cases, strict=True):
        found = rollouts.of(KEY)
        assert found is not None
        assert (found.over, found.done, found.error) == (True, False, None)
        assert patient.back == []
        assert called[-1] == KEY


def test_closing_ends_all_soon() -> None:
    """And none begins after it."""
    patient = Patient()
    begun = time.monotonic()
    rollouts, _ = run(patient, lambda _: None, pause=60.0, during=Rollouts.close)
    assert time.monotonic() - begun < 40
    late = rollouts.begin(Key("shop", "late"), AIM, Pace((Share(1),)), patient, [], lambda _: None, lambda each: each)  # type: ignore[arg-type,return-value]
    assert late.over
    assert patient.back == []
