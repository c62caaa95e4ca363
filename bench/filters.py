"""The examples of `wasme init`, built by `wasme build` as a user would, for the chapters that look at modules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from wasme.image.reference import Reference
from wasme.image.store import open_store

LANGUAGES = ("cpp", "rust", "assemblyscript", "tinygo")
EXAMPLES = ("add-header", "auth", "body", "rate-limit", "metrics")
# The default would answer 429 to nearly all that a load sends.
_CONFIG = {"rate-limit": '{"requests": 1000000000}'}
WASME = Path(sys.executable).with_name("wasme")


@dataclass(frozen=True)
class Filter:
    """One built filter."""

    name: str
    module: Path
    root_id: str
    config: str = ""

    @property
    def size(self) -> int:
        return self.module.stat().st_size


def build(folder: Path, language: str, example: str) -> Filter:
    """Scaffold and build one example; the module is kept in ``folder``."""
    project = folder / f"{language}-{example}"
    platform = ["--platform", "envoy", "--disable-prompt"]
    command("init", project, "--language", language, "--example", example, *platform)
    config = json.loads((project / "runtime-config.json").read_text())
    module = compiled(folder, language, project)
    return Filter(f"{example}, {language}", module, config["config"]["rootIds"][0], _CONFIG.get(example, ""))


def compiled(folder: Path, language: str, project: Path, *flags: str) -> Path:
    """Build a project; its module's file."""
    tag = f"localhost/bench/{project.name}:v1"
    store = folder / "store"
    command("build", language, project, "--tag", tag, "--store", store, *flags)
    return open_store(store).module_path(Reference.parse(tag))


def command(*words: str | Path, environment: dict[str, str] | None = None) -> str:
    """Run wasme; what it prints on stdout."""
    argv = [str(word) for word in (WASME, *words)]
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} exited {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
