"""Draws a comparison as a PNG: two bars an agent, and the measures beneath."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from services.cli.decisions.comparing import Compared, Measure, Share
from services.cli.failures import CommandError

#: Of more agents those for whom most would change.
MOST = 40
#: Everything is drawn this much larger than in units of the layout: sharp on any screen.
SCALE = 2
WIDTH = 960
MARGIN = 40
NAMES = 190
BAR = 11
ROW = 38
INK, SOFT, RULE, PAPER = "#1c2330", "#667085", "#e4e7ec", "#ffffff"
WAS, WOULD = "#98a2b3", "#2563eb"


def draw(compared: Compared, file: Path) -> None:
    """Write the comparison to a file. CommandError if that cannot be written."""
    shares = sorted(compared.agents, key=lambda each: -abs(each.difference))[:MOST]
    shares.sort(key=lambda each: each.agent)
    sheet = Sheet(MARGIN + 96 + ROW * len(shares) + 130)
    _head(sheet, compared)
    bottom = _bars(sheet, shares, top=MARGIN + 96)
    if left_out := len(compared.agents) - len(shares):
        sheet.text(MARGIN, bottom, f"and {left_out} more, for whom less would change", 12, SOFT)
    _measures(sheet, compared.measures, top=bottom + 30)
    try:
        sheet.image.save(file, "PNG", optimize=True)
    except OSError as error:
        raise CommandError(f"cannot write {file}: {error.strerror or error}") from error


@dataclass
class Sheet:
    """A picture to draw on, in units of the layout."""

    height: int

    def __post_init__(self) -> None:
        self.image = Image.new("RGB", (WIDTH * SCALE, self.height * SCALE), PAPER)
        self._pen = ImageDraw.Draw(self.image)

    def text(self, x: float, y: float, words: str, size: int, ink: str = INK, *, bold: bool = False) -> None:
        self._pen.text((x * SCALE, y * SCALE), words, ink, font(size, 700 if bold else 400))

    def centred(self, x: float, y: float, words: str, size: int, ink: str = INK) -> None:
        """Write words whose middle is at x."""
        self._pen.text((x * SCALE, y * SCALE), words, ink, font(size, 400), anchor="ma")

    def bar(self, x: float, y: float, width: float, height: float, ink: str) -> None:
        box = (x * SCALE, y * SCALE, (x + max(width, 1)) * SCALE, (y + height) * SCALE)
        self._pen.rounded_rectangle(box, radius=2 * SCALE, fill=ink)

    def rule(self, x: float, top: float, right: float, bottom: float) -> None:
        self._pen.line((x * SCALE, top * SCALE, right * SCALE, bottom * SCALE), RULE, SCALE)


@cache
def font(size: int, weight: int) -> ImageFont.FreeTypeFont:
    """Give the type of our sheets."""
    with as_file(files("fontpkg_noto_sans") / "files/NotoSans[wdth,wght].ttf") as path:
        found = ImageFont.truetype(str(path), size * SCALE)
    # In whatever order this release of the font has its axes.
    widest = [axis["maximum"] or 0 for axis in found.get_variation_axes()]
    found.set_variation_by_axes([weight if most > 200 else most for most in widest])
    return found


def _head(sheet: Sheet, compared: Compared) -> None:
    sheet.text(
        MARGIN, MARGIN - 8, f"Route {compared.route}: {compared.was} as it was, {compared.would} instead", 22, bold=True
    )
    since = f" since {compared.since}" if compared.since else ""
    words = (
        f"{compared.leads:,} leads in {compared.decisions:,} decisions{since}; {compared.moved:,} would be with another"
    )
    sheet.text(MARGIN, MARGIN + 26, words, 13, SOFT)
    x = float(MARGIN)
    for ink, name in ((WAS, f"{compared.was}, as it was"), (WOULD, f"{compared.would}, what if")):
        sheet.bar(x, MARGIN + 61, 14, 11, ink)
        sheet.text(x + 22, MARGIN + 56, name, 13)
        x += 54 + font(13, 400).getlength(name) / SCALE


def _bars(sheet: Sheet, shares: Sequence[Share], top: float) -> float:
    """Draw two bars for each; give where they end."""
    most = max((max(each.was, each.would) for each in shares), default=0) or 1
    left, room = MARGIN + NAMES, WIDTH - 2 * MARGIN - NAMES - 110
    bottom = top + ROW * len(shares)
    for step in _ticks(most):
        x = left + room * step / most
        sheet.rule(x, top - 4, x, bottom)
        sheet.centred(x, bottom + 4, f"{step:,}", 11, SOFT)
    for number, each in enumerate(shares):
        y = top + number * ROW
        sheet.text(MARGIN, y + 4, _short(f"{each.agent}  {each.name}"), 13)
        for count, share, at, ink in (
            (each.was, each.was_share, y + 3, WAS),
            (each.would, each.would_share, y + 4 + BAR, WOULD),
        ):
            sheet.bar(left, at, room * count / most, BAR, ink)
            sheet.text(
                left + room * count / most + 6, at - 3, f"{count:,} · {share:.1%}", 11, SOFT if ink == WAS else INK
            )
    return bottom + 20


def _measures(sheet: Sheet, measures: Sequence[Measure], top: float) -> None:
    sheet.rule(MARGIN, top, WIDTH - MARGIN, top)
    width = (WIDTH - 2 * MARGIN) / max(len(measures), 1)
    for number, each in enumerate(measures):
        x = MARGIN + number * width
        sheet.text(x, top + 12, each.measure, 12, SOFT)
        sheet.text(x, top + 30, f"{_number(each.was)} to {_number(each.would)}", 17, bold=True)


def _ticks(most: int) -> range:
    """About five round steps from 0 to the most."""
    step = 1
    while most / step > 5:
        step *= 2 if str(step)[0] in "15" else 5
        step = int(f"{str(step)[0]}{'0' * (len(str(step)) - 1)}")
    return range(0, most + 1, step)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _short(words: str) -> str:
    return words if len(words) <= 24 else f"{words[:23]}…"
