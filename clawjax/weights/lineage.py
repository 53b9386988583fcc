"""How versions descend from one another. Pure.

A version's parent is the one that its step started from: the one before it, unless that was
refused or rolled back. Version 0, the base model, is everybody's ancestor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from clawjax.protocols import Removed, WeightStore, WeightVersion

__all__ = ["Lineage"]


@dataclass(frozen=True, slots=True)
class Lineage:
    """The tree of all versions; of whom nothing is known descends from the number before it."""

    versions: Mapping[int, WeightVersion] = field(default_factory=dict)
    """Of a store, oldest first."""
    removed: Mapping[int, Removed] = field(default_factory=dict)
    """What is known of versions that a store no longer holds."""

    @classmethod
    def of(
        cls, versions: Iterable[WeightVersion], removed: Mapping[int, Removed] | None = None
    ) -> Lineage:
        """The tree of what a store holds, and of what it held."""
        return cls({version.version: version for version in versions}, removed or {})

    @classmethod
    def of_store(cls, store: WeightStore) -> Lineage:
        """The tree of all that was put into a store.

        Raises:
            StoreError: it cannot be read, or a record of it is damaged.
        """
        return cls.of(store.versions(), store.removed())

    @property
    def newest(self) -> int:
        """The highest number, so how many were made; 0 where there is the base model only."""
        return max(self.versions, default=0)

    @property
    def refused(self) -> dict[int, str]:
        """Why versions were made and not served, in order, be they held or not."""
        known = sorted({**self.removed, **self.versions}.items())
        return {number: each.refused for number, each in known if each.refused is not None}

    def grown(self, version: WeightVersion) -> Lineage:
        """The tree with one version more."""
        return Lineage({**self.versions, version.version: version}, self.removed)

    def parent(self, version: int) -> int:
        """Whom a version above 0 descends from; always a lower number."""
        known = self.versions.get(version) or self.removed.get(version)
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
