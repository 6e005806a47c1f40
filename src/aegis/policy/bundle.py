"""Bundles: Rego modules and data documents under one digest. The same files give the same bytes on every machine.

An archive is a gzipped tar. Modules end in `.rego`; documents are called `data.json` or `data.yaml` and stand in the
data tree where their folder says, as in OPA's own bundles. Tests end in `_test.rego` and travel with the rest.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import struct
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from aegis.kernel.jsontree import JsonError, JsonTree, parse

MAX_ARCHIVE_BYTES = 8 * 1024 * 1024
MAX_CONTENT_BYTES = 16 * 1024 * 1024
MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_FILES = 1_000
MAX_PATH_CHARACTERS = 100
_STORED_BLOCK = 65_535
_TAR_ROOM = 2 * tarfile.BLOCKSIZE * MAX_FILES + tarfile.RECORDSIZE
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")
_DOCUMENTS = ("data.json", "data.yaml", "data.yml")


class BundleUnreadable(ValueError):
    """The archive is not a bundle. The message names the file, never its content."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """`archive` is what the digest is of; the rest is read from it."""

    digest: str
    archive: bytes
    modules: Mapping[str, str]
    document: Mapping[str, JsonTree]

    @property
    def tests(self) -> tuple[str, ...]:
        return tuple(path for path in self.modules if is_test(path))


def is_test(path: str) -> bool:
    return path.endswith("_test.rego")


def digest_of(archive: bytes) -> str:
    return "sha256:" + hashlib.sha256(archive).hexdigest()


def build(files: Mapping[str, bytes]) -> Bundle:
    """The bundle of `files` (path -> content). Raises BundleUnreadable for what `read` would not take."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(files):
            member = tarfile.TarInfo(_checked_path(path))
            member.size, member.mode = len(files[path]), 0o644
            archive.addfile(member, io.BytesIO(files[path]))
    return read(_stored_gzip(tar.getvalue()))


def build_folder(folder: Path) -> Bundle:
    """The bundle of the `.rego`, `data.json` and `data.yaml` files below `folder`; other files stay out."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and (p.suffix == ".rego" or p.name in _DOCUMENTS))
    return build({path.relative_to(folder).as_posix(): path.read_bytes() for path in paths})


def read(archive: bytes) -> Bundle:
    """The bundle in `archive`. Bounded in bytes, files and depth; raises BundleUnreadable."""
    if len(archive) > MAX_ARCHIVE_BYTES:
        raise _unreadable("the archive", f"at most {MAX_ARCHIVE_BYTES} bytes", str(len(archive)))
    modules: dict[str, str] = {}
    document: dict[str, JsonTree] = {}
    for path, content in _members(_inflated(archive)):
        if path.endswith(".rego"):
            modules[path] = _text(path, content)
        elif PurePosixPath(path).name in _DOCUMENTS:
            _graft(document, PurePosixPath(path).parent.parts, _tree(path, content), path)
        else:
            raise _unreadable(path, "a .rego, data.json or data.yaml file", "another")
    return Bundle(digest_of(archive), archive, modules, document)


def _members(tar: bytes) -> Iterator[tuple[str, bytes]]:
    seen: set[str] = set()
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                path = _checked_path(member.name.removeprefix("./"))
                if not member.isreg() or member.sparse is not None:
                    raise _unreadable(path, "a regular file", "another kind")
                if path.casefold() in seen:
                    raise _unreadable(path, "each path once", "it twice")
                seen.add(path.casefold())
                total += member.size
                if member.size > MAX_FILE_BYTES or total > MAX_CONTENT_BYTES or len(seen) > MAX_FILES:
                    raise _unreadable(
                        path, f"{MAX_FILES} files of {MAX_FILE_BYTES} bytes, {MAX_CONTENT_BYTES} in all", "more"
                    )
                file = archive.extractfile(member)
                content = b"" if file is None else file.read(member.size)
                if len(content) != member.size:
                    raise _unreadable(path, f"{member.size} bytes", str(len(content)))
                yield path, content
    except (tarfile.TarError, EOFError, UnicodeError, ValueError, OverflowError) as error:
        if isinstance(error, BundleUnreadable):
            raise
        raise _unreadable("the archive", "a tar", type(error).__name__) from None


def _inflated(archive: bytes) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    limit = MAX_CONTENT_BYTES + _TAR_ROOM
    try:
        tar = inflater.decompress(archive, limit)
    except zlib.error:
        raise _unreadable("the archive", "gzip", "other bytes") from None
    if not inflater.eof or inflater.unused_data:
        raise _unreadable("the archive", f"one whole gzip member of at most {limit} bytes", "more, or a part")
    return tar


def _stored_gzip(content: bytes) -> bytes:
    """RFC 1952 with stored blocks (RFC 1951 3.2.4): compressors differ between machines, stored bytes don't."""
    parts = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"]
    for start in range(0, len(content), _STORED_BLOCK):
        block = content[start : start + _STORED_BLOCK]
        last = start + _STORED_BLOCK >= len(content)
        parts += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    parts.append(struct.pack("<II", zlib.crc32(content), len(content)))
    return b"".join(parts)


def _checked_path(path: str) -> str:
    segments = path.split("/")
    if len(path) > MAX_PATH_CHARACTERS or not all(map(_SEGMENT.fullmatch, segments)):
        raise _unreadable(repr(path[:MAX_PATH_CHARACTERS]), "a relative path of letters, digits, '_', '-', '.'", "it")
    return path


def _text(path: str, content: bytes) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise _unreadable(path, "UTF-8", "other bytes") from None
    if "\0" in text:
        raise _unreadable(path, "text", "a NUL character")
    return text


def _tree(path: str, content: bytes) -> JsonTree:
    try:
        tree = parse(content) if path.endswith(".json") else _yaml(path, content)
    except JsonError as error:
        raise _unreadable(path, "JSON", error.code) from None
    if not isinstance(tree, dict):
        raise _unreadable(path, "an object at the top", type(tree).__name__)
    return tree


def _yaml(path: str, content: bytes) -> JsonTree:
    """The JSON subset of YAML: no anchors (they multiply), no tags, no dates, keys are strings and stand once."""
    import yaml  # costs a child 3 MB; few bundles have YAML

    loader = yaml.SafeLoader(_text(path, content))
    try:
        node = loader.get_single_node()
        if node is None:
            return {}
        return _yaml_value(path, loader, node, 0, set())
    except (yaml.YAMLError, RecursionError) as error:
        raise _unreadable(path, "YAML", type(error).__name__) from None
    finally:
        loader.dispose()


def _yaml_value(path: str, loader: Any, node: Any, depth: int, seen: set[int]) -> JsonTree:
    if id(node) in seen:
        raise _unreadable(path, "YAML without anchors", "one")
    seen.add(id(node))
    if depth > 64:
        raise _unreadable(path, "nesting of at most 64 levels", "more")
    match node.id:
        case "mapping":
            tree: dict[str, JsonTree] = {}
            for key, value in node.value:
                name = loader.construct_object(key) if key.id == "scalar" else None
                if not isinstance(name, str) or name in tree:
                    raise _unreadable(path, "each key once and a string", f"another in line {key.start_mark.line + 1}")
                tree[name] = _yaml_value(path, loader, value, depth + 1, seen)
            return tree
        case "sequence":
            return [_yaml_value(path, loader, value, depth + 1, seen) for value in node.value]
        case _:
            value = loader.construct_object(node)
            known = value is None or type(value) in (str, bool, int, float)
            if not known or (isinstance(value, float) and not math.isfinite(value)):
                raise _unreadable(path, "JSON values", f"{type(value).__name__} in line {node.start_mark.line + 1}")
            return value


def _graft(document: dict[str, JsonTree], folder: tuple[str, ...], tree: dict[str, JsonTree], path: str) -> None:
    place: Any = document
    for segment in folder:
        place = place.setdefault(segment, {})
        if not isinstance(place, dict):
            raise _unreadable(path, "a place of its own in the data", "one that is taken")
    _merge(place, tree, path)


def _merge(place: dict[str, JsonTree], tree: dict[str, JsonTree], path: str) -> None:
    for name, value in tree.items():
        if name not in place:
            place[name] = value
            continue
        there = place[name]
        if not isinstance(there, dict) or not isinstance(value, dict):
            raise _unreadable(path, "a place of its own in the data", f"{name[:64]!r} twice")
        _merge(there, value, path)


def _unreadable(what: str, expected: str, got: str) -> BundleUnreadable:
    return BundleUnreadable(f"couldn't read {what}: expected {expected}, got {got}")
