"""What many FilterDeployments say of the cache's list, as one edit; and which nodes hold what, by what is told."""

from __future__ import annotations

import random

import pytest

from wasme.deploy.cache import protocol
from wasme.deploy.cache.protocol import FilterLine, ImageStatus, NodeStatus, parse_wanted
from wasme.errors import CacheError
from wasme.operator.informers.facts import ConfigFacts, NodeTold, PodFacts
from wasme.operator.nodecache.asked import Followed
from wasme.operator.nodecache.intents import FilterId, Intents, share
from wasme.operator.nodecache.standing import Nodes, NodeWord, standing


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def line(name: str, number: int = 1, namespace: str = "shop", ref: str = "") -> FilterLine:
    return FilterLine(namespace, name, ref or f"reg.example/{name}:v{number}", digest(1000 + number), digest(number))


def lines_in(data: dict[str, str]) -> list[str]:
    return data.get("filters", "").split("\n") if data.get("filters") else []


# The list


def test_pending_first() -> None:
    """A new line is pending, one that is there stays as it is; activating takes the mark away, or adds it whole."""
    one, two, three = line("one"), line("two", 2), line("three", 3)
    intents = Intents()
    intents.want([one, two], active=False)
    intents.want([three], active=True)
    edited = intents.edit({"filters": two.text})
    assert lines_in(edited.data) == [two.text, f"{one.text} pending", three.text]
    assert set(parse_wanted(edited.data).images) == {one.ref, two.ref, three.ref}
    assert edited.removed == ()
    assert not edited.refused


def test_later_word_counts() -> None:
    """Of two words on one filter the later one counts; those on others do not touch it."""
    old, new, other = line("auth", 1), line("auth", 2), line("auth", 3, "bank")
    data = {"filters": f"{old.text}\n{other.text}"}
    intents = Intents()
    intents.want([new], active=True)
    intents.keep("shop", "auth", [old])
    assert lines_in(intents.edit(data).data) == [old.text, other.text], "kept was said after wanted"
    intents.want([new], active=False)
    assert lines_in(intents.edit(data).data) == [old.text, other.text, f"{new.text} pending"]
    intents.keep("shop", "auth", [new])
    edited = intents.edit(data)
    assert lines_in(edited.data) == [other.text, f"{new.text} pending"]
    assert edited.removed == (old,)


def test_nothing_of_others_changes() -> None:
    """Lines of others, such that nobody can read, references that somebody added, and other keys stay as they are."""
    data = {
        "filters": "# mine\nnonsense\n" + line("x", 9, "bank").text,
        "images": "reg.example/hand:v1",
        "registryMap": "a: b",
    }
    intents = Intents()
    intents.want([line("auth")], active=True)
    intents.keep("shop", "gone", [])
    edited = intents.edit(data).data
    assert edited["filters"].startswith(data["filters"])
    assert edited["images"].split("\n")[0] == "reg.example/hand:v1"
    assert edited["registryMap"] == "a: b"
    back = Intents()
    back.keep("shop", "auth", [])
    assert back.edit(edited).data["images"].strip() == "reg.example/hand:v1"


def test_any_order_comes_to_the_same() -> None:
    """A thousand words of a hundred filters, in one edit or in a thousand, come to the same list."""
    chance = random.Random(5)
    data: dict[str, str] = {}
    whole = Intents()
    for _ in range(1000):
        name, one = f"f{chance.randrange(100)}", Intents()
        found = line(name, chance.randrange(1, 4))
        match chance.randrange(4):
            case 0:
                said = lambda each: each.want([found], active=False)  # noqa: E731, B023
            case 1:
                said = lambda each: each.want([found], active=True)  # noqa: E731, B023
            case 2:
                said = lambda each: each.keep("shop", name, [])  # noqa: E731, B023
            case _:
                said = lambda each: (each.want([found], active=True), each.keep("shop", name, [found]))  # noqa: E731, B023
        said(one)
        said(whole)
        data = one.edit(data).data
    together = whole.edit({}).data
    assert set(lines_in(together)) == set(lines_in(data))
    assert set(parse_wanted(together).images) == set(parse_wanted(data).images)


def test_full_list() -> None:
    """Lines that do not fit are refused, the others written; and room that a filter leaves is given away at once."""
    many = [line(f"filter-{number}", number, f"team-{number}") for number in range(1, 5000)]
    intents = Intents()
    for each in many:
        intents.want([each], active=False)
    edited = intents.edit({"filters": line("old", 9999, "bank").text})
    size = sum(len(key) + len(value) for key, value in edited.data.items())
    assert 880_000 < size <= 900_000
    assert edited.refused
    assert len(edited.refused) + len(lines_in(edited.data)) == len(many) + 1
    error = edited.refused[FilterId("team-4999", "filter-4999")]
    assert isinstance(error, CacheError)
    assert "full" in error.message
    assert error.hint
    more = Intents()
    more.want([many[4998]], active=False)
    assert more.edit(edited.data).refused
    more.keep("team-1", "filter-1", [])
    more.keep("team-2", "filter-2", [])
    assert not more.edit(edited.data).refused
    thousand = Intents()
    for each in many[:1000]:
        thousand.want([each], active=True)
    assert sum(map(len, thousand.edit({}).data.values())) < 400_000


@pytest.mark.parametrize(
    ("size", "own", "room"),
    [
        (0, 0, 500),  # nobody has anything
        (499, 499, 1),  # all of it is one's own: no more than half
        (300, 0, 350),  # half of what others leave
        (400, 300, 150),
        (500, 0, 250),
        (600, 400, 0),
        (600, 500, 0),  # what it has stays, and no more comes
        (900, 0, 50),
        (1000, 0, 0),
    ],
)  # fmt: skip
def test_share(size: int, own: int, room: int) -> None:
    """Once the list is more than half full a namespace has no more than half of what the others leave."""
    assert share(size, own, largest=1000) == room


def test_one_namespace_leaves_room() -> None:
    """One that asks for more than there is does not fill the list: others have room after it, and it is told why."""
    data: dict[str, str] = {}
    greedy = [line(f"filter-{number}", number, "greedy") for number in range(1, 6000)]
    for start in range(0, len(greedy), 50):
        intents = Intents()
        for each in greedy[start : start + 50]:
            intents.want([each], active=False)
        edited = intents.edit(data)
        data = edited.data
    size = sum(len(key) + len(value) for key, value in data.items())
    assert 400_000 < size <= 450_000
    error = next(iter(edited.refused.values()))
    assert "the namespace greedy" in error.message
    assert error.hint
    others = Intents()
    modest = [line(f"filter-{number}", number, f"team-{number % 5}") for number in range(1, 200)]
    for each in modest:
        others.want([each], active=False)
    assert not others.edit(data).refused
    assert len(parse_wanted(others.edit(data).data).filters) == len(parse_wanted(data).filters) + len(modest)


def test_registry_map() -> None:
    """The operator's own map is added to the list; what somebody chose for the nodes stays; nonsense is told."""
    intents = Intents()
    intents.lead({"a.example": "http://b.example", "c.example": "d.example"})
    edited = intents.edit({"registryMap": "a.example: elsewhere.example"}).data
    assert protocol.parse_registry_map(edited["registryMap"]) == {
        "a.example": "elsewhere.example",
        "c.example": "d.example",
    }
    assert intents.edit(edited).data == edited
    with pytest.raises(CacheError, match="registryMap"):
        intents.edit({"registryMap": "{nonsense"})


def config(version: int, *texts: str, uid: str = "u") -> ConfigFacts:
    return ConfigFacts("wasme", "wasme-cache", uid, str(version), {"filters": "\n".join(texts)})


def test_what_changed_in_the_list() -> None:
    """From version to version it is told whose lines are others; another list, or none, concerns all."""
    one, two = line("one"), line("two", 2)
    followed = Followed()
    assert followed.look(config(1, one.text)) == set()
    assert followed.gates == {}, "what was needed before we looked is read by the nodes long since"
    assert followed.version_of([one]) == ""
    first = config(2, one.text, f"{two.text} pending")
    assert followed.look(first) == {("shop", "two")}
    assert followed.look(first) == set()
    assert followed.gates == {}
    assert followed.version_of([one, two]) == "2"
    assert followed.look(config(3, one.text, two.text)) == {("shop", "two")}
    assert followed.gates[two].version == "3"
    assert followed.version_of([two]) == "2"
    assert followed.look(config(4, two.text)) == {("shop", "one")}
    assert followed.look(config(5, two.text, "# a remark")) == set()
    assert followed.look(None) is None
    assert followed.look(config(6, two.text, uid="another")) is None
    assert followed.gates[two].version == "6", "agents that read another list have it to read first"


# The nodes


def told(node: str, *images: ImageStatus, observed: str = "5") -> NodeWord:
    return NodeWord(NodeTold(f"wasme-cache-{node}", "u", NodeStatus(node, "1", observed, (), images)))


def has(each: FilterLine) -> ImageStatus:
    return ImageStatus(each.ref, each.manifest, each.module, 9, held=True)


def fails(each: FilterLine, error: str, kind: str = "Unreachable", *, permanent: bool = False) -> ImageStatus:
    return ImageStatus(each.ref, each.manifest, each.module, error=error, kind=kind, permanent=permanent)


def agent(node: str, *, ready: bool = True, trouble: str = "") -> PodFacts:
    return PodFacts("wasme", f"agent-{node}", "u", {"app": "wasme-cache"}, node, "Running", ready, trouble=trouble)


AUTH = line("auth")
NEED = (AUTH,)


def known(
    *words: NodeWord, ready: str = "a b c", not_ready: str = "", agents: dict[str, PodFacts] | None = None
) -> Nodes:
    here = {each.told.status.node: each for each in words if each.told.status}
    living = {node: agent(node) for node in [*ready.split(), *not_ready.split()]}
    return Nodes(ready.split(), not_ready.split(), living if agents is None else agents, here)


def test_all_hold() -> None:
    """Every ready node with a living agent that told so holds it; one that is not ready does not count, and is told."""
    words = [told(node, has(AUTH)) for node in "abd"]
    held, kinds = standing(NEED, known(*words, ready="a b", not_ready="c d"), "")
    assert (held.nodes, held.held, held.complete, held.final) == (2, 2, True, False)
    assert [node for node, _ in held.missing] == ["c", "d"]
    assert not kinds


@pytest.mark.parametrize(
    ("agents", "why"),
    [
        ({}, "no agent runs there"),
        ({"a": agent("a", ready=False)}, "pod agent-a is not ready"),
        ({"a": agent("a", ready=False, trouble="pod agent-a: CrashLoopBackOff")}, "CrashLoopBackOff"),
    ],
)  # fmt: skip
def test_dead_agent(agents: dict[str, PodFacts], why: str) -> None:
    """What an agent told does not count while it does not live, or has no pod at all."""
    held, _ = standing(NEED, known(told("a", has(AUTH)), ready="a", agents=agents), "")
    assert not held.complete
    assert why in held.missing[0][1]


def test_why_a_node_is_missing() -> None:
    """Silent, behind, pulling, failing: each is told apart."""
    nodes = known(
        told("b", observed="4"), told("c", ImageStatus(AUTH.ref, AUTH.manifest, AUTH.module)),
        told("d", fails(AUTH, "401 from the registry", "Unauthorized")), ready="a b c d",
    )  # fmt: skip
    held, kinds = standing(NEED, nodes, "5")
    assert dict(held.missing) == {
        "a": "its agent has told nothing yet",
        "b": "its agent has not read the request yet",
        "c": "it is being pulled",
        "d": "401 from the registry",
    }
    assert (held.nodes, held.held) == (4, 0)
    assert kinds == {"Unauthorized"}


def test_final_only_when_all_say_so() -> None:
    """That no node will ever hold it is told when each says so, and has read the request."""
    never = fails(AUTH, "no such image", "RemoteNotFound", permanent=True)
    for observed, other, final in (
        ("5", never, True),
        ("4", never, False),
        ("5", fails(AUTH, "503"), False),
        ("5", has(AUTH), False),
    ):
        held, _ = standing(NEED, known(told("a", never), told("b", other, observed=observed), ready="a b"), "5")
        assert held.final is final
    assert not standing(NEED, known(ready=""), "5")[0].final


def test_unreadable() -> None:
    """A status that is no JSON is told as that, and not believed."""
    word = NodeWord(NodeTold("wasme-cache-a", "u", None))
    held, _ = standing(NEED, Nodes(["a"], [], {"a": agent("a")}, {"a": word}), "")
    assert held.missing == (("a", "what its agent told cannot be read"),)
