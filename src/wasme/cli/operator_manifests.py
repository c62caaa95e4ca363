"""``wasme operator manifests``."""

from __future__ import annotations

from typing import Any

from wasme.cli.grammar import command, exactly, option
from wasme.cli.operator_options import operator_options, read_options


@command(
    "manifests",
    use="operator manifests",
    args=exactly(0),
    help="Print what installs the operator, fit for kubectl apply -f and for git.\n\n"
    "There are two files, under the original's names: wasme.io_v1_crds.yaml, the definition of FilterDeployment, is to "
    "be applied first; wasme-default.yaml is all the rest, with the reason of each right beside it.",
    examples="wasme operator manifests --output-dir .\n"
    "wasme operator manifests --file crds | kubectl apply -f -\n"
    "wasme operator manifests --image registry.example.com/wasme:1.0 | kubectl diff -f -",
)
@operator_options
@option("--output-dir", help="write the two files into this folder, in place of printing them")
@option("--file", default="all", choices=("all", "crds", "default"), help="only this one of the two")
def manifests(args: tuple[str, ...], output_dir: str, file: str, **flags: Any) -> None:  # noqa: ARG001
    """Print, or write."""
    from pathlib import Path

    from wasme.cli.output import emit
    from wasme.image.durable import make_folder, write_whole
    from wasme.operator.installation.manifests import FILES, as_text, crds, objects

    options = read_options(flags)
    texts = {
        name: as_text(crds() if name == "crds" else objects(options), options)
        for name in FILES
        if file in ("all", name)
    }
    if not output_dir:
        emit("".join(texts.values()).rstrip("\n"))
        return
    folder = Path(output_dir)
    make_folder(folder)
    for name, text in texts.items():
        write_whole(folder / FILES[name], text.encode())
        emit(str(folder / FILES[name]))
