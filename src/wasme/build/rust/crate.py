"""One Rust project as cargo sees it: which of its crates makes the module, and where all its sources lie."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wasme.build import process
from wasme.build.rust.cargo import Cargo, Version, parse_version
from wasme.build.toolchain import Listener
from wasme.errors import BuildFailed, InputError

_CDYLIB = 'crate-type = ["cdylib"]'
_NO_NETWORK = re.compile(
    r"failed to (?:download|get|query|fetch)|network|spurious|Could ?n.t resolve|Could not connect"
)
# What cargo tells of its progress; the compiler's own words never begin so.
_DOING = "Adding Blocking Building Checking Compiling Downloaded Downloading Finished Fresh Locking Removing Updating"
_STATUS = re.compile(rf"^ *(?:{'|'.join(_DOING.split())}) \S.*\n?", re.MULTILINE)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Crate:
    """A crate that makes a module.

    Attributes:
        manifest: its Cargo.toml.
        name: its library's name, which is the file's.
        source: its library's first file.
        workspace: the folder of the workspace, or of the crate itself.
        output: the folder that cargo builds in.
        needs: the oldest Rust that it and its dependencies compile with.
        needed_by: which of them needs that, in words.
        others: where the crates lie that do not belong to the workspace: their folder, by NAME-VERSION.
    """

    manifest: Path
    name: str
    source: Path
    workspace: Path
    output: Path
    needs: Version
    needed_by: str
    others: Mapping[str, Path]

    def module(self, target: str) -> Path:
        """The file that a release build makes."""
        return self.output / target / "release" / f"{self.name}.wasm"


def read(cargo: Cargo, source: Path, target: str, listener: Listener) -> Crate:
    """Ask cargo about a project; fetches the crates that are not there yet.

    Raises:
        InputError: it makes no module, or several.
        BuildFailed: cargo's words.
    """
    listener.step("fetching crates")
    try:
        facts = _metadata(cargo, source, target, listener)
    except BuildFailed as error:
        if not _NO_NETWORK.search(error.message):
            raise
        try:
            facts = _metadata(cargo, source, target, listener, "--offline")
        except BuildFailed:
            raise error from None
        log.info("the registry cannot be reached, cargo takes the crates it has")
    return parse(facts, source)


def parse(facts: Mapping[str, Any], source: Path) -> Crate:
    """The crate of ``cargo metadata``'s answer that is built in a folder.

    Raises:
        InputError: there is none, or more than one.
    """
    members = set(facts["workspace_members"])
    packages = facts["packages"]
    own = [each for each in packages if each["id"] in members]
    here = [each for each in own if Path(each["manifest_path"]).parent == source.resolve()]
    package, library = _module_of(here or own, source)
    wanting = max(packages, key=lambda each: parse_version(each.get("rust_version") or ""))
    needs = parse_version(wanting.get("rust_version") or "")
    return Crate(
        manifest=Path(package["manifest_path"]),
        name=library["name"].replace("-", "_"),
        source=Path(library["src_path"]),
        workspace=Path(facts["workspace_root"]),
        output=Path(facts["target_directory"]),
        needs=needs,
        needed_by=f"{wanting['name']} {wanting['version']} needs Rust {wanting.get('rust_version')}",
        others={
            f"{each['name']}-{each['version']}": Path(each["manifest_path"]).parent
            for each in packages
            if each["id"] not in members
        },
    )


def without_status(said: str) -> str:
    """What cargo and rustc said, without the lines that tell what is being compiled."""
    return _STATUS.sub("", said).strip()


def _metadata(cargo: Cargo, source: Path, target: str, listener: Listener, *flags: str) -> Mapping[str, Any]:
    argv = [str(cargo.program), "metadata", "--format-version=1", f"--filter-platform={target}", *flags]
    answer: list[str] = []

    def noise(line: str) -> None:
        (answer.append if line.startswith("{") else listener.noise)(line)

    process.run(argv, cwd=source, env=cargo.environment(), noise=noise)
    try:
        facts = json.loads("".join(answer))
    except ValueError:
        raise BuildFailed(f"{cargo.program} metadata ended well, but said nothing that can be read") from None
    assert isinstance(facts, dict)
    return facts


def _module_of(packages: Sequence[Mapping[str, Any]], source: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    makers = [(each, target) for each in packages for target in each["targets"] if "cdylib" in target["kind"]]
    if len(makers) == 1:
        return makers[0]
    manifest = source / "Cargo.toml"
    if not makers:
        raise InputError(
            f"{manifest} makes no WebAssembly module: no [lib] in it is a cdylib", hint=f"add to [lib]: {_CDYLIB}"
        )
    folders = [Path(each["manifest_path"]).parent for each, _ in makers]
    names = ", ".join(str(each["name"]) for each, _ in makers)
    raise InputError(
        f"{manifest} is a workspace of several crates that make modules: {names}",
        hint=f"build one of them: --build-dir={_below(folders[0], source)}",
    )


def _below(folder: Path, source: Path) -> str:
    try:
        return folder.relative_to(source.resolve()).as_posix()
    except ValueError:
        return str(folder)
