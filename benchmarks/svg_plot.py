"""A small line plot as SVG, with nothing to install."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 40, 50
COLOURS = ("#c0392b", "#2471a3", "#1e8449", "#7d3c98")


def render_plot(title: str, x_label: str, y_label: str, lines: Mapping[str, Sequence[float]]) -> str:
    """Return a plot of the lines over 1, 2, 3 …; the vertical axis begins at zero."""
    points = max(len(values) for values in lines.values())
    top = _round_up(max(max(values) for values in lines.values()))
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, 22, title, anchor="middle", size=15),
        _text(WIDTH / 2, HEIGHT - 10, x_label, anchor="middle"),
        f'<text transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>',
    ]
    for step in range(5):
        value = top * step / 4
        height = _y(value, top)
        parts.append(f'<line x1="{LEFT}" y1="{height}" x2="{WIDTH - RIGHT}" y2="{height}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, height + 4, f"{value:g}", anchor="end"))
    places = range(1, points + 1)
    parts += [_text(_x(number, points), HEIGHT - BOTTOM + 18, str(number), anchor="middle") for number in places]
    for place, ((name, values), colour) in enumerate(zip(lines.items(), COLOURS, strict=False)):
        path = " ".join(f"{_x(number, points)},{_y(value, top)}" for number, value in enumerate(values, start=1))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(LEFT + 10, TOP + 16 * (place + 1), name, colour=colour))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _x(number: int, points: int) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (number - 0.5) / points, 1)


def _y(value: float, top: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top, 1)


def _round_up(value: float) -> float:
    step = 10.0 ** (len(f"{max(value, 1):.0f}") - 1)
    return next(step * factor for factor in (1, 2, 4, 5, 8, 10) if step * factor >= value)


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, colour: str = "black") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{escape(text)}</text>'
