"""Apply a learned part to a volume without any annotation: look at whole slices, then closer around what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from MedPerSAMLib.core.frame import Frame
from MedPerSAMLib.core.intensity import normalise_volume
from MedPerSAMLib.core.learn.across import AcrossSlices
from MedPerSAMLib.core.learn.fit import LOCATOR
from MedPerSAMLib.core.learn.fitted import Fitted
from MedPerSAMLib.core.learn.inputs import Inputs, look, sizes
from MedPerSAMLib.core.learn.learners import Learner, learner
from MedPerSAMLib.core.learn.looked import Looked
from MedPerSAMLib.core.learn.magnified import at_several_sizes
from MedPerSAMLib.core.learn.parts import build, build_locator, load_weights
from MedPerSAMLib.core.learn.point_makers import point_labels
from MedPerSAMLib.core.learn.promise import Promise
from MedPerSAMLib.core.learn.view import View
from MedPerSAMLib.core.learn.whole_parts import largest_piece
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.sam.predictor import Predictor
from MedPerSAMLib.core.task import Propagation, Volume

_BATCH = 8

OnSlice = Callable[[int, int, np.ndarray, float], None]
"""(class, slice, (rows, columns) bool mask, confidence)."""


@dataclass(frozen=True)
class SlicePoints:
    """Point prompts of one class on one slice.

    Attributes:
        places: (N, 2) float, (row, column) in slice pixels, pixel centres at .5.
        labels: (N,) int, 1 inside, 0 outside.
    """

    places: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Applied:
    """The structures of a volume.

    Attributes:
        results: class 1..C -> its Propagation; every slice is finished.
        points: (class, slice) -> the points that SAM was prompted with; empty for methods without prompts, and where a class
            is absent.
        looked: what a later application with moved points can start from; None for methods without prompts.
    """

    results: Mapping[int, Propagation]
    points: Mapping[tuple[int, int], SlicePoints] = field(default_factory=dict)
    looked: Looked | None = None


def apply(
    fitted: Fitted,
    predictor: Predictor | None,
    volume: Volume,
    progress: Progress,
    on_slice: OnSlice = lambda number, index, mask, confidence: None,
    moved: Mapping[tuple[int, int], SlicePoints] | None = None,
    looked: Looked | None = None,
) -> Applied:
    """Segment every slice of a volume.

    Args:
        fitted: the learned part.
        predictor: the frozen SAM that it was fitted on; None for methods without one.
        volume: slices along the direction of the training cases.
        progress: told of each batch.
        on_slice: called as slices finish; masks may still change.
        moved: (class, slice) -> points that the user moved: these slices are prompted with them instead of the learned ones.
        looked: of an earlier application of the same part to the same volume; then only the slices of ``moved`` are looked at, and the
            result is the same.

    Raises:
        Cancelled: the user asked for it.
        InputError: the volume shows nothing, or the part is that of another version.
    """
    method = learner(fitted.method)
    part = build(fitted.method, predictor, fitted.classes, fitted.settings, seed=0)
    load_weights(part, {key: value for key, value in fitted.weights.items() if not key.startswith(LOCATOR)})
    viewer = _Viewer(method, part.eval(), predictor, volume, progress)
    looked = _window(viewer, fitted, predictor) if looked is None else looked
    collected = _segment(viewer, fitted.classes, looked, on_slice, moved or {})
    applied = collected.applied(fitted.settings["one_piece"], on_slice, looked.notes)
    return replace(applied, looked=looked) if method.prompts else applied


def _window(viewer: _Viewer, fitted: Fitted, predictor: Predictor | None) -> Looked:
    """The window that slices are to be seen through: where the locator sees something, if there is one and it does."""
    located = {k.removeprefix(LOCATOR): v for k, v in fitted.weights.items() if k.startswith(LOCATOR)}
    if not located:
        return Looked(viewer.whole)
    locator = build_locator(predictor, seed=0)
    load_weights(locator, located)
    view = View.from_values(fitted.settings["view"])
    closer = view.closer(viewer.neighbourhood(locator.eval()), viewer.spacing, viewer.frame_size)
    if closer is not None:
        return Looked(closer)
    note = "No place was found that looks like the training cases' structures, so whole slices were segmented."
    return Looked(viewer.whole, (note,))


class _Viewer:
    """Runs the part on windows of a volume's slices.

    Args:
        method: what the part looks at.
        part: in eval mode.
        predictor: the frozen SAM, or None.
        volume: the volume.
        progress: told of each batch.
    """

    def __init__(
        self, method: Learner, part: torch.nn.Module, predictor: Predictor | None, volume: Volume, progress: Progress
    ) -> None:
        self.method, self.part, self._predictor, self._progress = method, part, predictor, progress
        self.slices, self.spacing = normalise_volume(volume.array), volume.spacing[1:]
        self.slice_spacing = volume.spacing[0]
        self.frame_size, self._mask_size = sizes(predictor)
        self._device = torch.device("cpu") if predictor is None else predictor.device
        self.whole = Frame.full(self.slices.shape[1:], self.spacing, self.frame_size)

    def neighbourhood(self, locator: torch.nn.Module) -> np.ndarray:
        """(slices, rows, columns) probability of some structure; what is less likely than not counts nothing."""
        found = np.zeros(self.slices.shape, np.float32)
        with torch.no_grad():
            for indices, frames in self.batches(self.whole, "looking for the place"):
                probability = self.restore(self.whole, locator(self.inputs(frames, "frames")).softmax(dim=1))
                found[indices.start : indices.stop] = np.where(probability[:, 1] > 0.5, probability[:, 1], 0)
        return found

    def batches(self, frame: Frame, phase: str) -> Iterator[tuple[range, torch.Tensor]]:
        """(slices, (B, 1, s, s) frames in 0..1) of all slices seen through ``frame``, in order."""
        for start in range(0, len(self.slices), _BATCH):
            self._progress.step(phase, start, len(self.slices))
            indices = range(start, min(len(self.slices), start + _BATCH))
            images = torch.from_numpy(self.slices[indices.start : indices.stop])[:, None]
            yield indices, frame.sample(images)

    def inputs(self, frames: torch.Tensor, sees: str) -> Inputs:
        """What a method that ``sees`` is shown of (B, 1, s, s) frames."""
        # Through half precision, as in training.
        return look(sees, self._predictor, frames).half().on(self._device)

    def probability(self, frames: torch.Tensor) -> torch.Tensor:
        """(B, 1 + C, m, m) the part's probabilities on (B, 1, s, s) frames, on the CPU; a cancel is heard before it looks."""
        self._progress.check()
        return self.part(self.inputs(frames, self.method.sees)).softmax(dim=1).cpu()

    def restore(self, frame: Frame, probability: torch.Tensor) -> np.ndarray:
        """(B, 1 + C, m, m) probabilities in a frame -> (B, 1 + C, rows, columns) on the slices."""
        native = frame.restore(probability.cpu(), self.slices.shape[1:], 0.0)
        native[:, 0] += 1 - native.sum(dim=1)  # beyond the frame lies background
        return native.numpy()


def _segment(
    viewer: _Viewer, classes: int, looked: Looked, on_slice: OnSlice, moved: Mapping[tuple[int, int], SlicePoints]
) -> _Collected:
    """All slices seen through one window; what ``looked`` holds of them is not looked at again, what it lacks is added."""
    collected, across = _Collected(viewer.slices.shape, classes), AcrossSlices(viewer.slice_spacing, len(viewer.slices))
    frame, prompts = looked.frame, viewer.method.prompts
    asked_again = {index for _, index in moved}
    with torch.no_grad():
        for indices, frames in viewer.batches(frame, "segmenting"):
            known, answers = len(looked.probabilities) >= indices.stop, {}
            if not known or asked_again.intersection(indices):
                inputs = viewer.inputs(frames, viewer.method.sees)
                logits = viewer.part(inputs)
                if not known:
                    several = at_several_sizes(logits.softmax(dim=1).cpu(), frames, viewer.probability)
                    if prompts:
                        looked.add(several, viewer.part.places(inputs))
                answers = _answers(viewer.part, inputs, logits, moved, indices, frame)
            for row, index in enumerate(indices):
                alone = index in answers
                for number in range(1, classes + 1):
                    if (number, index) in moved:
                        collected.points[number, index] = moved[number, index]
                    elif prompts:
                        collected.points[number, index] = _on_slice(looked.places[index][number - 1], frame)
                probability = looked.probabilities[index].float() if prompts else several[row]
                # What a user asked for at a place is to be seen as it was answered there.
                for ready, blended in across.add(index, answers[index] if alone else probability, alone):
                    collected.add(ready, viewer.restore(frame, blended[None])[0])
                    for number in range(1, classes + 1):
                        mask, confidence = collected.labels[ready] == number, float(collected.confidence[number, ready])
                        on_slice(number, ready, mask, confidence)
    return collected


def _answers(
    part: Promise,
    inputs: Inputs,
    logits: torch.Tensor,
    moved: Mapping[tuple[int, int], SlicePoints],
    indices: range,
    frame: Frame,
) -> dict[int, torch.Tensor]:
    """Slice of a batch with moved points -> its (1 + C, m, m) probabilities; the other classes' logits are (B, 1 + C, m, m)."""
    for number, index in moved:
        if index in indices:
            row = index - indices.start
            logits[row, number] = _ask_again(part, inputs[row : row + 1], number, moved[number, index], frame)
    own = logits.softmax(dim=1).cpu()
    return {index: own[index - indices.start] for _, index in moved if index in indices}


class _Collected:
    """What was found, slice by slice."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        self.labels = np.zeros(shape, np.uint8)
        self.confidence = np.zeros((classes + 1, shape[0]), np.float32)
        self._mass = np.zeros((classes + 1, shape[0]), np.float32)
        self._classes = classes
        self.points: dict[tuple[int, int], SlicePoints] = {}

    def add(self, index: int, probability: np.ndarray) -> None:
        """Take the most probable class of each pixel of (1 + C, rows, columns)."""
        self.labels[index] = probability.argmax(axis=0)
        for number in range(1, self._classes + 1):
            mask = self.labels[index] == number
            mass = float(probability[number].sum())
            self._mass[number, index] = mass
            # The Dice that the probabilities themselves expect of the mask.
            self.confidence[number, index] = 2 * float(probability[number][mask].sum()) / max(mass + mask.sum(), 1e-6)

    def applied(self, one_piece: list[bool], on_slice: OnSlice, notes: tuple[str, ...]) -> Applied:
        """Drop specks, judge the slices without a class, and put everything together."""
        results = {}
        for number in range(1, self._classes + 1):
            mask = self.labels == number
            if one_piece[number - 1]:
                kept = largest_piece(mask)
                changed = np.flatnonzero((kept != mask).any(axis=(1, 2)))
                mask = kept
            else:
                changed = []
            present = mask.any(axis=(1, 2))
            confidence = self.confidence[number].copy()
            typical = float(np.count_nonzero(mask)) / max(1, int(present.sum()))
            # Absent slices: the less probability is left there, the surer.
            left = self._mass[number] / max(0.25 * typical, 1.0)
            confidence[~present] = np.clip(1 - left, 0, 1)[~present]
            for index in changed:
                on_slice(number, int(index), mask[index], float(confidence[index]))
            results[number] = Propagation(mask, confidence, present, np.ones(len(mask), bool), notes)
        points = {(n, i): p for (n, i), p in self.points.items() if results[n].present[i]}
        return Applied(results, points)


def _ask_again(part: Promise, inputs: Inputs, number: int, points: SlicePoints, frame: Frame) -> torch.Tensor:
    """(m, m) logits of class ``number`` on one frame, prompted with given points."""
    device = inputs.embedding.device
    places = torch.from_numpy(frame.to_frame(points.places).astype(np.float32).copy())[None].to(device)
    labels = torch.from_numpy(np.asarray(points.labels, np.int64))[None].to(device)
    return part.ask(inputs, number - 1, places, labels)[0]


def _on_slice(places: torch.Tensor, frame: Frame) -> SlicePoints:
    """(N, 2) learned points, (x, y) in frame pixels, as points on the slice."""
    rows_columns = places.cpu().numpy()[:, ::-1].astype(float)
    return SlicePoints(rows_columns * frame.step + frame.origin, point_labels().numpy())
