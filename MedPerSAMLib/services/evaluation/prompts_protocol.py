"""Protocol ``prompts``: the frozen model alone, given prompts made from the truth."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from MedPerSAMLib.errors import InputError
from MedPerSAMLib.services.evaluation import metrics
from MedPerSAMLib.services.evaluation.dataset import Dataset, LabelledSet
from MedPerSAMLib.services.evaluation.prompt_questions import image_questions, volume_questions
from MedPerSAMLib.services.evaluation.protocol import Protocol
from MedPerSAMLib.services.evaluation.records import NO_SURFACES, Record, unique
from MedPerSAMLib.services.evaluation.variants import Choice
from MedPerSAMLib.services.evaluation.workbench import Workbench

if TYPE_CHECKING:
    from MedPerSAMLib.services.evaluation.prompt_frames import PromptFrames

SHARPNESS = 1.0
"""Logit of a sure pixel in a mask prompt: of 1 to 10 the best on generated images, by little (``Testing.benchmarks.views``)."""

UNZOOMED = "-unzoomed"
DRAWN = ("box", "point", "box+point")
OF_NEIGHBOUR = ("neighbour", "carried", "carried-demons")
NEEDING_WARP = ("neighbour", "carried")
IN_VIEWS = ("box", "box+point", "neighbour")
"""Kinds that are asked about in the three mirrored views in which the panel's Snap asks."""

WITHOUT_MODEL = ("carried", "carried-demons")

KINDS = tuple(kind + suffix for suffix in ("", UNZOOMED) for kind in (*DRAWN, *OF_NEIGHBOUR))

_BACKGROUND_LOGIT = -10.0


@dataclass(frozen=True)
class Answers:
    """Masks for B questions.

    Attributes:
        masks: B of (rows, columns) bool.
        predicted_iou: B of the model's own estimate; None where no model took part.
    """

    masks: list[np.ndarray]
    predicted_iou: list[float] | None = None


class PromptsProtocol(Protocol):
    """Up to four slices of each structure and volume, and every 2D image, each prompted in several ways.

    The JSON holds prompt kinds where other protocols have methods: ``box`` (the true box, each side moved), ``point``
    (the deepest point; of three masks the one with the best predicted IoU), ``box+point``, ``neighbour`` (the next
    slice's truth carried onto this one by our warp, as mask logits and its box), ``carried`` (that carried mask itself)
    and ``carried-demons`` (carried by SimpleITK's diffeomorphic demons on the same frames instead); each in a zoomed
    frame, and with ``-unzoomed`` in the full frame. All but ``point`` are asked about in Snap's three views. 2D images have
    no next slice and so only the first three. Seconds are for the decoding or the carrying; those of the encoding are in
    the cases as ``encode_seconds``.

    The confidence of a mask is the model's predicted IoU: ``confidence_spearman`` ranks it against true Dice, kind by
    kind (null where no model took part), and ``predicted_iou_spearman`` against true IoU, also over all kinds at once.
    As IoU and Dice rank masks alike, the two agree for each kind.
    """

    summary = "the model alone, prompted from the truth"
    columns: ClassVar = {"dice": "Dice", "seconds_per_slice": "s/slice"}

    def choose(self, names: Sequence[str] | None, ablation: Sequence[str] | None) -> Choice:
        if ablation is not None:
            raise InputError("The protocol 'prompts' measures the model alone; --ablation belongs to 'volume'.")
        for kind in names or ():
            if kind not in KINDS:
                raise InputError(f"There is no prompt kind {kind!r}; use one of {', '.join(KINDS)}.")
        return Choice(kinds=tuple(names or KINDS))

    def default_sets(self, dataset: Dataset) -> list[LabelledSet]:
        return [labelled for labelled in dataset.sets if labelled.is_expert]

    def run_item(self, labelled: LabelledSet, item: str, bench: Workbench) -> Iterator[Record]:
        from MedPerSAMLib.services.evaluation.prompt_frames import PromptFrames

        case = labelled.case(item)
        ask = volume_questions if labelled.is_volumes else image_questions
        for questions in ask(case, bench.wanted(case.labels)):
            for suffix in ("", UNZOOMED):
                kinds = self._kinds_to_ask(labelled, suffix, bench)
                if questions and kinds:
                    bench.announce(labelled.name, item, questions[0].label)
                    frames = PromptFrames(questions, bench.predictor, zoomed=not suffix, seed=bench.options.seed)
                    yield from _records(labelled.name, suffix, kinds, frames, bench)

    def extras(self, records: Sequence[Record]) -> dict[str, object]:
        judged = [record for record in records if "predicted_iou" in record.details]
        kinds = unique(record.method for record in judged)
        sets = unique(record.set_name for record in judged)
        own = {kind: [r for r in records if r.method == kind] for kind in unique(record.method for record in records)}
        return {
            "confidence_spearman": {kind: _confidence_correlation(own[kind]) for kind in own},
            "confidence_spearman_per_set": {
                name: {kind: _confidence_correlation([r for r in own[kind] if r.set_name == name]) for kind in own}
                for name in unique(record.set_name for record in records)
            },
            "predicted_iou_spearman": {
                kind: _iou_correlation([r for r in judged if r.method == kind]) for kind in kinds
            }
            | {"all": _iou_correlation(judged)},
            "predicted_iou_spearman_per_set": {
                name: _iou_correlation([record for record in judged if record.set_name == name]) for name in sets
            },
        }

    def _kinds_to_ask(self, labelled: LabelledSet, suffix: str, bench: Workbench) -> list[str]:
        """Kinds without their suffix that this set and this run's equipment allow."""
        possible = [*DRAWN, *(OF_NEIGHBOUR if labelled.is_volumes else ())]
        if bench.warp_network is None:
            possible = [kind for kind in possible if kind not in NEEDING_WARP]
        return [kind for kind in possible if kind + suffix in bench.options.kinds]


def _records(
    set_name: str, suffix: str, kinds: Sequence[str], frames: PromptFrames, bench: Workbench
) -> Iterator[Record]:
    """Ask all kinds of a batch of questions; a record for each kind and question."""
    count = len(frames.questions)
    start = time.perf_counter()
    # Computed here once, so that no kind is charged with it.
    if any(kind in IN_VIEWS for kind in kinds):
        _ = frames.views
    elif any(kind not in WITHOUT_MODEL for kind in kinds):
        _ = frames.embeddings
    encoding = (time.perf_counter() - start) / count
    for done, kind in enumerate(kinds):
        bench.progress.step("prompting", done, len(kinds))
        start = time.perf_counter()
        answers = _answer(kind, frames, bench)
        seconds = (time.perf_counter() - start) / count
        for row, question in enumerate(frames.questions):
            dice = metrics.dice(answers.masks[row], question.truth)
            values = {"dice": dice, **NO_SURFACES, "seconds_per_slice": seconds}
            details: dict[str, object] = {"slice": question.index, "encode_seconds": encoding}
            if answers.predicted_iou is not None:
                details["predicted_iou"] = answers.predicted_iou[row]
                details["true_iou"] = metrics.intersection_over_union(answers.masks[row], question.truth)
            yield Record(set_name, question.case, question.label, kind + suffix, values, details)


def _answer(kind: str, frames: PromptFrames, bench: Workbench) -> Answers:
    from MedPerSAMLib.core.methods.cascade import best_of
    from MedPerSAMLib.core.prompts.mask_prompt import mask_prompt
    from MedPerSAMLib.core.sam.predictor import Prompts
    from MedPerSAMLib.core.sam.views import decode_views

    if kind == "carried-demons":
        return Answers(frames.restored(frames.carried_by_demons(), outside=0.0, threshold=0.5))
    if kind in NEEDING_WARP:
        carried = frames.carried_by(bench.warp_network)
        if kind == "carried":
            return Answers(frames.restored(carried, outside=0.0, threshold=0.5))
        logits = mask_prompt(carried, SHARPNESS, bench.predictor.mask_size)
        prompts = Prompts(boxes=frames.boxes_of(carried), mask_logits=logits)
    else:
        points, labels = frames.points() if "point" in kind else (None, None)
        prompts = Prompts(points, labels, frames.boxes() if "box" in kind else None)
    if kind in IN_VIEWS:
        answer = decode_views(bench.predictor, frames.views, prompts)
    else:  # a point is ambiguous, so the model is asked for three masks, as its authors do
        answer = best_of(bench.predictor.decode(frames.embeddings, prompts, multimask=True))
    masks = frames.restored(answer.logits, outside=_BACKGROUND_LOGIT, threshold=0.0)
    return Answers(masks, answer.predicted_iou[:, 0].tolist())


def _confidence_correlation(records: Sequence[Record]) -> float | None:
    judged = [record for record in records if "predicted_iou" in record.details]
    predicted = np.array([record.details["predicted_iou"] for record in judged])
    return metrics.spearman(predicted, np.array([record.values["dice"] for record in judged]))


def _iou_correlation(records: Sequence[Record]) -> float | None:
    predicted, true = (np.array([record.details[key] for record in records]) for key in ("predicted_iou", "true_iou"))
    return metrics.spearman(predicted, true)
