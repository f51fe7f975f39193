"""A report as text: one table, measures down and methods across; then the judges; then what each slider moves.

Two values in a cell are of the raw render and of the composited picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from hfgi_app.evaluate.judges import UNITS
from hfgi_app.evaluate.report import Bench, Look, Measured, Report

ENOUGH = 0.8
"""Of e4e's response: a method that keeps less smothers the edit, and is marked with a !."""

_REBUILT = {
    "MAE": "mae",
    "SSIM": "ssim",
    "L2": "l2",
    "MS-SSIM": "ms_ssim",
    "error in LL": "ll",
    "error in LH": "lh",
    "error in HL": "hl",
    "error in HH": "hh",
}


def lines(report: Report) -> list[str]:
    """The whole report."""
    columns = {name: _cells(one) for name, one in report.methods.items()}
    measures = next(iter(columns.values()))
    rows = [["raw / composited", *columns], *([name, *(one[name] for one in columns.values())] for name in measures)]
    head = (
        f"{report.model}, {report.size} px: {report.faces} test faces, {report.edited} of them edited; "
        f"torch {report.torch}, threads {report.threads}"
    )
    return [head, "", *_aligned(rows), "", *_judges(report), "", *_effects(report)]


def bench_lines(bench: Bench) -> list[str]:
    """Start, opening, and frames with a method a row."""
    width, height = bench.photo
    rows = [["milliseconds", "first edit", f"preview {bench.preview} px", "p90", "whole photo", "p90"]]
    for name, one in bench.methods.items():
        times = (one.first_edit, one.preview.median, one.preview.p90, one.whole.median, one.whole.p90)
        rows.append([name, *(f"{value:.0f}" for value in times)])
    return [
        f"{bench.model}: torch {bench.torch}, threads {bench.threads}; photo {width} x {height}, {bench.frames} frames",
        f"start to loaded models {bench.start:.1f} s; first photo {bench.open_first:.0f} ms, later ones "
        f"{bench.open.median:.0f} ms (p90 {bench.open.p90:.0f})",
        "",
        *_aligned(rows),
    ]


def _cells(one: Measured) -> dict[str, str]:
    """A method's column, by the measures' names."""
    cells = {}
    for label, name in _REBUILT.items():
        cells[f"rebuilt: {label}"] = " / ".join(
            _number(getattr(look.rebuilt, name)) for look in (one.raw, one.composited)
        )
    cells["own photo found first: rebuilt"] = _both(one, lambda look: _percent(look.person.found))
    cells["own photo found first: edited"] = _both(one, lambda look: _percent(look.person_edited.found))
    cells["no face seen: edited"] = _both(one, lambda look: _percent(look.lost))
    for name in one.raw.sliders:
        cells |= _slider_cells(one, name)
    cells["alignment: error left"] = "-" if one.alignment is None else _number(one.alignment)
    for kind, odd in one.odd.items():
        cells[f"odd photo, {kind}: MAE (of plain)"] = f"{_number(odd.mae)} ({odd.ratio:.1f})"
    cost = one.cost
    cells["open / consult / render: ms"] = f"{cost.open:.0f} / {cost.consult:.0f} / {cost.render:.0f}"
    cells["parameters: M"] = f"{cost.parameters / 1e6:.2f}"
    cells["kept for a photo: MB"] = f"{cost.detail_bytes / 2**20:.2f}"
    return cells


def _slider_cells(one: Measured, name: str) -> dict[str, str]:
    response = one.raw.sliders[name]
    unit = UNITS.get(response.measured, "")
    title = f"{name} -> {response.measured}"
    return {
        f"{title}: {response.shares[0]:+.0%} {response.shares[-1]:+.0%}, {unit}".rstrip(", "): _both(
            one, lambda look: " ".join(f"{look.sliders[name].changes[place]:+.2f}" for place in (0, -1))
        ),
        f"{title}: in order": _both(one, lambda look: _percent(look.sliders[name].monotonic)),
        f"{title}: of e4e's": _both(one, lambda look: _kept(look.sliders[name].ratio)),
        f"{name}: background drift": _both(one, lambda look: _number(look.leakage[name].drift)),
        f"{name}: background stray": _both(one, lambda look: _number(look.leakage[name].stray)),
    }


def _judges(report: Report) -> list[str]:
    """What to think of those who measured."""
    rows = [["judge", "agrees with labels", "reads of 1"]]
    rows += [[name, _number(one.correlation), _number(one.slope)] for name, one in report.judges.items()]
    seen = report.recognition
    same = f"own photo found first: jittered {_percent(seen.jittered)}, blurred {_percent(seen.blurred)}"
    return [*_aligned(rows), same]


def _effects(report: Report) -> list[str]:
    """The matrix of the last method but the baseline that users see first, raw."""
    name, one = list(report.methods.items())[min(1, len(report.methods) - 1)]
    attributes = list(next(iter(one.raw.effects.values()), {}))
    rows = [[f"{name}, +60 %: SD of", *attributes]]
    rows += [[slider, *(f"{row[key]:+.2f}" for key in attributes)] for slider, row in one.raw.effects.items()]
    return _aligned(rows)


def _both(one: Measured, cell: Callable[[Look], str]) -> str:
    return f"{cell(one.raw)} / {cell(one.composited)}"


def _kept(ratio: float) -> str:
    return f"{ratio:.2f}{'' if ratio >= ENOUGH else ' !'}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}" if value >= 0.1 else f"{value:.4f}"


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.0%}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, cells, widths)).rstrip() for cells in rows]
