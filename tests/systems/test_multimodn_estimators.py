"""The scikit-learn estimators: scikit-learn's own checks, and what they are for."""

import warnings
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from brickwork.core.errors import BrickworkWarning, Interrupted
from brickwork.systems import multimodn
from brickwork.systems.multimodn import MultiModNClassifier, MultiModNRegressor
from brickwork.systems.multimodn.sets import toy_columns

# Checks of scikit-learn that do not apply, with the reason. Nothing else may be here.
NOT_APPLICABLE = {"check_array_api_input": "skips itself where SCIPY_ARRAY_API is not set"}
QUICK = {"hidden": (16,), "state_dim": 16, "dropout": 0.0, "learning_rate": 0.03, "random_state": 0}

# As little training as the checks allow: one of them wants a model to be right.
TRAINING = {
    "MultiModNClassifier": {"max_iter": 4, "batch_size": 32},
    "MultiModNRegressor": {"max_iter": 3, "batch_size": 16},
}


def results_of_all_checks() -> dict[str, list[list[str]]]:
    """Estimator → the results of scikit-learn's ``check_estimator``: a list of [check, status, error]."""
    results = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, training in TRAINING.items():
            checks = check_estimator(getattr(multimodn, name)(**QUICK, **training), on_fail=None)
            results[name] = [[r["check_name"], r["status"], repr(r["exception"])] for r in checks]
    return results


def test_scikit_learns_checks(plain_process):
    """``check_estimator``: every check passes, but for those that do not apply.

    In another process, one for both estimators: the shape checks that are on in this one refuse, before scikit-learn's
    convention is looked at, the senseless values with which it tests that ``__init__`` refuses nothing.
    """
    results = plain_process(f"{__file__}::results_of_all_checks")
    assert {name: len(checks) > 45 for name, checks in results.items()} == dict.fromkeys(TRAINING, True)
    assert [
        (name, check, why)
        for name, checks in results.items()
        for check, status, why in checks
        if status != "passed" and check not in NOT_APPLICABLE
    ] == []


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
    never = pytest.warns(BrickworkWarning, match=r"never in training: 'person' \(in 100 % of the rows\)")
    with never, pytest.warns(BrickworkWarning, match="modality 'person'"):
        less = model.predict_proba(frame.drop(columns=["person_age", "person_sex"]))
    gone = frame.assign(person_age=np.nan, person_sex=None)
    with pytest.warns(BrickworkWarning, match=r"never in training: 'person' \(in 100 % of the rows\)"):
        np.testing.assert_allclose(less, model.predict_proba(gone))
    with pytest.raises(ValueError, match=r"no column 'vitals_pulse' of modality 'vitals'"):
        model.predict(frame.drop(columns=["vitals_pulse"]))


def test_every_kind_of_modality_and_several_targets(ward):
    _, named, sick, days = ward
    y = pd.DataFrame({"sick": sick, "long": np.where(days > 5, "long", "short")})
    model = MultiModNClassifier(max_iter=6, **QUICK).fit(named, y)
    kinds = [m.kind for m in model.layout_.modalities]
    assert kinds == ["table", "table", "table", "series", "image"]
    with pytest.warns(BrickworkWarning, match="never in training: 'vitals'.*, 'age'"):
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
        (
            MultiModNClassifier(),
            {"scan": np.random.default_rng(0).random((160, 8, 8, 3))},
            sick,
            "images are float64",
        ),
        (MultiModNClassifier(), {"scan": [np.zeros((8, 8, 3), np.int64)] * 160}, sick, "images are int64"),
        (MultiModNClassifier(), {"scan": np.zeros((160, 2, 8, 8, 3), np.uint8)}, sick, "5 dimensions"),
        (MultiModNClassifier(), frame.assign(vitals_pulse=np.nan)[["vitals_pulse"]], sick, "no column"),
    ]
    for model, X, y, message in cases:
        with pytest.raises(ValueError, match=message):
            clone(model).set_params(max_iter=1).fit(X, y)


def test_columns_are_found_by_name_or_by_place_or_refused():
    """As scikit-learn does: an array by place, with its warning; other numbers of columns and other names are refused."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(80, 3)), columns=list("abc"))
    X["word"] = np.where(X.a > 0, "up", "down")
    y = (X.a > 0).astype(int)
    model = MultiModNClassifier(max_iter=2, **QUICK).fit(X, y)
    assert (model.n_features_in_, list(model.feature_names_in_)) == (4, ["a", "b", "c", "word"])
    wanted = model.predict_proba(X)
    np.testing.assert_array_equal(model.predict_proba(X[["word", "c", "b", "a"]]), wanted)
    np.testing.assert_array_equal(model.predict_proba(X.assign(other=1)), wanted)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        np.testing.assert_allclose(model.predict_proba(X.to_numpy()), wanted)
    refused = [
        (X.rename(columns=str.upper), "should match those that were passed during fit"),
        (X.rename(columns={"a": "A"}), "seen at fit time, yet now missing:\n- a"),
        (X.to_numpy()[:, :3], "X has 3 features, but .* is expecting 4"),
        ({"a b": X["a"]}, "does not know"),
    ]
    for asked, message in refused:
        with pytest.raises(ValueError, match=message), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.predict(asked)
    plain = X[["a", "b", "c"]]
    of_array = MultiModNClassifier(max_iter=2, **QUICK).fit(plain.to_numpy(), y)
    with pytest.warns(UserWarning, match="was fitted without feature names"):
        np.testing.assert_array_equal(of_array.predict_proba(plain), of_array.predict_proba(plain.to_numpy()))
    with pytest.raises(ValueError, match="X has 2 features"):
        of_array.predict(plain.to_numpy()[:, :2])
    of_modalities = of_array.fit({"m": plain.to_numpy()}, y)
    assert not hasattr(of_modalities, "n_features_in_")
    with pytest.raises(ValueError, match=r"fitted on a dictionary of modalities \(m\)"):
        of_modalities.predict(plain)


def test_a_frame_s_column_that_names_rows_is_not_learnt_from():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"patient_id": np.arange(200), "age": rng.normal(size=200)})
    y = np.arange(200) >= 100
    with pytest.warns(
        BrickworkWarning, match=r"patient_id \(called an identifier\).*by its own name in modalities"
    ):
        model = MultiModNClassifier(max_iter=1, **QUICK).fit(X, y)
    assert model.modalities_ == ("age",)
    model.predict(X[["age"]])
    kept = MultiModNClassifier(modalities={"all": ["patient_id", "age"]}, max_iter=1, **QUICK).fit(X, y)
    assert kept.layout_.modality("all").columns == ("patient_id", "age")


LABELS = {
    "whole": [1, 2],
    "fractions": [1.0, 2.0],
    "texts": ["1", "2"],
    "truth": [True, False],
    "objects": np.array(["b", "a"], dtype=object),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_come_back_as_they_were_given(kind):
    y = np.array(list(LABELS[kind]) * 10, dtype=object if kind == "objects" else None)
    X = np.random.default_rng(0).normal(size=(20, 2))
    model = MultiModNClassifier(max_iter=1, **QUICK)
    for given in (y, y.tolist(), pd.Series(y), pd.Series(y, dtype="category")):
        predicted = model.fit(X, given).predict(X)
        assert predicted.shape == (20,)
        assert {type(label) for label in predicted.tolist()} == {type(y.tolist()[0])}
    with pytest.warns(DataConversionWarning):
        assert model.fit(X, pd.DataFrame({"y": y})).predict(X).shape == (20,)
    with pytest.warns(DataConversionWarning):
        assert model.fit(X, y[:, None]).predict(X).shape == (20,)


@pytest.mark.parametrize(
    "labels", [[1, "1"], [True, 1], ["1", 1.5], np.array([1, "1"], dtype=object), pd.Series([True, "a"])]
)
def test_labels_of_mixed_types_are_refused(labels):
    X = np.random.default_rng(0).normal(size=(20, 2))
    y = labels * 10 if isinstance(labels, list) else np.tile(labels, 10)
    with pytest.raises(ValueError, match="labels of mixed types"):
        MultiModNClassifier(max_iter=1, **QUICK).fit(X, y)


@pytest.mark.parametrize("gap", [None, float("nan"), pd.NA])
def test_missing_labels_are_refused(gap):
    X = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(ValueError, match=r"no label in row 1|NaN"):
        MultiModNClassifier(max_iter=1, **QUICK).fit(X, pd.Series(["a", gap] * 10, dtype=object))


def test_several_targets_keep_their_types():
    X = np.random.default_rng(0).normal(size=(20, 2))
    y = pd.DataFrame({"number": [1, 2] * 10, "word": ["a", "b"] * 10})
    predicted = MultiModNClassifier(max_iter=1, **QUICK).fit(X, y).predict(X)
    assert {type(value) for value in predicted[:, 0]} == {int}
    assert {type(value) for value in predicted[:, 1]} == {str}


def test_training_stops_early_and_keeps_the_best_epoch(capfd):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 3)), rng.integers(0, 2, 300)  # noise: there is nothing to learn
    options = {**QUICK, "max_iter": 30, "n_iter_no_change": 2}
    model = MultiModNClassifier(**options).fit(X, y)
    assert model.n_iter_ < 30
    assert model.best_iter_ == 1 + int(np.argmin(model.validation_losses_[: model.n_iter_ - 2]))
    assert capfd.readouterr().err == ""
    whole = MultiModNClassifier(**{**options, "max_iter": 2}, early_stopping=False, verbose=1).fit(X, y)
    assert (whole.n_iter_, len(whole.validation_losses_)) == (2, 0)
    assert "loss" in capfd.readouterr().err
    for wrong, message in (
        ({"batch_size": "all"}, "batch_size is 'all'"),
        ({"early_stopping": "sometimes"}, "early_stopping is .sometimes"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0"),
        ({"n_iter_no_change": 0}, "n_iter_no_change is 0"),
        ({"num_bins": -1}, "bins is -1"),
    ):
        with pytest.raises(ValueError, match=message):
            MultiModNClassifier(**{**options, **wrong}).fit(X, y)


def test_a_fit_that_was_stopped_names_no_folder(monkeypatch):
    def stopped(*args, **kwargs):
        raise Interrupted(
            "stopped after step 3 of 9, which is saved; go on with: brickwork resume /tmp/x", 130
        )

    monkeypatch.setattr("brickwork.systems.multimodn.fitting.fit", stopped)
    with pytest.raises(Interrupted, match="nothing of it is kept") as raised:
        MultiModNClassifier(**QUICK).fit(np.eye(20), [0, 1] * 10)
    assert "resume" not in str(raised.value)
    assert raised.value.exit_code == 130


def test_answers_hold_where_a_modality_is_missing():
    """At the defaults: below chance without modality dropout, far above it with."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1500))
    X = pd.DataFrame({"a": a, "b": b})
    y = (a + b + 0.3 * rng.normal(size=1500) > 0).astype(int)
    model = MultiModNClassifier(random_state=0, max_iter=6).fit(X[:1000], y[:1000])
    assert roc_auc_score(y[1000:], model.predict_proba(X[1000:])[:, 1]) > 0.95
    for gone in "ab":
        with pytest.warns(BrickworkWarning, match="never in training"):
            p = model.predict_proba(X[1000:].assign(**{gone: np.nan}))[:, 1]
        assert roc_auc_score(y[1000:], p) > 0.75


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


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (pd.DataFrame([[1.0, 2.0]] * 4, columns=["a", "a"]), [1.0] * 4, "two columns have the name 'a'"),
        ([{"a": 1.0}] * 4, [1.0] * 4, r"list of dictionaries, one a row; give pandas\.DataFrame\(X\)"),
        (np.eye(4), [1.0, "2.5", "3,5", "x"], "labels of mixed types"),
        (np.eye(4), ["1", "2.5", "3,5", "x"], "'y' is '3,5' in row 2, which is no number"),
        (np.eye(4), pd.DataFrame([[1.0, 2.0]] * 4, columns=["a", "a"]), "two columns have the name 'a'"),
    ],
)
def test_what_has_no_names_or_numbers_is_told(X, y, message):
    with pytest.raises(ValueError, match=message):
        MultiModNRegressor(max_iter=1, **QUICK).fit(X, y)
