"""A project folder: complete, whole or not at all, and never outside its place."""

import errno
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.scaffold.test_bases import COMBINATIONS
from wasme.errors import ScaffoldError
from wasme.scaffold import bases, create, project
from wasme.scaffold.render import render


def make(folder: Path, example: str | None = None, *, force: bool = False) -> project.Created:
    return create(folder, "assemblyscript", "istio", "1.9.x", example, force=force)


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("language", "example"), [("rust", "auth"), ("cpp", "add-header"), ("tinygo", "add-header")])
def test_the_default_example_is_the_originals(tmp_path: Path, language: str, example: str) -> None:
    """Without --example a Rust project is the one that asks a service, the others add a header."""
    assert create(tmp_path / "p", language).example == example


@pytest.mark.parametrize(("language", "platform", "version", "item", "versions"), COMBINATIONS)
def test_each_combination_of_the_originals_makes_a_project(
    tmp_path: Path, language: str, platform: str, version: str, item: str, versions: list[str]
) -> None:
    """runtime-config.json says what the original's said, so that clusters which check it take the image."""
    created = create(tmp_path / "p", language, platform, version)
    config = json.loads((tmp_path / "p/runtime-config.json").read_text())
    assert config["abiVersions"] == versions
    assert set(listing(tmp_path / "p")) == set(created.files)


def test_dependencies_are_pinned_without_a_host(tmp_path: Path) -> None:
    """package.json names exact versions, the lock file every package by its hash, and neither names a server."""
    make(tmp_path / "p")
    package = json.loads((tmp_path / "p/package.json").read_text())
    text = (tmp_path / "p/package-lock.json").read_text()
    lock = json.loads(text)["packages"]
    assert lock[""]["devDependencies"] == package["devDependencies"]
    assert all(version[0].isdigit() for version in package["devDependencies"].values())
    assert all(entry["integrity"].startswith("sha512-") for path, entry in lock.items() if path)
    assert "://" not in text
    assert "resolved" not in text


def test_size_is_what_was_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The line says the bytes really written and the absolute destination."""
    caplog.set_level("INFO", logger="wasme")
    created = make(tmp_path / "p")
    written = sum(map(len, listing(tmp_path / "p").values()))
    assert created.size == written
    assert caplog.messages == [f"extracting {written} bytes to {tmp_path / 'p'}"]


def test_existing_folder(tmp_path: Path) -> None:
    """A folder with other files in it is filled, and they stay."""
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "assembly").mkdir()
    (tmp_path / "assembly/other.ts").write_text("mine too")
    created = make(tmp_path)
    assert set(listing(tmp_path)) == {*created.files, "notes.txt", "assembly/other.ts"}


def test_existing_files_are_protected_and_all_named(tmp_path: Path) -> None:
    """Files in the way are all named, and nothing at all is written."""
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "assembly").mkdir()
    (tmp_path / "assembly/index.ts").write_text("mine")
    before = listing(tmp_path)
    with pytest.raises(ScaffoldError, match=r"README\.md, assembly/index\.ts$") as caught:
        make(tmp_path)
    assert "--force" in (caught.value.hint or "")
    assert listing(tmp_path) == before


def test_bug_force_leaves_no_tail_of_a_longer_file(tmp_path: Path) -> None:
    """[BUG] of the original: it opened existing files without truncation, so a longer file kept its end."""
    (tmp_path / "README.md").write_text("x" * 100_000)
    make(tmp_path, force=True)
    make(tmp_path / "fresh")
    assert (tmp_path / "README.md").read_bytes() == (tmp_path / "fresh/README.md").read_bytes()


def test_link_inside_leads_nowhere(tmp_path: Path) -> None:
    """A folder of the project that is a link elsewhere is refused, with force too; nothing appears there."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    target = tmp_path / "p"
    target.mkdir()
    (target / "assembly").symlink_to(elsewhere)
    for force in (False, True):
        with pytest.raises(ScaffoldError, match="symbolic link"):
            make(target, force=force)
    assert not list(elsewhere.iterdir())
    assert [path.name for path in target.iterdir()] == ["assembly"]


def test_link_in_the_place_of_a_file(tmp_path: Path) -> None:
    """A link where a file belongs, dangling or not, counts as in the way; force replaces the link, not its target."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    target = tmp_path / "p"
    target.mkdir()
    (target / "README.md").symlink_to(victim)
    (target / "package.json").symlink_to(tmp_path / "not there")
    with pytest.raises(ScaffoldError, match=r"README\.md, package\.json"):
        make(target)
    make(target, force=True)
    assert victim.read_text() == "precious"
    assert not (tmp_path / "not there").exists()
    assert not (target / "README.md").is_symlink()


def test_destination_may_be_a_link(tmp_path: Path) -> None:
    """The destination itself may be a link of the user's: the project lands where it points."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert make(tmp_path / "link").directory == tmp_path / "real"
    assert (tmp_path / "real/package.json").is_file()


@pytest.mark.parametrize("exists", [True, False])
def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool) -> None:
    """When a file cannot be put in its place, those before it are taken away again."""
    target = tmp_path / "p"
    if exists:
        target.mkdir()
    calls = 0

    def failing(real):  # type: ignore[no-untyped-def]
        def call(*args, **kwargs):  # type: ignore[no-untyped-def]
            nonlocal calls
            calls += 1
            if calls > 5:
                raise OSError(errno.ENOSPC, "No space left on device", str(args[-1]))
            return real(*args, **kwargs)

        return call

    monkeypatch.setattr(os, "link", failing(os.link))
    monkeypatch.setattr(os, "fsync", failing(os.fsync) if not exists else os.fsync)
    with pytest.raises(ScaffoldError, match=r"^cannot write /.*: No space left"):
        make(target)
    assert calls > 5
    assert list(tmp_path.rglob("*")) == ([target] if exists else [])


def failing_moves(monkeypatch: pytest.MonkeyPatch, out_of: str, at: int = 1, times: int = 1) -> None:
    """Let the ``at``-th move out of folders of this ending fail, and as many after it as ``times`` says."""
    calls = 0

    def wrap(real):  # type: ignore[no-untyped-def]
        def move(source, target, **kwargs):  # type: ignore[no-untyped-def]
            nonlocal calls
            if re.search(rf"/\.wasme-init-[0-9a-f]+{out_of}/", str(source)):
                calls += 1
                if at <= calls < at + times:
                    raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target))
            return real(source, target, **kwargs)

        return move

    for name in ("link", "rename", "replace"):
        monkeypatch.setattr(os, name, wrap(getattr(os, name)))


def of_the_user(target: Path) -> None:
    """Files of the user's own where the project's belong."""
    (target / "assembly").mkdir(parents=True)
    for name in ("README.md", "assembly/index.ts", "runtime-config.json"):
        (target / name).write_text(f"my {name}")
        (target / name).chmod(0o640)
    (target / "package.json").symlink_to("not there")


def everything(folder: Path) -> dict[str, tuple[int, str | bytes]]:
    """All that is in a folder: its mode, and content or where a link leads."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            str(path.readlink()) if path.is_symlink() else b"" if path.is_dir() else path.read_bytes(),
        )
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("has_links", [True, False])
@pytest.mark.parametrize("at", [1, 2, 9, 20, len(render(bases.find("assemblyscript", "", ""), "add-header"))])
def test_force_that_fails_gives_back_what_it_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, has_links: bool
) -> None:
    """When a file cannot be put in its place, those that were overwritten are back, links too, and nothing is new."""
    of_the_user(tmp_path)
    before = everything(tmp_path)
    failing_moves(monkeypatch, "", at)
    if not has_links:
        monkeypatch.setattr(os, "link", _no_links)
    with pytest.raises(ScaffoldError, match=r"cannot write .*: No space left"):
        make(tmp_path, force=True)
    assert everything(tmp_path) == before
    make(tmp_path, force=True)
    assert (tmp_path / "README.md").read_text().startswith("# A filter")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".wasme")]


def test_what_cannot_be_given_back_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where not even that works, the first error is told, and a warning says where the replaced files lie."""
    of_the_user(tmp_path)
    failing_moves(monkeypatch, "", 20)
    failing_moves(monkeypatch, "-before", 2)
    with pytest.raises(ScaffoldError, match=r"cannot write .*: No space left"):
        make(tmp_path, force=True)
    (warning,) = (record for record in caplog.records if record.levelname == "WARNING")
    fields = warning.__dict__["fields"]
    assert fields["files"] == "assembly/index.ts"
    assert (Path(fields["folder"]) / "assembly/index.ts").read_text() == "my assembly/index.ts"
    assert (tmp_path / "README.md").read_text() == "my README.md"


def test_a_folder_that_somebody_else_uses_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that appears in a folder of the project while it is written stays there; the error is the first one."""
    real = os.link

    def link(source: Path, target: Path) -> None:
        if Path(target).name == "index.ts":
            Path(target).with_name("other.ts").write_text("mine")
            raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target))
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(ScaffoldError, match=r"cannot write .*index\.ts: No space left"):
        make(tmp_path)
    assert listing(tmp_path) == {"assembly/other.ts": b"mine"}


def _no_links(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    """A destination that is a file is refused."""
    (tmp_path / "p").write_text("mine")
    with pytest.raises(ScaffoldError, match="is not a folder"):
        make(tmp_path / "p", force=True)


def test_unknown_example(tmp_path: Path) -> None:
    """An example that is not there is refused with those that are; nothing is made."""
    with pytest.raises(ScaffoldError, match="no example 'nope'") as caught:
        make(tmp_path / "p", "nope")
    assert caught.value.hint == "examples: add-header, auth, body, metrics, rate-limit"
    assert not (tmp_path / "p").exists()


def test_misspelt_example(tmp_path: Path) -> None:
    """What was probably meant is offered."""
    with pytest.raises(ScaffoldError, match="no example 'add-headers'") as caught:
        make(tmp_path / "p", "add-headers")
    assert caught.value.hint == "did you mean add-header?"


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(
    ("target", "warning"),
    [
        (
            "assemblyscript istio 1.8.x",
            "will not run there: Istio 1.8.x lacks _initialize; Istio 1.9 and later have it",
        ),
        ("assemblyscript istio 1.9.x", None),
        ("cpp istio 1.5.x", None),
        ("cpp istio 1.8.x", None),
        ("cpp gloo 1.5.x", None),
        ("cpp gloo 1.6.x", None),
        ("rust istio 1.5.x", None),
        ("rust istio 1.10.x", None),
        ("tinygo istio 1.24.x", "Istio 1.24.x lacks the WASI functions that Go's own compiler asks for"),
        ("tinygo istio 1.25.x", None),
        ("tinygo envoy ", None),
        ("tinygo gloo 1.22.x", "whether the filter will run there is not known: which Envoy Gloo Edge 1.22.x has"),
    ],
)
def test_old_proxy_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, target: str, warning: str | None
) -> None:
    """A platform whose proxy lacks what the modules need gets the project and one warning; the others get none."""
    language, platform, version = target.split(" ")
    create(tmp_path / "p", language, platform, version)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == (warning is not None)
    assert warning is None or warning in said[0]


def test_a_base_with_old_proxies_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A base chosen at the prompt names those of its platforms that lack what the modules need."""
    create(tmp_path / "p", "assemblyscript", base=bases.offered("assemblyscript")[1])
    (record,) = (each for each in caplog.records if each.levelname == "WARNING")
    fields = "gloo:1.3.x, gloo:1.5.x, istio:1.5.x, istio:1.6.x, istio:1.7.x, istio:1.8.x"
    assert record.__dict__["fields"] == {"platform": fields}
    assert "runs in Envoy 1.17 and later (Istio 1.9, Gloo Edge 1.6 and later) only" in record.getMessage()


@pytest.mark.parametrize("version", ["1.8.x", ""])
def test_abi_versions_stay_the_originals_and_the_warning_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, version: str
) -> None:
    """The list is what old clusters check, so it stays whole; that it promises too much is told, on both ways here."""
    base = None if version else bases.offered("assemblyscript", "istio")[1]
    create(tmp_path / "p", "assemblyscript", "istio", version, base=base)
    assert json.loads((tmp_path / "p/runtime-config.json").read_text())["abiVersions"] == list(
        bases.find("assemblyscript", "istio", "1.8.x").abi_versions
    )
    (said,) = warnings_of(caplog)
    assert "abiVersions in runtime-config.json names the platform all the same" in said


def test_a_destination_below_a_file(tmp_path: Path) -> None:
    """A destination whose parent is a file cannot be made, and the error names it."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ScaffoldError, match=r"^cannot write /.*/file/a/b: (Not a directory|File exists)"):
        make(tmp_path / "file" / "a" / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_file_system_without_room(tmp_path: Path, exists: bool) -> None:
    """The kernel itself lets no file grow: one line says so, and neither files nor new parent folders are left."""
    target = tmp_path / "a" / "b" / "p"
    if exists:
        target.mkdir(parents=True)
    before = everything(tmp_path)
    words = [sys.executable, "-B", "-m", "wasme", "init", target, "--language=assemblyscript", "--platform=envoy"]
    done = subprocess.run(
        words, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512)), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert f"Error: cannot write {target}: File too large" in done.stderr
    assert everything(tmp_path) == before


def test_parents_are_made(tmp_path: Path) -> None:
    """`wasme init a/b` makes both."""
    make(tmp_path / "a" / "b")
    assert (tmp_path / "a/b/package.json").is_file()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
