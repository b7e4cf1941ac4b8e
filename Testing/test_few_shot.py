"""Protocol ``fewshot`` on small generated sets: who is learned from, who is tested, and what is said of both."""

from __future__ import annotations

import json
import pickle
import types
from pathlib import Path

import numpy as np
import pytest

from MedPerSAMLib.core.frame import Frame
from MedPerSAMLib.core.learn.apply import Applied, SlicePoints
from MedPerSAMLib.core.learn.learners import LEARNERS
from MedPerSAMLib.core.progress import Progress
from MedPerSAMLib.core.task import Volume
from MedPerSAMLib.services.cli import main
from MedPerSAMLib.services.evaluation.centre_point import segment_by_centres
from MedPerSAMLib.services.evaluation.dataset import Dataset
from MedPerSAMLib.services.evaluation.few_shot_protocol import FewShotProtocol, point_shares
from MedPerSAMLib.services.evaluation.few_shot_split import Split
from MedPerSAMLib.services.evaluation.few_shot_variants import choose_few_shot
from MedPerSAMLib.services.evaluation.workbench import Options, Workbench
from Testing.test_evaluation import BALL, PILLAR, write_volume

QUICK = "steps=4;batch=2;examples=2;located=2;checks=1;most_validation=2"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A set with two volumes of its first patient, and one of two volumes."""
    root = tmp_path_factory.mktemp("data")
    for name, cases in (("acdc", ["p1_frame01", "p1_frame09", "p2_frame01", "p3_frame01"]), ("balls", ["a", "b"])):
        for seed, case in enumerate(cases):
            write_volume(root / name / case, seed)
        (root / name / "labels.json").write_text(json.dumps({1: BALL, 2: PILLAR}))
    return root


@pytest.fixture
def evaluate(data, tmp_path, capsys):
    """Run the command on the data; returns exit code, JSON, printed tables and messages."""

    def run(*arguments: str):
        path = tmp_path / "figures.json"
        path.unlink(missing_ok=True)
        code = main(["evaluate", str(data), "--json", str(path), *arguments])
        printed = capsys.readouterr()
        return code, json.loads(path.read_text()) if path.exists() else None, printed.out, printed.err

    return run


def test_patients_are_never_on_both_sides(data):
    acdc = Dataset.open(data).select(["acdc"])[0]
    one, two = Split.of(acdc, 1), Split.of(acdc, 2)
    assert [case.name for case in one.training] == ["p1_frame01", "p1_frame09"]
    assert [case.name for case in one.test] == ["p2_frame01", "p3_frame01"]
    assert [case.name for case in two.training] == ["p1_frame01", "p1_frame09", "p2_frame01"]
    assert [case.name for case in two.test] == ["p3_frame01"]


def test_a_default_run_compares_everything_that_learns_with_one_slice_and_one_point():
    names = [variant.name for variant in choose_few_shot(None).variants]
    assert names == [*LEARNERS, "centre-point", "med-persam"]


def test_the_json_has_a_method_for_each_training_size(evaluate):
    code, figures, table, _ = evaluate(
        "--protocol", "fewshot", "--train-sizes", "2,1", "--sets", "acdc",
        "--methods", f"promise-apm:{QUICK},centre-point,copy",
    )  # fmt: skip
    assert code == 0
    promise = f"promise-apm:{QUICK}"
    methods = figures["sets"]["acdc"]
    assert set(methods) == {f"{name}@{size}" for name in (promise, "centre-point", "copy") for size in (1, 2)}
    tested = {
        size: {case["case"] for case in figures["cases"] if case["method"].endswith(f"@{size}")} for size in (1, 2)
    }
    assert tested == {1: {"p2_frame01", "p3_frame01"}, 2: {"p3_frame01"}}
    for case in figures["cases"]:
        patients = {name.split("_")[0] for name in case["trained_on"]}
        assert case["case"].split("_")[0] not in patients
        assert set(figures["sets"]["acdc"][case["method"]]) == {BALL, PILLAR, "mean"}
    learned = [case for case in figures["cases"] if case["method"].startswith("promise")]
    assert len(learned) == (2 + 1) * 2
    for case in learned:
        assert case["fit_seconds"] > 0
        assert case["fit_steps"] == 4
        assert len(case["slices"]) >= 5
    assert "fit_seconds" not in methods["copy@1"][BALL]
    assert figures["settings"]["methods"][promise]["steps"] == 4
    # It is told where a structure ends.
    assert figures["false_continuation"]["centre-point@1"] == 0
    assert "fit s" in table and "pos. inside" in table and "centre-point@2" in table


def test_settings_for_a_single_volume_are_told_apart():
    cnn, linear = choose_few_shot(["autosam-cnn", "autosam-linear"]).variants
    assert cnn.fit_settings(single=True).steps < cnn.fit_settings().steps
    assert cnn.describe_settings()["single_volume"]["steps"] == cnn.fit_settings(single=True).steps
    assert "single_volume" not in linear.describe_settings()


def test_one_slice_is_scored_as_in_protocol_volume(evaluate):
    arguments = ("--methods", "copy", "--sets", "acdc")
    fewshot = evaluate("--protocol", "fewshot", "--train-sizes", "1", *arguments)[1]
    volume = evaluate(*arguments)[1]
    expected = {(case["case"], case["label"]): case["dice"] for case in volume["cases"]}
    found = {(case["case"], case["label"]): case["dice"] for case in fewshot["cases"]}
    assert len(found) == 4
    assert found == {key: expected[key] for key in found}


def test_without_a_model_none_is_loaded_and_other_processes_can_do_the_work(evaluate, data):
    figures = evaluate("--protocol", "fewshot", "--train-sizes", "1", "--sets", "balls", "--methods", f"unet:{QUICK}")[
        1
    ]
    assert figures["model"] is None
    protocol = FewShotProtocol([1])
    options = Options(variants=protocol.choose([f"unet:{QUICK}"], ablation=None).variants)
    protocol, options = pickle.loads(pickle.dumps((protocol, options)))
    balls = Dataset.open(data).select(["balls"])[0]
    (item,) = protocol.items(balls)
    records = list(protocol.run_item(balls, item, Workbench(options)))
    assert [(record.case, record.label, record.method) for record in records] == [
        ("b", BALL, item),
        ("b", PILLAR, item),
    ]
    for record in records:
        same = figures["sets"]["balls"][item][record.label]
        assert record.values["dice"] == pytest.approx(same["dice"], abs=1e-4)
        assert "positives_inside" not in record.values


def test_a_size_that_leaves_nobody_to_test_on_is_skipped_and_said(evaluate):
    code, figures, _, messages = evaluate(
        "--protocol", "fewshot", "--train-sizes", "1,2", "--sets", "balls", "--methods", "copy"
    )
    assert code == 0
    assert set(figures["sets"]["balls"]) == {"copy@1"}
    assert "balls has 2 patients" in messages and "training with 2; this size is skipped" in messages
    assert any("balls has 2 patients" in note for note in figures["notes"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--protocol", "fewshot", "--train-sizes", "2,7", "--sets", "balls"), "more than 2 patients"),
        (("--protocol", "volume", "--train-sizes", "1"), "--train-sizes belongs to 'fewshot'"),
        (("--protocol", "fewshot", "--methods", "promice"), "did you mean promise"),
        (("--protocol", "fewshot", "--methods", "unet:stebs=3"), "no setting 'stebs'"),
        (("--protocol", "fewshot", "--ablation"), "--ablation belongs to 'volume'"),
    ],
)
def test_one_sentence_says_what_is_wrong(evaluate, arguments, said):
    code, figures, _, messages = evaluate(*arguments)
    assert code == 2
    assert figures is None
    assert said in messages


def test_a_quick_look_takes_whole_patients(data):
    acdc = Dataset.open(data).select(["acdc"])[0]
    assert [case.name for case in FewShotProtocol([1]).limit(acdc, 2).cases] == [
        "p1_frame01",
        "p1_frame09",
        "p2_frame01",
    ]


def test_points_are_counted_where_the_structure_is():
    truth = np.zeros((3, 8, 8), bool)
    truth[1, 2:5, 2:5] = True
    labels = np.array([1, 1, 0, 0])
    points = {
        (1, 1): SlicePoints(np.array([[2.5, 2.5], [6.5, 6.5], [0.5, 0.5], [9.0, 3.0]]), labels),
        (1, 2): SlicePoints(np.full((4, 2), 3.5), labels),  # the structure is not there
        (2, 1): SlicePoints(np.full((4, 2), 3.5), labels),  # another structure's
    }
    assert point_shares(Applied({}, points), 1, truth) == {"positives_inside": 0.5, "negatives_outside": 1.0}
    assert point_shares(Applied({}, points), 3, truth) == {}


def test_the_centre_point_is_the_deepest_and_asked_only_where_the_structure_is():
    torch = pytest.importorskip("torch")
    asked = []

    def decode(embeddings, prompts, multimask):
        asked.append((prompts.points.numpy(), prompts.labels.numpy(), multimask))
        logits = torch.full((len(embeddings), 3, 16, 16), -1.0)
        logits[:, 2] = 1.0
        return types.SimpleNamespace(logits=logits, predicted_iou=torch.tensor([[0.1, 0.2, 0.9]] * len(embeddings)))

    predictor = types.SimpleNamespace(encode=lambda frames: torch.zeros(len(frames), 1), decode=decode)
    array = np.random.default_rng(0).normal(size=(4, 20, 20)).astype(np.float32)
    truth = np.zeros(array.shape, bool)
    truth[1, 4:9, 6:11], truth[2, 5:8, 6:9] = True, True
    frame = Frame.around((8.0, 8.0), 16.0, (1.0, 1.0), 64)
    found = segment_by_centres(predictor, Volume(array), {"ball": truth}, frame, Progress())["ball"]
    (points, labels, multimask), = asked  # fmt: skip
    assert multimask and (labels == 1).all()
    # The middle pixels (6, 8) and (6, 7) in a frame of four pixels per slice pixel from (0, 0), as (x, y).
    assert points[:, 0].tolist() == [[34.0, 26.0], [30.0, 26.0]]
    assert found.present.tolist() == [False, True, True, False]
    assert found.mask[1].sum() == 256, "the most trusted of three masks fills the frame"
    assert found.confidence[1] == pytest.approx(0.9)
