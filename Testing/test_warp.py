"""The warp: shipped weights carry masks better than copying does; losses and tuning do what they say."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from MedPerSAMLib.core.overlap import dice
from MedPerSAMLib.core.progress import CallbackProgress, Progress
from MedPerSAMLib.core.warp.augment import augmented_pair
from MedPerSAMLib.core.warp.fields import NeighbourFields
from MedPerSAMLib.core.warp.losses import dice_loss, local_ncc_loss, smoothness
from MedPerSAMLib.core.warp.network import load_warp
from MedPerSAMLib.core.warp.tune import Pair, TuneSettings, tune
from MedPerSAMLib.errors import Cancelled
from MedPerSAMLib.weights import weights_path


@pytest.fixture(scope="module")
def network():
    return load_warp(weights_path("warp"))


@pytest.fixture(scope="module")
def moved():
    """Two planes, the second the first shifted by (3, -4) pixels, and a mask on each."""
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.normal(size=(110, 150)), 4)
    texture = (texture - texture.min()) / np.ptp(texture)
    rows, columns = np.mgrid[:110, :150]
    mask = (rows - 50) ** 2 / 400 + (columns - 80) ** 2 / 900 < 1
    planes = np.stack([texture, np.roll(texture, (3, -4), (0, 1))]).astype(np.float32)
    return planes, mask, np.roll(mask, (3, -4), (0, 1))


def test_a_shifted_mask_is_carried_to_its_place_and_back(network, moved):
    planes, first, second = moved
    fields = NeighbourFields(planes, network, torch.device("cpu"))
    there = fields.carry(first, 0, 1) > 0.5
    assert 1 - dice(there, second) < 0.6 * (1 - dice(first, second)), dice(there, second)
    assert dice(fields.carry(there, 1, 0) > 0.5, first) > 0.9


def test_carrying_is_better_than_copying_on_the_sample(network, sample_volume, sample_labels):
    fields = NeighbourFields(sample_volume.array / sample_volume.array.max(), network, torch.device("cpu"))
    changing = []
    for value in np.unique(sample_labels)[1:]:
        organ = sample_labels == value
        changing += [(dice(organ[i], organ[i + 1]), organ, i) for i in range(len(organ) - 1) if organ[i].any()]
    hardest = sorted((entry for entry in changing if entry[0] > 0.5), key=lambda entry: entry[0])[:6]
    carried = [dice(fields.carry(organ[i], i, i + 1) > 0.5, organ[i + 1]) for _, organ, i in hardest]
    assert np.mean(carried) > np.mean([copied for copied, _, _ in hardest])


def test_each_pair_gets_the_passes_it_needs(network, moved):
    first, second = (torch.from_numpy(plane[None, None, :96, :96]) for plane in moved[0])
    still = first + 0.01 * torch.randn(first.shape, generator=torch.Generator().manual_seed(0))
    together = network(torch.cat([first, first]), torch.cat([second, still]))
    once, _ = network.fields(first, still, passes=1)
    assert torch.allclose(together[1:], once, atol=1e-4)  # hardly anything moves: the first pass was the last
    assert not torch.allclose(together[:1], network.fields(first, second, passes=1)[0], atol=1e-2)
    assert torch.allclose(together[:1], network(first, second), atol=1e-4)


def test_fields_are_computed_once(network, moved):
    fields = NeighbourFields(moved[0], network, torch.device("cpu"))
    phases = []
    fields.prepare([(0, 1), (1, 0)], CallbackProgress(on_step=lambda *step: phases.append(step)))
    first = len(phases)
    fields.prepare([(0, 1), (1, 0)], CallbackProgress(on_step=lambda *step: phases.append(step)))
    assert 0 < first == len(phases)


def test_local_ncc_ignores_gain_and_offset_but_not_a_shift():
    texture = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(64, 64)), 2)
    image = torch.from_numpy(texture / texture.std()).float()[None, None]
    assert local_ncc_loss(image, 0.5 * image + 0.2) < 0.15
    assert local_ncc_loss(image, image.roll(6, -1)) > 0.4


def test_dice_loss_and_smoothness_are_zero_where_they_should_be():
    mask = torch.zeros(2, 1, 16, 16)
    mask[:, :, 4:9, 4:9] = 1
    assert float(dice_loss(mask, mask)) == pytest.approx(0, abs=1e-6)
    assert float(dice_loss(mask, 1 - mask)) > 0.9
    assert float(dice_loss(torch.cat([mask[:1], 1 - mask[1:]]), mask, torch.tensor([1.0, 0.0]))) == pytest.approx(
        0, abs=1e-6
    )
    assert float(smoothness(torch.full((1, 2, 8, 8), 0.3))) == 0 < float(smoothness(torch.rand(1, 2, 8, 8)))


def test_an_augmented_copy_keeps_image_and_mask_together():
    frame = torch.zeros(1, 1, 96, 96)
    frame[..., 30:60, 40:70] = 0.8
    changed, truth = augmented_pair(frame, (frame > 0).float(), torch.Generator().manual_seed(3))
    inside, outside = changed[truth > 0.9].mean(), changed[truth < 0.1].mean()
    assert inside > outside + 0.3 and truth.sum() != (frame > 0).sum()


def test_tuning_lowers_the_loss_on_its_case_and_leaves_the_start_alone(network, moved):
    planes, first, second = moved
    fields = NeighbourFields(planes, network, torch.device("cpu"))
    frames = fields._frames([0, 1]).split(1)
    masks = [fields._frame.sample(torch.from_numpy(m.astype(np.float32))[None, None]) for m in (first, second)]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    pair = Pair(frames[0], frames[1], masks[0], masks[1], 1.0)

    def loss(net):
        with torch.no_grad():
            field, velocity = net.fields(pair.moving, pair.fixed)
            from MedPerSAMLib.core.warp.network import warp

            return float(
                local_ncc_loss(warp(pair.moving, field), pair.fixed)
                + smoothness(velocity)
                + dice_loss(warp(pair.moving_mask, field), pair.fixed_mask)
            )

    settings = TuneSettings(steps=6, learning_rate=3e-4, augmentation=0.0)
    tuned = tune(network, [pair], [], settings, 0, Progress())
    assert loss(tuned) < loss(network)
    assert all((before[name] == value).all() for name, value in network.state_dict().items())


def test_tuning_can_be_cancelled(network, moved):
    frames = NeighbourFields(moved[0], network, torch.device("cpu"))._frames([0, 1]).split(1)
    with pytest.raises(Cancelled):
        tune(network, [Pair(*frames)], [], TuneSettings(), 0, CallbackProgress(is_cancelled=lambda: True))
