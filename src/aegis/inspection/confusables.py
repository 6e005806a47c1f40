"""Characters that look like another or like none: the tables behind `normalise`, `tool_guard` and `shape`.

A hand-picked part of what Unicode TR 39 lists: the letters that alphabets in daily use share with Latin.
"""

from __future__ import annotations

_CYRILLIC = ("АВЕЅІЈКМНОРСТУХабвеѕіјкмнорстухѵԁԛԝһүҮӏҺѡԍьг", "ABESIJKMHOPCTYXabbesijkmhopctyxvdqwhyYlHwgbr")
_GREEK = ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαβγεικνορτυχωϲϳ", "ABEZHIKMNOPTYXaByeikvoptuxwcj")
_OTHER = ("ıȷɑɡɩɪʏᴀᴄᴅᴇᴊᴋᴍᴏᴘᴛᴜᴠᴡᴢօսոցհլԼՕՏՍ", "ijagiiyacdejkmoptuvwzounghlLOSU")
_LISU = ("ꓐꓑꓒꓓꓔꓗꓙꓚꓜꓝꓠꓡꓢꓣꓦꓧꓪꓫꓬꓮꓰꓲꓳ", "BPdDTKJCZFNLSRVHWXYAEIO")
_MARKS = ("‚‛‘’“”„‐‑‒–—−⁄∕", ",'''\"\"\"------//")


def _pairs(table: tuple[str, str]) -> dict[int, str]:
    return {ord(a): b for a, b in zip(*table, strict=True)}


LOOKALIKES = _pairs(_CYRILLIC) | _pairs(_GREEK) | _pairs(_OTHER) | _pairs(_LISU) | _pairs(_MARKS)
"""`str.translate` table onto Latin letters."""

LOOKALIKE_LETTERS = frozenset(_CYRILLIC[0] + _GREEK[0] + _OTHER[0] + _LISU[0])

_BIDI = (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)
_ZERO_WIDTH = (
    0xAD,
    0x34F,
    0x115F,
    0x1160,
    0x17B4,
    0x17B5,
    0x180E,
    0x200B,
    0x200C,
    0x200D,
    *range(0x2060, 0x2066),
    *range(0x206A, 0x2070),
    0x3164,
    0xFEFF,
    0xFFA0,
)
_SELECTORS = (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
_TAGS = tuple(range(0xE0000, 0xE0080))

BIDI = frozenset(map(chr, _BIDI))
TAGS = frozenset(map(chr, _TAGS))
SELECTORS = frozenset(map(chr, _SELECTORS))
INVISIBLE = BIDI | TAGS | SELECTORS | frozenset(map(chr, _ZERO_WIDTH))
WITHOUT_INVISIBLE = dict.fromkeys(map(ord, INVISIBLE))


def skeleton(name: str) -> str:
    """What `name` looks like: equal for names that a person can't tell apart at a glance. `name` is NFKC."""
    folded = name.translate(WITHOUT_INVISIBLE).translate(LOOKALIKES).lower()
    return folded.translate(_ALIKE).replace("rn", "m").replace("vv", "w")


_ALIKE = str.maketrans("0135|", "olesl") | {ord("i"): "l"}
