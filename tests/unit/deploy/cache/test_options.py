"""Options, the agents' image, and the objects made of them."""

import pytest

from wasme import __version__
from wasme.deploy.cache import image, manifests
from wasme.deploy.cache.options import CacheOptions, Chosen, format_chosen, parse_chosen
from wasme.deploy.cache.telling import go_duration, listed
from wasme.errors import CacheError


@pytest.mark.parametrize(
    "repository",
    [
        "quay.io/solo-io/wasme",
        "QUAY.io/solo-io/wasme",
        "https://quay.io/solo-io/wasme",
        "quay.io/solo-io/wasme:0.0.33",
        "quay.io/solo-io/wasme@sha256:" + "a" * 64,
        "quay.io/solo-io/wasme-operator",
    ],
)
def test_the_originals_image_is_refused(repository):
    """quay.io/solo-io/wasme, however it is written, is refused with one line and a way out."""
    with pytest.raises(CacheError) as caught:
        image.chosen(repository)
    assert "solo.io's" in caught.value.message
    assert "\n" not in caught.value.message
    assert image.IMAGE in caught.value.hint


@pytest.mark.parametrize(
    ("repository", "tag", "whole"),
    [
        ("", "", f"ghcr.io/wasme/wasme:{__version__}"),
        ("", "9", "ghcr.io/wasme/wasme:9"),
        ("registry.example.com:5000/wasme", "", f"registry.example.com:5000/wasme:{__version__}"),
        ("quay.io/somebody/wasme", "1", "quay.io/somebody/wasme:1"),
        ("quay.io/solo-io/wasmex", "1", "quay.io/solo-io/wasmex:1"),
        ("a/b@sha256:" + "0" * 64, "", "a/b@sha256:" + "0" * 64),
    ],
)
def test_image(repository, tag, whole):
    """--cache-repo and --cache-tag override this version's image, each alone too."""
    assert image.chosen(repository, tag) == whole


@pytest.mark.parametrize(
    ("repository", "tag", "why"),
    [
        ("A/B", "", "repository name must be lowercase"),
        ("a", "not a tag", "the tag"),
        ("a@sha256:" + "0" * 64, "1", "leaves no place for the tag 1"),
        ("a@sha256:0", "", "the digest"),
    ],
)
def test_no_image(repository, tag, why):
    """What cannot name an image is told before anything is sent."""
    with pytest.raises(CacheError, match=why):
        image.chosen(repository, tag)


def test_what_was_chosen_is_kept_where_nothing_is_said():
    """Each of repo, tag, policy and command is kept on its own; a new repository leaves the old one's tag behind."""
    before = Chosen("r.example.com/wasme", "7", "Always", ("cache", "-x"))
    assert parse_chosen(format_chosen(before)) == before
    kept = CacheOptions().keeping(before)
    assert kept.image == "r.example.com/wasme:7"
    assert (kept.pull_policy, kept.custom_command) == ("Always", ("cache", "-x"))
    assert kept.chosen == before
    assert CacheOptions().priority == "system-node-critical"
    without = CacheOptions(priority_class="")
    assert without.priority == CacheOptions().keeping(parse_chosen(format_chosen(without.chosen))).priority == ""
    assert CacheOptions(priority_class="system-node-critical").keeping(without.chosen).priority != ""
    assert CacheOptions(repo="s/w").keeping(before).image == f"s/w:{__version__}"
    assert CacheOptions(tag="8").keeping(before).image == "r.example.com/wasme:8"
    assert CacheOptions().keeping(Chosen()) == CacheOptions()
    assert parse_chosen("[]") == parse_chosen("") == Chosen()


def test_objects_are_pure_and_equal():
    """The same options give the same objects each time, which share nothing that a caller could spoil."""
    first, second = manifests.objects(CacheOptions()), manifests.objects(CacheOptions())
    assert first == second
    first[-1]["spec"]["template"]["spec"]["containers"][0]["args"].append("x")
    assert manifests.objects(CacheOptions()) == second


def test_custom_command_is_verbatim():
    """--cache-custom-command replaces the arguments as it is, as with the original."""
    made = manifests.daemon_set(CacheOptions(custom_command=("cache", "--port", "1", "")))
    assert made["spec"]["template"]["spec"]["containers"][0]["args"] == ["cache", "--port", "1", ""]


@pytest.mark.parametrize(
    ("args", "port"),
    [
        (manifests.arguments(CacheOptions()), 9979),
        (["cache", "--port", "8080"], 8080),
        (["cache", "--port=8080", "--port=0"], 0),
        (["cache", "--port"], 0),
        (["cache", "--port=x"], 0),
        (["sleep", "1"], 0),
    ],
)
def test_probes_ask_where_the_agent_serves(args, port):
    """A custom command's own port is the one that is asked; where none is served there are no probes to fail."""
    assert manifests.served_port(args) == port
    made = manifests.daemon_set(CacheOptions(custom_command=tuple(args)))
    container = made["spec"]["template"]["spec"]["containers"][0]
    assert [each["containerPort"] for each in container.get("ports", [])] == ([port] if port else [])
    assert ("livenessProbe" in container, "readinessProbe" in container) == (bool(port), bool(port))


def test_names_reach_every_object():
    """--cache-name and --cache-namespace are in all objects and in the agent's arguments."""
    made = manifests.objects(CacheOptions("n", "ns"))
    assert [each["metadata"]["name"] for each in made] == ["ns", "n", "n", "n", "n", "n"]
    assert {each["metadata"].get("namespace", "ns") for each in made} == {"ns"}
    args = made[-1]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[-4:] == ["--cache-ns", "ns", "--cache-name", "n"]
    assert made[4]["subjects"][0] == {"kind": "ServiceAccount", "name": "n", "namespace": "ns"}


def test_daemon_set_arguments_are_the_agents():
    """The agent's own command line takes every argument that the DaemonSet gives it."""
    from wasme.cli.cache import daemon

    args = manifests.arguments(CacheOptions())
    known = {name for each in daemon.own_flags() for name in each.opts}
    assert {word for word in args if word.startswith("--")} <= known
    assert args[0] == "cache"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(60, "1m0s"), (30, "30s"), (1.5, "1.5s"), (3600, "1h0m0s"), (0.5, "500ms"), (90, "1m30s"), (0, "0s")],
)
def test_go_duration(seconds, text):
    """Durations read as Go prints them, in the original's lines."""
    assert go_duration(seconds) == text


def test_listed():
    """Many names are cut, and how many are left out is told."""
    assert listed(["b", "a"]) == "a, b"
    assert listed([f"n{number:02}" for number in range(12)]) == (
        "n00, n01, n02, n03, n04, n05, n06, n07, n08, n09 and 2 more"
    )
