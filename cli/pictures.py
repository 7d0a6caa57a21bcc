"""Pictures as Vega-Lite, drawn to SVG and PDF by vl-convert (extra `report`): no browser, no font file, no request.

A picture is data: its values come from the ledger and stand in `values` alone; what strangers named is never a field, a
title or an expression. Colours are of the Okabe-Ito palette and read on white and on black; texts and lines of an SVG
inside a page take the page's colours from its style sheet.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLUE, ORANGE, GREEN, PINK, SKY, RED, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#808080",
)
PALETTE = (BLUE, ORANGE, GREEN, PINK, SKY, RED, GREY)
WIDTH = 620
NAME_CHARS_MAX = 40
_CONFIG = {
    "font": "sans-serif",
    "background": None,
    "view": {"stroke": None},
    "axis": {"labelFontSize": 11, "titleFontSize": 11, "labelLimit": 260, "titleFontWeight": "normal"},
    "legend": {"labelFontSize": 11, "titleFontSize": 11, "orient": "top", "labelLimit": 260},
    "range": {"category": list(PALETTE)},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture: what it shows, in words, and how."""

    name: str
    """Of its file, without an ending."""
    caption: str
    spec: dict[str, Any]


def svg(picture: Picture) -> str:
    """The picture as SVG."""
    import vl_convert

    found: str = vl_convert.vegalite_to_svg(_whole(picture), allowed_base_urls=[])
    return found


def write_figures(pictures: Sequence[Picture], folder: Path) -> list[Path]:
    """Each picture as SVG and PDF in a folder, which is made."""
    import vl_convert

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for picture in pictures:
        paths = [folder / f"{picture.name}.{ending}" for ending in ("svg", "pdf")]
        paths[0].write_text(svg(picture), encoding="utf-8")
        paths[1].write_bytes(vl_convert.vegalite_to_pdf(_whole(picture), allowed_base_urls=[]))
        written += paths
    return written


def short(name: str) -> str:
    """A name as a picture has room for it."""
    return name if len(name) <= NAME_CHARS_MAX else f"{name[: NAME_CHARS_MAX - 1]}\N{HORIZONTAL ELLIPSIS}"


def boxes(name: str, caption: str, unit: str, samples: Sequence[tuple[str, Sequence[float]]]) -> Picture:
    """A box for each framework, with every value beside it."""
    rows = [{"framework": short(framework), "value": value} for framework, values in samples for value in values]
    place = {"field": "framework", "type": "nominal", "title": None}
    amount = {"field": "value", "type": "quantitative", "title": unit, "scale": {"zero": False}}
    spec = {
        "width": WIDTH,
        "height": {"step": 44},
        "data": {"values": rows},
        "encoding": {"y": place, "x": amount},
        "layer": [
            {"mark": {"type": "boxplot", "size": 20, "extent": 1.5, "color": SKY, "median": {"color": "#000"}}},
            {"mark": {"type": "point", "size": 26, "color": BLUE, "filled": True, "opacity": 0.65, "yOffset": 15}},
        ],
    }
    return Picture(name=name, caption=caption, spec=spec)


def violins(name: str, caption: str, unit: str, samples: Sequence[tuple[str, Sequence[float]]]) -> Picture | None:
    """The density of each framework's values; None where none varies."""
    varied = [(framework, values) for framework, values in samples if len(set(values)) > 1]
    rows = [{"framework": short(framework), "value": value} for framework, values in varied for value in values]
    if not rows:
        return None
    densest = {"field": "density", "type": "quantitative", "stack": "center", "axis": None}
    spec = {
        "data": {"values": rows},
        "facet": {"row": {"field": "framework", "type": "nominal", "header": {"title": None, "labelAngle": 0}}},
        "spacing": 4,
        "resolve": {"scale": {"y": "independent"}},
        "spec": {
            "width": WIDTH - 80,
            "height": 54,
            "transform": [{"density": "value", "groupby": ["framework"], "as": ["value", "density"]}],
            "mark": {"type": "area", "color": SKY},
            "encoding": {
                "x": {"field": "value", "type": "quantitative", "title": unit, "scale": {"zero": False}},
                "y": densest,
            },
        },
    }
    return Picture(name=name, caption=caption, spec=spec)


def forest(name: str, caption: str, rows: Sequence[tuple[str, float, float, float]]) -> Picture:
    """An effect with its interval for each pair: label, delta, low, high."""
    values = [{"pair": pair, "delta": delta, "low": low, "high": high} for pair, delta, low, high in rows]
    place = {"field": "pair", "type": "nominal", "title": None, "sort": None}
    scale = {"domain": [-1.05, 1.05], "nice": False}
    spec = {
        "width": WIDTH - 120,
        "height": {"step": 34},
        "data": {"values": values},
        "encoding": {"y": place},
        "layer": [
            {"mark": {"type": "rule", "color": GREY, "strokeDash": [4, 3]}, "encoding": {"x": {"datum": 0}, "y": None}},
            {
                "mark": {"type": "rule", "color": BLUE, "size": 2},
                "encoding": {
                    "x": {
                        "field": "low",
                        "type": "quantitative",
                        "scale": scale,
                        "title": "Cliff's delta, 95 % interval",
                    },
                    "x2": {"field": "high"},
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 70, "color": ORANGE, "opacity": 1},
                "encoding": {"x": {"field": "delta", "type": "quantitative", "scale": scale}},
            },
        ],
    }
    return Picture(name=name, caption=caption, spec=spec)


def _whole(picture: Picture) -> str:
    return json.dumps({"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "config": _CONFIG} | picture.spec)
