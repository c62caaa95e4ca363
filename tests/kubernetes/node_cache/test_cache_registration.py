"""The lines of the cache's ConfigMap on a real API server: many writers at once, and what is told."""

import concurrent.futures
import dataclasses
import threading

import pytest

from wasme.deploy.cache import protocol, registration
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.cache.registration import change, forget, register, wanted
from wasme.deploy.cluster.connect import connect
from wasme.errors import CacheError, ClusterForbidden, Conflict, ObjectRefused

A = "sha256:" + "a" * 64
B = "sha256:" + "b" * 64


@pytest.fixture
def options(api, namespace):
    """A cache whose ConfigMap is as the original makes it."""
    made = CacheOptions(namespace=namespace)
    metadata = {"name": made.name, "namespace": namespace}
    api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"images": ""}})
    return made


def data(api, options):
    return api.get(f"/api/v1/namespaces/{options.namespace}/configmaps/{options.name}")["data"]


def line(number, namespace="apps"):
    return FilterLine(namespace, f"f{number}", f"r.example.com/f:{number}", A, B)


def told(caplog):
    return [(r.getMessage(), r.__dict__.get("fields")) for r in caplog.records if r.name == registration.__name__]


def test_register_and_forget(cluster, api, options, caplog):
    """The reference stands as typed in `images`, the words are the original's, and forgetting leaves nothing."""
    caplog.set_level("INFO")
    first = FilterLine("apps", "test", "filter/image:v1", A, B)
    made = register(cluster, options, [first])
    written = {"images": "filter/image:v1", "added": "filter/image:v1", "filters": f"{first.text} pending"}
    assert data(api, options) == written
    version = made.activate()
    assert data(api, options) == written | {"filters": first.text}
    assert version > made.version
    assert made.activate() == ""
    assert register(cluster, options, [first]).new_lines == ()
    fields = {"cache": f"{{wasme-cache {options.namespace}}}", "image": "filter/image:v1"}
    assert told(caplog) == [("added image to cache config...", fields), ("image is already cached", fields)]
    assert forget(cluster, options, "apps", "other") == ()
    assert forget(cluster, options, "apps", "test") == (first,)
    assert protocol.parse_wanted(data(api, options)) == protocol.Wanted()
    assert forget(cluster, options, "apps", "test") == ()


def test_unchanged_sends_no_write(cluster, options, control_plane):
    """Registering again and forgetting what is not there are reads."""
    register(cluster, options, [line(1)]).activate()
    mark = control_plane.mark()
    register(cluster, options, [line(1)]).activate()
    forget(cluster, options, "apps", "f1", keep=[line(1)])
    forget(cluster, options, "elsewhere", "f1")
    verbs = [event["verb"] for event in control_plane.audit(mark) if options.namespace in event["requestURI"]]
    assert verbs == ["get", "get", "get", "get"]


def test_thirty_at_once_lose_nothing(cluster, control_plane, api, options):
    """30 deployments that register at the same moment, and somebody with an editor, lose no line."""
    start = threading.Barrier(31)

    def one(number):
        with connect(control_plane.kubeconfig) as own:
            start.wait()
            made = register(own, options, [line(number)])
            made.activate()
            return made

    def by_hand():
        start.wait()
        place = f"/api/v1/namespaces/{options.namespace}/configmaps/{options.name}"
        for number in range(10):
            api.patch(place, {"data": {f"note-{number}": "by hand"}})

    with concurrent.futures.ThreadPoolExecutor(31) as pool:
        hand = pool.submit(by_hand)
        made = list(pool.map(one, range(30)))
        hand.result()
    now = protocol.parse_wanted(data(api, options))
    assert sorted(now.filters) == sorted(map(line, range(30)))
    assert sorted(now.images) == sorted(line(number).ref for number in range(30))
    assert len([key for key in data(api, options) if key.startswith("note-")]) == 10
    assert all(each.new_lines for each in made)

    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        list(pool.map(lambda each: dataclasses.replace(each, cluster=cluster).undo(), made[:15]))
    assert sorted(protocol.parse_wanted(data(api, options)).filters) == sorted(map(line, range(15, 30)))


def test_fifty_of_one_image(control_plane, api, options):
    """50 deployments of one image to 50 namespaces list it once; it goes with the last of them."""

    def one(number):
        with connect(control_plane.kubeconfig) as own:
            register(own, options, [FilterLine(f"ns-{number}", "f", "r.example.com/f:1", A, B)])

    def gone(number):
        with connect(control_plane.kubeconfig) as own:
            forget(own, options, f"ns-{number}", "f")

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        list(pool.map(one, range(50)))
    now = protocol.parse_wanted(data(api, options))
    assert (len(now.filters), now.images) == (50, ("r.example.com/f:1",))
    with concurrent.futures.ThreadPoolExecutor(49) as pool:
        list(pool.map(gone, range(49)))
    assert protocol.parse_wanted(data(api, options)).images == ("r.example.com/f:1",)
    gone(49)
    assert protocol.parse_wanted(data(api, options)) == protocol.Wanted()


def test_undo_takes_back_exactly_what_was_added(cluster, api, options):
    """[BUG] a reference that timed out stayed registered: an undo leaves the ConfigMap as it was, others' lines too."""
    place = f"/api/v1/namespaces/{options.namespace}/configmaps/{options.name}"
    api.patch(place, {"data": {"images": "mine:1\nfilter/image:v1", "filters": line(1).text}})
    before = data(api, options)
    made = register(cluster, options, [FilterLine("apps", "new", "filter/image:v1", A, B), line(1), line(2)])
    assert {each.id for each in made.new_lines} == {"new", "f2"}
    assert made.new_images == ("r.example.com/f:1", "r.example.com/f:2")
    made.undo()
    after = {key: value for key, value in data(api, options).items() if value}
    assert after == before | {"images": "mine:1\nfilter/image:v1\nr.example.com/f:1", "added": "r.example.com/f:1"}
    made.undo()


def test_a_line_that_an_undo_took_is_put_back(cluster, api, options):
    """Two deployments of the same filter: the one that gives up does not take the other's file away for good."""
    gives_up = register(cluster, options, [line(1)])
    stays = register(cluster, options, [line(1)])
    assert stays.new_lines == ()
    gives_up.undo()
    assert wanted(cluster, options) == protocol.Wanted()
    forget(cluster, options, "apps", "f1", keep=[line(1)])
    assert wanted(cluster, options).filters == (line(1),)
    assert wanted(cluster, options).images == (line(1).ref,)


def test_no_cache(cluster, namespace):
    """Without the ConfigMap registering is an error that says how to get it; forgetting is none."""
    nowhere = CacheOptions("nowhere", namespace)
    with pytest.raises(CacheError) as caught:
        register(cluster, nowhere, [line(1)])
    assert caught.value.message == f"adding image to cache: ConfigMap {namespace}/nowhere is not there"
    assert "wasme cache install" in caught.value.hint
    assert forget(cluster, nowhere, "apps", "f1") == ()
    assert wanted(cluster, nowhere) is None


def test_a_reference_with_a_blank(cluster, api, options):
    """What cannot stand in a line is refused before anything is written."""
    with pytest.raises(CacheError, match="adding image to cache: the filter x: 5 fields"):
        register(cluster, options, [FilterLine("apps", "x", "a b", A, B)])
    assert data(api, options) == {"images": ""}


def test_without_rights(control_plane, options):
    """Who may not read the ConfigMap is told the right that is missing."""
    with (
        connect(control_plane.kubeconfig_for("nobody-here")) as own,
        pytest.raises(ClusterForbidden, match=r"adding image to cache: .*configmaps"),
    ):
        register(own, options, [line(1)])


def test_a_conflict_without_end(cluster, api, options, monkeypatch):
    """Where others are faster each time, the error says so after a while instead of trying for ever."""
    monkeypatch.setattr(registration, "PATIENCE", 2.0)
    place = f"/api/v1/namespaces/{options.namespace}/configmaps/{options.name}"
    tries = 0

    def edit(before):
        nonlocal tries
        tries += 1
        api.patch(place, {"data": {"notes": str(tries)}})
        return {**before, "images": "x"}

    with pytest.raises(Conflict):
        change(cluster, options, edit)
    assert tries > 1
    assert data(api, options)["images"] == ""


def test_an_immutable_config_map(cluster, api, options):
    """A ConfigMap that somebody made immutable is the API server's refusal, with what was being done."""
    api.patch(f"/api/v1/namespaces/{options.namespace}/configmaps/{options.name}", {"immutable": True})
    with pytest.raises(ObjectRefused, match=r"adding image to cache: .*immutable"):
        register(cluster, options, [line(1)])
