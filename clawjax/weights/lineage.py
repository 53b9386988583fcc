"""How versions descend from one another. Pure.

A version's parent is the one that its step started from: the one before it, unless that was
refused or rolled back. Version 0, the base model, is everybody's ancestor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from clawjax.protocols import WeightVersion

__all__ = ["Lineage"]


@dataclass(frozen=True, slots=True)
class Lineage:
    """The tree of all versions; one that is not in it descends from the number before it."""

    versions: Mapping[int, WeightVersion] = field(default_factory=dict)

    @classmethod
    def of(cls, versions: Iterable[WeightVersion]) -> Lineage:
        """The tree of what a store holds."""
        return cls({version.version: version for version in versions})

    @property
    def newest(self) -> int:
        """The highest number; 0 where there is the base model only."""
        return max(self.versions, default=0)

    @property
    def refused(self) -> tuple[WeightVersion, ...]:
        """What was made and not served, in order."""
        return tuple(v for _, v in sorted(self.versions.items()) if v.refused is not None)

    def grown(self, version: WeightVersion) -> Lineage:
        """The tree with one version more."""
        return Lineage({**self.versions, version.version: version})

    def parent(self, version: int) -> int:
        """Whom a version above 0 descends from; always a lower number."""
        known = self.versions.get(version)
        parent = None if known is None else known.parent
        return parent if parent is not None and 0 <= parent < version else version - 1

    def distance(self, one: int, other: int) -> int:
        """Steps from one version to another along the tree: up to what they share, and down."""
        steps = 0
        while one != other:
            if one > other:
                one = self.parent(one)
            else:
                other = self.parent(other)
            steps += 1
        return steps

    def descends(self, version: int, ancestor: int) -> bool:
        """Whether `ancestor` is a version itself or among those it came from."""
        while version > ancestor:
            version = self.parent(version)
        return version == ancestor
