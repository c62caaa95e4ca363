"""Which kind ``--as auto`` takes, and the reason that is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.deploy.istio.samples import ON_TARGETS, TARGETS, WORKLOAD, Fields, image, spec, target
from wasme.deploy.istio import envoyfilter, plugin
from wasme.deploy.istio.kinds import Choice, choose
from wasme.deploy.istio.target import Schema
from wasme.errors import InputError, NotServed

OLD: Mapping[str, Schema | None] = {"envoyfilter": None}
MIDDLE: Mapping[str, Schema | None] = {**OLD, "wasmplugin": None}
NEW: Mapping[str, Schema | None] = {**MIDDLE, "trafficextension": None}


def chosen(config: str = "", layout: str = "oci", **values: Any) -> Choice:
    """The choice for a filter; ``settings`` and ``to`` are of the filter and the target."""
    settings, to = values.pop("settings", {}), values.pop("to", {})
    return choose(spec(config, **settings), image(layout), target(**to), **{"served": NEW, **values})


@pytest.mark.parametrize(("served", "kind"), [(OLD, "envoyfilter"), (MIDDLE, "wasmplugin"), (NEW, "trafficextension")])
def test_newest_served(served: Mapping[str, Schema | None], kind: str) -> None:
    """A new filter gets the newest kind that the server serves."""
    choice = chosen(served=served)
    assert choice.kind == kind
    assert choice.reason == "it is the newest kind that the API server serves"


@pytest.mark.parametrize("kind", ["envoyfilter", "wasmplugin", "trafficextension"])
def test_a_filter_keeps_its_kind(kind: str) -> None:
    """A filter that is there keeps its kind, cache flags or not."""
    assert chosen(existing=[kind]) == (kind, "the filter is one already")
    assert chosen(existing=[kind], cache_flags=["--cache-name"]).kind == kind


@pytest.mark.parametrize("kind", ["envoyfilter", "wasmplugin", "trafficextension"])
def test_flags_that_do_nothing_for_the_kept_kind_are_told(kind: str) -> None:
    """Flags about the nodes do not turn a filter into an EnvoyFilter again, so that they do nothing is said."""
    flags = ("--cache-namespace", "--cache-timeout", "--cache-mode", "--cache-repo")
    told = ", and does nothing with --cache-mode, --cache-repo" if kind != "envoyfilter" else ""
    assert chosen(existing=[kind], cache_flags=flags) == (kind, f"the filter is one already{told}")


def test_two_kinds_at_once() -> None:
    """Where a change of kind was cut off, the newer one stays."""
    both = ["envoyfilter", "wasmplugin"]
    assert chosen(existing=both).kind == "wasmplugin"
    assert chosen(existing=both[::-1]).kind == "envoyfilter"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"cache_flags": ["--cache-name"]}, "--cache-name is about the node cache"),
        ({"to": {"placement": "image-volume"}, "layout": "compat"}, "--cache-mode image-volume"),
        ({"to": {"placement": "none"}}, "--cache-mode none"),
        ({"config": "world"}, "a TrafficExtension cannot carry the configuration: it is no JSON"),
        ({"settings": {"vm_id": "x"}}, "a TrafficExtension cannot carry a VM id"),
        ({"layout": "wasm"}, "a TrafficExtension cannot carry this image, as Istio's agent cannot pull it"),
    ],
)
def test_what_only_an_envoyfilter_carries(values: dict[str, Any], reason: str) -> None:
    """What speaks of the cache, or has no field elsewhere, makes it an EnvoyFilter; the reason says what."""
    choice = chosen(**values)
    assert choice.kind == "envoyfilter"
    assert choice.label == "EnvoyFilter"
    assert reason in choice.reason


def test_what_only_a_newer_kind_carries() -> None:
    """A phase has no place in an EnvoyFilter, so a filter that was one changes."""
    choice = chosen(existing=["envoyfilter"], to={"phase": "authn"})
    assert choice.kind == "trafficextension"
    assert choice.reason.startswith("it was an EnvoyFilter, which cannot carry the phase authn")


def test_a_filter_whose_kind_cannot_carry_it_any_more() -> None:
    """A WasmPlugin whose new configuration is plain text becomes an EnvoyFilter, and that is told."""
    choice = chosen("world", existing=["wasmplugin"])
    assert choice.kind == "envoyfilter"
    assert choice.reason.startswith("it was a WasmPlugin, which cannot carry the configuration")


def test_an_old_schema() -> None:
    """The served schema counts: a WasmPlugin of Istio 1.12 cannot be limited to inbound traffic."""
    choice = chosen(served={"envoyfilter": None, "wasmplugin": Fields()})
    assert choice.kind == "envoyfilter"
    assert "the patch context inbound before Istio 1.16" in choice.reason


def test_explicit() -> None:
    """What the user names is taken without a word; what is not served is refused with what is."""
    assert chosen(to={"kind": "wasmplugin"}, existing=["envoyfilter"]) == ("wasmplugin", "")
    with pytest.raises(NotServed, match="serves no TrafficExtension") as caught:
        chosen(to={"kind": "trafficextension"}, served=MIDDLE)
    assert caught.value.hint == "Istio 1.30 and later have it; served here: EnvoyFilter, WasmPlugin"


def test_no_istio() -> None:
    """A server without Istio's kinds is told to be one."""
    with pytest.raises(NotServed, match="no kind that carries a filter"):
        chosen(served={})
    with pytest.raises(NotServed) as caught:
        chosen(served={}, to={"kind": "envoyfilter"})
    assert "is Istio installed?" in str(caught.value.hint)
    with pytest.raises(NotServed, match="serves no EnvoyFilter"):
        chosen(served={"wasmplugin": None}, cache_flags=["--cache-tag"])


def test_nothing_can_carry_it() -> None:
    """Two wishes that no kind fulfils together: every kind's reason is told."""
    with pytest.raises(InputError) as caught:
        chosen("world", to={"phase": "authn"})
    assert "an EnvoyFilter cannot carry the phase authn" in caught.value.message
    assert "a WasmPlugin cannot carry the configuration" in caught.value.message


_settings = st.fixed_dictionaries(
    {},
    optional={
        "fail_policy": st.sampled_from(["", "open", "closed", "reload"]),
        "env": st.just({"A": "b"}),
        "host_env": st.just(("C",)),
        "vm_id": st.just("v"),
        "capabilities": st.just(("proxy_log",)),
        "allow_on_headers_stop_iteration": st.booleans(),
    },
)
_targets = st.fixed_dictionaries(
    {},
    optional={
        "patch_context": st.sampled_from(["any", "inbound", "outbound", "gateway"]),
        "phase": st.sampled_from(["authn", "stats"]),
        "priority": st.integers(-5, 5),
        "ports": st.just((80,)),
        "target_refs": st.just(TARGETS),
        "pull_policy": st.just("Always"),
        "placement": st.sampled_from(["daemonset", "image-volume", "none"]),
    },
)
_schemas = st.sets(
    st.sampled_from(["spec.match", "spec.targetRefs", "spec.failStrategy", "spec.vmConfig.env", "spec.priority"])
).map(lambda paths: Fields(*paths))


@given(
    config=st.sampled_from(["", "world", '{"a":1}']),
    layout=st.sampled_from(["oci", "compat", "wasm"]),
    settings=_settings,
    to=_targets,
    served=st.fixed_dictionaries({}, optional={"envoyfilter": _schemas, "wasmplugin": _schemas}),
    existing=st.sets(st.sampled_from(["envoyfilter", "wasmplugin"])),
)
def test_what_is_chosen_can_be_rendered(
    config: str,
    layout: str,
    settings: dict[str, Any],
    to: dict[str, Any],
    served: dict[str, Fields],
    existing: set[str],
) -> None:
    """Whatever is asked for, auto takes a kind that carries all of it, or says why none does; what is about the node
    cache alone may still be refused, since no other kind was meant."""
    where = target(**to)
    each, picture = spec(config, **settings), image(layout)
    try:
        choice = choose(each, picture, where, served=served, existing=sorted(existing))
    except (InputError, NotServed):
        return
    attachment = ON_TARGETS if where.target_refs else WORKLOAD
    schema = served[choice.kind]
    if choice.kind == "wasmplugin":
        plugin.render(plugin.WASM_PLUGIN, attachment, each, picture, where, schema)
    elif where.placement == "daemonset":
        envoyfilter.render(attachment, each, picture, where, None, schema)
