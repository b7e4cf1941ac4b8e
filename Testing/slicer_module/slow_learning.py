"""A fit and an application for tests that take their time and need no model."""

from __future__ import annotations

import time

import numpy as np

from MedPerSAMLib.core.learn.fitted import CurvePoint, Fitted
from MedPerSAMLib.core.task import Propagation
from MedPerSAMLib.errors import Cancelled
from MedPerSAMLib.services.learning.profile import Profile

STEPS, SECONDS = 6, 0.002


def slow_fit(order, listener, keep) -> Profile:
    """In place of ``fit_profile``: a check after each of six steps; a fit of vit fails half way."""
    profile = None
    try:
        for step in range(1, STEPS + 1):
            listener.step("training", step - 1, STEPS)
            time.sleep(SECONDS)
            if order.method == "autosam-vit" and step > STEPS // 2:
                raise RuntimeError("a library failed")
            curve = tuple(CurvePoint(n, 1 / n, n / STEPS) for n in range(1, step + 1))
            fitted = Fitted(order.method, len(order.labels), {}, {}, curve, step, step == STEPS)
            names = tuple(case.name for case in order.training)
            profile = Profile(fitted, order.labels, "tiny", "0" * 64, trained_on=names, directions=order.directions)
            keep(profile)
    except Cancelled:
        if profile is None:
            raise
    return profile


def slow_apply(order, listener, on_slice):
    """In place of ``apply_profile``: the first structure above the second one, and points in both."""
    from MedPerSAMLib.core.learn.apply import Applied, SlicePoints

    shape, classes = order.volume.array.shape, len(order.profile.labels)
    masks = np.zeros((classes, *shape), bool)
    for number in range(classes):
        masks[number, 1:-1, 2 + 5 * number : 6 + 5 * number, 3:12] = True
    for index in range(shape[0]):
        listener.step("segmenting", index, shape[0])
        time.sleep(SECONDS)
        for number in range(classes):
            on_slice(number + 1, index, masks[number, index], 0.5)
    everything, confidence = np.ones(shape[0], bool), np.linspace(0.9, 0.2, shape[0]).astype(np.float32)
    results = {n + 1: Propagation(m, confidence, m.any(axis=(1, 2)), everything) for n, m in enumerate(masks)}
    point = SlicePoints(np.array([[4.5, 5.5], [1.0, 1.0]]), np.array([1, 0]))
    return Applied(results, {**{(n + 1, 4): point for n in range(classes)}, **order.moved})
