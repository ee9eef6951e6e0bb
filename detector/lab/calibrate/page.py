"""A calibration as one self-contained page: what to expect, what is not possible, plots of why."""

from html import escape

from detector.lab.calibrate import report, said, svg
from detector.lab.calibrate.learn import CalibrateResult, Learnt

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1040px;padding:0 1rem;color:#1c2733}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin:2rem 0 .5rem}h3{font-size:1rem;margin:0}
.facts{display:flex;flex-wrap:wrap;gap:1rem;margin:1rem 0}.facts div{background:#f2f5f8;border-radius:8px;
padding:.6rem 1rem}.facts b{display:block;font-size:1.3rem}.card{border:1px solid #d9e0e7;border-radius:8px;
padding:1rem;margin:1rem 0}.plots{display:flex;flex-wrap:wrap;gap:1rem}.bad{border-left:5px solid #c0392b}
.warn{border-left:5px solid #d68910}.good{border-left:5px solid #1e8449}li{margin:.2rem 0}
.dim{color:#5d6d7e}svg text{font:11px system-ui,sans-serif;fill:#1c2733}
"""


def render(result: CalibrateResult) -> str:
    """The page as HTML; it loads nothing from elsewhere."""
    calibration = result.calibration
    first, last = calibration.first_event_time or 0.0, calibration.last_event_time or 0.0
    trimmed = sum(b - a for spans in result.left_out.values() for a, b in spans) // 60
    unusable = sum(not one.one.usable for one in result.learnt)
    facts = [
        (f"{report.false_per_week(result):.2g}", "false activations a week, if traffic goes on alike"),
        (
            report.number(report.false_per_week_bound(result)),
            "a week is all that its length rules out",
        ),
        (str(unusable), "predicates unusable on this traffic"),
        (f"{trimmed}", "minutes left out as incidents"),
        (f"{result.records:,}", "records learnt from"),
        (f"{result.covered_s / 3600:.1f} h", "of traffic"),
    ]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Calibration</title>",
        f"<style>{_STYLE}</style><h1>Calibration</h1>",
        f"<p class=dim>{said.when(first)} to {said.when(last)} UTC, from "
        f"{escape(', '.join(calibration.made_from))}; made {escape(calibration.made_at)}</p>",
        "<div class=facts>" + "".join(f"<div><b>{v}</b>{escape(k)}</div>" for v, k in facts) + "</div>",
    ]
    if result.limits:
        parts.append("<ul>" + "".join(f"<li>{escape(says)}" for says in result.limits) + "</ul>")
    route = None
    for one in result.learnt:
        if one.route != route:
            route = one.route
            rate = calibration.routes[route].records_per_s
            parts.append(f"<h2>{escape(route)} <span class=dim>{rate:g} records/s</span></h2>")
        parts.append(_card(one))
    return "\n".join(parts) + "\n"


def _card(one: Learnt) -> str:
    look = "bad" if not one.one.usable else "warn" if one.limits else "good"
    limits = "".join(f"<li>{escape(says)}" for says in one.limits)
    return (
        f'<div class="card {look}"><h3>{escape(one.spec.name)}</h3><div>{escape(_sentence(one))}</div>'
        f"<ul>{limits}</ul><div class=plots>{_plots(one)}</div></div>"
    )


def _sentence(one: Learnt) -> str:
    found = one.one
    phi = f"design effect {found.design_effect:.2f}, {found.basis}"
    if found.rate is not None and found.ceiling is not None:
        source = "your ceiling" if "ceiling" in one.spec.stated else "ceiling"
        held = one.spec.ceiling if "ceiling" in one.spec.stated else found.ceiling
        state = "" if found.usable else " and cannot be judged by it"
        return f"Healthy calls are bad {found.rate:.3%} of the time ({source} {held:.2%}){state}; {phi}."
    return f"Healthy windows wander; {found.tolerance_nats:.3f} nats are tolerated; {phi}."


def _plots(one: Learnt) -> str:
    found = one.one
    plots = []
    if one.series:
        held = one.spec.ceiling if "ceiling" in one.spec.stated else found.ceiling or 0.0
        lines = [("held to", held, "#c0392b")]
        if "ceiling" in one.spec.stated and found.ceiling:
            lines.append(("learnt", found.ceiling, "#7d8a97"))
        plots.append(svg.over_time("share of bad calls", one.series, lines, one.left_out))
        plots.append(svg.curve("smallest share found, 99 % power", one.curve, percent=True))
    if one.strayed:
        plots.append(svg.strayed(one.strayed, found.thresholds_nats))
        plots.append(svg.curve("smallest drift found, nats, 99 % power", one.curve, percent=False))
    return "".join(plots)
