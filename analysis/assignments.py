"""How well groups that were found agree with the true ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


def purity(found: Labels, true: Labels) -> float:
    """Return share of members whose true group is the commonest in the group that they were put in. [N] each

    It is 1 where no group mixes members of several true ones; many small groups are pure by themselves.
    """
    return float(_table(found, true).max(axis=1).sum() / len(true))


def normalised_mutual_information(found: Labels, true: Labels) -> float:
    """2 I(found; true) / (H(found) + H(true)), from 0 (independent) to 1 (the same groups). [N] each

    It is 1 where both are one single group.
    """
    joint = _table(found, true) / len(true)
    of_found, of_true = joint.sum(axis=1), joint.sum(axis=0)
    entropies = _entropy(of_found) + _entropy(of_true)
    shared = entropies - _entropy(joint.ravel())
    return float(np.clip(2 * shared / entropies, 0, 1)) if entropies > 0 else 1.0


def principal_components(
    vectors: NDArray[np.float64], others: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the two directions in which `vectors` vary most: their coordinates, and those of `others` there.

    [N, d], [M, d] -> [2, N], [2, M]. Signs are such that each direction's largest component is positive.
    """
    centre = vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(vectors - centre, full_matrices=False)
    first = axes[:2]
    first = first * np.sign(first[np.arange(len(first)), np.abs(first).argmax(axis=1)])[:, None]
    return first @ (vectors - centre).T, first @ (others - centre).T


def _table(found: Labels, true: Labels) -> NDArray[np.int64]:
    """How many members each pair of groups shares. [groups found, true groups]"""
    (_, rows), (_, columns) = (np.unique(labels, return_inverse=True) for labels in (found, true))
    counts = np.zeros((rows.max() + 1, columns.max() + 1), dtype=np.int64)
    np.add.at(counts, (rows, columns), 1)
    return counts


def _entropy(shares: NDArray[np.float64]) -> float:
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())
