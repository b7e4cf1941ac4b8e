"""What every protocol has in common, and the protocols by name. A new one is one file beside this and one line here."""

from __future__ import annotations

import argparse
import difflib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.evaluation.dataset import Dataset, LabelledSet
from MedPerSAMLib.services.evaluation.records import Record
from MedPerSAMLib.services.evaluation.variants import Choice, choose_variants
from MedPerSAMLib.services.evaluation.workbench import Workbench

PROTOCOLS = {
    "volume": "MedPerSAMLib.services.evaluation.volume_protocol:VolumeProtocol",
    "correction": "MedPerSAMLib.services.evaluation.correction_protocol:CorrectionProtocol",
    "image": "MedPerSAMLib.services.evaluation.image_protocol:ImageProtocol",
    "prompts": "MedPerSAMLib.services.evaluation.prompts_protocol:PromptsProtocol",
    "fewshot": "MedPerSAMLib.services.evaluation.few_shot_protocol:FewShotProtocol",
}


class Protocol(ABC):
    """One way to measure methods on labelled data.

    Attributes:
        summary: one line for people.
        capability: what a method must be able to do, "propagate" or "transfer".
        columns: figure -> title, what the table over sets shows.
    """

    summary: str
    capability: str
    columns: ClassVar[Mapping[str, str]]

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> Protocol:
        """The protocol as the command line asks for it; one with options of its own reads them here."""
        return cls()

    def choose(self, names: Sequence[str] | None, ablation: Sequence[str] | None) -> Choice:
        """What to compare: the methods called ``names``, all for None; and rows of the ablation, all for none named.

        A protocol that compares something else, such as prompt kinds, chooses among those here.
        """
        return choose_variants(names, ablation, self.capability)

    @abstractmethod
    def default_sets(self, dataset: Dataset) -> list[LabelledSet]:
        """The sets that are measured unless some are named."""

    def check(self, sets: Sequence[LabelledSet]) -> None:
        """Raise InputError for a set of the wrong kind."""

    def notes(self, sets: Sequence[LabelledSet]) -> list[str]:
        """Sentences for the user about what of the sets will not be measured."""
        return []

    def limit(self, labelled: LabelledSet, cases: int) -> LabelledSet:
        """The part of a set that a quick look at ``cases`` cases needs."""
        return labelled.first(cases)

    def items(self, labelled: LabelledSet) -> list[str]:
        """Names of the pieces of work of a set, each done in one go: its cases, unless a protocol says otherwise."""
        return [case.name for case in labelled.cases]

    @abstractmethod
    def run_item(self, labelled: LabelledSet, item: str, bench: Workbench) -> Iterator[Record]:
        """Do one piece of work; each record is given as soon as it is known."""

    def extras(self, records: Sequence[Record]) -> dict[str, object]:
        """Figures that are no means over records, as further keys of the JSON."""
        return {}


def protocol_class(name: str) -> type[Protocol]:
    """The protocol called ``name``.

    Raises:
        InputError: there is none of that name; the nearest are given.
    """
    if name not in PROTOCOLS:
        near = difflib.get_close_matches(name, PROTOCOLS, n=2, cutoff=0.3) or list(PROTOCOLS)
        raise InputError(f"There is no protocol {name!r}; did you mean {' or '.join(near)}?")
    module, attribute = PROTOCOLS[name].split(":")
    return getattr(importlib.import_module(module), attribute)


def expert_volume_sets(dataset: Dataset) -> list[LabelledSet]:
    """Sets of volumes whose labels people drew."""
    return [labelled for labelled in dataset.sets if labelled.is_volumes and labelled.is_expert]


def check_volumes(sets: Sequence[LabelledSet]) -> None:
    """Raise InputError for a set of 2D images."""
    for labelled in sets:
        if not labelled.is_volumes:
            raise InputError(f"{labelled.name} holds 2D images; use --protocol image, or name sets of volumes.")
