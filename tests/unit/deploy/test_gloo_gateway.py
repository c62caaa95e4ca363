"""A Gloo Gateway with and without filters: the pure half of deploy gloo."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.deploy.merging import merged
from wasme.deploy.gloo import gateway as gateways
from wasme.deploy.gloo.entry import Settings, Stage, entry
from wasme.deploy.gloo.gateway import MADE, patch, with_filter, without_filter
from wasme.deploy.spec import FilterSpec
from wasme.errors import ObjectRefused, UsageError


def make(http: dict[str, Any] | None, **meta: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "gateway-proxy", "namespace": "gloo-system", "resourceVersion": "7", **meta},
        "spec": {"bindPort": 8080, **({} if http is None else {"httpGateway": http})},
    }


NAMES = st.text("abz", min_size=1, max_size=2)
ENTRIES = st.fixed_dictionaries({}, optional={"name": NAMES, "image": st.text(max_size=4), "failOpen": st.booleans()})
OTHERS = st.dictionaries(st.sampled_from(["gzip", "cors"]), st.just({}), max_size=2)
WASM = st.fixed_dictionaries({}, optional={"filters": st.lists(ENTRIES, max_size=4)})


@st.composite
def any_gateway(draw: st.DrawFn) -> dict[str, Any]:
    http: dict[str, Any] = draw(st.dictionaries(st.just("virtualServices"), st.just([{"name": "x"}])))
    if draw(st.booleans()):
        http["options"] = draw(OTHERS)
        if draw(st.booleans()):
            http["options"]["wasm"] = draw(WASM)
    annotations = draw(st.dictionaries(st.sampled_from(["origin", "a.b/c"]), st.text(max_size=3), max_size=2))
    return make(http, **({"annotations": annotations} if annotations else {}))


@given(any_gateway(), st.permutations(["new-a", "new-b", "m"]), st.data())
def test_added_and_removed_is_as_before(gateway: dict[str, Any], ids: list[str], data: st.DataObject) -> None:
    """Whatever a Gateway looks like: filters added and taken away in any order leave it exactly as it was."""
    before = copy.deepcopy(gateway)
    changed = gateway
    for each in ids:
        changed = with_filter(changed, {"name": each, "image": "i"})
        assert gateways.has(changed, each)
    for each in data.draw(st.permutations(ids)):
        changed = without_filter(changed, each)
    assert changed == before
    assert gateway == before  # nothing was changed in place


@given(any_gateway(), NAMES)
def test_the_patch_is_the_change(gateway: dict[str, Any], name: str) -> None:
    """The API server's merge of each patch gives the Gateway that was meant, and other fields are not named in it."""
    added = with_filter(gateway, {"name": name, "image": "new"})
    assert merged(gateway, patch(added)) == added
    removed = without_filter(added, name)
    told = patch(removed)
    assert merged(added, told) == removed
    assert set(told["spec"]["httpGateway"]) == {"options"}
    assert set(told["metadata"]) <= {"resourceVersion", "annotations"}


@given(st.lists(NAMES, unique=True), NAMES)
def test_a_sorted_list_stays_sorted(names: list[str], new: str) -> None:
    """In a list that is sorted by name, as the original left it, a new filter has the original's place."""
    present = [{"name": each} for each in sorted(names)]
    found = gateways.filters(with_filter(make({"options": {"wasm": {"filters": present}}}), {"name": new}))
    assert [each["name"] for each in found] == sorted({*names, new})


def test_a_user_s_own_order_stays() -> None:
    """Entries of others keep their order, which the original's sorting changed."""
    present = [{"name": "z"}, {"name": "a"}]
    found = gateways.filters(with_filter(make({"options": {"wasm": {"filters": present}}}), {"name": "m"}))
    assert [each["name"] for each in found if each["name"] != "m"] == ["z", "a"]


def test_same_again_is_no_change() -> None:
    """A filter that is there already, just so, changes nothing."""
    once = with_filter(make({}), {"name": "a", "image": "i"})
    assert with_filter(once, {"name": "a", "image": "i"}) is once


def test_every_entry_of_the_name_goes() -> None:
    """[BUG] The original took only the first of several entries of one name away."""
    present = [{"name": "a"}, {"name": "b"}, {"name": "a"}]
    gone = without_filter(make({"options": {"wasm": {"filters": present}}}), "a")
    assert gateways.filters(gone) == [{"name": "b"}]


def test_a_replaced_filter_leaves_no_second_of_its_name() -> None:
    """Of several entries of one name, the first place is kept and no other."""
    present = [{"name": "a", "image": "1"}, {"name": "b"}, {"name": "a", "image": "2"}]
    found = gateways.filters(
        with_filter(make({"options": {"wasm": {"filters": present}}}), {"name": "a", "image": "3"})
    )
    assert found == [{"name": "a", "image": "3"}, {"name": "b"}]


def test_what_the_user_added_beside_stays() -> None:
    """Options that came beside the filter after wasme made them stay when it goes."""
    made = with_filter(make({}), {"name": "a"})
    assert made["metadata"]["annotations"][MADE] == "options"
    made["spec"]["httpGateway"]["options"]["gzip"] = {}
    gone = without_filter(made, "a")
    assert gone["spec"]["httpGateway"] == {"options": {"gzip": {}}}
    assert "annotations" not in gone["metadata"]


@pytest.mark.parametrize("http", [{"options": []}, {"options": {"wasm": "x"}}, {"options": {"wasm": {"filters": {}}}}])
def test_something_else_in_the_place(http: dict[str, Any]) -> None:
    """A value of another shape where the list should be is refused, never overwritten."""
    with pytest.raises(ObjectRefused, match=r"gloo-system\.gateway-proxy"):
        with_filter(make(http), {"name": "a"})


def test_which_gateways_are_http() -> None:
    """An empty httpGateway is one; none, null and a hybrid are not."""
    assert gateways.is_http(make({}))
    assert not gateways.is_http(make(None))
    assert not gateways.is_http({"spec": {"httpGateway": None, "hybridGateway": {}}})


def test_the_entry_of_the_original() -> None:
    """An entry without new settings is the original's, field by field."""
    spec = FilterSpec(id="myfilter", image="typed", root_id="add_header", config="world")
    assert entry(spec, "hub/demo/add-header:v0.1", Settings()) == {
        "image": "hub/demo/add-header:v0.1",
        "config": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "world"},
        "name": "myfilter",
        "rootId": "add_header",
    }
    assert entry(FilterSpec(id="a", image="i"), "i", Settings()) == {"image": "i", "name": "a"}


def test_the_entry_s_settings() -> None:
    """fail open, the stage, and a file in place of the image."""
    settings = Settings(fail_open=True, stage=Stage.parse("authn:before"), file_path="/filters/a.wasm")
    assert entry(FilterSpec(id="a", image=""), "", settings) == {
        "filePath": "/filters/a.wasm",
        "failOpen": True,
        "filterStage": {"stage": "AuthNStage", "predicate": "Before"},
        "name": "a",
    }


@pytest.mark.parametrize(
    ("text", "stage"),
    [("AuthN", Stage("AuthN", "During")), ("RateLimitStage:After", Stage("RateLimit", "After")),
     ("waf:During", Stage("Waf", "During"))],
)  # fmt: skip
def test_stages(text: str, stage: Stage) -> None:
    """A stage is read in any case, with or without Gloo's own suffix."""
    assert Stage.parse(text) == stage


@pytest.mark.parametrize("text", ["", "Auth", "AuthN:Around", ":Before"])
def test_no_stages(text: str) -> None:
    """What Gloo has no stage for is refused with those it has."""
    with pytest.raises(UsageError, match="--filter-stage"):
        Stage.parse(text)
