"""What is known of objects: versions, own writes, and who is told of what."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import pytest

from wasme.operator.informers.store import Change, Seen, Store
from wasme.operator.resources.wanted import Key

KEY = Key("shop", "a")


def seen(version: int | str, value: str = "", key: Key = KEY, uid: str = "u") -> Seen[str]:
    return Seen(key, uid, str(version), value or f"v{version}")


def test_changes_are_told_once() -> None:
    """New, changed and gone are told with what was before; the same version again, or the same value, is not."""
    store: Store[str] = Store()
    assert store.seen(seen(1)) == Change(KEY, None, "v1")
    assert store.seen(seen(1)) is None
    assert store.seen(seen(2)) == Change(KEY, "v1", "v2")
    assert store.seen(seen(3, "v2")) is None, "only what is not kept of it has changed"
    assert store.version(KEY) == "3"
    assert store.gone(KEY, "u", "4") == Change(KEY, "v2", None)
    assert (store.get(KEY), len(store), store.keys(None), store.namespaces()) == (None, 0, [], [])


def test_older_versions_never_replace_newer() -> None:
    """Whatever the order in which lists, events and answers come, the newest stays; by number, not by letter."""
    store: Store[str] = Store()
    store.seen(seen(9))
    assert store.seen(seen(10)) == Change(KEY, "v9", "v10")
    assert store.seen(seen(9)) is None
    store.put(seen(11))
    store.put(seen(8))
    assert store.seen(seen(10)) is None
    assert (store.get(KEY), store.version(KEY)) == ("v11", "11")
    store.put(seen(20, "made anew", uid="second"))
    assert store.gone(KEY, "u", "19") is None, "the deletion of the one before"
    assert store.get(KEY) == "made anew"


@pytest.mark.parametrize("own", [[12], [12, 13], [11, 12]])
def test_a_list_tells_what_others_did_before_an_own_write(own: list[int]) -> None:
    """No event says what was before what a list has: whatever differs from what was told last is told, once."""
    store: Store[str] = Store()
    store.seen(seen(10))
    for version in own:
        store.put(seen(version, f"theirs and ours {version}"))
    last = f"theirs and ours {own[-1]}"
    assert store.seen(seen(12, "theirs and ours 12"), listed=True) == Change(KEY, "v10", last)
    assert store.seen(seen(own[-1], last), listed=True) is None
    assert store.seen(seen(own[-1], last)) is None
    assert store.get(KEY) == last


def test_a_list_from_before_what_is_known_tells_nothing() -> None:
    """It is older than the event that was told last."""
    store: Store[str] = Store()
    store.seen(seen(10))
    store.put(seen(12))
    assert store.seen(seen(10), listed=True) is None
    assert store.seen(seen(12), listed=True) == Change(KEY, "v10", "v12")


def test_own_writes_are_told_to_nobody() -> None:
    """The events of own writes, several of them, call nobody, also not those of new and of deleted objects."""
    store: Store[str] = Store()
    store.put(seen(5))
    store.put(seen(6))
    assert store.get(KEY) == "v6"
    assert [store.seen(seen(5)), store.seen(seen(6))] == [None, None]
    store.drop(KEY, "u")
    assert store.get(KEY) is None
    assert store.seen(seen(6)) is None, "a late event brings nothing back"
    assert store.gone(KEY, "u", "7") is None
    assert store.seen(seen(9, uid="other")) == Change(KEY, None, "v9")


def test_somebody_else_just_before_an_own_write_is_told() -> None:
    """A change that is in the answer of an own write already, but that nobody was called for, is told."""
    store: Store[str] = Store()
    store.seen(seen(10))
    store.put(seen(12, "theirs and ours"))
    assert store.seen(seen(11, "theirs")) == Change(KEY, "v10", "theirs and ours")
    assert store.seen(seen(12, "theirs and ours")) is None
    assert store.seen(seen(13, "again")) == Change(KEY, "theirs and ours", "again")


def test_an_own_write_that_is_undone_is_told() -> None:
    """Somebody who takes an own write back before its event has come is told of, although all is as before it."""
    store: Store[str] = Store()
    store.seen(seen(10, "as before"))
    store.put(seen(11, "ours"))
    assert store.seen(seen(12, "as before")) == Change(KEY, "ours", "as before")


def test_what_is_deleted_but_waits_for_a_finalizer_is_there() -> None:
    """An object that was taken for deleted and still is there, as somebody's finalizer keeps it, comes back."""
    store: Store[str] = Store()
    store.seen(seen(1))
    store.drop(KEY, "u")
    assert store.seen(seen(2), deleting=True) == Change(KEY, None, "v2")


def test_a_whole_list() -> None:
    """What is not in a new list is gone, but for what was put after it was made."""
    store: Store[str] = Store()
    for name in "abc":
        store.seen(seen(1, key=Key("shop", name)))
    store.put(seen(9, key=Key("shop", "new")))
    told = store.only({Key("shop", "a")}, "5")
    assert {each.key.name for each in told} == {"b", "c"}
    assert all(each.after is None for each in told)
    assert {each.name for each in store.keys(None)} == {"a", "new"}
    assert store.only({Key("shop", "a"), Key("shop", "new")}, "10") == []


@pytest.mark.parametrize("listed", [False, True], ids=["by a watch", "by a list"])
@pytest.mark.parametrize("known", [False, True], ids=["new", "known before"])
def test_an_answer_that_comes_after_the_deletion(known: bool, listed: bool) -> None:
    """What has been told to be gone does not come back by the answer to an earlier write; a later one of its name is
    another object."""
    store: Store[str] = Store()
    if known:
        store.seen(seen(9))
    if listed:
        store.only(set(), "12")
    else:
        store.seen(seen(10))
        store.gone(KEY, "u", "11")
    store.put(seen(10))
    assert (store.get(KEY), store._own) == (None, {})
    store.put(seen(13, "made anew", uid="second"))
    assert store.get(KEY) == "made anew"
    assert store.seen(seen(13, "made anew", uid="second")) is None


def test_what_could_not_be_read_for_a_while_comes_back() -> None:
    """An object that was taken for gone is there again when our own write makes it readable."""
    store: Store[str] = Store()
    store.seen(seen(9))
    store.gone(KEY, "u", "10")
    store.put(seen(11))
    assert store.get(KEY) == "v11"


def test_a_kind_that_is_gone_and_comes_back() -> None:
    """When nothing is there any more, nothing is remembered of versions either."""
    store: Store[str] = Store()
    store.seen(seen(9))
    assert store.clear() == [Change(KEY, "v9", None)]
    store.put(seen(2))
    assert store.get(KEY) == "v2"


def test_a_list_from_before_what_was_told() -> None:
    """Storage was put back to an earlier state: what differs is told whatever its version, also what subscribers had
    not been told because it was ours; and what we had deleted is there again."""
    store: Store[str] = Store()
    for name in ("same", "other", "ours", "undone", "dropped", "gone"):
        store.seen(seen(10, "before", key=Key("shop", name), uid=name))
    store.put(seen(21, "put", key=Key("shop", "ours"), uid="ours"))
    store.put(seen(22, "put", key=Key("shop", "undone"), uid="undone"))
    store.drop(Key("shop", "dropped"), "dropped")
    store.seen(seen(20, "now", key=Key("shop", "other"), uid="other"))
    store.begin("15")
    found = {"same": (10, "before"), "other": (11, "before"), "ours": (12, "put"), "undone": (10, "before")}
    told = [
        store.seen(seen(at, value, key=Key("shop", name), uid=name), listed=True)
        for name, (at, value) in {**found, "dropped": (10, "before")}.items()
    ]
    told += store.only({Key("shop", name) for name in (*found, "dropped")}, "15")
    assert [(each.key.name, each.before, each.after) for each in told if each] == [
        ("other", "now", "before"),
        ("ours", "before", "put"),
        ("undone", "put", "before"),
        ("dropped", None, "before"),
        ("gone", "before", None),
    ]
    assert (store.version(Key("shop", "other")), store._own) == ("11", {})
    store.put(seen(16, "put", key=Key("shop", "other"), uid="other"))
    assert store.get(Key("shop", "other")) == "put"


@pytest.mark.parametrize("version", ["20", "30", "x"])
def test_a_list_that_is_not_older_changes_no_versions(version: str) -> None:
    """What was put since is newer than it; versions that cannot be compared say nothing of what was before."""
    store: Store[str] = Store()
    store.seen(seen(20))
    store.put(seen(40))
    store.begin(version)
    assert store.version(KEY) == "40"


def test_versions_that_are_no_numbers() -> None:
    """Where versions cannot be compared, another one is a newer one."""
    store: Store[str] = Store()
    store.seen(seen("x"))
    assert store.seen(seen("x")) is None
    assert store.seen(seen("a")) == Change(KEY, "vx", "va")


def test_indexes() -> None:
    """Index entries follow each change, one member or many, own writes too."""
    store: Store[str] = Store(lambda value: value.split())
    keys = [Key("shop", name) for name in "abc"]
    for number, key in enumerate(keys):
        store.seen(seen(1, f"all only{number}", key=key))
    assert (store.many("all"), len(store.by("all"))) == (3, 3)
    assert store.by("only1") == ["all only1"]
    store.put(seen(2, "other", key=keys[1]))
    assert (store.by("only1"), store.by("other"), store.many("all")) == ([], ["other"], 2)
    for key in keys:
        store.drop(key, "u")
    assert (store.by("all"), store.by("other"), store._index) == ([], [], {})


def test_an_echo_is_known_without_its_value() -> None:
    """What a watch tells of the last own write needs no reading, once; anything else does."""
    store: Store[str] = Store()
    store.seen(seen(10))
    assert not store.echo(KEY, "10")
    store.put(seen(11, "ours"))
    store.put(seen(13, "theirs and ours"))
    assert not store.echo(KEY, "11"), "there may be somebody else's between that and what is known"
    assert not store.echo(KEY, "12")
    assert not store.echo(KEY, "14")
    assert store.echo(KEY, "13")
    assert not store.echo(KEY, "13")
    assert not store.echo(Key("shop", "other"), "13")
    assert store._own == {}


@pytest.mark.parametrize("seed", range(30))
def test_late_answers_end_at_the_truth(seed: int) -> None:
    """However late the answers to own writes come beside what a watch and lists tell, in the end the store holds what
    is, and remembers nothing of own writes."""
    rand = random.Random(seed)
    store: Store[str] = Store()
    truth: dict[Key, Seen[str]] = {}
    events: list[Callable[[], object]] = []
    answers: list[Callable[[], object]] = []
    for version in range(1, 301):
        key = Key("shop", rand.choice("abc"))
        match rand.random():
            case chance if chance < 0.2 and key in truth:
                uid = truth.pop(key).uid
                events.append(partial(store.gone, key, uid, str(version)))
                if rand.random() < 0.5:
                    answers.append(partial(store.drop, key, uid))
            case chance if chance < 0.25:
                events.clear()  # a watch may end before it has told what is in the next list
                for one in truth.values():
                    store.seen(one, listed=True)
                store.only(set(truth), str(version))
            case _:
                uid = truth[key].uid if key in truth else f"u{version}"
                truth[key] = new = Seen(key, uid, str(version), rand.choice("xyz"))
                events.append(partial(store.seen, new))
                if rand.random() < 0.5:
                    answers.append(partial(store.put, new))
        while answers and rand.random() < 0.3:
            answers.pop(rand.randrange(len(answers)))()
        while events and rand.random() < 0.4:
            events.pop(0)()
    for late in (*events, *answers):
        late()
    assert {key: store.get(key) for key in store.keys(None)} == {key: each.value for key, each in truth.items()}
    assert store._own == {}


@pytest.mark.parametrize("glance", [False, True], ids=["all is read", "echoes are not"])
@pytest.mark.parametrize("seed", range(30))
def test_any_order_ends_at_the_truth(seed: int, glance: bool) -> None:
    """With writes, own and others', events late by any number, and lists in between: at the end the store holds what
    is, subscribers were told of all that they did not do themselves, and nothing is left in memory."""
    rand = random.Random(seed)
    store: Store[str] = Store()
    known: dict[Key, str] = {}
    truth: dict[Key, tuple[int, str, str]] = {}
    events: list[Callable[[], Change[str] | None]] = []

    def tell(change: Change[str] | None) -> None:
        if change is not None:
            known[change.key] = change.after or ""

    for version in range(1, 301):
        key = Key("shop", rand.choice("abc"))
        own = rand.random() < 0.5
        match rand.random():
            case chance if chance < 0.2 and key in truth:
                uid = truth.pop(key)[2]
                events.append(lambda key=key, uid=uid, at=version: store.gone(key, uid, str(at)))
                if own:
                    store.drop(key, uid)
                    known[key] = ""
            case chance if chance < 0.3:
                listed, at = dict(truth), version
                for event in events:
                    tell(event())  # a watch that ends has told what was before the list
                events.clear()
                for each, (number, value, uid) in listed.items():
                    tell(store.seen(Seen(each, uid, str(number), value)))
                for change in store.only(set(listed), str(at)):
                    tell(change)
            case _:
                uid = truth[key][2] if key in truth else f"u{version}"
                value = rand.choice("xyz")
                truth[key] = (version, value, uid)
                new = Seen(key, uid, str(version), value)
                events.append(lambda new=new: None if glance and store.echo(new.key, new.version) else store.seen(new))
                if own:
                    store.put(new)
                    known[key] = value
        while events and rand.random() < 0.4:
            tell(events.pop(0)())
    for event in events:
        tell(event())
    assert {key: store.get(key) for key in store.keys(None)} == {key: value for key, (_, value, _) in truth.items()}
    assert {key: value for key, value in known.items() if value} == {key: value for key, (_, value, _) in truth.items()}
    assert store._own == {}
