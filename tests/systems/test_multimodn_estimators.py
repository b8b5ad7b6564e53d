"""The scikit-learn estimators: scikit-learn's own checks, and what they are for."""

import warnings
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from brickwork.core.errors import BrickworkWarning
from brickwork.systems import multimodn
from brickwork.systems.multimodn import MultiModNClassifier, MultiModNRegressor
from brickwork.systems.multimodn.sets import toy_columns

# Checks of scikit-learn that do not apply, with the reason. Nothing else may be here.
NOT_APPLICABLE = {"check_array_api_input": "skips itself where SCIPY_ARRAY_API is not set"}
QUICK = {"hidden": (16,), "state_dim": 16, "dropout": 0.0, "learning_rate": 0.01, "random_state": 0}

# As little training as the checks allow: one of them wants a model to be right.
TRAINING = {
    "MultiModNClassifier": {"max_iter": 4, "batch_size": 32},
    "MultiModNRegressor": {"max_iter": 2, "batch_size": 16},
}


def results_of_all_checks(name: str) -> dict[str, Any]:
    """The results of scikit-learn's ``check_estimator``: a list of [check, status, error]."""
    estimator = getattr(multimodn, name)(**QUICK, **TRAINING[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(estimator, on_fail=None)
    return {"checks": [[r["check_name"], r["status"], repr(r["exception"])] for r in results]}


@pytest.mark.parametrize("name", TRAINING)
def test_scikit_learns_checks(plain_process, name):
    """``check_estimator``: every check passes, but for those that do not apply.

    In another process: the shape checks that are on in this one refuse, before scikit-learn's convention is looked at, the
    senseless values with which it tests that ``__init__`` refuses nothing.
    """
    results = plain_process(f"{__file__}::results_of_all_checks", name)["checks"]
    assert len(results) > 45
    assert {
        check: why for check, status, why in results if status != "passed" and check not in NOT_APPLICABLE
    } == {}


@pytest.fixture(scope="module")
def ward():
    """A data frame, a dictionary with every kind of modality, a class and two numbers."""
    columns = toy_columns(160, 1)
    sick, days = np.array(columns.pop("sick")), columns.pop("days")
    waves = [
        None if w is None else np.stack([w, f], axis=1)
        for w, f in zip(columns.pop("wave"), columns.pop("flow"))
    ]
    scans = columns.pop("scan")
    frame = pd.DataFrame(columns)
    named = {
        "vitals": frame[["vitals_pulse", "vitals_pressure", "vitals_oxygen"]],
        "age": columns["person_age"],
        "note": columns["note"],
        "monitor": waves,
        "scan": scans,
    }
    return frame, named, sick, days


def test_a_data_frame_in_groups(ward):
    frame, _, sick, _ = ward
    groups = {"vitals": ["vitals_*"], "person": ["person_age", "person_sex"]}
    model = MultiModNClassifier(modalities=groups, max_iter=8, **QUICK).fit(frame, sick)
    assert model.modalities_ == ("vitals", "person")
    assert list(model.feature_names_in_) == list(frame.columns)
    assert model.score(frame, sick) > 0.75
    stages = list(model.staged_predict_proba(frame))
    assert len(stages) == len(model.steps_) == 3
    np.testing.assert_allclose(stages[-1], model.predict_proba(frame))
    moved = model.contributions(frame)
    np.testing.assert_allclose(moved.sum(1), (stages[-1] - stages[0])[:, 1], atol=1e-6)
    with pytest.warns(BrickworkWarning, match="modality 'person'"):
        less = model.predict_proba(frame.drop(columns=["person_age", "person_sex"]))
    gone = frame.assign(person_age=np.nan, person_sex=None)
    np.testing.assert_allclose(less, model.predict_proba(gone))
    with pytest.raises(ValueError, match=r"no column 'vitals_pulse' of modality 'vitals'"):
        model.predict(frame.drop(columns=["vitals_pulse"]))


def test_every_kind_of_modality_and_several_targets(ward):
    _, named, sick, days = ward
    y = pd.DataFrame({"sick": sick, "long": np.where(days > 5, "long", "short")})
    model = MultiModNClassifier(max_iter=6, **QUICK).fit(named, y)
    kinds = [m.kind for m in model.layout_.modalities]
    assert kinds == ["table", "table", "table", "series", "image"]
    probabilities = model.predict_proba({"scan": named["scan"]})
    assert [p.shape for p in probabilities] == [(160, 2), (160, 2)]
    assert model.predict(named).shape == (160, 2)
    assert 0.6 < model.score(named, y.to_numpy()) <= 1
    assert set(model.importance(named, "long")) == set(named)
    with pytest.raises(ValueError, match="did you mean 'scan'"):
        model.predict({"scans": named["scan"]})
    with pytest.raises(ValueError, match="no modality at all"):
        model.predict({})


def test_regression_of_two_numbers(ward):
    _, named, _, days = ward
    y = np.stack([days, -2 * days + 1], axis=1)
    model = MultiModNRegressor(max_iter=8, **QUICK).fit(named, y)
    assert model.predict(named).shape == (160, 2)
    assert model.score(named, y) > 0.7
    assert len(list(model.staged_predict(named))) == 6


def test_errors_are_value_errors(ward):
    frame, named, sick, _ = ward
    cases = [
        (MultiModNClassifier(modalities={"a": ["nothing"]}), frame, sick, "no column 'nothing'"),
        (MultiModNClassifier(fusion="both"), frame, sick, "fusion is 'both'"),
        (MultiModNClassifier(dropout=1.5), frame, sick, "dropout is 1.5"),
        (MultiModNClassifier(order=("a",)), frame, sick, "no modality 'a'"),
        (MultiModNClassifier(), {**named, "gone": [None] * 160}, sick, "'gone' is missing from every row"),
        (MultiModNClassifier(), frame, np.zeros(160), "only one class"),
        (MultiModNClassifier(), frame.assign(vitals_pulse=np.nan)[["vitals_pulse"]], sick, "no column"),
    ]
    for model, X, y, message in cases:
        with pytest.raises(ValueError, match=message):
            clone(model).set_params(max_iter=1).fit(X, y)


def test_it_warns_and_draws(ward, tmp_path):
    """The warning of missingness by label through ``fit``; in a pipeline it works. Of several rows the drawing has a dot for
    each row and modality and a line at each mean, of one row a bar for each modality."""
    frame, _, sick, _ = ward
    gone = frame.copy()
    gone.loc[sick == "yes", ["vitals_pulse", "vitals_pressure", "vitals_oxygen"]] = np.nan
    with pytest.warns(BrickworkWarning, match="'vitals' is missing depends on 'y'"):
        model = make_pipeline(FunctionTransformer(), MultiModNClassifier(max_iter=1, **QUICK)).fit(gone, sick)
    modalities = len(model[-1].modalities_)
    for rows, shapes in (
        (frame, {"circle": len(frame) * modalities, "line[@class='mean']": modalities}),
        (frame.iloc[:1], {"rect": modalities, "circle": 0}),
    ):
        file = model[-1].plot_contributions(rows).save(tmp_path / "contributions.svg")
        drawing = ElementTree.parse(file)
        counts = {shape: len(drawing.findall(f".//{{*}}{shape}")) for shape in shapes}
        assert counts == shapes
        names = [text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
        assert set(model[-1].modalities_) <= set(names)


def test_the_random_numbers_of_the_caller_are_left_alone():
    import torch

    X, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state().clone(), np.random.get_state()[1].copy()
    model = MultiModNClassifier(max_iter=1, **QUICK).fit(X, y)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()
    again = clone(model).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), again.predict_proba(X))
