"""Every method of the project, once: the only place where one is named. Nothing is imported to read it.

Names are what configurations and curves say; rows are in the order of tables, legends and comparisons.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Literal

Phase = Literal["offline", "online"]

NOTHING = "nothing"
"""What a method starts from that takes over no agents."""


@dataclass(frozen=True)
class Label:
    """A name and how it is drawn; by itself one of the paper's ablations, a method with other settings."""

    name: str
    label: str  # in legends
    colour: str
    marker: str
    _: KW_ONLY
    ensemble: bool = False  # whether a run has N agents, with N the configuration's


@dataclass(frozen=True)
class Method(Label):
    """A method: where its class is, its phases, and whose agents it takes over in each."""

    place: str  # module:Class in algorithms.methods
    starts_from: Mapping[Phase, str]  # an offline method, or NOTHING
    _: KW_ONLY
    replays_offline: bool = False  # online it is given the offline data though it takes over no agents
    estimates_behaviours: bool = False  # its agents say which policy made which trajectory

    @property
    def path(self) -> str:
        """The class as package.module:Class."""
        return f"algorithms.methods.{self.place}"


_ROWS: tuple[Label, ...] = (
    Method("off2on", "Off2On", "#0072B2", "o", "off2on:Off2On", {"online": "cql"}, ensemble=True),
    Method(
        "awac", "AWAC", "#CC79A7", "D", "awac:AWAC", {"offline": NOTHING, "online": "awac"}, ensemble=True
    ),
    Method("bcq_ft", "BCQ-ft", "#E69F00", "v", "bcq:BCQ", {"online": "bcq"}, ensemble=True),
    Method("sac_ft", "SAC-ft", "#D55E00", "s", "sac:SACFineTuning", {"online": "cql"}),
    Method("sac", "SAC", "#009E73", "^", "sac:SAC", {"online": NOTHING}),
    Method("rlpd", "RLPD", "#482400", ">", "rlpd:RLPD", {"online": NOTHING}, replays_offline=True),
    Label("off2on_n1", "Off2On (N = 1)", "#00CCA8", "<"),
    Label("off2on_n2", "Off2On (N = 2)", "#6C0030", ">"),
    Label("off2on_uniform", "Off2On (uniform replay)", "#F03C60", "P", ensemble=True),
    Label("off2on_online_only", "Off2On (online replay)", "#6C3000", "X", ensemble=True),
    Label("off2on_alternative_ratio", "Off2On (alternative ratio)", "#0C54CC", "h", ensemble=True),
    Label("off2on_fqe", "Off2On (FQE-init)", "#CCA8E4", "p", ensemble=True),
    Label("off2on_n1_fqe", "Off2On (N = 1, FQE-init)", "#481860", "d"),
    Label("sac_ft_online_only", "SAC-ft (online replay)", "#8B3FD1", "*"),
    Method("cql_ft", "CQL-ft", "#CCB46C", "h", "cql:CQLFineTuning", {"online": "cql"}),
    Method("iql_ft", "IQL-ft", "#004848", "d", "iql:IQLFineTuning", {"online": "iql"}),
    Method("cql", "CQL, offline", "#000000", "o", "cql:CQL", {"offline": NOTHING}),
    Method("bcq", "BCQ, offline", "#CCB40C", "v", "bcq:BCQ", {"offline": NOTHING}),
    Method("iql", "IQL, offline", "#C0B490", "d", "iql:IQL", {"offline": NOTHING}),
    Method("fqe", "FQE, offline", "#541818", ".", "fqe:FQE", {"offline": "cql"}),
    Method("wsrl", "WSRL", "#002490", "p", "wsrl:WSRL", {"offline": NOTHING, "online": "wsrl"}),
    Method("bc", "BC, offline", "#2832C8", "h", "behaviour_cloning:BehaviourCloning", {"offline": NOTHING}),
    Method("brac_v", "BRAC-v, offline", "#A81884", "<", "brac:BRACV", {"offline": "bc"}),
    Method("brac_p", "BRAC-p, offline", "#B15928", "X", "brac:BRACP", {"offline": "bc"}),
    Method(
        "multi_source",
        "Best behaviour, offline",
        "#4878C0",
        "D",
        "multi_source:MultiSource",
        {"offline": NOTHING},
        estimates_behaviours=True,
    ),
    Method(
        "lbrac_v",
        "LBRAC-v, offline",
        "#E49054",
        ">",
        "lbrac:LBRACV",
        {"offline": "multi_source"},
        estimates_behaviours=True,
    ),
    Method("pex", "PEX", "#00C0F0", "X", "pex:PEX", {"online": "iql"}),
    Method("rebrac_ft", "ReBRAC-ft", "#C03C3C", "*", "rebrac:ReBRACFineTuning", {"online": "rebrac"}),
    Method("rebrac", "ReBRAC, offline", "#0018F0", "P", "rebrac:ReBRAC", {"offline": NOTHING}),
    Method("td3_bc", "TD3+BC, offline", "#BB1155", "8", "rebrac:TD3BC", {"offline": NOTHING}),
    Method("so2", "SO2", "#302454", "<", "so2:SO2", {"online": "edac"}),
    Method("edac", "EDAC, offline", "#6CB4FC", "^", "edac:EDAC", {"offline": NOTHING}),
    Method("reds", "ReDS, offline", "#00F0D8", "p", "reds:REDS", {"offline": NOTHING}),
    Method(
        "normalised_awac",
        "AWAC, normalised, offline",
        "#B48400",
        "$N$",  # no filled shape is left
        "normalised_awac:NormalisedAWAC",
        {"offline": NOTHING},
    ),
    Method(
        "mixture_awac",
        "Mixture AWAC, offline",
        "#000033",
        "*",
        "mixture_awac:MixtureAWAC",
        {"offline": NOTHING},
    ),
    Method(
        "latent_awac",
        "Latent-policy AWAC, offline",
        "#00CCDD",
        "s",
        "latent_awac:LatentAWAC",
        {"offline": NOTHING},
    ),
    Method("dmpo", "DMPO, offline", "#880000", "H", "dmpo:DMPO", {"offline": NOTHING}),
    Method("cal_ql", "Cal-QL", "#6C84FC", "P", "cal_ql:CalQL", {"offline": NOTHING, "online": "cal_ql"}),
)

LABELS: Mapping[str, Label] = {row.name: row for row in _ROWS}
"""All names, of methods and of ablations."""
METHODS: Mapping[str, Method] = {row.name: row for row in _ROWS if isinstance(row, Method)}
OFFLINE: Mapping[str, Method] = {name: row for name, row in METHODS.items() if "offline" in row.starts_from}
"""The methods that train agents from a dataset."""
ONLINE: Mapping[str, Method] = {name: row for name, row in METHODS.items() if "online" in row.starts_from}
"""The methods that learn from what they collect."""

_KNOWN = re.compile(rf"(?<![^_])({'|'.join(sorted(LABELS, key=len, reverse=True))})(?![^_])")
"""A row among the words of a label; of several that begin alike the longest."""


def in_words(label: str) -> str:
    """Return the name of a label in tables and figures: its row's, or its words, with rows among them named.

    light_dmpo is "light DMPO".
    """
    if label in LABELS:
        return LABELS[label].label
    named = _KNOWN.sub(lambda found: LABELS[found[0]].label.removesuffix(", offline"), label)
    return named.replace("_", " ")
