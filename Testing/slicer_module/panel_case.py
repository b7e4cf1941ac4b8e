"""A presenter with everything around it faked, on a real scene."""

from __future__ import annotations

import numpy as np
import scene as build
from fakes import FakeClock, FakeDependencies, FakeJobs, FakeParameters

from MedPerSAMLib.mrml.medpersam_logic import MedPerSAMLogic
from MedPerSAMLib.mrml.presenter import Presenter
from MedPerSAMLib.mrml.segment_reader import read_mask
from MedPerSAMLib.mrml.segment_writer import write_slice
from MedPerSAMLib.services.models.store import ModelStore


class Panel:
    """A presenter with everything around it faked, on a real scene."""

    def __init__(self, scene, grey, ball, tmp_path, **options) -> None:
        self.volume = build.volume_node(grey, (0.8, 0.8, 2.5))
        self.segmentation = build.segmentation_node(self.volume, "Liver")
        self.ball = ball
        write_slice(self.segmentation, "Liver", self.volume, 0, 9, ball[9])
        self.jobs, self.clock = FakeJobs(), FakeClock()
        self.logic = MedPerSAMLogic()
        self.dependencies = options.pop("dependencies", FakeDependencies())
        self.presenter = Presenter(
            scene, self.logic, self.jobs, self.dependencies, ModelStore(tmp_path), clock=self.clock, **options
        )
        self.parameters = FakeParameters(self.volume, self.segmentation, ["Liver"])
        self.seen: list[str] = []
        self.presenter.changed.connect(lambda: self.seen.append(self.presenter.state.phase))
        self.presenter.set_parameters(self.parameters)

    @property
    def state(self):
        return self.presenter.state

    def mask(self) -> np.ndarray:
        return read_mask(self.segmentation, "Liver", self.volume)

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.presenter.tick()

    def run(self) -> None:
        self.presenter.press_main()
        self.jobs.put_result("Liver", self.ball)
        self.tick(3)
