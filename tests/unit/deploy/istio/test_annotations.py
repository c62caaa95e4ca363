"""The sidecar's volume annotations: exact texts, and a user's own come back byte for byte whatever happened between."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasme.deploy.istio.annotations import (
    BACKUP,
    USER_VOLUME,
    USER_VOLUME_MOUNT,
    Entry,
    added,
    cache_entries,
    held,
    image_entry,
    is_ours,
    removed,
    volume_name,
)
from wasme.errors import InputError

CACHE = cache_entries("bookinfo", gate=False)
GATED = cache_entries("bookinfo")
NAMES = ("cache-dir", "cache-ready")

# The original's strings.
VOLUME = '[{"name":"cache-dir","hostPath":{"path":"/var/local/lib/wasme-cache"}}]'
MOUNT = '[{"mountPath":"/var/local/lib/wasme-cache","name":"cache-dir"}]'
FIRST = {USER_VOLUME: VOLUME, USER_VOLUME_MOUNT: MOUNT}
# As the original writes them again when it merges: keys in order.
VOLUME_SORTED = '[{"hostPath":{"path":"/var/local/lib/wasme-cache"},"name":"cache-dir"}]'
MOUNT_SORTED = '[{"mountPath":"/var/local/lib/wasme-cache","name":"cache-dir"}]'


def test_first_texts_are_the_originals() -> None:
    """Where nothing was, the texts are the original's, byte for byte, and its gate-less pair is all there is."""
    assert added({}, CACHE) == FIRST


def test_gate_comes_second() -> None:
    """With the gate the original's entry stays first, and the file that opens it is a second one."""
    after = added({}, GATED)
    assert after[USER_VOLUME] == (
        '[{"name":"cache-dir","hostPath":{"path":"/var/local/lib/wasme-cache"}},'
        '{"name":"cache-ready","hostPath":{"path":"/var/local/lib/wasme-cache/ready/bookinfo","type":"File"}}]'
    )
    assert after[USER_VOLUME_MOUNT] == (
        '[{"mountPath":"/var/local/lib/wasme-cache","name":"cache-dir"},'
        '{"mountPath":"/var/local/lib/wasme-ready","name":"cache-ready","readOnly":true}]'
    )


def test_merged_texts_are_the_originals() -> None:
    """Into a user's list the entry is appended, compact and with sorted keys; what was there is kept beside it."""
    users = '[ {"name": "tmp-dir", "emptyDir": {}} ]'
    after = added({USER_VOLUME: users}, CACHE)
    assert after == {
        USER_VOLUME: '[{"emptyDir":{},"name":"tmp-dir"},'
        '{"hostPath":{"path":"/var/local/lib/wasme-cache"},"name":"cache-dir"}]',
        f"{BACKUP}{USER_VOLUME}": users,
        USER_VOLUME_MOUNT: MOUNT,
    }


def test_again_changes_nothing() -> None:
    """[BUG of the original: the second and third deploy changed the pod template and overwrote the backup.]"""
    for before in ({}, {USER_VOLUME: '[{"name": "tmp-dir", "emptyDir": {}}]'}, {USER_VOLUME_MOUNT: "{}"}):
        once = added(before, GATED)
        assert added(once, GATED) == once
        assert list(added(once, GATED)) == list(once)
        assert removed(once, NAMES) == before


def test_other_annotations_stay_and_so_does_their_order() -> None:
    """Other keys are not touched, and a key that is rewritten keeps its place."""
    before = {"a": "1", USER_VOLUME: '[{"name":"t"}]', "b": "2"}
    after = added(before, CACHE)
    assert list(after)[:3] == ["a", USER_VOLUME, "b"]
    assert (after["a"], after["b"]) == ("1", "2")


def test_damaged_backup_of_an_absent_annotation() -> None:
    """[BUG of the original: a second deploy saved its own volume as the user's, so undeploy brought it back for good.]
    Such a backup is recognised and dropped."""
    twice = {
        USER_VOLUME: VOLUME_SORTED,
        USER_VOLUME_MOUNT: MOUNT_SORTED,
        f"{BACKUP}{USER_VOLUME}": VOLUME,
        f"{BACKUP}{USER_VOLUME_MOUNT}": MOUNT,
    }
    assert removed(twice, NAMES) == {}
    assert removed(added(twice, GATED), NAMES) == {}
    assert not [key for key in added(twice, GATED) if key.startswith(BACKUP)]


def test_damaged_backup_of_a_users_list() -> None:
    """A backup that holds a user's entry beside wasme's gives the user's alone."""
    user = {"emptyDir": {}, "name": "tmp-dir"}
    merged = json.dumps([user, json.loads(VOLUME)[0]], separators=(",", ":"), sort_keys=True)
    twice = {USER_VOLUME: merged, f"{BACKUP}{USER_VOLUME}": merged}
    assert removed(twice, NAMES) == {USER_VOLUME: '[{"emptyDir":{},"name":"tmp-dir"}]'}
    assert added(twice, CACHE)[USER_VOLUME] == merged
    assert added(twice, CACHE)[f"{BACKUP}{USER_VOLUME}"] == '[{"emptyDir":{},"name":"tmp-dir"}]'


def test_lost_backup() -> None:
    """Where somebody dropped the backup, the user's entries are what is not wasme's."""
    after = {USER_VOLUME: f'[{{"name":"tmp-dir","emptyDir":{{}}}},{VOLUME[1:]}'}
    assert removed(after, NAMES) == {USER_VOLUME: '[{"name":"tmp-dir","emptyDir":{}}]'}
    again = added(after, CACHE)
    assert again[USER_VOLUME] == after[USER_VOLUME]
    assert removed(again, NAMES) == {USER_VOLUME: '[{"name":"tmp-dir","emptyDir":{}}]'}


def test_objects_by_name() -> None:
    """Istio's injector takes an object by name as well, as its examples have it; it stays one."""
    users = '{"data": {"emptyDir": {}}}'
    mounts = '{"data":{"mountPath":"/data"}}'
    after = added({USER_VOLUME: users, USER_VOLUME_MOUNT: mounts}, CACHE)
    assert json.loads(after[USER_VOLUME]) == {
        "data": {"emptyDir": {}},
        "cache-dir": {"hostPath": {"path": "/var/local/lib/wasme-cache"}},
    }
    assert json.loads(after[USER_VOLUME_MOUNT])["cache-dir"] == {"mountPath": "/var/local/lib/wasme-cache"}
    assert removed(after, NAMES) == {USER_VOLUME: users, USER_VOLUME_MOUNT: mounts}


def test_other_filters_keep_their_volume() -> None:
    """[BUG of the original: undeploying one filter took away the volume that another on the pod still needs.]"""
    first, second = image_entry("auth", "r@sha256:1"), image_entry("stats", "r@sha256:2")
    both = added(added({}, [first]), [second])
    assert held(both) == {"wasme-auth", "wasme-stats"}
    assert removed(both, ["wasme-auth"]) == added({}, [second])
    assert removed(removed(both, ["wasme-stats"]), ["wasme-auth"]) == {}


def test_new_image_replaces_the_volume() -> None:
    """The volume of a filter's new image takes the place of the old one's."""
    before = added(added({}, [image_entry("auth", "r@sha256:1")]), CACHE)
    after = added(before, [image_entry("auth", "r@sha256:2")])
    volumes = json.loads(after[USER_VOLUME])
    assert [each["name"] for each in volumes] == ["wasme-auth", "cache-dir"]
    assert volumes[0]["image"]["reference"] == "r@sha256:2"
    assert after[USER_VOLUME_MOUNT] == before[USER_VOLUME_MOUNT]


def test_users_edit_in_between() -> None:
    """What a user adds, changes or takes away while the filter is there stays so after it."""
    deployed = added({USER_VOLUME: '[ {"name":"a"} ]'}, CACHE)
    entries = json.loads(deployed[USER_VOLUME])
    more = {**deployed, USER_VOLUME: json.dumps([*entries, {"name": "b"}])}
    assert removed(more, NAMES) == {USER_VOLUME: '[{"name":"a"},{"name":"b"}]'}
    less = {**deployed, USER_VOLUME: json.dumps(entries[1:])}
    assert removed(less, NAMES) == {}
    gone = {key: value for key, value in deployed.items() if key != USER_VOLUME}
    assert removed(gone, NAMES) == {}
    assert added(gone, CACHE) == FIRST


def test_untouched_workload() -> None:
    """[BUG of the original: undeploy stripped a user's annotations from workloads it had never deployed to.]"""
    users = {USER_VOLUME: '[{"name":"mine","emptyDir":{}}]', USER_VOLUME_MOUNT: "not even JSON"}
    assert removed(users, NAMES) == users
    assert removed({}, NAMES) == {}


def test_own_volume_of_that_name() -> None:
    """A user's volume called cache-dir that is another one would hide the files: that is refused by name and key."""
    with pytest.raises(InputError) as caught:
        added({USER_VOLUME: '[{"name":"cache-dir","emptyDir":{}}]'}, CACHE, "Deployment bookinfo/ratings-v1")
    assert "Deployment bookinfo/ratings-v1" in caught.value.message
    assert USER_VOLUME in caught.value.message
    with pytest.raises(InputError, match="mountPath"):
        added({USER_VOLUME_MOUNT: '[{"name":"x","mountPath":"/var/local/lib/wasme-cache"}]'}, CACHE)
    with pytest.raises(InputError, match="name cache-dir"):
        added({USER_VOLUME_MOUNT: '{"cache-dir":{"mountPath":"/x"}}'}, CACHE)
    # Undeploying does not take it for wasme's.
    own = {USER_VOLUME: '[{"name":"cache-dir","emptyDir":{}}]'}
    assert removed(own, NAMES) == own


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[{", "Expecting"),
        ('"text"', "no list of objects"),
        ("[1]", "no list of objects"),
        ('{"a":1}', "not every value of the object is an object"),
        ('[{"name":"a","x":NaN}]', "NaN is no JSON"),
        ('[{"name":"a","x":1e999}]', "1e999 is too large"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_unreadable(text: str, said: str) -> None:
    """An annotation that Istio could not read either is one clear error that names workload and key."""
    for key in (USER_VOLUME, USER_VOLUME_MOUNT):
        with pytest.raises(InputError) as caught:
            added({key: text}, CACHE, "Deployment bookinfo/ratings-v1")
        assert caught.value.message.startswith(f"Deployment bookinfo/ratings-v1: the annotation {key} cannot be read:")
        assert said in caught.value.message
        assert "\n" not in caught.value.message


@pytest.mark.parametrize("text", ["", " ", "null", "[]", "{}", "[ ]"])
def test_empty(text: str) -> None:
    """An annotation that says nothing takes the entries, and comes back as it was."""
    after = added({USER_VOLUME: text}, CACHE)
    assert held(after) == {"cache-dir"}
    assert removed(after, NAMES) == {USER_VOLUME: text}


def test_gate_can_be_taken_away_and_added() -> None:
    """From the original's pair to the gated one and back, without the user's list suffering."""
    users = {USER_VOLUME: '[ {"name":"a"} ]'}
    plain = added(users, CACHE)
    gated = added(plain, GATED)
    assert held(gated) == set(NAMES)
    assert removed(gated, ["cache-ready"]) == plain
    assert removed(gated, NAMES) == users


@pytest.mark.parametrize("filter_id", ["auth", "a" * 200, "auth.v2", "a.b-" + "c" * 80])
def test_volume_names(filter_id: str) -> None:
    """The name of a volume is a DNS label, whatever the id; ids that look alike have different ones."""
    name = volume_name(filter_id)
    assert len(name) <= 63
    assert "." not in name
    assert name[-1].isalnum()
    assert volume_name("a.b") != volume_name("a-b")


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "cache-dir", "hostPath": {"path": "/var/local/lib/wasme-cache", "type": "Directory"}},
        {"name": "cache-dir", "hostPath": {"path": "/var/local/lib/wasme-cache"}, "x": 1},
        {"name": "cache-dir", "hostPath": {"path": "/elsewhere"}},
        {"name": "cache-ready", "hostPath": {"path": "/var/local/lib/wasme-cache/ready/a", "type": "File", "x": 1}},
        {"name": "cache-ready", "hostPath": {"path": "/var/local/lib/wasme-cache/ready/a", "type": "File"}, "x": 1},
        {"name": "cache-ready", "hostPath": {"path": "/elsewhere", "type": "File"}},
        {"name": "wasme-a", "image": {"reference": "r", "pullPolicy": "IfNotPresent", "x": 1}},
        {"name": "wasme-a", "image": {"reference": "r", "pullPolicy": "IfNotPresent"}, "x": 1},
        {"name": "mine", "image": {"reference": "r", "pullPolicy": "IfNotPresent"}},
        {"name": "cache-dir", "mountPath": "/var/local/lib/wasme-cache", "readOnly": True},
        {"name": "cache-ready", "mountPath": "/elsewhere", "readOnly": True},
        {"name": "wasme-a", "mountPath": "/elsewhere", "readOnly": True},
        {"name": "mine", "mountPath": "/var/local/lib/wasme/a", "readOnly": True},
        {"name": "wasme-a", "mountPath": "/var/local/lib/wasme/a", "readOnly": True, "subPath": "x"},
        {},
    ],
)
def test_nearly_ours(entry: dict[str, Any]) -> None:
    """An entry that differs from wasme's in anything is a user's."""
    assert not is_ours(entry)


def test_every_entry_of_ours() -> None:
    """What wasme adds is known again, in both parts."""
    for each in (*GATED, image_entry("auth", "r@sha256:1")):
        assert is_ours(each.volume)
        assert is_ours(each.mount)


def test_nothing_to_take_away_leaves_the_text() -> None:
    """What is not there is not taken away: neither text nor backup changes, not in their spelling either."""
    text = f" {VOLUME} "
    assert removed({USER_VOLUME: text}, ["wasme-auth"]) == {USER_VOLUME: text}
    own = f'[ {{"name":"a"}}, {VOLUME[1:]}'
    both = {USER_VOLUME: own, f"{BACKUP}{USER_VOLUME}": '[{"name":"a"} ]'}
    assert removed(both, ["wasme-auth"]) == both


def test_a_user_who_took_it_away_by_hand() -> None:
    """Where wasme's entry is gone already, what the user wrote stays in its spelling, and the old backup goes."""
    edited = {USER_VOLUME: '[ {"name":"b"} ]', f"{BACKUP}{USER_VOLUME}": '[{"name":"a"}]'}
    assert removed(edited, NAMES) == {USER_VOLUME: '[ {"name":"b"} ]'}
    same = {USER_VOLUME: '[ {"name":"a"} ]', f"{BACKUP}{USER_VOLUME}": '[{"name":"a"}]'}
    assert removed(same, NAMES) == {USER_VOLUME: '[{"name":"a"}]'}


def test_a_backup_that_nobody_can_read() -> None:
    """It is not brought back; what is there counts."""
    broken = {USER_VOLUME: f'[{{"name":"a"}},{VOLUME[1:]}', f"{BACKUP}{USER_VOLUME}": "[{"}
    assert removed(broken, NAMES) == {USER_VOLUME: '[{"name":"a"}]'}
    assert removed({USER_VOLUME: VOLUME, f"{BACKUP}{USER_VOLUME}": "[{"}, NAMES) == {}


# --- any user, any filters, any order -------------------------------------------------------------------------------

_words = st.sampled_from(["a", "data", "tmp-dir", "x/y", "é😀", '"', ""])
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | _words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_words, inner, max_size=2),
    max_leaves=4,
)
_entry = st.dictionaries(_words, _json, max_size=2).flatmap(
    lambda fields: _words.map(lambda name: {**fields, "name": name})
)
_lists = st.lists(_entry, max_size=3)
_objects = st.dictionaries(_words, st.dictionaries(_words, _json, max_size=2), max_size=3)


@st.composite
def _texts(draw: st.DrawFn) -> str:
    """What a user might have written: a list or an object, in any spelling."""
    value = draw(_lists | _objects)
    separators = draw(st.sampled_from([None, (",", ":"), (" , ", " :  ")]))
    indent = draw(st.sampled_from([None, 2]))
    return json.dumps(value, ensure_ascii=draw(st.booleans()), separators=separators, indent=indent)


_users = st.fixed_dictionaries(
    {}, optional={USER_VOLUME: _texts(), USER_VOLUME_MOUNT: _texts(), "sidecar.istio.io/inject": st.just("true")}
)
_ENTRIES: Sequence[tuple[Entry, ...]] = (GATED, (image_entry("auth", "r@sha256:1"),), (image_entry("s.t", "r"),))


@given(before=_users, gate=st.booleans(), times=st.integers(1, 3))
def test_any_users_text_comes_back(before: dict[str, str], gate: bool, times: int) -> None:
    """Deployed any number of times and undeployed, the annotations are what they were, byte for byte."""
    after = before
    for _ in range(times):
        after = added(after, cache_entries("ns", gate=gate))
    assert removed(after, NAMES) == before


@given(before=_users, order=st.permutations(range(3)), back=st.permutations(range(3)))
def test_any_order_of_filters(before: dict[str, str], order: list[int], back: list[int]) -> None:
    """Several filters, deployed and undeployed in any order: each has its volume until it goes, and then all is as it
    was."""
    state: dict[str, Any] = dict(before)
    for each in order:
        state = added(state, _ENTRIES[each])
        assert {entry.name for entry in _ENTRIES[each]} <= held(state)
    there = {entry.name for entries in _ENTRIES for entry in entries}
    for each in back:
        gone = {entry.name for entry in _ENTRIES[each]}
        state = removed(state, gone)
        there -= gone
        assert held(state) == there
    assert state == before
    assert list(state) == [key for key in state if key in before]


@given(before=_users)
def test_users_entries_are_always_there(before: dict[str, str]) -> None:
    """While filters are deployed, every entry of the user's is in the annotation, and before wasme's."""
    after = added(before, GATED)
    for key in (USER_VOLUME, USER_VOLUME_MOUNT):
        if key in before:
            users, now = json.loads(before[key]), json.loads(after[key])
            if isinstance(users, list):
                assert now[: len(users)] == users
            else:
                assert all(
                    now[name] == {each: item for each, item in users[name].items() if each != "name"} for name in users
                )
