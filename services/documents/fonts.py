"""The sheet's type: Noto Sans in two weights, for Latin, Greek, Cyrillic and Devanagari.

Text becomes glyphs by number (Identity-H), so a shaped script needs no code points of its own and the same text is the
same bytes in every process and thread. What the font lacks shows as the font's box, glyph 0.
"""

from __future__ import annotations

import re
import struct
import zlib
from bisect import bisect
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from hashlib import sha256
from importlib.resources import as_file, files
from itertools import accumulate
from typing import TypeVar
from unicodedata import normalize

import uharfbuzz

_FONT_PACKAGE, _FONT_FILE = "fontpkg_noto_sans", "files/NotoSans[wdth,wght].ttf"
_MISSING_GLYPH = 0
_DEVANAGARI = "\u0900-\u097f\u1cd0-\u1cff\ua8e0-\ua8ff"
_JOINERS = "\u200c\u200d"
_MARKS = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f"
#: What does not simply stand one glyph after the other.
_NEEDS_SHAPING = re.compile(f"[{_DEVANAGARI}{_JOINERS}{_MARKS}]")
_ONE_SCRIPT = re.compile(f"[{_DEVANAGARI}{_JOINERS}]+|[^{_DEVANAGARI}{_JOINERS}]+")
#: Tables that a PDF viewer does not read when glyphs come by number.
_DROPPED_TABLES = ("GSUB", "GPOS", "GDEF", "STAT", "MVAR", "OS/2", "cmap", "name", "post")
_BFCHARS_AT_ONCE = 100


class Weight(IntEnum):
    """Regular or bold; the value is the weight on the font's axis."""

    REGULAR = 400
    BOLD = 700


@dataclass(frozen=True, slots=True)
class Glyphs:
    """A text as PDF shows it: operators that follow `Tf`, the width in 1/1000 of the size, the glyphs used."""

    operators: str
    width: int
    numbers: frozenset[int]


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class _Placed:
    """A glyph after shaping, in 1/1000 of the size, and where in the text what it belongs to starts."""

    number: int
    start: int
    advance: int
    x_offset: int
    y_offset: int


class _Known(dict[_Key, _Value]):
    """What the font has for a character; for all others, what it has for a missing one."""

    def __init__(self, known: dict[_Key, _Value], missing: _Value) -> None:
        super().__init__(known)
        self._missing = missing

    def __missing__(self, _key: _Key) -> _Value:
        return self._missing


class Face:
    """One weight of the font. Safe to share between threads: nothing of a document is kept in it."""

    def __init__(self, weight: Weight) -> None:
        instance = _instance(weight)
        self.name = f"NotoSans-{weight.name.capitalize()}"
        self._font = uharfbuzz.Font(instance)
        self._to_subset = uharfbuzz.subset_preprocess(instance)
        self._advances = [self._font.get_glyph_h_advance(glyph) for glyph in range(instance.glyph_count)]
        glyphs = {chr(point): self._font.get_nominal_glyph(point) for point in instance.unicodes}
        self._glyphs = _Known(glyphs, _MISSING_GLYPH)
        self._hex = _Known({ord(character): f"{glyph:04X}" for character, glyph in glyphs.items()}, "0000")
        widths = {character: self._advances[glyph] for character, glyph in glyphs.items()}
        self._widths = _Known(widths, self._advances[_MISSING_GLYPH])
        self._characters = _characters(glyphs)
        extents = self._font.get_font_extents("ltr")
        self._ascender, self._descender = extents.ascender, extents.descender
        self._bounds = struct.unpack_from(">4h", instance.reference_table("head").data, 36)

    def width(self, text: str) -> int:
        """In 1/1000 of the size."""
        if _NEEDS_SHAPING.search(text):
            return sum(glyph.advance for glyph in self._shape(text))
        return sum(map(self._widths.__getitem__, text))

    def fitting(self, text: str, limit: float) -> int:
        """How many characters stay within the limit, in 1/1000 of the size. Marks stay with their letter."""
        if _NEEDS_SHAPING.search(text):
            return self._shaped_fitting(text, limit)
        return bisect(list(accumulate(map(self._widths.__getitem__, text))), limit)

    def show(self, text: str, size: float) -> Glyphs:
        """The operators that show the text from where the text matrix stands."""
        if _NEEDS_SHAPING.search(text):
            return self._show_shaped(text, size)
        numbers = frozenset(map(self._glyphs.__getitem__, text))
        return Glyphs(f"<{text.translate(self._hex)}> Tj", self.width(text), numbers)

    def embed(self, numbers: Collection[int], add: Callable[[bytes], int]) -> int:
        """Write the font with these glyphs only, by `add(body) -> object number`; return the font's object number."""
        used = sorted({_MISSING_GLYPH, *numbers})
        name = f"{_tag(used)}+{self.name}"
        file = add(_stream(self._subset(used)))
        descriptor = add(self._descriptor(name, file))
        widths = " ".join(f"{glyph} [{self._advances[glyph]}]" for glyph in used)
        descendant = add(
            f"<</Type/Font/Subtype/CIDFontType2/BaseFont/{name}/FontDescriptor {descriptor} 0 R/CIDToGIDMap/Identity"
            f"/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>/W[{widths}]>>".encode()
        )
        to_unicode = add(_stream(self._to_unicode(used)))
        return add(
            f"<</Type/Font/Subtype/Type0/BaseFont/{name}/Encoding/Identity-H"
            f"/DescendantFonts[{descendant} 0 R]/ToUnicode {to_unicode} 0 R>>".encode()
        )

    def _shape(self, text: str) -> Iterator[_Placed]:
        for part in _ONE_SCRIPT.finditer(text):
            buffer = uharfbuzz.Buffer()
            buffer.add_str(part[0])
            buffer.guess_segment_properties()
            buffer.direction = "ltr"
            uharfbuzz.shape(self._font, buffer)
            for info, position in zip(buffer.glyph_infos, buffer.glyph_positions, strict=True):
                start = part.start() + info.cluster
                yield _Placed(info.codepoint, start, position.x_advance, position.x_offset, position.y_offset)

    def _shaped_fitting(self, text: str, limit: float) -> int:
        width, fitting = 0, 0
        for glyph in self._shape(text):
            if width <= limit:
                fitting = glyph.start
            width += glyph.advance
        return len(text) if width <= limit else fitting

    def _show_shaped(self, text: str, size: float) -> Glyphs:
        placed = list(self._shape(text))
        shown = [self._show_placed(glyph, size) for glyph in placed]
        original = f"/Span<</ActualText<FEFF{text.encode('utf-16-be').hex()}>>>BDC"
        width = sum(glyph.advance for glyph in placed)
        return Glyphs("\n".join([original, *shown, "EMC"]), width, frozenset(glyph.number for glyph in placed))

    def _show_placed(self, glyph: _Placed, size: float) -> str:
        rest = glyph.x_offset + self._advances[glyph.number] - glyph.advance
        shown = f"[{-glyph.x_offset}<{glyph.number:04X}>{rest}] TJ"
        return f"{glyph.y_offset * size / 1000:.2f} Ts {shown} 0 Ts" if glyph.y_offset else shown

    def _subset(self, used: list[int]) -> bytes:
        wanted, flags = uharfbuzz.SubsetInput(), uharfbuzz.SubsetFlags
        wanted.flags = flags.RETAIN_GIDS | flags.NOTDEF_OUTLINE | flags.NO_HINTING
        wanted.glyph_set.update(used)
        wanted.drop_table_tag_set.update(int.from_bytes(tag.encode(), "big") for tag in _DROPPED_TABLES)
        return bytes(wanted.subset(self._to_subset).blob.data)

    def _descriptor(self, name: str, file: int) -> bytes:
        bounds = " ".join(map(str, self._bounds))
        return (
            f"<</Type/FontDescriptor/FontName/{name}/Flags 4/FontBBox[{bounds}]/ItalicAngle 0/StemV 80/CapHeight 714"
            f"/Ascent {self._ascender}/Descent {self._descender}/FontFile2 {file} 0 R>>"
        ).encode()

    def _to_unicode(self, used: list[int]) -> bytes:
        known = [(glyph, self._characters[glyph]) for glyph in used if glyph in self._characters]
        lines = [f"<{glyph:04X}> <{text.encode('utf-16-be').hex()}>" for glyph, text in known]
        parts = [lines[start : start + _BFCHARS_AT_ONCE] for start in range(0, len(lines), _BFCHARS_AT_ONCE)]
        blocks = "\n".join(f"{len(part)} beginbfchar\n{chr(10).join(part)}\nendbfchar" for part in parts)
        return _TO_UNICODE.replace("BLOCKS", blocks).encode()


@cache
def face(weight: Weight) -> Face:
    """The face of this weight, read once a process."""
    return Face(weight)


_TO_UNICODE = """/CIDInit /ProcSet findresource begin
12 dict begin
begincmap
/CIDSystemInfo <</Registry (Adobe) /Ordering (UCS) /Supplement 0>> def
/CMapName /Adobe-Identity-UCS def
/CMapType 2 def
1 begincodespacerange
<0000> <FFFF>
endcodespacerange
BLOCKS
endcmap
CMapName currentdict /CMap defineresource pop
end
end"""


def _instance(weight: Weight) -> uharfbuzz.Face:
    """The variable font pinned to one weight."""
    with as_file(files(_FONT_PACKAGE) / _FONT_FILE) as path:
        variable = uharfbuzz.Face(uharfbuzz.Blob.from_file_path(str(path)))
    wanted = uharfbuzz.SubsetInput()
    wanted.keep_everything()
    wanted.pin_all_axes_to_default(variable)
    wanted.pin_axis_location(variable, "wght", weight.value)
    return wanted.subset(variable)


def _characters(glyphs: dict[str, int]) -> dict[int, str]:
    """Glyph → the character it stands for, for searching and copying: of several, the plainest."""
    plainest_last = sorted(glyphs, key=lambda character: (normalize("NFKC", character) == character, -ord(character)))
    return {glyphs[character]: character for character in plainest_last}


def _tag(used: list[int]) -> str:
    """Six letters that name a subset, as PDF wants them."""
    digest = sha256(repr(used).encode()).digest()
    return "".join(chr(ord("A") + byte % 26) for byte in digest[:6])


def _stream(data: bytes) -> bytes:
    packed = zlib.compress(data)
    head = f"<</Filter/FlateDecode/Length {len(packed)}/Length1 {len(data)}>>stream\n"
    return head.encode() + packed + b"\nendstream"
