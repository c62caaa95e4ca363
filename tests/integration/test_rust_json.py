"""The JSON reader of the Rust templates, compiled for this machine and asked directly."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from wasme.scaffold import create


@pytest.fixture(scope="session")
def json_reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """src/json.rs of the templates as a program of this machine: JSON in, ``text`` and ``number`` of it out."""
    folder = tmp_path_factory.mktemp("json")
    create(folder / "p", "rust", "envoy", "", "auth")
    rustc = shutil.which("rustc")
    if rustc is None or shutil.which("cc") is None:
        pytest.skip("needs rustc and cc: https://rustup.rs, apt-get install gcc libc6-dev")
    (folder / "main.rs").write_text(
        """
#[path = "p/src/json.rs"]
mod json;
use std::io::Read;

fn main() {
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text).unwrap();
    for line in text.split(|byte| *byte == 0) {
        let told = json::Object::parse(line).and_then(|found| {
            Ok(format!("{:?} {}", found.text("text", "default")?, found.whole("number", 7)?))
        });
        match told {
            Ok(told) => println!("{told}"),
            Err(problem) => println!("refused: {problem}"),
        }
    }
}
"""
    )
    subprocess.run([rustc, "-O", "--edition=2021", "-o", folder / "main", folder / "main.rs"], check=True)
    return folder / "main"


def ask(program: Path, *texts: str | bytes) -> list[str]:
    given = b"\0".join(each.encode() if isinstance(each, str) else each for each in texts)
    return subprocess.run([program], input=given, capture_output=True, check=True).stdout.decode().splitlines()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", '"default" 7'),
        ("{}", '"default" 7'),
        (' { "text" : "a" , "number" : 4294967295 } ', '"a" 4294967295'),
        (r'{"text": "\"\\\/\b\f\n\r\t"}', r'"\"\\/\u{8}\u{c}\n\r\t" 7'),
        (r'{"text": "\u00e4\u20AC\ud83d\ude00"}', '"ä€😀" 7'),
        ('{"text": "ä€😀"}', '"ä€😀" 7'),
        ('{"text": "a", "text": "b"}', '"b" 7'),
        ('{"else": [1, {"text": "inner"}, -0.5e+3, true, null, [[]], ""], "number": 0}', '"default" 0'),
        ('{"text": 1}', "refused: text must be a text"),
        ('{"text": null}', "refused: text must be a text"),
        ('{"number": "1"}', "refused: number must be a whole number"),
        ('{"number": 4294967296}', "refused: number must be a whole number"),
        ('{"number": -1}', "refused: number must be a whole number"),
        ('{"number": 1.5}', "refused: number must be a whole number"),
    ],
)
def test_json_members(json_reader: Path, text: str, told: str) -> None:
    """Texts with every escape and whole numbers are read; a value of another kind is refused by its name."""
    assert ask(json_reader, text) == [told]


def test_json_grammar(json_reader: Path) -> None:
    """What RFC 8259 does not allow is refused, and so is nesting without end, whatever else is well."""
    members = (
        "01", "-", "1.", ".5", "1e", "+1", "0x1", "truth", "nul", "NaN", "[1,]", "[", "[}", "'a'", '"\n"', '"', '"\\',
        '"\\u', r'"\x"', r'"\u12"', r'"\ud800"', r'"\ud800\u0041"', r'"\ud800\ud800"', r'"\udc00"', "[" * 100_000,
    )  # fmt: skip
    objects = (
        "[]", '"text"', "1", "{", "}", '{"a"}', '{"a":}', '{"a":1,}', "{,}", '{"a":1 "b":2}', "{a:1}", "{'a':1}",
        "{} {}", '{"a":1}x', '{"a":"', b'{"a":"\xff"}', b"\xef\xbb\xbf{}",
    )  # fmt: skip
    broken = [*objects, *(f'{{"a":{each}}}' for each in members)]
    answers = ask(json_reader, *broken)
    assert [each for each, answer in zip(broken, answers, strict=True) if not answer.startswith("refused: it ")] == []
