"""The estimators at their defaults against scikit-learn's histogram gradient boosting, also where a modality is missing.

``adult-like``: made-up rows in the manner of the census set Adult, 11 columns (5 of them categories, one a number without
meaning, two mostly 0), gaps in two, 4 modalities. ``air``: Beijing's hours from ``BRICKWORK_DATA``, 13 columns in 4
modalities; is PM2.5 above 75, or (regression) how high is it. 32,000 rows to fit, 8,000 for the test. ``guessed``: the
first table without three of its columns and without named modalities, so that each column is one.
No modality is missing at ``fit``; in the test rows each is then emptied. The booster reads categories as categories.

    python benchmarks/multimodn_estimators.py [--seeds 3]
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import train_test_split

from brickwork.data.sets.sources import locate
from brickwork.systems.multimodn import MultiModNClassifier, MultiModNRegressor
from common import begin, environment, save

ROWS, TEST = 40_000, 8_000
OF_ADULTS = {
    "work": ["workclass", "occupation", "hours"],
    "person": ["age", "sex", "marital", "country", "weight"],
    "school": ["education"],
    "money": ["capital_*"],
}
OF_AIR = {
    "weather": ["TEMP", "PRES", "DEWP", "RAIN", "wd", "WSPM"],
    "gases": ["SO2", "NO2", "CO", "O3"],
    "when": ["month", "hour"],
    "where": ["station"],
}
_OCCUPATIONS = (0.8, -0.9, 0.3, 1.1, -0.2, -1.2, 0.1, 0.6, -0.6, 0.9, -0.3, 0.0, 0.4, -1.5)


def adult_like(seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows whose label depends on thresholds, interactions and categories."""
    rng, n = np.random.default_rng(seed), ROWS
    age = np.clip(rng.gamma(8, 5, n), 17, 90).round()
    education = np.clip(np.round(rng.normal(10, 2.6, n)), 1, 16)
    hours = np.where(rng.random(n) < 0.5, 40, np.clip(rng.normal(40, 13, n).round(), 1, 99))
    gain = np.where(rng.random(n) < 0.08, np.exp(rng.normal(8.3, 1.1, n)).round(), 0.0)
    loss = np.where((rng.random(n) < 0.05) & (gain == 0), rng.normal(1870, 380, n).round(), 0.0)
    workclass = rng.choice(["private", "self", "state", "federal", "other"], n, p=[0.7, 0.1, 0.1, 0.05, 0.05])
    occupation = rng.integers(0, len(_OCCUPATIONS), n)
    marital = rng.choice(["married", "never", "divorced", "widowed"], n, p=[0.46, 0.33, 0.17, 0.04])
    sex = rng.choice(["m", "f"], n, p=[0.67, 0.33])
    logit = (
        -3.2 + 1.9 * (marital == "married") + 0.32 * (education - 10) + 0.9 * np.tanh((age - 35) / 10)
        - 0.5 * (age > 60) + 0.03 * (hours - 40)
        + np.array(_OCCUPATIONS)[occupation] * (0.6 + 0.4 * (education > 10))
        + 3 * (gain > 5000) - 1.0 * ((gain > 0) & (gain < 3000))
        + 1.4 * ((loss > 1800) & (loss < 2000)) - 1.0 * ((loss > 0) & (loss <= 1800))
        + 0.3 * (sex == "m") * (marital == "married") + 0.4 * (workclass == "federal")
    )  # fmt: skip
    frame = pd.DataFrame({
        "age": age, "weight": np.exp(rng.normal(12, 0.5, n)).round(), "education": education, "hours": hours,
        "capital_gain": gain, "capital_loss": loss, "workclass": workclass,
        "occupation": [f"o{i}" for i in occupation], "marital": marital, "sex": sex,
        "country": [f"c{i}" for i in np.minimum(39, rng.geometric(0.5, n) - 1)],
    })  # fmt: skip
    for column in ("workclass", "occupation"):
        frame.loc[rng.random(n) < 0.05, column] = None
    return frame, (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)


def air(seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Hours of Beijing's stations, and PM2.5."""
    name = "beijing_air_quality"
    table = pyarrow.parquet.read_table(next(locate(name).rglob(f"{name}.parquet"))).to_pandas()
    table = table[table["PM2.5"].notna()].sample(ROWS, random_state=seed).reset_index(drop=True)
    return table[[column for columns in OF_AIR.values() for column in columns]], table["PM2.5"].to_numpy()


def for_booster(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with categories as such."""
    texts = [c for c in frame.columns if not pd.api.types.is_numeric_dtype(frame[c])]
    return frame.astype(dict.fromkeys(texts, "category"))


def without(frame: pd.DataFrame, patterns: list[str]) -> pd.DataFrame:
    """The frame with the cells of a modality emptied."""
    gone = frame.copy()
    for column in frame.columns:
        if any(fnmatch(column, pattern) for pattern in patterns):
            gone[column] = np.nan if pd.api.types.is_numeric_dtype(frame[column]) else None
    return gone


def compare(
    make: Callable[[int], tuple[pd.DataFrame, np.ndarray]],
    groups: dict[str, list[str]] | None,
    seed: int,
    numbers: bool = False,
) -> dict[str, float]:
    """One seed: quality and seconds of both, and quality without each modality."""
    frame, y = make(seed)
    x, tx, y, ty = train_test_split(frame, y, test_size=TEST, random_state=seed)
    kinds = (
        (MultiModNRegressor, HistGradientBoostingRegressor)
        if numbers
        else (MultiModNClassifier, HistGradientBoostingClassifier)
    )

    def quality(model: Any, rows: pd.DataFrame) -> float:
        return (
            r2_score(ty, model.predict(rows))
            if numbers
            else roc_auc_score(ty, model.predict_proba(rows)[:, 1])
        )

    start = time.perf_counter()
    ours = kinds[0](modalities=groups, random_state=seed).fit(x, y)
    middle = time.perf_counter()
    # One encoding of the categories for fit and test.
    whole = for_booster(pd.concat([x, tx]))
    booster = kinds[1](categorical_features="from_dtype", random_state=seed).fit(whole.iloc[: len(x)], y)
    end = time.perf_counter()
    result = {
        "ours": quality(ours, tx), "booster": quality(booster, whole.iloc[len(x) :]),
        "seconds": middle - start, "booster's seconds": end - middle, "epochs": float(ours.n_iter_),
    }  # fmt: skip
    for name, patterns in (groups or {column: [column] for column in frame.columns}).items():
        lacking = without(tx, patterns)
        result[f"ours without {name}"] = quality(ours, lacking)
        result[f"booster without {name}"] = quality(booster, without(whole.iloc[len(x) :], patterns))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    begin()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")

    def fewer(seed: int) -> tuple[pd.DataFrame, np.ndarray]:
        frame, y = adult_like(seed)
        return frame.drop(columns=["weight", "country", "capital_loss"]), y

    def polluted(seed: int) -> tuple[pd.DataFrame, np.ndarray]:
        frame, pm = air(seed)
        return frame, (pm > 75).astype(int)

    results = {}
    for name, make, groups, numbers in (
        ("adult-like, AUROC", adult_like, OF_ADULTS, False),
        ("air, AUROC", polluted, OF_AIR, False),
        ("air, R²", air, OF_AIR, True),
        ("guessed, AUROC", fewer, None, False),
    ):
        runs = [compare(make, groups, seed, numbers) for seed in range(options.seeds)]
        results[name] = {
            key: {"mean": statistics.mean(r[key] for r in runs), "of seeds": [round(r[key], 4) for r in runs]}
            for key in runs[0]
        }
        print(name, {key: round(value["mean"], 4) for key, value in results[name].items()}, flush=True)
    save("multimodn_estimators", {**environment(), "threads": 1, "rows": ROWS - TEST, "results": results})


if __name__ == "__main__":
    main()
