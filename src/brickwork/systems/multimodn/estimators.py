"""MultiModN with scikit-learn's interface: data frames, arrays or dictionaries in, any modality may be missing.

model = MultiModNClassifier(modalities={"labs": ["lab_*"], "history": ["age", "smoker"]}).fit(frame, outcome)
model.predict_proba(other)            # columns of a missing modality may be empty, or not there at all
model.contributions(other)            # what each modality changed
"""

import contextlib
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, validate_data

from brickwork.core.config import from_dict, to_dict
from brickwork.core.errors import ConfigError, DataError
from brickwork.core.seeding import rng_state, set_rng_state
from brickwork.data.types import Examples
from brickwork.systems.multimodn.config import MultiModNConfig, ParallelFusionConfig, SequentialFusion
from brickwork.systems.multimodn.data import Data
from brickwork.systems.multimodn.inputs import (
    array_columns,
    flat_modalities,
    frame_columns,
    is_frame,
    is_named,
    named_examples,
    named_modalities,
)
from brickwork.systems.multimodn.layout import ModalityLayout, TableLayout, TargetLayout
from brickwork.systems.multimodn.step_outputs import importance, moves, path, unit_of
from brickwork.systems.multimodn.tables import multitask, typed_examples

if TYPE_CHECKING:
    from brickwork.systems.multimodn.contributions import ContributionPlot

_WHOLE = "features"  # the one modality of an array without groups


class InputError(DataError, ValueError):
    """Wrong input or parameter, as scikit-learn's callers expect it."""


@contextlib.contextmanager
def _value_errors() -> Iterator[None]:
    try:
        yield
    except (DataError, ConfigError) as error:
        raise error if isinstance(error, ValueError) else InputError(str(error)) from error


class _MultiModN(BaseEstimator):
    """What classifier and regressor share. Subclasses say how ``y`` becomes targets, and answers become ``y``."""

    def __init__(
        self,
        *,
        modalities: Mapping[str, Sequence[str | int]] | None = None,
        order: Sequence[str] | None = None,
        state_dim: int = 50,
        hidden: Sequence[int] = (32, 32),
        dropout: float = 0.2,
        modality_dropout: float = 0.0,
        fusion: str = "sequential",
        max_iter: int = 40,
        batch_size: int = 16,
        learning_rate: float = 1e-3,
        image_size: int = 32,
        random_state: Any = None,
    ):
        self.modalities = modalities
        self.order = order
        self.state_dim = state_dim
        self.hidden = hidden
        self.dropout = dropout
        self.modality_dropout = modality_dropout
        self.fusion = fusion
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.image_size = image_size
        self.random_state = random_state

    # ---- fitting -------------------------------------------------------------------------------------------

    def _config(self) -> MultiModNConfig:
        """The options as a checked configuration."""
        if self.fusion not in ("sequential", "parallel"):
            raise ConfigError(f"fusion is {self.fusion!r}; choose 'sequential' or 'parallel'")
        fusion = (
            SequentialFusion(state_dim=self.state_dim, order=tuple(self.order or ()))
            if self.fusion == "sequential"
            else ParallelFusionConfig()
        )
        config = MultiModNConfig(
            fusion=fusion,
            hidden=tuple(self.hidden),
            dropout=self.dropout,
            modality_dropout=self.modality_dropout,
        )
        return from_dict(MultiModNConfig, to_dict(config))

    def _fit(self, X: Any, targets: dict[str, np.ndarray], classes: Mapping[str, Sequence[str]]) -> None:
        """Trains on X and columns of targets by name; ``classes``: of each target that is a class."""
        from brickwork.representation.contract import build_system
        from brickwork.training.config import TrainConfig
        from brickwork.training.loop import fit

        layouts = tuple(TargetLayout(name=name, classes=tuple(classes.get(name, ()))) for name in targets)
        self.layout_ = TableLayout(modalities=self._modalities(X), targets=layouts)
        examples = self._examples(X)
        held = {target.column: targets[target.name] for target in layouts}
        task = multitask(
            "X",
            self.layout_,
            Examples({**examples.columns, **held}),
            Data(validation_share=0.0, test_share=0.0),
            seed=0,
        )
        rows = len(examples)
        train = TrainConfig(
            steps=self.max_iter * math.ceil(rows / self.batch_size),
            batch_size=min(self.batch_size, rows),
            learning_rate=self.learning_rate,
            weight_decay=0.0,
            warmup=0.0,
            schedule="constant",
            clip_norm=0.0,
            precision="fp32",
            save_every=0,
            validate_every=0,
            log_every=10**9,
        )
        from_dict(TrainConfig, to_dict(train))  # raises if an option is wrong
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        before = rng_state()
        try:
            system = build_system("multimodn", self._config(), task, seed)
            with tempfile.TemporaryDirectory(prefix="brickwork-") as folder:
                fit(system, task.train, train, Path(folder) / "run", seed=seed)
        finally:
            set_rng_state(*before)
        self.system_ = system.cpu().eval()
        self.modalities_ = system.layout.names
        self.steps_ = system.steps
        self.n_iter_ = self.max_iter

    def _modalities(self, X: Any) -> tuple[ModalityLayout, ...]:
        if is_named(X):
            return named_modalities(X, self.image_size)
        if is_frame(X):
            return flat_modalities(frame_columns(X), self.modalities, self.image_size)
        columns = array_columns(X)
        if self.modalities is None:
            return (ModalityLayout(name=_WHOLE, numbers=tuple(columns)),)
        return flat_modalities(columns, self.modalities, self.image_size)

    def _examples(self, X: Any) -> Examples:
        if is_named(X):
            return named_examples(X, self.layout_)
        columns = frame_columns(X) if is_frame(X) else array_columns(X)
        if columns.keys() == {f"x{i}" for i in range(len(columns))} and self.layout_.names == (_WHOLE,):
            return Examples({_WHOLE: np.asarray(X, dtype=np.float64)})
        return typed_examples(self.layout_, columns, where="X", with_targets=False)

    def _checked(self, X: Any, *, reset: bool) -> Any:
        """X as a mapping, a data frame, or a checked array in which NaN is missing."""
        if is_named(X):
            return X
        if is_frame(X):
            if reset:  # afterwards, a modality's columns may be left out
                validate_data(self, X, skip_check_array=True, reset=True)
            return X
        return validate_data(self, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan")

    # ---- use -----------------------------------------------------------------------------------------------

    def _stages(self, X: Any) -> dict[str, np.ndarray]:
        check_is_fitted(self, "system_")
        with _value_errors():
            return self.system_.stages(self._examples(self._checked(X, reset=False)))

    def _target(self, target: str | None) -> TargetLayout:
        return self.layout_.targets[0] if target is None else self.layout_.target(target)

    def contributions(self, X: Any, target: str | None = None) -> np.ndarray:
        """How far each modality moved the answer for each row, (rows, modalities in the order of ``modalities_``).

        Of two classes: the probability of the second; of more: of the class that is predicted in the end. 0 where a
        modality is missing. ``target``: a column of y (default: the first).
        """
        stages = self._stages(X)
        with _value_errors():
            if self.fusion == "parallel":
                raise ConfigError("contributions are the steps of fusion='sequential'")
            layout = self._target(target)
            return moves(layout, stages[layout.name])

    def importance(self, X: Any, target: str | None = None) -> dict[str, float]:
        """The mean absolute change of the answer when a modality alone is read from the initial state, by modality."""
        check_is_fitted(self, "system_")
        with _value_errors():
            layout = self._target(target)
            results = importance(self.system_, self._examples(self._checked(X, reset=False)), layout.name)
            return {name: change for name, (change, _) in results.items()}

    def plot_contributions(self, X: Any, target: str | None = None) -> "ContributionPlot":
        """A drawing of :meth:`contributions`: the steps of one row, a dot for each of several; ``.save(path)`` keeps it."""
        from brickwork.systems.multimodn.contributions import contribution_plot

        moved = self.contributions(X, target)
        layout = self._target(target)
        start = float(path(layout, self._stages(X)[layout.name])[0, 0])
        return contribution_plot(
            moved, self.modalities_, title=layout.name, unit=unit_of(layout), start=start
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.multi_output = True
        return tags


class MultiModNClassifier(ClassifierMixin, _MultiModN):
    """Classification of one or several targets from modalities any of which may be missing.

    X: a data frame (``modalities`` groups its columns by names or patterns; guessed from names without), an array (one
    modality, or groups of column numbers), or a dictionary ``name → array, series, images or data frame``. y: one column
    or several. ``max_iter``: epochs. ``modality_dropout``: 0.5 or more where missingness depends on y (``fit`` warns).

    After ``fit``: ``classes_`` (a list for several targets), ``modalities_``, ``steps_``, ``system_``.
    """

    def fit(self, X: Any, y: Any) -> "MultiModNClassifier":
        """Trains from the start. Raises ValueError on wrong input; a modality that is missing from all rows is one."""
        with _value_errors():
            X = self._checked(X, reset=True)
            columns, self._one_target = _target_columns(self, y)
            targets: dict[str, np.ndarray] = {}
            classes: list[np.ndarray] = []
            for name, values in columns.items():
                check_classification_targets(values)
                labels, codes = np.unique(values, return_inverse=True)
                if len(labels) < 2:
                    raise InputError(
                        f"y has only one class ({labels[0]!r}); a classifier needs two or more classes"
                    )
                classes.append(labels)
                targets[name] = codes.astype(np.int64)
            check_consistent_length(next(iter(X.values())) if is_named(X) and X else X, *targets.values())
            self._fit(X, targets, {name: [str(c) for c in of_one] for name, of_one in zip(targets, classes)})
        self.classes_ = classes[0] if self._one_target else classes
        return self

    def predict_proba(self, X: Any) -> Any:
        """Probabilities of ``classes_``, (rows, classes); for several targets a list of such arrays."""
        return self._probabilities(self._stages(X), -1)

    def staged_predict_proba(self, X: Any) -> Iterator[Any]:
        """:meth:`predict_proba` after each of ``steps_``: at the start, before any modality, and after each modality."""
        stages = self._stages(X)
        for step in range(len(self.steps_)):
            yield self._probabilities(stages, step)

    def _probabilities(self, stages: dict[str, np.ndarray], step: int) -> Any:
        probabilities = [held[step] / held[step].sum(1, keepdims=True) for held in stages.values()]
        return probabilities[0] if self._one_target else probabilities

    def predict(self, X: Any) -> np.ndarray:
        """The most probable classes, (rows) or (rows, targets)."""
        probabilities = self.predict_proba(X)
        if self._one_target:
            return self.classes_[probabilities.argmax(1)]
        return np.stack([labels[p.argmax(1)] for labels, p in zip(self.classes_, probabilities)], axis=1)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of rows that are right; of several targets, right in all of them."""
        if self._one_target:
            return super().score(X, y, sample_weight)
        right = (self.predict(X) == np.asarray(y)).all(axis=1)
        return float(np.average(right, weights=sample_weight))


class MultiModNRegressor(RegressorMixin, _MultiModN):
    """Regression on one or several numbers from modalities any of which may be missing; see :class:`MultiModNClassifier`."""

    def fit(self, X: Any, y: Any) -> "MultiModNRegressor":
        """Trains from the start. Raises ValueError on wrong input; a modality that is missing from all rows is one."""
        with _value_errors():
            X = self._checked(X, reset=True)
            columns, self._one_target = _target_columns(self, y)
            targets = {
                name: check_array(values, ensure_2d=False, dtype=np.float64, input_name="y")
                for name, values in columns.items()
            }
            check_consistent_length(next(iter(X.values())) if is_named(X) and X else X, *targets.values())
            self._fit(X, targets, {})
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The numbers, (rows) or (rows, targets)."""
        return self._numbers(self._stages(X), -1)

    def staged_predict(self, X: Any) -> Iterator[np.ndarray]:
        """:meth:`predict` after each of ``steps_``."""
        stages = self._stages(X)
        for step in range(len(self.steps_)):
            yield self._numbers(stages, step)

    def _numbers(self, stages: dict[str, np.ndarray], step: int) -> np.ndarray:
        numbers = np.stack([held[step][:, 0] for held in stages.values()], axis=1)
        return numbers[:, 0] if self._one_target else numbers


def _target_columns(estimator: Any, y: Any) -> tuple[dict[str, np.ndarray], bool]:
    """The columns of y by name (of a data frame or series their own, else ``y`` or ``y0``, ``y1`` …), and whether y is
    one column rather than a table. A column vector counts as one column, with scikit-learn's warning.
    """
    from sklearn.utils import column_or_1d

    if y is None:
        raise InputError(f"{type(estimator).__name__} requires y to be passed, but the target y is None")
    if is_frame(y):
        return {str(name): np.asarray(y[name]) for name in y.columns}, False
    array = check_array(y, ensure_2d=False, dtype=None, ensure_all_finite=False, input_name="y")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        check_array(array, ensure_2d=False, input_name="y")  # raises, in scikit-learn's words
    if array.ndim == 1 or array.shape[1] == 1:
        name = getattr(y, "name", None)
        return {"y" if name is None else str(name): column_or_1d(array, warn=array.ndim > 1)}, True
    return {f"y{place}": array[:, place] for place in range(array.shape[1])}, False
