from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.policy import bundle as bundles
from aegis.policy.bundle import BundleUnreadable, build, build_folder, digest_of, read

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}(/[a-z][a-z0-9_]{0,8}){0,2}\.rego", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200)


def tar(*members: tuple[str, bytes], **changes: object) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for attribute, value in changes.items():
                setattr(member, attribute, value)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(made.getvalue())


@given(st.dictionaries(NAMES, TEXTS, max_size=8))
def test_what_is_built_reads_back_and_has_one_digest(files: dict[str, str]) -> None:
    if len({name.casefold() for name in files}) < len(files) or any(f"{n}/" in m for n in files for m in files):
        return
    content = {name: text.encode() for name, text in files.items()}
    built = build(content)
    assert built.modules == files
    assert build(dict(reversed(content.items()))).archive == built.archive
    assert built.digest == digest_of(built.archive)


def test_a_digest_that_every_machine_finds() -> None:
    built = build({"tenant/rules.rego": b"package tenant.rules\n", "tenant/data.json": b'{"limit": 3}'})
    assert built.digest == "sha256:26f6662e0afd85e0c3ac72400cd8443bd283344b4784a2398e15b7ec4ca9a068"
    assert built.document == {"tenant": {"limit": 3}}
    assert gzip.decompress(built.archive)[:17] == b"tenant/data.json\0"


@pytest.mark.parametrize(
    "members",
    [
        pytest.param((("../x.rego", b""),), id="a path that leaves the bundle"),
        pytest.param((("/x.rego", b""),), id="an absolute path"),
        pytest.param((("a//x.rego", b""),), id="an empty segment"),
        pytest.param((("a/../x.rego", b""),), id="a path that turns back"),
        pytest.param((("a\\x.rego", b""),), id="a backslash"),
        pytest.param((("x.rego", b""), ("x.rego", b"")), id="a path twice"),
        pytest.param((("x.rego", b""), ("X.rego", b"")), id="a path twice but for case"),
        pytest.param((("x.sh", b""),), id="a file of another kind"),
        pytest.param((("rules.json", b"{}"),), id="a document of another name"),
        pytest.param((("x.rego", b"\xff"),), id="a module that is not UTF-8"),
        pytest.param((("x.rego", b"package a\0"),), id="a NUL"),
        pytest.param((("data.json", b'{"a": 1, "a": 2}'),), id="a key twice"),
        pytest.param((("data.json", b'{"a": NaN}'),), id="NaN"),
        pytest.param((("data.json", b"[1]"),), id="a document that is no object"),
        pytest.param((("data.json", b'{"a": {"b": 1}}'), ("a/data.json", b'{"b": 2}')), id="a place taken twice"),
        pytest.param((("data.json", b'{"a": 1}'), ("a/data.json", b'{"b": 2}')), id="a folder below a value"),
        pytest.param((("data.yaml", b"a: &x [1]\nb: *x"),), id="YAML with anchors"),
        pytest.param((("data.yaml", b"a: !!python/object:os.system x"),), id="YAML with tags"),
        pytest.param((("data.yaml", b"a: 2026-01-01"),), id="YAML with a date"),
        pytest.param((("data.yaml", b"a: .inf"),), id="YAML with infinity"),
        pytest.param((("data.yaml", b"1: a"),), id="YAML with a number for a key"),
        pytest.param((("data.yaml", b"a: 1\na: 2"),), id="YAML with a key twice"),
        pytest.param((("data.yaml", b"[" * 600),), id="YAML nested deeply"),
        pytest.param((("x" * 101 + ".rego", b""),), id="a long name"),
    ],
)
def test_what_is_no_bundle_is_refused(members: tuple[tuple[str, bytes], ...]) -> None:
    with pytest.raises(BundleUnreadable):
        read(tar(*members))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_only_regular_files_are_taken(kind: bytes) -> None:
    with pytest.raises(BundleUnreadable):
        read(tar(("x.rego", b""), type=kind, linkname="/etc/passwd"))


@pytest.mark.parametrize(
    "archive",
    [b"", b"\x1f\x8b", gzip.compress(b"not a tar"), tar(("x.rego", b""))[:-1], tar(("x.rego", b"")) + b"more"],
    ids=["nothing", "a beginning", "no tar", "a part", "more"],
)
def test_what_is_no_archive_is_refused(archive: bytes) -> None:
    with pytest.raises(BundleUnreadable):
        read(archive)


def test_a_bomb_is_not_inflated() -> None:
    with pytest.raises(BundleUnreadable):
        read(gzip.compress(bytes(64 * 1024 * 1024)))


def test_sizes_and_numbers_are_bounded() -> None:
    with pytest.raises(BundleUnreadable):
        build({f"m{number}.rego": b"" for number in range(bundles.MAX_FILES + 1)})
    with pytest.raises(BundleUnreadable):
        build({"x.rego": b"#" * (bundles.MAX_FILE_BYTES + 1)})
    with pytest.raises(BundleUnreadable):
        read(bytes(bundles.MAX_ARCHIVE_BYTES + 1))


def test_yaml_and_json_stand_where_their_folder_says(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/data.yaml").write_text("b: [1, two, null, 1.5]\n")
    (tmp_path / "data.json").write_text('{"c": {"d": true}}')
    (tmp_path / "README.md").write_text("not part of it")
    (tmp_path / "rules.rego").write_text("package tenant.x")
    built = build_folder(tmp_path)
    assert built.document == {"a": {"b": [1, "two", None, 1.5]}, "c": {"d": True}}
    assert list(built.modules) == ["rules.rego"]
