"""The operator's manifests as values and as files: names, rights, and that what is committed is what is rendered."""

import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from wasme import __version__
from wasme.deploy.cache.options import CacheOptions
from wasme.errors import CacheError, InputError, UsageError
from wasme.operator.daemon import _ENDING, _STUBBORN
from wasme.operator.installation import rights
from wasme.operator.installation.manifests import (
    CRDS_FILE,
    DEFAULT_FILE,
    USER,
    OperatorOptions,
    arguments,
    as_text,
    crds,
    deployment,
    objects,
    split_image,
)

ROOT = Path(__file__).parents[3]
# What the original's wasme-default.yaml makes.
ORIGINAL = {
    ("Namespace", "wasme"),
    ("ServiceAccount", "wasme-operator"),
    ("ServiceAccount", "wasme-cache"),
    ("ConfigMap", "wasme-cache"),
    ("ClusterRole", "wasme-operator"),
    ("ClusterRole", "wasme-cache"),
    ("ClusterRoleBinding", "wasme-operator"),
    ("ClusterRoleBinding", "wasme-cache"),
    ("DaemonSet", "wasme-cache"),
    ("Deployment", "wasme-operator"),
}


def made(**settings):
    return {(each["kind"], each["metadata"]["name"]): each for each in objects(OperatorOptions(**settings))}


def generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module
    spec.loader.exec_module(module)
    return module


def test_what_is_committed_is_what_the_code_renders():
    """`make docs` has been run since the code changed."""
    rendered = generator().manifests()
    assert {f"manifests/{CRDS_FILE}", f"manifests/{DEFAULT_FILE}"} < set(rendered)
    stale = [name for name, text in rendered.items() if (ROOT / name).read_text() != text]
    assert not stale, "out of date: run `make docs`"


def test_the_originals_objects_are_there():
    """Each object of the original's manifests is there under its name, with the label that its users select by."""
    found = made()
    assert set(found) >= ORIGINAL
    for (kind, name), obj in found.items():
        if kind != "Namespace":
            assert obj["metadata"]["labels"]["app"] == name
    assert found["ConfigMap", "wasme-cache"]["metadata"]["labels"]["configmap"] == "wasme-cache"
    assert "data" not in found["ConfigMap", "wasme-cache"]


def test_the_deployment_can_take_the_originals_place():
    """Its selector, which nobody can change, its container's name, arguments, annotations and requests; and a limit."""
    spec = made()["Deployment", "wasme-operator"]["spec"]
    assert spec["selector"] == {"matchLabels": {"app": "wasme-operator"}}
    (container,) = spec["template"]["spec"]["containers"]
    assert container["name"] == "wasme-operator"
    assert container["args"] == ["operator", "--log-level=debug"]
    assert "command" not in container
    assert container["resources"] == {
        "requests": {"cpu": "125m", "memory": "256Mi"},
        "limits": {"memory": "1Gi"},
    }
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > _ENDING + _STUBBORN, "what is sent is answered"
    assert spec["template"]["metadata"]["annotations"] == {
        "prometheus.io/path": "/metrics",
        "prometheus.io/port": "9091",
        "prometheus.io/scrape": "true",
    }


def test_the_cache_names_a_port_that_it_serves():
    """[BUG] The original's annotations of the cache named a port that nothing listened on."""
    template = made()["DaemonSet", "wasme-cache"]["spec"]["template"]
    (port,) = template["spec"]["containers"][0]["ports"]
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(port["containerPort"])


def test_everything_is_bound_to_what_is_there():
    """Each binding names a role and an account of the same manifests, each pod an account, each port a name."""
    found = made(cache=CacheOptions(namespace="filters"))
    for (kind, _), obj in found.items():
        if kind.endswith("Binding"):
            assert (obj["roleRef"]["kind"], obj["roleRef"]["name"]) in found
            assert [subject["namespace"] for subject in obj["subjects"]] == ["filters"]
            assert all((subject["kind"], subject["name"]) in found for subject in obj["subjects"])
        if kind in ("Deployment", "DaemonSet"):
            spec = obj["spec"]["template"]["spec"]
            assert ("ServiceAccount", spec["serviceAccountName"]) in found
            container = spec["containers"][0]
            ports = {each["name"] for each in container["ports"]}
            assert {container[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe")} <= ports


def test_another_namespace_is_told_to_the_operator():
    """Where nothing has its default name the operator is started with what has which."""
    options = OperatorOptions(CacheOptions("files", "filters", "registry.example.com/wasme", "7"), 1, "info")
    container = deployment(options)["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["operator", "--log-level=info", "--cache-name=files", "--cache-namespace=filters"]
    assert container["image"] == "registry.example.com/wasme:7"
    names = {each["metadata"].get("namespace", "filters") for each in objects(options)}
    assert names == {"filters"}


def test_no_right_is_a_wildcard_and_each_has_its_reason():
    """Every rule names group, resources and verbs; no verb of a resource is given twice; each reason is a sentence."""
    for table in (rights.CLUSTER, rights.own("wasme-cache")):
        seen = [
            (each.group, resource, verb, each.names)
            for each in table
            for resource in each.resources
            for verb in each.verbs
        ]
        assert len(seen) == len(set(seen))
        assert not [one for one in seen if "*" in one]
        assert all(len(each.why.split()) > 3 for each in table)
    # Of other namespaces' Secrets it reads those that it is told the names of, and writes none.
    assert [each.verbs for each in rights.CLUSTER if "secrets" in each.resources] == [("get",)]


def test_files_read_back_as_what_they_were():
    """The text is YAML of exactly the objects, reasons and all, without anchors."""
    options = OperatorOptions(registry_map={"webassemblyhub.io": "hub.example.com"})
    for found in (crds(), objects(options)):
        text = as_text(found, options)
        assert list(yaml.safe_load_all(text)) == found
        assert not re.search(r"[:-] [&*]id\d", text)
    text = as_text(objects(options), options)
    for each in (*rights.CLUSTER, *rights.own("wasme-cache")):
        assert f"# {each.why}\n" in text
    assert "hostPath" in text.partition("kind: Namespace")[0]


def test_the_chart_is_of_this_version():
    """Its versions are the package's: the tag of the image follows from them."""
    chart = yaml.safe_load((ROOT / "charts/wasme/Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("", ("", "")),
        ("wasme", ("wasme", "")),
        ("localhost:5000/wasme", ("localhost:5000/wasme", "")),
        ("localhost:5000/wasme:1.0", ("localhost:5000/wasme", "1.0")),
        (f"ghcr.io/a/b@sha256:{'0' * 64}", (f"ghcr.io/a/b@sha256:{'0' * 64}", "")),
    ],
)
def test_an_image_is_split(image, parts):
    """A port is no tag, and a digest stays with its repository."""
    assert split_image(image) == parts


def test_registries_are_told_to_the_operator():
    """It is started with those that were chosen; what is no name of one is refused at once."""
    few = OperatorOptions(registries=("ghcr.io", "*.example.com"))
    assert arguments(few) == ["operator", "--log-level=debug", "--registries=ghcr.io,*.example.com"]
    with pytest.raises(UsageError, match="a/b"):
        OperatorOptions(registries=("a/b",))


@pytest.mark.parametrize("settings", [{"replicas": -1}, {"replicas": 1000}, {"log_level": "loud"}])
def test_options_that_cannot_be(settings):
    """What Kubernetes or the operator would refuse is refused at once."""
    with pytest.raises(InputError):
        OperatorOptions(**settings)


def test_the_originals_image_is_refused():
    """quay.io/solo-io/wasme knows nothing of what its pods would be asked for."""
    with pytest.raises(CacheError, match=r"is solo\.io's"):
        made(cache=CacheOptions(repo="quay.io/solo-io/wasme"))


def test_the_container_file_brings_the_operator():
    """The image has what the extra needs, and its user is the one that the operator's pods run as: not root."""
    text = (ROOT / "Containerfile").read_text()
    assert "-r requirements/image.txt" in text
    assert "prometheus-client==" in (ROOT / "requirements/image.txt").read_text()
    assert f"USER {USER}:{USER}" in text
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(each.startswith("prometheus-client") for each in extras["operator"])
    assert USER > 0


def test_manifests_command(run, tmp_path):
    """`wasme operator manifests` prints both files, or one, or writes them under the original's names."""
    both = run("operator", "manifests").stdout
    assert next(each["kind"] for each in yaml.safe_load_all(both)) == "CustomResourceDefinition"
    assert len(list(yaml.safe_load_all(both))) == len(crds()) + len(objects(OperatorOptions()))
    only = run("operator", "manifests", "--file", "default", "--namespace", "filters", "--replicas", "1").stdout
    assert list(yaml.safe_load_all(only)) == objects(OperatorOptions(CacheOptions(namespace="filters"), 1))
    folder = tmp_path / "new"
    run("operator", "manifests", "--output-dir", folder)
    for name in (CRDS_FILE, DEFAULT_FILE):
        assert (folder / name).read_text() == (ROOT / "manifests" / name).read_text()
