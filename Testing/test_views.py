"""Mirrored views of a frame: prompts lie where they belong, and the answer is the views' mean."""

from __future__ import annotations

import pytest
import torch

from MedPerSAMLib.core.sam.predictor import Decoded, Predictor, Prompts
from MedPerSAMLib.core.sam.views import decode_twice, decode_views, encode_views
from MedPerSAMLib.services.models.load import load_predictor

SIZE, MASK = 256, 128


class Echo:
    """Stands for a predictor: an answer is inside where the prompts are, and an embedding is the frame itself."""

    frame_size = SIZE

    def __init__(self) -> None:
        self.asked: list[Prompts] = []

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        return frames

    def decode(self, embeddings: torch.Tensor, prompts: Prompts) -> Decoded:
        self.asked.append(prompts)
        logits = torch.full((len(embeddings), 1, MASK, MASK), -1.0)
        for row, (x0, y0, x1, y1) in enumerate((prompts.boxes / 2).round().int().tolist()):
            logits[row, 0, y0:y1, x0:x1] = 1
            for x, y in (prompts.points[row] / 2).int().tolist():
                assert logits[row, 0, y, x] == 1, "the point lies in its box in every view"
        return Decoded(logits, torch.full((len(embeddings), 1), 0.1 * len(self.asked)))


def prompts() -> Prompts:
    boxes = torch.tensor([[20.0, 40.0, 60.0, 100.0], [100.0, 10.0, 250.0, 30.0]])
    points = torch.tensor([[[22.0, 98.0]], [[248.0, 12.0]]])
    return Prompts(points, torch.ones(2, 1, dtype=torch.int64), boxes)


def test_prompts_are_mirrored_with_the_frame():
    echo, frames = Echo(), torch.rand(2, 3, SIZE, SIZE)
    views = encode_views(echo, frames)
    assert torch.equal(views[1].flip(-1), frames) and torch.equal(views[2].flip(-2), frames)
    answer = decode_views(echo, views, prompts())
    expected = echo.decode(frames, prompts()).logits
    assert torch.equal(answer.logits, expected), "all views mean the same pixels"


def test_a_second_pass_only_where_no_mask_is_given():
    echo, frames = Echo(), torch.rand(2, 3, SIZE, SIZE)
    answer = decode_views(echo, encode_views(echo, frames), prompts())
    assert [asked.mask_logits is not None for asked in echo.asked] == [False, True] * 3
    assert answer.predicted_iou.flatten().tolist() == pytest.approx([0.4, 0.4]), "the mean of the second passes"
    echo.asked.clear()
    given = torch.zeros(2, 1, MASK, MASK)
    given[:, :, :, :30] = 5
    masked = Prompts(prompts().points, prompts().labels, prompts().boxes, given)
    decode_views(echo, encode_views(echo, frames), masked)
    assert len(echo.asked) == 3 and torch.equal(echo.asked[1].mask_logits.flip(-1), given)


def test_where_nothing_is_found_there_is_no_second_question():
    class Blind(Echo):
        def decode(self, embeddings, prompts):
            surer = 1.0 if prompts.mask_logits is None else 9.0
            return Decoded(torch.full((len(embeddings), 1, MASK, MASK), -surer), torch.full((len(embeddings), 1), 0.1 * surer))

    answer = decode_twice(Blind(), torch.rand(2, 3, SIZE, SIZE), prompts())
    assert torch.equal(answer.logits, torch.full((2, 1, MASK, MASK), -1.0)) and answer.predicted_iou[0, 0] == pytest.approx(0.1)


def test_a_mirrored_image_has_the_mirrored_answer():
    """The mean over a view and its mirror image is the same from either side; the top-bottom view has no such partner."""
    predictor: Predictor = load_predictor("tiny", "cpu").predictor
    frames = torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1)).expand(-1, 3, -1, -1)
    frames = frames * 0.1 + torch.nn.functional.pad(torch.ones(1, 3, 60, 80) * 0.6, (40, 136, 70, 126))
    box = torch.tensor([[38.0, 68.0, 122.0, 132.0]])
    turned = torch.tensor([[SIZE - 122.0, 68.0, SIZE - 38.0, 132.0]])
    here = decode_views(predictor, encode_views(predictor, frames)[:2], Prompts(boxes=box))
    there = decode_views(predictor, encode_views(predictor, frames.flip(-1))[:2], Prompts(boxes=turned))
    assert torch.allclose(here.logits, there.logits.flip(-1), atol=0.05)
    assert (here.logits > 0).any()
