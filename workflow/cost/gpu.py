"""What learns on a GPU takes the time of its kernels, its bytes and its operations.

The numbers of `H100` are a data sheet's and experience's: nothing has been measured there.
"""

from __future__ import annotations

from dataclasses import dataclass

from algorithms.training import acceleration
from workflow.operations import Operations


@dataclass(frozen=True)
class GPU:
    """What a GPU does, in seconds, bytes and operations."""

    name: str
    launch: float  # of one kernel among others of a graph
    launch_alone: float  # of one that the host launches
    bytes_per_second: float
    operations_per_second: float  # float32
    tf32_operations_per_second: float
    acting: float  # seconds of an action that the host waits for

    def update(self, does: Operations, count: float, agents: int, compute: acceleration.Compute) -> float:
        """Return seconds of one update of `agents` agents, `count` operations in all.

        Kernels are launched one after the other, the random numbers of each agent by themselves; what they
        read and write, or their operations, take the time beside.
        """
        launch = self.launch if compute.updates_per_graph else self.launch_alone
        launches = does.kernels.launches + (agents - 1) * does.kernels.draws
        rate = self.tf32_operations_per_second if compute.tf32 else self.operations_per_second
        return launches * launch + max(agents * does.kernels.traffic / self.bytes_per_second, count / rate)


H100 = GPU("H100", 2.2e-6, 10e-6, 2.7e12, 50e12, 300e12, 0.45e-3)
CUDA_GB = 1.5
"""Of a GPU's memory that a process takes before it has any data."""


def gpu_origin(gpu: GPU, compute: acceleration.Compute) -> str:
    """Say how the time of what learns on a GPU was come by."""
    form = "captured in graphs" if compute.updates_per_graph else "launched one by one"
    return (
        f"What learns on a GPU is estimated, not measured: its kernels ({form}), bytes and operations\n"
        f"were counted here, and take the time that an {gpu.name} is said to need. Expect a factor of two."
    )
