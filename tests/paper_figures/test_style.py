"""Methods are told apart in colour, by the colour-blind and in grey, in every figure that has them."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from algorithms.catalogue import LABELS, METHODS, Method
from paper_figures import style
from paper_figures.curves import Curves
from paper_figures.index import FIGURES
from workflow.code_hash import ROOT
from workflow.configuration import read
from workflow.plan import Plan

FIGURES_OF_METHODS = {
    **{n: tuple(f.methods) for n, f in FIGURES.items() if isinstance(f, Curves)},
    "image_controls": ("cql", "off2on", "cql_single_balanced", "trained_on", "cloning_only"),
    "online": tuple(name for name, row in METHODS.items() if "online" in row.starts_from),
    "offline": tuple(name for name, row in METHODS.items() if "offline" in row.starts_from),
}
SIGHTS = {
    "normal": np.eye(3),
    # Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = XYZ.sum(axis=1)


def lab(colour: str, sight: str) -> NDArray[np.float64]:
    """CIE L*a*b* of "#RRGGBB" as some eyes see it."""
    rgb = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = XYZ @ np.clip(SIGHTS[sight] @ linear, 0, 1) / WHITE
    fx, fy, fz = (np.cbrt(t) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


def apart(one: str, other: str, sight: str) -> float:
    """dE (CIE 1976); 2 is just told apart side by side."""
    return float(np.linalg.norm(lab(one, sight) - lab(other, sight)))


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("figure", FIGURES_OF_METHODS)
def test_methods_of_one_figure_are_told_apart_in_colour(figure: str, sight: str) -> None:
    least = 20 if sight == "normal" else 15
    pairs = combinations(style.looks(FIGURES_OF_METHODS[figure]).values(), 2)
    close = [(a.name, b.name) for a, b in pairs if apart(a.colour, b.colour, sight) < least]
    assert not close


@pytest.mark.parametrize("figure", FIGURES_OF_METHODS)
def test_methods_of_one_figure_are_told_apart_in_grey(figure: str) -> None:
    shapes = Counter((look.marker, look.fill) for look in style.looks(FIGURES_OF_METHODS[figure]).values())
    assert max(shapes.values()) == 1


def test_no_two_rows_of_the_catalogue_look_alike() -> None:
    looks = [style.LOOKS[name] for name in LABELS]
    assert len({(look.marker, look.fill) for look in looks}) == len(looks)
    assert min(apart(a.colour, b.colour, "normal") for a, b in combinations(looks, 2)) > 10


def test_a_markers_filling_says_what_a_row_is() -> None:
    for name, row in LABELS.items():
        online = isinstance(row, Method) and "online" in row.starts_from
        expected = "full" if online else "half" if isinstance(row, Method) else "none"
        assert style.LOOKS[name].fill == expected


def test_sixteen_methods_of_ones_own_have_sixteen_colours() -> None:
    found = style.looks(f"mine_{number}" for number in range(16))
    assert len({look.colour for look in found.values()}) == 16


@pytest.mark.parametrize(
    "configuration", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_label_of_a_shipped_configuration_is_told_apart_in_words(configuration: Path) -> None:
    plan = Plan(read(configuration))
    labels = {*plan.online.names, *plan.online.variations, *plan.judging.labels()}
    labels |= {label for dataset in plan.configuration["datasets"] for label in plan.offline.trained(dataset)}
    names = [style.method_label(label, 5) for label in labels]
    assert len(set(names)) == len(labels)
    assert not [name for name in names if "_" in name]
    assert not [look.name for look in style.looks(labels).values() if "_" in look.name]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["SAC"], "SAC"),
        (["IQL, offline"], "IQL, offline"),
        (["SAC", "AWAC", "SAC", "BCQ-ft"], "SAC, AWAC and BCQ-ft"),
        (["IQL, offline", "DMPO, offline"], "IQL, offline; and DMPO, offline"),
        (["SAC", "CQL-ft, ensemble", "AWAC"], "SAC; CQL-ft, ensemble; and AWAC"),
        (["60,000 (a)", "100,000 (b)"], "60,000 (a) and 100,000 (b)"),
    ],
)
def test_a_list_of_names_that_have_commas_is_set_apart_by_semicolons(names: list[str], said: str) -> None:
    assert style.listed(names) == said


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("light_dmpo", "light DMPO"),
        ("sac_ft_carried_slowest", "SAC-ft carried slowest"),
        ("off2on_fqe", "Off2On (FQE-init)"),
        ("off2on_slow", "Off2On slow"),
        ("lbrac_v_one", "LBRAC-v one"),
        ("bcx_iql2", "bcx iql2"),
    ],
)
def test_a_variant_is_named_by_its_words_and_the_methods_among_them(label: str, words: str) -> None:
    assert style.name_of(label) == words
