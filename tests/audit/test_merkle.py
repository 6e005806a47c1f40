from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

import pytest
from audit_vectors import shared
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.audit import merkle
from aegis.audit.merkle import Frontier, ProofError


def leaves(count: int) -> list[bytes]:
    return [hashlib.sha256(f"leaf {n}".encode()).digest() for n in range(count)]


def reader(known: Sequence[bytes]) -> merkle.ReadNode:
    return lambda level, index: merkle.root_of(known[index << level : (index + 1) << level])


sizes = st.integers(0, 300)


@settings(deadline=None)
@given(sizes, sizes)
def test_growing_with_proofs_agrees_with_the_definition(before: int, more: int) -> None:
    all_leaves = leaves(before + more)
    frontier, paths = merkle.extend_with_proofs(Frontier.empty().extend(all_leaves[:before]), all_leaves[before:])
    root = merkle.root_of(all_leaves)
    assert frontier == Frontier.empty().extend(all_leaves)
    assert frontier.root() == root
    for index, path in enumerate(paths, before):
        assert path == merkle.inclusion_proof(index, before + more, reader(all_leaves))
        merkle.verify_inclusion(all_leaves[index], index, before + more, path, root)


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), max_size=8))
def test_batches_of_any_size_lead_to_the_same_tree(batches: list[int]) -> None:
    all_leaves, frontier, at = leaves(sum(batches)), Frontier.empty(), 0
    for batch in batches:
        frontier, _ = merkle.extend_with_proofs(frontier, all_leaves[at : at + batch])
        at += batch
        assert frontier.root() == merkle.root_of(all_leaves[:at])


@settings(deadline=None)
@given(sizes)
def test_a_frontier_survives_its_bytes(size: int) -> None:
    frontier = Frontier.empty().extend(leaves(size))
    assert Frontier.from_bytes(size, frontier.to_bytes()) == frontier


@pytest.mark.parametrize(("size", "length"), [(1, 0), (1, 31), (1, 64), (2, 64), (0, 32), (3, 32)])
def test_a_frontier_of_the_wrong_length_is_refused(size: int, length: int) -> None:
    with pytest.raises(ValueError, match="frontier"):
        Frontier.from_bytes(size, bytes(length))


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="frontier"):
        Frontier(-1, (bytes(32),))


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 200))
def test_consistency_holds_between_any_two_sizes(first: int, second: int) -> None:
    old, new = sorted((first, second))
    all_leaves = leaves(new)
    path = merkle.consistency_proof(old, new, reader(all_leaves))
    merkle.verify_consistency(old, new, path, merkle.root_of(all_leaves[:old]), merkle.root_of(all_leaves))


@settings(deadline=None)
@given(st.data())
def test_a_changed_inclusion_proof_never_holds(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 80))
    index = data.draw(st.integers(0, size - 1))
    known = leaves(size)
    path, root = merkle.inclusion_proof(index, size, reader(known)), merkle.root_of(known)
    other = data.draw(st.integers(0, size + 3))
    changed = data.draw(changes(path))
    with pytest.raises(ProofError):
        merkle.verify_inclusion(known[index], index, size, changed, root)
    if other != index:
        with pytest.raises(ProofError):
            merkle.verify_inclusion(known[index], other, size, path, root)


@settings(deadline=None)
@given(st.data())
def test_a_changed_consistency_proof_never_holds(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, 80))
    old = data.draw(st.integers(1, new - 1))
    known = leaves(new)
    path = merkle.consistency_proof(old, new, reader(known))
    roots = merkle.root_of(known[:old]), merkle.root_of(known)
    with pytest.raises(ProofError):
        merkle.verify_consistency(old, new, data.draw(changes(path)), *roots)
    with pytest.raises(ProofError):
        merkle.verify_consistency(old, new, path, roots[1], roots[0])


def changes(path: list[bytes]) -> st.SearchStrategy[list[bytes]]:
    """Paths that are not `path`: shorter, longer, in another order, of other bytes."""
    longer = st.integers(0, len(path)).map(lambda at: [*path[:at], bytes(32), *path[at:]])
    if not path:
        return longer
    at = st.integers(0, len(path) - 1)
    ways = [
        longer,
        at.map(lambda n: path[:n] + path[n + 1 :]),
        at.map(lambda n: [*path[:n], path[n][:31], *path[n + 1 :]]),
        at.map(lambda n: [*path[:n], path[n] + b"\x00", *path[n + 1 :]]),
        at.map(lambda n: [*path[:n], bytes([path[n][0] ^ 1]) + path[n][1:], *path[n + 1 :]]),
    ]
    if len(path) > 1:
        ways.append(st.just(path[::-1]))
    return st.one_of(ways)


def test_consistency_from_nothing_is_refused() -> None:
    with pytest.raises(ProofError):
        merkle.verify_consistency(0, 3, [], merkle.EMPTY_ROOT, merkle.root_of(leaves(3)))
    with pytest.raises(ProofError):
        merkle.consistency_proof(0, 3, reader(leaves(3)))


def test_an_inner_node_is_no_leaf() -> None:
    known = leaves(4)
    inner = merkle.node_hash(known[0], known[1])
    path = [merkle.node_hash(known[2], known[3])]
    with pytest.raises(ProofError):
        merkle.verify_inclusion(inner, 0, 4, path, merkle.root_of(known))


def is_of_another_log(case: Any) -> bool:
    """Proofs inside subtrees, which this log doesn't make."""
    vector = case.values[0]
    return bool(vector and vector["op"] == "accumulated" and not vector["id"].endswith("subtree-hash"))


TREES = [case for case in shared("00_rfc6962_tree.json") if not is_of_another_log(case)]


@pytest.mark.parametrize("vector", TREES)
def test_shared_trees(vector: dict[str, Any]) -> None:
    match vector["op"]:
        case "empty_root":
            assert merkle.root_of([]).hex() == Frontier.empty().root().hex() == vector["want"]
        case "leaf":
            assert merkle.leaf_hash(bytes.fromhex(vector["input_hex"])).hex() == vector["want"]
        case "node":
            left, right = bytes.fromhex(vector["left_hex"]), bytes.fromhex(vector["right_hex"])
            assert merkle.node_hash(left, right).hex() == vector["want"]
        case "roots":
            known = [merkle.leaf_hash(bytes.fromhex(leaf)) for leaf in vector["leaves_hex"]]
            made = [merkle.root_of(known[:size]).hex() for size in range(len(known) + 1)]
            assert made == vector["want_roots_by_size_hex"]
        case "complete_subtrees":
            known = [merkle.leaf_hash(bytes.fromhex(leaf)) for leaf in vector["leaves_hex"]]
            read = reader(known)
            for level, nodes in enumerate(vector["want_levels_hex"]):
                assert [read(level, n).hex() for n in range(len(nodes))] == nodes
        case "accumulated":
            known = [merkle.leaf_hash(bytes([n])) for n in range(130)]
            lines = [
                f"[{begin}, {end}) {hash_of(known, begin, end).hex()}\n"
                for end in range(131)
                for begin in range(end + 1)
                if begin == end or begin % (1 << (end - begin - 1).bit_length()) == 0
            ]
            assert hashlib.sha256("".join(lines).encode()).hexdigest() == vector["want_sha256"]
        case other:
            pytest.fail(f"a vector of an unknown kind: {other}")


def hash_of(known: Sequence[bytes], begin: int, end: int) -> bytes:
    return merkle.EMPTY_ROOT if begin == end else merkle.range_hash(begin, end, reader(known))


def refuses(vector: dict[str, Any]) -> bool:
    return bool(vector.get("aegis_wantErr", vector["wantErr"]))


def unpack(hashes: list[str] | None) -> list[bytes]:
    return [base64.b64decode(text) for text in hashes or []]


@pytest.mark.parametrize("vector", shared("10_merkle_inclusion.json"))
def test_shared_inclusion_proofs(vector: dict[str, Any]) -> None:
    leaf, root = base64.b64decode(vector["leafHash"]), base64.b64decode(vector["root"])
    arguments = leaf, vector["leafIdx"], vector["treeSize"], unpack(vector["proof"]), root
    if refuses(vector):
        with pytest.raises(ProofError):
            merkle.verify_inclusion(*arguments)
    else:
        merkle.verify_inclusion(*arguments)


@pytest.mark.parametrize("vector", shared("11_merkle_consistency.json"))
def test_shared_consistency_proofs(vector: dict[str, Any]) -> None:
    old, new = base64.b64decode(vector["root1"]), base64.b64decode(vector["root2"])
    arguments = vector["size1"], vector["size2"], unpack(vector["proof"]), old, new
    if refuses(vector):
        with pytest.raises(ProofError):
            merkle.verify_consistency(*arguments)
    else:
        merkle.verify_consistency(*arguments)
