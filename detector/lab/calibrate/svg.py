"""Three plots as inline SVG: a share over time, how far windows stray, what is found how fast."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from math import floor, log10

W, H = 470, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 26, 30
_INK, _LINE, _SHADE = "#7d8a97", "#2471a3", "#f5c6c0"
Series = Sequence[tuple[float, float]]


class _Frame:
    """Axes of a plot: data to pixels, either axis logarithmic or not."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], log_x: bool, log_y: bool) -> None:
        self._log = (log_x, log_y)
        self._x = tuple(log10(each) for each in x) if log_x else x
        self._y = tuple(log10(each) for each in y) if log_y else y

    def x(self, value: float) -> float:
        value = log10(value) if self._log[0] else value
        low, high = self._x
        return _LEFT + (value - low) / ((high - low) or 1) * (W - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        value = log10(value) if self._log[1] else value
        low, high = self._y
        return H - _BOTTOM - (value - low) / ((high - low) or 1) * (H - _TOP - _BOTTOM)


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _rule(frame: _Frame, y: float, label: str, color: str, dash: str = "5 3") -> str:
    at = frame.y(y)
    return (
        f'<line x1="{_LEFT}" x2="{W - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="{color}" '
        f'stroke-dasharray="{dash}"/>' + _text(W - _RIGHT, at - 3, label, "end")
    )


def _path(points: Iterable[tuple[float, float]], color: str) -> str:
    steps = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{steps}" fill="none" stroke="{color}" stroke-width="1.5"/>'


def _wrap(title: str, body: Iterable[str]) -> str:
    box = (
        f'<rect x="{_LEFT}" y="{_TOP}" width="{W - _LEFT - _RIGHT}" height="{H - _TOP - _BOTTOM}" '
        f'fill="none" stroke="#d9e0e7"/>'
    )
    return (
        f'<svg width="{W}" height="{H}" viewBox="0 0 {W} {H}" role="img" aria-label="{escape(title)}">'
        f"{_text(_LEFT, 16, title, 'start')}{box}{''.join(body)}</svg>"
    )


def over_time(
    title: str, series: Series, lines: Sequence[tuple[str, float, str]], left_out: Sequence[tuple[int, int]]
) -> str:
    """A share over time with horizontal lines; what was left out is shaded."""
    first, last = series[0][0], max(series[-1][0], series[0][0] + 1)
    top = 1.1 * max([value for _, value in series] + [value for _, value, _ in lines]) or 1.0
    frame = _Frame((first, last), (0.0, top), log_x=False, log_y=False)
    body = [
        f'<rect x="{frame.x(max(a, first)):.1f}" y="{_TOP}" height="{H - _TOP - _BOTTOM}" fill="{_SHADE}" '
        f'width="{max(1.0, frame.x(min(b, last)) - frame.x(max(a, first))):.1f}"/>'
        for a, b in left_out
        if b >= first and a <= last
    ]
    body.append(_path([(frame.x(at), frame.y(value)) for at, value in series], _LINE))
    body += [_rule(frame, value, f"{label} {value:.2%}", color) for label, value, color in lines]
    shown = "%m-%d %H:%M" if last - first > 3600 else "%H:%M:%S"
    for at, anchor in ((first, "start"), (last, "end")):
        body.append(_text(frame.x(at), H - 10, datetime.fromtimestamp(at, UTC).strftime(shown), anchor))
    body += [_text(_LEFT - 4, frame.y(value) + 4, f"{value:.2%}", "end") for value in (0.0, top / 2, top)]
    return _wrap(title, body)


def strayed(quantiles: Mapping[int, tuple[float, float, float]], thresholds: Mapping[int, float]) -> str:
    """How far windows of each length stray (median, 99 %, 99.9 %), and what they are held to."""
    spans = sorted(quantiles)
    lowest = 1e-3
    values = [value for each in quantiles.values() for value in each] + list(thresholds.values())
    frame = _Frame(
        (spans[0] / 1.5, spans[-1] * 1.5), (lowest, 3.0 * max(*values, 0.1)), log_x=True, log_y=True
    )
    body = []
    # The higher two lie close together: one name above, one below.
    for i, (name, color, down) in enumerate(
        (("median", "#a9cce3", -4), ("99 %", "#5499c7", 14), ("99.9 %", _LINE, -4))
    ):
        points = [(frame.x(span), frame.y(max(lowest, quantiles[span][i]))) for span in spans]
        body.append(_path(points, color))
        body.append(_text(points[-1][0], points[-1][1] + down, name, "end"))
    body.append(_path([(frame.x(span), frame.y(thresholds[span])) for span in sorted(thresholds)], "#c0392b"))
    body.append(_text(W - _RIGHT - 4, _TOP + 14, "red: threshold", "end"))
    body += [_text(frame.x(span), H - 10, f"{span} s") for span in spans]
    body += [
        _text(_LEFT - 4, frame.y(value) + 4, f"{value:g}", "end")
        for value in (0.001, 0.01, 0.1, 1.0)
        if value <= 3.0 * max(*values, 0.1)
    ]
    return _wrap("how far healthy windows stray, nats", body)


def curve(title: str, points: Sequence[tuple[float, float | None]], *, percent: bool) -> str:
    """Smallest change that is found within so many seconds; nothing is drawn where nothing is found."""
    known = [(seconds, value) for seconds, value in points if value is not None]
    if not known:
        return _wrap(title, [_text(W / 2, H / 2, "nothing is found with this power")])
    low = 10 ** floor(log10(min(value for _, value in known)))
    high = 1.5 * max(1.0, *(value for _, value in known))  # room for the labels
    frame = _Frame((points[0][0] / 1.3, points[-1][0] * 1.3), (low, high), log_x=True, log_y=True)
    body = [_path([(frame.x(seconds), frame.y(value)) for seconds, value in known], _LINE)]
    for seconds, value in known:
        label = f"{value:.1%}" if percent else f"{value:.2g}"
        body.append(f'<circle cx="{frame.x(seconds):.1f}" cy="{frame.y(value):.1f}" r="3" fill="{_LINE}"/>')
        body.append(_text(frame.x(seconds), frame.y(value) - 6, label))
    body += [_text(frame.x(seconds), H - 10, f"{seconds:g} s") for seconds, _ in points]
    return _wrap(title, body)
