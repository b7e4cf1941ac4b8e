"""Keeps what the last application made of its volume, for the next one with moved points."""

from __future__ import annotations

from typing import TYPE_CHECKING

from MedPerSAMLib.core.digest import digest

if TYPE_CHECKING:
    from MedPerSAMLib.core.learn.looked import Looked
    from MedPerSAMLib.services.learning.work import ApplyOrder


class ApplyMemory:
    """Remembers one application; a later one of the same profile, volume, model and device finds it again."""

    def __init__(self) -> None:
        self._fitted: object | None = None
        self._key: tuple | None = None
        self._looked: Looked | None = None

    def known(self, order: ApplyOrder) -> Looked | None:
        """What an application of the same has made, if it was the last one."""
        if not order.moved or self._fitted is not order.profile.fitted or self._key != _key(order):
            return None
        return self._looked

    def keep(self, order: ApplyOrder, looked: Looked | None) -> None:
        """Remember this one instead of all others; None, of methods without prompts, forgets."""
        self.clear()
        if looked is not None:
            self._fitted, self._key, self._looked = order.profile.fitted, _key(order), looked

    def clear(self) -> None:
        """Give the memory back."""
        self._fitted = self._key = self._looked = None


def _key(order: ApplyOrder) -> tuple:
    array = order.volume.array
    return digest(array), array.shape, order.volume.spacing, order.device, order.model
