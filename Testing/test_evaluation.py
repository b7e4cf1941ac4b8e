"""``medpersam evaluate`` on small generated sets: what it measures, writes, prints and refuses."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from MedPerSAMLib.core import methods
from MedPerSAMLib.core.task import Propagation, Transfer
from MedPerSAMLib.errors import DependencyError, InputError, OutputError
from MedPerSAMLib.services.cli import main, parser
from MedPerSAMLib.services.evaluation.ablation import ablation_variants
from MedPerSAMLib.services.evaluation.correction_protocol import worst_slice
from MedPerSAMLib.services.evaluation.dataset import Dataset
from MedPerSAMLib.services.evaluation.image_protocol import ImageProtocol
from MedPerSAMLib.services.evaluation.protocol import PROTOCOLS, protocol_class
from MedPerSAMLib.services.evaluation.records import Record, mean_over_sets, mean_per_set
from MedPerSAMLib.services.evaluation.report import Report
from MedPerSAMLib.services.evaluation.settings_change import changed
from MedPerSAMLib.services.evaluation.structures import Structure, structures
from MedPerSAMLib.services.evaluation.variants import choose_variants
from Testing.test_cli_segment import disk_full_after

SHAPE = (10, 32, 36)
BALL, PILLAR = "ball", "pillar"


def write_volume(folder: Path, seed: int, spacing: tuple[float, float, float] = (2.0, 1.0, 1.0)) -> np.ndarray:
    """A noisy ball (1) that ends inside the volume, and a pillar (2) that does not; returns the labels."""
    random = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    label = np.zeros(SHAPE, np.uint8)
    label[((z - 4) * 2.5) ** 2 + (y - 12 - seed) ** 2 + (x - 10) ** 2 < 64] = 1
    label[(y - 20) ** 2 + (x - 27) ** 2 < 25] = 2
    image = np.array([20.0, 100, 60])[label] + random.normal(0, 5, SHAPE)
    folder.mkdir(parents=True)
    for name, array in (("image", image.astype(np.float32)), ("label", label)):
        written = SimpleITK.GetImageFromArray(array)
        written.SetSpacing(spacing[::-1])
        SimpleITK.WriteImage(written, str(folder / f"{name}.nii.gz"))
    return label


def write_image(folder: Path, seed: int, colour: bool) -> None:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :50]
    label = ((y - 18 - seed) ** 2 + (x - 24) ** 2 < 100).astype(np.uint8)
    image = np.where(label, 180, 60) + random.integers(0, 20, label.shape)
    image = (np.stack([image, image // 2, image // 3], axis=-1) if colour else image).astype(np.uint8)
    folder.mkdir(parents=True)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(image, isVector=colour), str(folder / "image.png"))
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(label), str(folder / "label.png"))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Two sets of volumes, one without true spacing and with two volumes a patient, and one of colour images."""
    root = tmp_path_factory.mktemp("data")
    for name, cases in (("balls", ["a", "b"]), ("acdc", ["p1_frame01", "p1_frame09", "p2_frame01", "p3_frame01"])):
        for seed, case in enumerate(cases):
            write_volume(root / name / case, seed)
        (root / name / "labels.json").write_text(json.dumps({1: BALL, 2: PILLAR}))
    for seed, case in enumerate("xyz"):
        write_image(root / "discs" / case, seed, colour=True)
    (root / "discs" / "labels.json").write_text(json.dumps({1: "disc"}))
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


@pytest.fixture
def add_method(monkeypatch):
    """Put a method of the test's own into the registry."""

    def add(name: str, method: type) -> None:
        module = types.ModuleType("methods_of_a_test")
        setattr(module, method.__name__, method)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(methods.METHODS, name, f"{module.__name__}:{method.__name__}")

    return add


def as_propagation(mask: np.ndarray, confidence: np.ndarray) -> Propagation:
    return Propagation(mask, confidence, mask.any(axis=(1, 2)), np.ones(len(mask), bool))


# The JSON


def test_volume_json_has_every_figure_in_its_place(evaluate):
    code, figures, table, _ = evaluate("--methods", "copy", "--sets", "balls,acdc", "--seed", "5")
    assert code == 0
    assert figures["partial"] is False
    for name in ("balls", "acdc"):
        own = figures["sets"][name]["copy"]
        assert set(own) == {BALL, PILLAR, "mean"}
        for entry in own.values():
            assert set(entry) == {"dice", "nsd_2mm", "hd95_mm", "n", "seconds_per_slice"}
        assert own["mean"]["dice"] == pytest.approx((own[BALL]["dice"] + own[PILLAR]["dice"]) / 2, abs=1e-4)
        assert own[PILLAR]["dice"] == 1.0
        assert own[BALL]["dice"] < 0.8
    assert figures["sets"]["balls"]["copy"][BALL]["n"] == 2
    assert figures["sets"]["balls"]["copy"]["mean"]["n"] == 4
    assert figures["mean"]["copy"]["dice"] == pytest.approx(
        np.mean([figures["sets"][name]["copy"]["mean"]["dice"] for name in ("balls", "acdc")]), abs=1e-4
    )
    assert -1 <= figures["confidence_spearman"]["copy"] <= 1
    assert set(figures["confidence_spearman_per_set"]) == {"balls", "acdc"}
    assert 0 < figures["false_continuation"]["copy"] < 1
    assert figures["version"]
    assert figures["seed"] == 5
    assert figures["model"] is None
    assert "reach" in figures["settings"]["methods"]["copy"]
    assert len(figures["cases"]) == 2 * 2 + 4 * 2
    assert "mean over sets" in table


def test_together_structures_exclude_each_other(evaluate, add_method):
    class Everywhere:
        summary, needs_model = "finds itself on the whole of every slice", False
        settings = None

        def propagate(self, session, reference, progress, slices):
            mask = np.ones(session.volume.array.shape, bool)
            for index, own in reference.masks.items():
                mask[index] = own
            return as_propagation(mask, np.ones(len(mask), np.float32))

    add_method("everywhere", Everywhere)
    alone, together = (
        evaluate("--sets", "balls", "--methods", "everywhere", *words)[1] for words in ((), ("--together",))
    )
    assert together["settings"]["arguments"]["together"] and not alone["settings"]["arguments"]["together"]
    own, shared = (figures["sets"]["balls"]["everywhere"] for figures in (alone, together))
    assert own[BALL]["dice"] > 0 and shared[PILLAR]["dice"] != own[PILLAR]["dice"]


def test_no_millimetres_where_the_spacing_is_nominal(evaluate):
    figures = evaluate("--methods", "copy", "--sets", "balls,acdc")[1]
    assert figures["sets"]["acdc"]["copy"][BALL]["nsd_2mm"] is None
    assert figures["sets"]["balls"]["copy"][BALL]["nsd_2mm"] > 0
    assert figures["mean"]["copy"]["hd95_mm"] == pytest.approx(
        figures["sets"]["balls"]["copy"]["mean"]["hd95_mm"], abs=1e-4
    )


def test_the_reference_slice_is_given_and_not_scored(evaluate, data):
    figures = evaluate("--methods", "copy", "--sets", "balls", "--labels", BALL)[1]
    _, label = Dataset.open(data).select(["balls"])[0].cases[0].read_volume()
    truth = label == 1
    reference = int(truth.sum((1, 2)).argmax())
    copied = np.repeat(truth[reference][None], len(truth), axis=0)
    other = np.arange(len(truth)) != reference
    expected = 2 * (copied & truth)[other].sum() / (copied[other].sum() + truth[other].sum())
    case = figures["cases"][0]
    assert case["references"] == [reference]
    assert case["dice"] == pytest.approx(expected, abs=1e-4)
    assert reference not in case["slices"]


def test_confidence_is_compared_with_true_dice_slice_by_slice(evaluate, add_method, data):
    _, label = Dataset.open(data).select(["balls"])[0].cases[0].read_volume()
    shares = np.linspace(0.9, 0.1, len(label))

    class Honest:
        summary, needs_model = "finds less and less, and says so", False

        def propagate(self, session, reference, progress, slices):
            (index,) = reference.masks
            found = np.random.default_rng(0).random(label.shape) < shares[:, None, None]
            mask = (label == 2) & found
            mask[index] = reference.masks[index]
            return as_propagation(mask, shares)

    add_method("honest", Honest)
    arguments = ("--methods", "honest", "--sets", "balls", "--cases", "1", "--labels", PILLAR)
    assert evaluate(*arguments)[1]["confidence_spearman"]["honest"] > 0.95


def test_a_session_serves_all_structures_of_a_volume(evaluate, add_method):
    seen = []

    class Watching:
        summary, needs_model = "records its sessions", False

        def propagate(self, session, reference, progress, slices):
            seen.append((session, reference.name))
            return as_propagation(np.zeros(session.volume.array.shape, bool), np.zeros(len(session.volume.array)))

    add_method("watching", Watching)
    figures = evaluate("--methods", "watching,copy,watching", "--sets", "balls", "--cases", "1")[1]
    assert [name for _, name in seen] == [BALL, PILLAR, BALL, PILLAR]
    assert seen[0][0] is seen[1][0]
    assert seen[0][0] is not seen[2][0]
    assert "the annotated slices were not kept as annotated" in figures["cases"][0]["notes"]


def test_a_method_that_refuses_a_case_has_found_nothing_there(evaluate, add_method):
    class Refusing:
        summary, needs_model = "refuses", False

        def propagate(self, session, reference, progress, slices):
            raise InputError("This structure is too thin; outline another.")

    add_method("refusing", Refusing)
    code, figures, _, messages = evaluate("--methods", "refusing", "--sets", "balls", "--labels", BALL)
    assert code == 0
    assert figures["sets"]["balls"]["refusing"][BALL]["dice"] == 0.0
    assert "failed: This structure is too thin" in messages


def test_a_stopped_run_keeps_what_it_finished(evaluate, add_method):
    class Stopping:
        summary, needs_model, left = "is stopped at the third structure", False, 2

        def propagate(self, session, reference, progress, slices):
            if type(self).left == 0:
                raise KeyboardInterrupt
            type(self).left -= 1
            return as_propagation(np.zeros(session.volume.array.shape, bool), np.zeros(len(session.volume.array)))

    add_method("stopping", Stopping)
    code, figures, _, messages = evaluate("--methods", "stopping", "--sets", "balls")
    assert code == 130
    assert figures["partial"] is True
    assert len(figures["cases"]) == 2
    assert "partial" in messages


def test_a_crash_loses_nothing(evaluate, add_method, tmp_path):
    class Crashing:
        summary, needs_model, left = "has a mistake", False, 1

        def propagate(self, session, reference, progress, slices):
            if type(self).left == 0:
                raise ZeroDivisionError
            type(self).left -= 1
            return as_propagation(np.zeros(session.volume.array.shape, bool), np.zeros(len(session.volume.array)))

    add_method("crashing", Crashing)
    with pytest.raises(ZeroDivisionError):
        evaluate("--methods", "crashing", "--sets", "balls")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["partial"] is True
    assert len(figures["cases"]) == 1


def test_two_processes_give_the_figures_of_one(evaluate):
    arguments = ("--methods", "copy", "--sets", "balls", "--jobs")
    one, two = (evaluate(*arguments, jobs)[1] for jobs in "12")
    for label in (BALL, PILLAR):
        assert one["sets"]["balls"]["copy"][label]["dice"] == two["sets"]["balls"]["copy"][label]["dice"]
    assert one["confidence_spearman"] == two["confidence_spearman"]


def test_settings_of_a_method_can_be_changed_by_name(evaluate):
    figures = evaluate("--methods", "copy,copy:reach=3.0", "--sets", "balls")[1]
    assert figures["settings"]["methods"]["copy:reach=3.0"]["reach"] == 3.0
    assert figures["settings"]["methods"]["copy"]["reach"] != 3.0


def test_settings_of_a_part_are_changed_by_their_path():
    inner = dataclasses.make_dataclass("Inner", [("width", float, 1.0)], frozen=True)
    outer = dataclasses.make_dataclass("Outer", [("part", inner, inner()), ("on", bool, True)], frozen=True)
    assert changed(outer(), {"part.width": 2.0, "on": False}) == outer(inner(2.0), False)
    with pytest.raises(InputError, match="no setting 'part.with'; use width"):
        changed(outer(), {"part.with": 2.0})


def test_ablation_switches_one_step_on_in_each_row_and_ends_with_the_method_as_it_ships():
    rows = ablation_variants()
    shipped = methods.method_class("med-persam")().settings
    assert [row.name for row in rows][:2] == ["warp only", "+ SAM box"]
    assert rows[-1].name == "med-persam as shipped" and rows[-1].settings == shipped
    assert not rows[0].needs_model
    assert all(row.needs_model for row in rows[1:])
    assert json.dumps([row.describe_settings() for row in rows], allow_nan=False)
    for before, after in itertools.pairwise(rows):
        assert before.settings != after.settings, f"{after.name} changes nothing"


def test_ablation_shows_only_the_rows_that_are_named(evaluate):
    code, figures, *_ = evaluate("--sets", "balls", "--methods", "copy", "--ablation", "warp only")
    assert code == 0 and list(figures["sets"]["balls"]) == ["copy", "warp only"]
    with pytest.raises(InputError, match="no row '\\+ magic'; use some of 'warp only', '\\+ SAM box'"):
        ablation_variants(["+ magic"])


# Correction


def test_correction_reports_first_second_and_gain_on_the_same_slices(evaluate):
    code, figures, table, _ = evaluate("--protocol", "correction", "--methods", "copy", "--sets", "balls")
    assert code == 0
    volume = evaluate("--methods", "copy", "--sets", "balls")[1]
    own = figures["sets"]["balls"]["copy"]
    assert own[BALL]["dice_first"] == volume["sets"]["balls"]["copy"][BALL]["dice"]
    assert own[BALL]["gain"] == own[BALL]["gain_below_0.90"] != 0
    assert own[PILLAR]["gain"] == 0
    assert own[BALL]["second_minus_first"] == own[BALL]["second_minus_first_below_0.90"] != own[BALL]["gain"]
    assert own[PILLAR]["gain_below_0.90"] is None
    assert figures["gain_below_0.90"]["copy"]["n"] == figures["gain_volume_below_0.90"]["copy"]["n"] == 2
    first, again = own[BALL]["dice_first"], own[BALL]["gain_volume"]
    assert first < first + again <= 1
    case = figures["cases"][0]
    assert case["gain"] == pytest.approx(case["dice"] - case["dice_first_same_slices"], abs=1e-4)
    assert len(case["references"]) == 2
    assert "gain" in table


def test_the_worst_slice_is_the_largest_of_those_that_were_missed():
    truth = np.zeros((6, 8, 8), bool)
    for index, side in enumerate((1, 3, 6, 5, 4, 2)):
        truth[index, :side, :side] = True
    found = truth.copy()
    found[[1, 4, 5]] = False
    found[0] = False  # one pixel cannot be annotated
    assert worst_slice(found, Structure("s", truth, 2)) == 4


# Images


def test_first_image_is_the_reference_of_all_others(evaluate):
    code, figures, _, _ = evaluate("--protocol", "image", "--methods", "copy")
    assert code == 0
    assert set(figures["sets"]) == {"acdc", "discs"}
    assert figures["sets"]["discs"]["copy"]["disc"]["n"] == 2
    assert {case["reference"] for case in figures["cases"] if case["set"] == "discs"} == {"x"}
    assert {case["case"] for case in figures["cases"] if case["set"] == "discs"} == {"y", "z"}


def test_cases_are_the_reference_in_turn(evaluate):
    code, figures, _, _ = evaluate("--protocol", "image", "--methods", "copy", "--sets", "discs", "--references", "3")
    assert code == 0
    pairs = [(case["reference"], case["case"]) for case in figures["cases"]]
    assert pairs == [("x", "y"), ("x", "z"), ("y", "x"), ("y", "z"), ("z", "x"), ("z", "y")]
    assert figures["sets"]["discs"]["copy"]["disc"]["n"] == 6


def test_references_belong_to_images(evaluate):
    code, _, _, errors = evaluate("--protocol", "volume", "--references", "2", "--methods", "copy")
    assert code == 2 and "'volume'" in errors and "--references" in errors


def test_slices_of_the_reference_patient_are_no_targets(evaluate):
    figures = evaluate("--protocol", "image", "--methods", "copy", "--sets", "acdc", "--labels", PILLAR)[1]
    targets = {case["case"].split("/")[0] for case in figures["cases"]}
    assert targets == {"p2_frame01", "p3_frame01"}
    assert len(figures["cases"]) == 2 * SHAPE[0]
    assert figures["cases"][0]["reference"].startswith("p1_frame01/")


def test_a_quick_look_at_images_keeps_a_target(data):
    acdc = Dataset.open(data).select(["acdc"])[0]
    assert [case.name for case in ImageProtocol().limit(acdc, 1).cases] == ["p1_frame01", "p2_frame01"]


def test_transfer_confidence_is_correlated_over_images(evaluate, add_method):
    class Knowing:
        summary, needs_model = "is as sure as it is right", False

        def transfer(self, session, progress):
            return [
                Transfer(target[..., 0] > 0.5 if number else np.zeros(target.shape[:2], bool), 0.1 + 0.8 * number)
                for number, target in enumerate(session.targets)
            ]

    add_method("knowing", Knowing)
    figures = evaluate("--protocol", "image", "--methods", "knowing", "--sets", "discs")[1]
    assert figures["confidence_spearman"]["knowing"] is None  # two targets are too few
    first, second = (case["dice"] for case in figures["cases"])
    assert first == 0.0
    assert second > 0.9


# Prompts


@pytest.fixture
def untrained(monkeypatch, tmp_path):
    """The embedded model and the warp with random weights: enough to see that prompts are made and answers scored."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    from MedPerSAMLib.core.sam.predictor import Predictor
    from MedPerSAMLib.core.sam.tiny import build_tiny
    from MedPerSAMLib.core.warp.network import WarpNetwork, warp_metadata
    from MedPerSAMLib.services.evaluation.workbench import Workbench
    from MedPerSAMLib.services.models import load

    torch.manual_seed(0)
    network = WarpNetwork()
    save_file(network.state_dict(), str(tmp_path / "warp.safetensors"), metadata=warp_metadata(network))
    loaded = load.LoadedModel(Predictor(build_tiny()), "untrained", "0" * 64, None)
    monkeypatch.setattr(load, "load_predictor", lambda *arguments: loaded)
    monkeypatch.setattr(Workbench, "_find_warp", lambda bench: tmp_path / "warp.safetensors")


@pytest.mark.usefixtures("untrained")
def test_prompt_kinds_stand_where_methods_do(evaluate):
    code, figures, table, _ = evaluate("--protocol", "prompts", "--sets", "balls,discs", "--cases", "1")
    assert code == 0
    kinds = ["box", "point", "box+point", "neighbour", "carried", "carried-demons"]
    assert set(figures["sets"]["balls"]) == {*kinds, *(f"{kind}-unzoomed" for kind in kinds)}
    assert set(figures["sets"]["discs"]) == {"box", "point", "box+point", *(f"{k}-unzoomed" for k in kinds[:3])}
    assert figures["sets"]["balls"]["box"][PILLAR]["n"] == 4
    # The pillar stands still and an untrained warp moves nothing, so the next slice's truth is this one's.
    assert figures["sets"]["balls"]["carried-unzoomed"][PILLAR]["dice"] > 0.9
    assert figures["sets"]["balls"]["carried"][PILLAR]["dice"] > 0.95
    assert set(figures["predicted_iou_spearman"]) >= {"box", "neighbour", "all"}
    assert "carried" not in figures["predicted_iou_spearman"]
    assert figures["model"] == "untrained"
    assert "box+point" in table


@pytest.mark.usefixtures("untrained")
def test_prompts_do_not_depend_on_what_else_is_asked(evaluate):
    arguments = ("--protocol", "prompts", "--sets", "balls", "--cases", "1", "--labels", PILLAR)
    alone = evaluate(*arguments, "--methods", "box")[1]
    among = evaluate(*arguments)[1]
    assert alone["sets"]["balls"]["box"][PILLAR]["dice"] == among["sets"]["balls"]["box"][PILLAR]["dice"]


def test_boxes_move_by_at_most_three_frame_pixels(data):
    pytest.importorskip("torch")
    from MedPerSAMLib.services.evaluation.prompt_frames import BOX_SHIFT_PIXELS, PromptFrames
    from MedPerSAMLib.services.evaluation.prompt_questions import volume_questions

    case = Dataset.open(data).select(["balls"])[0].cases[0]
    _, questions = volume_questions(case, case.labels)
    predictor = types.SimpleNamespace(frame_size=256, mask_size=128)
    frames = PromptFrames(questions, predictor, zoomed=True, seed=0)
    boxes = frames.boxes().numpy()
    side = 256 / 2.2
    exact = np.array([128 - side / 2] * 2 + [128 + side / 2] * 2)
    moved = np.abs(boxes - exact).max()
    assert 1 < moved <= BOX_SHIFT_PIXELS + 1e-3
    points, labels = frames.points()
    assert np.abs(points.numpy() - 128).max() < 256 / 2.2 / 9 + 1  # the deepest pixel of a nine pixel disc
    assert (labels == 1).all()
    assert (PromptFrames(questions, predictor, zoomed=True, seed=0).boxes().numpy() == boxes).all()
    assert (PromptFrames(questions, predictor, zoomed=True, seed=1).boxes().numpy() != boxes).any()


# What is refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--sets", "ball"), "no set 'ball' in .* did you mean balls"),
        (("--methods", "copi"), "no method 'copi'; did you mean copy"),
        (("--methods", "copy:reech=1"), "no setting 'reech'; use reach"),
        (("--methods", "copy:reach=far"), "'far' is no value for copy's reach"),
        (("--sets", "discs"), "discs holds 2D images"),
        (("--labels", "liver"), "label 'liver'; use ball, pillar"),
        (("--protocol", "prompts", "--methods", "boxes"), "no prompt kind 'boxes'; use one of box"),
    ],
)
def test_one_sentence_says_what_is_wrong(evaluate, arguments, said):
    code, figures, _, messages = evaluate("--methods", "copy", *arguments)
    assert code == 2
    assert figures is None
    assert re.search(said, messages), messages


def test_methods_that_cannot_do_the_task_are_named(evaluate, add_method):
    class Volumes:
        summary, needs_model = "volumes only", False

        def propagate(self, session, reference, progress, slices):
            raise AssertionError

    add_method("volumes", Volumes)
    code, _, _, messages = evaluate("--protocol", "image", "--methods", "volumes")
    assert code == 2
    assert "'volumes' cannot transfer" in messages


def test_a_default_run_leaves_out_what_is_not_installed(add_method, monkeypatch):
    class Wanting:
        summary, needs_model = "needs a package that nobody has", False

        def propagate(self, session, reference, progress, slices):
            raise DependencyError("The package unobtainium is not installed; install it.")

    monkeypatch.setattr(methods, "METHODS", {"copy": methods.METHODS["copy"]})
    add_method("wanting", Wanting)
    choice = choose_variants(None, None, "propagate")
    assert [variant.name for variant in choice.variants] == ["copy"]
    assert "unobtainium" in choice.left_out["wanting"]
    assert [variant.name for variant in choose_variants(["wanting"], None, "propagate").variants] == ["wanting"]


def test_folders_that_hold_no_sets_are_refused(data, tmp_path):
    with pytest.raises(InputError, match="There is no folder"):
        Dataset.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no labelled set"):
        Dataset.open(tmp_path)
    with pytest.raises(InputError, match="is a single set; .* --sets balls"):
        Dataset.open(data / "balls")


def test_a_set_without_label_table_is_refused(tmp_path):
    write_volume(tmp_path / "set" / "case", 0)
    case = Dataset.open(tmp_path).sets[0].cases[0]
    with pytest.raises(InputError, match="has no labels.json"):
        _ = case.labels
    (tmp_path / "set" / "labels.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="is not a table of label values"):
        _ = case.labels


def test_label_and_image_on_different_grids_are_refused(tmp_path):
    write_volume(tmp_path / "set" / "case", 0)
    label = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5), np.uint8))
    SimpleITK.WriteImage(label, str(tmp_path / "set" / "case" / "label.nii.gz"))
    with pytest.raises(InputError, match="on different grids"):
        Dataset.open(tmp_path).sets[0].cases[0].read_volume()


def test_json_in_a_folder_that_does_not_exist_is_refused_before_any_work(data, capsys):
    code = main(["evaluate", str(data), "--methods", "copy", "--sets", "balls", "--json", str(data / "no" / "f.json")])
    assert code == 2
    assert "create it first" in capsys.readouterr().err


def test_json_that_is_a_folder_is_refused_before_any_work(data, tmp_path, add_method, capsys):
    class Working:
        summary, needs_model = "must not be asked", False

        def propagate(self, session, reference, progress, slices):
            raise AssertionError("the work has begun")

    add_method("working", Working)
    code = main(["evaluate", str(data), "--methods", "working", "--sets", "balls", "--json", str(tmp_path)])
    assert code == 2
    err = capsys.readouterr().err
    assert f"{tmp_path} is a folder" in err and len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("older", [False, True])
def test_json_on_a_full_disk_leaves_no_scratch_file(tmp_path, older):
    path = tmp_path / "figures.json"
    if older:
        path.write_text("older")
    report = Report(ImageProtocol(), {"seed": 0}, path)
    with disk_full_after(100), pytest.raises(OutputError, match="figures.json cannot be written"):
        report.add([Record("set", "case", "label", "copy", {"dice": 0.5}, {"confidence": 0.5})])
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [(path.name, "older")] * older


# Parts


def test_structures_that_are_too_small_are_left_out():
    label = np.zeros((8, 20, 20), np.uint8)
    label[:3, :10, :10] = 1  # large, on three slices
    label[:, 15, :20] = 2  # 160 voxels
    label[2:6, 10:14, :14] = 3
    label[3, 14, :5] = 3
    found = list(structures(label, {1: "flat", 2: "thin", 3: "enough", 4: "absent"}))
    assert [(structure.name, structure.reference) for structure in found] == [("enough", 3)]


def test_means_weigh_labels_and_sets_alike():
    records = [
        Record("s", "c1", "often", "m", {"dice": 1.0, "mm": None}),
        Record("s", "c2", "often", "m", {"dice": 0.8, "mm": None}),
        Record("s", "c1", "seldom", "m", {"dice": 0.5, "mm": None}),
        Record("t", "c1", "other", "m", {"dice": 0.1, "mm": 4.0}),
    ]
    sets = mean_per_set(records)
    assert sets["s"]["m"]["often"] == {"dice": pytest.approx(0.9), "mm": None, "n": 2}
    assert sets["s"]["m"]["mean"] == {"dice": pytest.approx(0.7), "mm": None, "n": 3}
    assert mean_over_sets(sets)["m"] == {"dice": pytest.approx(0.4), "mm": 4.0, "n": 2}


def test_every_protocol_can_be_had_by_name():
    for name in PROTOCOLS:
        protocol = protocol_class(name)()
        assert protocol.summary
        assert "dice" in protocol.columns
    with pytest.raises(InputError, match="did you mean volume"):
        protocol_class("volumes")


def test_automatic_labels_are_measured_only_where_named(shared_data):
    dataset = Dataset.open(shared_data)
    for name in PROTOCOLS:
        assert "totalseg_auto" not in [labelled.name for labelled in protocol_class(name)().default_sets(dataset)]
    assert dataset.select(["totalseg_auto"])[0].cases[0].labels


# The same keys in every protocol, and both ways to write a list


def test_images_have_the_surface_figures_that_are_not_defined_for_them(evaluate):
    figures = evaluate("--protocol", "image", "--methods", "copy", "--sets", "discs")[1]
    for entry in figures["sets"]["discs"]["copy"].values():
        assert set(entry) == {"dice", "nsd_2mm", "hd95_mm", "n", "seconds_per_slice"}
        assert entry["nsd_2mm"] is None and entry["hd95_mm"] is None


@pytest.mark.usefixtures("untrained")
def test_prompts_have_every_figure_of_the_other_protocols(evaluate):
    arguments = ("--protocol", "prompts", "--sets", "balls", "--methods", "box", "carried")
    _, figures, table, _ = evaluate(*arguments, "--device", "cpu")
    for kind in ("box", "carried"):
        for entry in figures["sets"]["balls"][kind].values():
            assert set(entry) == {"dice", "nsd_2mm", "hd95_mm", "n", "seconds_per_slice"}
            assert entry["nsd_2mm"] is None and entry["hd95_mm"] is None
    # IoU and Dice rank masks alike.
    assert figures["confidence_spearman"]["box"] == pytest.approx(figures["predicted_iou_spearman"]["box"])
    assert figures["confidence_spearman"]["carried"] is None
    assert figures["confidence_spearman_per_set"]["balls"] == figures["confidence_spearman"]
    assert "confidence rho" in table
    assert (figures["device"], figures["device_reason"]) == ("cpu", "The CPU is used, as asked for.")


def test_the_device_is_named_as_segment_names_it(evaluate):
    figures = evaluate("--methods", "copy", "--sets", "balls", "--cases", "1")[1]
    assert figures["device"] == "cpu"
    assert figures["device_reason"].endswith("needs a model.")


def test_lists_are_written_with_commas_or_spaces(evaluate):
    one, two, three = (
        evaluate("--cases", "1", *arguments)[1]
        for arguments in (
            ("--sets", "balls,acdc", "--methods", "copy,copy:reach=3.0", "--labels", f"{BALL},{PILLAR}"),
            ("--sets", "balls", "acdc", "--methods", "copy", "copy:reach=3.0", "--labels", BALL, PILLAR),
            ("--sets", "balls,", "acdc", "--methods", "copy, copy:reach=3.0", "--labels", BALL, PILLAR),
        )
    )
    assert set(one["sets"]) == {"balls", "acdc"}
    assert set(one["sets"]["balls"]) == {"copy", "copy:reach=3.0"}
    assert one["settings"] == two["settings"] == three["settings"]


def test_a_setting_of_several_numbers_stands_in_brackets():
    words = ["evaluate", "data", "--methods", "warp,med-persam:refine.area_range=(0,1e6);sam=True,copy"]
    methods_asked = parser().parse_args(words).methods
    assert methods_asked == ["warp", "med-persam:refine.area_range=(0,1e6);sam=True", "copy"]
    variants = choose_variants(methods_asked, None, "propagate").variants
    assert variants[1].settings.refine.area_range == (0, 1e6)


def test_training_sizes_are_written_with_commas_or_spaces(evaluate):
    for sizes in (["1,7"], ["1", "7"]):
        code, _, _, messages = evaluate(
            "--protocol", "fewshot", "--sets", "acdc", "--methods", "copy", "--train-sizes", *sizes
        )
        assert code == 0
        assert "after a training with 7; this size is skipped" in messages
    code, _, _, messages = evaluate("--protocol", "fewshot", "--sets", "acdc", "--train-sizes", "1", "few")
    assert code == 2
    assert "'few' is no number of patients" in messages


@pytest.mark.parametrize("last", ["--methods copy --sets balls", "--sets balls --methods copy", "--sets balls,"])
def test_the_folder_may_stand_last(data, capsys, last):
    assert main(["evaluate", "--methods", "copy", "--cases", "1", *last.split(), str(data)]) == 0
    assert "balls: Dice" in capsys.readouterr().out


def test_a_missing_folder_is_asked_for_in_one_sentence(capsys):
    assert main(["evaluate", "--sets", "balls", "acdc"]) == 2
    assert capsys.readouterr().err == (
        "medpersam: No folder of labelled sets is named; write it right after 'medpersam evaluate'.\n"
    )
