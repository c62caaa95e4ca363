"""The files that `init` makes projects of, as they lie in the package.

::

    templates/shared/EXAMPLE/       what an example does, the same in every language: README.md and filter.test.yaml
    templates/TEMPLATE/project/     the files of every project; README.md is how it is built and what is where
    templates/LANGUAGE/common/      what all templates of a language have alike, where there is more than one
    templates/TEMPLATE/proxy/       the SDK, where no registry has a maintained one
    templates/TEMPLATE/examples/    EXAMPLE/: its source, and whatever else differs for it
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

# A template's own .gitignore would be obeyed by whoever keeps the template.
_RENAMED = {"gitignore": ".gitignore"}


def examples(template: str) -> tuple[str, ...]:
    """The examples that a template has, sorted; none where there is no such template."""
    folder = _folder(template, "examples")
    return tuple(sorted(each.name for each in folder.iterdir() if each.is_dir())) if folder.is_dir() else ()


def tree(*path: str, under: str = "") -> dict[str, bytes]:
    """The files of a folder of the templates, by their path in a project; none where there is no such folder.

    Args:
        path: the folder's names below ``templates``.
        under: the folder of the project that they belong into, such as ``proxy``; "" for the project itself.
    """
    folder = _folder(*path)
    return dict(_files(folder, f"{under}/" if under else "")) if folder.is_dir() else {}


def _folder(*path: str) -> Traversable:
    return files("wasme.scaffold").joinpath("templates", *path)


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for item in folder.iterdir():
        if item.is_dir():
            yield from _files(item, f"{prefix}{item.name}/")
        else:
            yield prefix + _RENAMED.get(item.name, item.name), item.read_bytes()
