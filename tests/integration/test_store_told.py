"""What the commands say when the store, or what was typed about it, is not as it should be."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures.registries import DockerRegistry
from tests.fixtures.stores import CONFIG, MODULE, V1, tree
from tests.integration.test_store_legacy import legacy_image
from wasme.image import layouts
from wasme.image.descriptor import Descriptor
from wasme.image.reference import Reference
from wasme.image.store import Store, open_store

Run = Callable[..., Result]


@pytest.fixture
def store(home: Path) -> Store:
    store = open_store()
    store.add(V1, layouts.build("oci", MODULE, CONFIG))
    return store


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", tmp_path], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def blob(home: Path, descriptor: Descriptor) -> Path:
    return home / ".wasme" / "oci" / "blobs" / "sha256" / descriptor.hex


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
        while file.write(bytes(1024)):
            pass
    return ballast


class TestDamage:
    @pytest.mark.parametrize("part", ["manifest", "module"])
    @pytest.mark.parametrize("how", ["junk", "one bit"])
    def test_the_file_is_named(
        self, store: Store, home: Path, docker_registry: DockerRegistry, run: Run, part: str, how: str
    ) -> None:
        """push, tag and deploy of a damaged image name it, the file, and what to do; the network is not blamed."""
        name = Reference.parse(f"{docker_registry.host}/told/{part}-{how.replace(' ', '')}:v1")
        store.alias(V1, name)
        path = blob(home, getattr(store.image(V1), part))
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(b"junk\n" if how == "junk" else content)

        for words in (("push", str(name)), ("push", str(name), "--layout", "compat"), ("tag", str(name), "h.io/x:2")):
            told = run(*words, ok=False)
            assert told.exit_code == 1
            assert f"{name}: {path} is damaged" in told.stderr
            assert "pull or build the image again" in told.stderr
            assert "arrived" not in told.stderr

    def test_a_damaged_index_hides_no_other_store(self, store: Store, home: Path, run: Run) -> None:
        """The original's images are listed beside a damaged index of ours; the damage is told, and is a failure."""
        legacy_image(home / ".wasme" / "store", "webassemblyhub.io/a/b:v1", MODULE)
        (home / ".wasme" / "oci" / "index.json").write_text("{")

        for words in (("list",), ("list", "-o", "json")):
            told = run(*words, ok=False)
            assert told.exit_code == 1
            assert "webassemblyhub.io/a/b" in told.stdout
            assert "index.json is damaged" in told.stderr


def test_push_tells_what_pull_tells(store: Store, docker_registry: DockerRegistry, run: Run) -> None:
    """The JSON of a push has the module's digest and size, as that of pull, build and tag."""
    name = f"{docker_registry.host}/told/json:v1"
    store.alias(V1, Reference.parse(name))

    for layout in ("oci", "compat"):
        pushed = run("push", name, "--layout", layout, "-o", "json").json
        assert pushed == run("pull", name, "-o", "json").json
        assert (pushed["digest"], pushed["size"]) == (store.image(V1).module.digest, len(MODULE))


class TestFullDisk:
    def test_rm_and_prune_free_a_full_disk(self, disk: Path, run: Run) -> None:
        """rm works without any room, again and again, so that prune has something to free."""
        names = [f"h.io/demo/auth:v{number}" for number in range(60)]
        store = open_store(disk / "store")
        for number, name in enumerate(names):
            store.add(Reference.parse(name), layouts.build("oci", MODULE + bytes(number % 2), CONFIG))
        ballast = fill(disk)

        assert "the disk is full" in run("tag", names[0], "h.io/x:1", "--store", disk / "store", ok=False).stderr
        for name in names:
            run("rm", name, "--store", disk / "store")
            fill(disk)
        freed = run("prune", "--store", disk / "store", "-o", "json").json
        assert freed["bytes"] > 2 * len(MODULE)
        ballast.unlink()
        assert store.entries() == []

    def test_a_read_only_file_system_is_called_so(self, disk: Path, run: Run) -> None:
        """No owner and no mode is to blame where the whole file system is read-only."""
        open_store(disk / "store").add(V1, layouts.build("oci", MODULE, CONFIG))
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)

        told = run("pull", "h.io/x:1", "--store", disk / "store", ok=False)
        assert "the file system is read-only" in told.stderr
        assert "owner" not in told.stderr


class TestFolders:
    def test_a_folder_of_something_else_is_no_store(self, store: Store, tmp_path: Path, run: Run) -> None:
        """Nothing is written into somebody's folder by a mistyped --store, and list does not pass it off as empty."""
        (tmp_path / "letters").write_text("x")
        before = tree(tmp_path)

        strange = open_store(tmp_path)
        for write in (
            lambda: strange.add(V1, layouts.build("oci", MODULE, CONFIG)),
            strange.check_writable,
        ):
            with pytest.raises(Exception, match="is no image store, and not empty: letters"):
                write()
        told = run("list", "--store", tmp_path)
        assert "no image store" in told.stderr
        assert tree(tmp_path) == before
        (tmp_path / "letters").unlink()
        assert "no image store" not in run("list", "--store", tmp_path).stderr
        strange.add(V1, layouts.build("oci", MODULE, CONFIG))


class TestNames:
    def test_only_a_close_name_is_offered(self, store: Store, run: Run) -> None:
        """A tag or a host in common is no likeness of images."""
        for name in ("int:1", "x:1", "auth:v1"):
            store.alias(V1, Reference.parse(name))

        assert "did you mean" not in run("push", "nosuch:v1", ok=False).stderr
        assert "did you mean" not in run("push", "h.io/demo/other:v1", ok=False).stderr
        assert "did you mean auth:v1" in run("push", "auht:v1", ok=False).stderr.replace("docker.io/library/", "")
        assert "h.io/demo/auth:v1" in run("push", "h.io/demo/auth:v2", ok=False).stderr

    def test_what_goes_is_not_offered(self, store: Store, run: Run) -> None:
        """rm offers no name that the same call takes away."""
        told = run("rm", "h.io/demo/auth:v7", "h.io/demo/auth:v1", ok=False)
        assert 'removed image" image=h.io/demo/auth:v1' in told.stderr.replace(
            '"h.io/demo/auth:v1"', "h.io/demo/auth:v1"
        )
        assert "did you mean" not in told.stderr

    def test_rm_by_digest_says_what_goes(self, store: Store, run: Run) -> None:
        """The image kept under the digest goes alone; without one, each tag of it goes, and is named."""
        store.alias(V1, Reference.parse("h.io/demo/auth:v2"))
        kept = f"h.io/demo/auth@{store.image(V1).manifest.digest}"
        store.alias(V1, Reference.parse(kept))

        assert run("rm", kept, "-o", "json").json == {"removed": [kept]}
        assert len(store.entries()) == 2
        told = run("rm", kept)
        assert "stood for 2 names" in told.stderr
        for tag in ("v1", "v2"):
            assert f"h.io/demo/auth:{tag}" in told.stderr
        assert store.entries() == []
