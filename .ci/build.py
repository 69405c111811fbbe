"""A build backend that builds nothing: a wheel would lack rules, claims, curves and agents."""

from typing import NoReturn


def _refuse(*_arguments: object, **_settings: object) -> NoReturn:
    raise SystemExit(
        "off2on-replication is run from its repository and not installed: expected a clone of it, and in that"
        " `make reproduce` (README.md)."
    )


build_wheel = build_sdist = build_editable = get_requires_for_build_wheel = _refuse
get_requires_for_build_sdist = get_requires_for_build_editable = _refuse
