"""What the tests of the manipulation tasks share: environments made once, as making one takes a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from envs.manipulation import make
from envs.manipulation.environment import ManipulationEnvironment

Get = Callable[..., ManipulationEnvironment]


@pytest.fixture(scope="session")
def environment_of() -> Iterator[Get]:
    """An environment with the given name and options, not reset."""
    made: dict[tuple[object, ...], ManipulationEnvironment] = {}

    def get(name: str, **options: object) -> ManipulationEnvironment:
        key = (name, *sorted(options.items()))
        if key not in made:
            made[key] = make(name, **options)
        return made[key]

    yield get
    for environment in made.values():
        environment.close()
