"""The Containerfile: no engine builds it here, but what it says can be held against the sources and the DaemonSet."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from wasme.deploy.cache import manifests
from wasme.deploy.cache.options import CacheOptions

ROOT = Path(__file__).parents[4]


def instructions():
    """Each instruction as (word, rest), comments left out and continued lines joined."""
    text = (ROOT / "Containerfile").read_text()
    joined = re.sub(r"\\\n\s*", " ", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def last_stage():
    found = instructions()
    start = max(number for number, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


def test_the_entrypoint_takes_the_daemon_sets_arguments():
    """The image's entry point and the DaemonSet's arguments together are a command line of wasme's."""
    entrypoint = [json.loads(rest) for word, rest in last_stage() if word == "ENTRYPOINT"]
    assert entrypoint == [["wasme"]]
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert entrypoint[0][0] in scripts
    assert "CMD" not in [word for word, _ in last_stage()]
    container = manifests.daemon_set(CacheOptions())["spec"]["template"]["spec"]["containers"][0]
    assert container["args"][0] == "cache"
    assert "command" not in container


def test_every_instruction_is_known():
    """Every line begins with an instruction of the format."""
    words = {word for word, _ in instructions()}
    assert words <= {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "ENTRYPOINT"}
    assert all(
        re.match(r"docker\.io/library/python:3\.\d+-slim", rest) for word, rest in instructions() if word == "FROM"
    )


@pytest.mark.parametrize("source", ["pyproject.toml", "README.md", "LICENSE", "src", "requirements/image.txt"])
def test_what_is_copied_exists(source):
    """Each file copied is in the sources, is all that building the package needs, and is not ignored by the engine."""
    copied = [
        name for word, rest in instructions() if word == "COPY" and "--from" not in rest for name in rest.split()[:-1]
    ]
    assert source in copied
    assert all((ROOT / name).exists() for name in copied)
    ignored = (ROOT / ".containerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert f"!{source}" in ignored


def test_what_the_package_needs_is_copied():
    """pyproject names its readme and licence files: an image without them could not build the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    copied = " ".join(rest for word, rest in instructions() if word == "COPY")
    for name in [project["readme"], *project["license-files"]]:
        assert name in copied


def test_nothing_is_installed_without_a_hash():
    """pip fetches only what requirements/image.txt has hashes for; the package is built without asking for more."""
    installs = [
        part for word, rest in instructions() if word == "RUN" for part in rest.split("&&") if "pip install -" in part
    ]
    assert len(installs) == 2
    fetching, building = installs
    assert "--require-hashes -r requirements/image.txt" in fetching
    assert {"--no-deps", "--no-build-isolation", "--no-index"} <= set(building.split())


def test_the_hashes_are_of_what_the_package_needs():
    """Its own requirements, the operator's and the builder's are in the file, in the versions that are tested."""
    pinned = pins("image")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["operator"],
        *project["build-system"]["requires"],
    ]
    assert {name_of(each) for each in needed} <= set(pinned)
    assert pinned.items() <= pins("dev").items()
    assert not {"pytest", "mypy", "ruff"} & set(pinned)


def name_of(requirement):
    """The normalized name of a requirement (https://peps.python.org/pep-0503/)."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def pins(name):
    """Each package of a file of requirements with its version, all of which have hashes."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert all("--hash=sha256:" in line for line in lines)
    return {name_of(line): re.search(r"==([^\s;]+)", line)[1] for line in lines}


def test_copied_stages_exist():
    """COPY --from names a stage that is built before."""
    stages = [rest.rpartition(" AS ")[2] for word, rest in instructions() if word == "FROM" and " AS " in rest]
    sources = [re.search(r"--from=(\S+)", rest)[1] for word, rest in instructions() if "--from" in rest]
    assert sources == ["build"] == stages


def test_python_is_one_that_the_package_takes():
    """The base image's Python is not older than requires-python, nor unknown to the lint target."""
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    bases = [re.search(r"python:3\.(\d+)", rest)[1] for word, rest in instructions() if word == "FROM"]
    assert all(int(minor) >= int(needed.rpartition(".")[2]) for minor in bases)
