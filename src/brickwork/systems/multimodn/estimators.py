"""MultiModN with scikit-learn's interface: data frames, arrays or dictionaries in, any modality may be missing.

model = MultiModNClassifier(modalities={"labs": ["lab_*"], "history": ["age", "smoker"]}).fit(frame, outcome)
model.predict_proba(other)            # columns of a missing modality may be empty, or not there at all
model.contributions(other)            # what each modality changed
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from brickwork.core.config import from_dict, to_dict
from brickwork.core.errors import ConfigError, DataError, naming_extras
from brickwork.core.seeding import rng_state, set_rng_state
from brickwork.data.readers.images import DEFAULT_SIDE
from brickwork.data.types import Examples
from brickwork.encoders.build_images import backbone_framing
from brickwork.systems.multimodn.config import (
    FrozenImage,
    FrozenText,
    MultiModNConfig,
    ParallelFusionConfig,
    SequentialFusion,
)
from brickwork.systems.multimodn.data import Data
from brickwork.systems.multimodn.fitting import FitOptions, hold_out, train
from brickwork.systems.multimodn.inputs import (
    Given,
    array_columns,
    check_columns,
    flat_modalities,
    frame_columns,
    is_frame,
    is_named,
    named_examples,
    named_modalities,
)
from brickwork.systems.multimodn.layout import ModalityLayout, TableLayout, TargetLayout
from brickwork.systems.multimodn.missingness import (
    complete_modalities,
    warn_of_new_categories,
    warn_of_new_gaps,
)
from brickwork.systems.multimodn.step_outputs import importance, moves, path, unit_of
from brickwork.systems.multimodn.tables import multitask, typed_examples

with naming_extras("an estimator of multimodn"):
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

    from brickwork.systems.multimodn.targets import InputError, check_labels, target_columns, target_numbers

if TYPE_CHECKING:
    from brickwork.systems.multimodn.contributions import ContributionPlot

_WHOLE = "features"  # the one modality of an array without groups


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
        dropout: float = 0.1,
        modality_dropout: float = 0.2,
        fusion: str = "sequential",
        num_bins: int = 16,
        max_iter: int = 40,
        batch_size: int | str = "auto",
        learning_rate: float = 2e-3,
        weight_decay: float = 0.01,
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 8,
        image_size: int | None = None,
        text_backbone: str | None = None,
        image_backbone: str | None = None,
        verbose: bool | int = False,
        random_state: Any = None,
    ):
        self.modalities = modalities
        self.order = order
        self.state_dim = state_dim
        self.hidden = hidden
        self.dropout = dropout
        self.modality_dropout = modality_dropout
        self.fusion = fusion
        self.num_bins = num_bins
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.image_size = image_size
        self.text_backbone = text_backbone
        self.image_backbone = image_backbone
        self.verbose = verbose
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
            # The start is trained in any case: to hide the only modality of an array would only cost steps.
            modality_dropout=self.modality_dropout if len(self.layout_.modalities) > 1 else 0.0,
            bins=self.num_bins,
            frozen_text=FrozenText(backbone=self.text_backbone),
            frozen_image=FrozenImage(backbone=self.image_backbone),
        )
        return from_dict(MultiModNConfig, to_dict(config))

    def _options(self) -> FitOptions:
        """How to train."""
        if self.batch_size != "auto" and not isinstance(self.batch_size, Integral):
            raise ConfigError(f"batch_size is {self.batch_size!r}; use a whole number, or 'auto'")
        if self.early_stopping not in ("auto", True, False):
            raise ConfigError(f"early_stopping is {self.early_stopping!r}; use True, False or 'auto'")
        return FitOptions(
            max_iter=self.max_iter,
            batch_size=None if isinstance(self.batch_size, str) else self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            early_stopping=None if isinstance(self.early_stopping, str) else self.early_stopping,
            validation_fraction=self.validation_fraction,
            patience=self.n_iter_no_change,
            verbose=bool(self.verbose),
        )

    def _fit(self, X: Given, targets: dict[str, np.ndarray], classes: Mapping[str, Sequence[str]]) -> None:
        """Trains on X and columns of targets by name; ``classes``: of each target that is a class."""
        from brickwork.representation.contract import build_system

        options = self._options()
        layouts = tuple(TargetLayout(name=name, classes=tuple(classes.get(name, ()))) for name in targets)
        self.layout_ = TableLayout(modalities=self._modalities(X), targets=layouts)
        examples = self._examples(X)
        held = {target.column: targets[target.name] for target in layouts}
        examples = Examples({**examples.columns, **held})
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        rows, held_out = hold_out(examples, layouts, options, seed)
        task = multitask(
            "X",
            self.layout_,
            rows,
            Data(validation_share=0.0, test_share=0.0),
            seed=0,
        )
        before = rng_state()
        try:
            system = build_system("multimodn", self._config(), task, seed)
            history = train(system, task.train, held_out, options, seed)
        finally:
            set_rng_state(*before)
        self.system_ = system.cpu().eval()
        self.system_.complete = complete_modalities(examples, self.layout_)
        self.modalities_ = system.layout.names
        self.steps_ = system.steps
        self.n_iter_ = history.epochs
        self.best_iter_ = history.best_epoch
        self.validation_losses_ = np.array(history.validation_losses)

    def _modalities(self, X: Given) -> tuple[ModalityLayout, ...]:
        framing = None
        if self.image_backbone is not None and self.image_size is None:
            framing = backbone_framing(self.image_backbone, None)
        size = framing or self.image_size or DEFAULT_SIDE
        if X.named:
            return named_modalities(X.columns, size)
        if not hasattr(self, "feature_names_in_") and self.modalities is None:
            return (ModalityLayout(name=_WHOLE, numbers=tuple(X.columns)),)
        return flat_modalities(X.columns, self.modalities, size)

    def _examples(self, X: Given) -> Examples:
        if X.named:
            return named_examples(X.columns, self.layout_)
        return typed_examples(self.layout_, X.columns, where="X", with_targets=False)

    def _checked(self, X: Any, *, reset: bool) -> Given:
        """X as modalities or columns by name; NaN is missing. After ``fit`` columns are found as scikit-learn finds them: by
        name in a data frame, by place in an array. The columns of a whole modality may be left out of a data frame."""
        if is_named(X):
            if reset:
                for name in ("feature_names_in_", "n_features_in_"):
                    self.__dict__.pop(name, None)
            return Given(X, named=True)
        if isinstance(X, list | tuple) and X and isinstance(X[0], Mapping):
            raise InputError("X is a list of dictionaries, one a row; give pandas.DataFrame(X)")
        if reset and is_frame(X):
            columns = frame_columns(X)
            validate_data(self, X, skip_check_array=True, reset=True)
            return Given(columns)
        if not reset and not hasattr(self, "n_features_in_"):
            raise InputError(
                f"{type(self).__name__} was fitted on a dictionary of modalities ({', '.join(self.modalities_)}); give one"
            )
        names = getattr(self, "feature_names_in_", None) if not reset else None
        if names is None:
            return Given(
                array_columns(
                    validate_data(self, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan")
                )
            )
        if is_frame(X):
            columns = frame_columns(X)
            check_columns(columns, self.layout_, names)
            return Given(columns)
        array = validate_data(self, X, reset=False, dtype=None, ensure_all_finite=False)
        return Given({str(name): array[:, place] for place, name in enumerate(names)})

    # ---- use -----------------------------------------------------------------------------------------------

    def _stages(self, X: Any, last: bool = False) -> dict[str, np.ndarray]:
        check_is_fitted(self, "system_")
        with _value_errors():
            examples = self._examples(self._checked(X, reset=False))
            warn_of_new_gaps(examples, self.system_.complete)
            warn_of_new_categories(examples, self.system_.readers)
            return self.system_.stages(examples, last=last)

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
    or several. ``max_iter``: most epochs. ``early_stopping``: a share ``validation_fraction`` of the rows is held out,
    training ends after ``n_iter_no_change`` epochs without a better loss on them, and the best epoch is kept (``"auto"``:
    from 200 rows on). ``batch_size``: ``"auto"`` is about a hundred batches an epoch, of 16 to 256 rows. ``num_bins``: of
    each number, between quantiles (0: numbers are only standardised). ``modality_dropout``: share of modalities that are
    hidden in training, so that answers hold where one is missing; 0.5 or more where missingness depends on y (``fit``
    warns). ``verbose``: progress on standard error.

    After ``fit``: ``classes_`` (a list for several targets; of the type that y had), ``modalities_``, ``steps_``,
    ``system_``, ``n_iter_``, ``best_iter_``, ``validation_losses_``.
    """

    def fit(self, X: Any, y: Any) -> "MultiModNClassifier":
        """Trains from the start. Raises ValueError on wrong input; a modality that is missing from all rows is one."""
        with _value_errors():
            given = self._checked(X, reset=True)
            columns, self._one_target = target_columns(self, y)
            targets: dict[str, np.ndarray] = {}
            classes: list[np.ndarray] = []
            for name, values in columns.items():
                check_labels(values)
                check_classification_targets(values)
                labels, codes = np.unique(values, return_inverse=True)
                if len(labels) < 2:
                    raise InputError(
                        f"y has only one class ({labels[0]!r}); a classifier needs two or more classes"
                    )
                classes.append(labels)
                targets[name] = codes.astype(np.int64)
            check_consistent_length(next(iter(given.columns.values()), ()), *targets.values())
            self._fit(
                given, targets, {name: [str(c) for c in of_one] for name, of_one in zip(targets, classes)}
            )
        self.classes_ = classes[0] if self._one_target else classes
        return self

    def predict_proba(self, X: Any) -> Any:
        """Probabilities of ``classes_``, (rows, classes); for several targets a list of such arrays."""
        return self._probabilities(self._stages(X, last=True), -1)

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
        answers = [labels[p.argmax(1)] for labels, p in zip(self.classes_, probabilities)]
        if len({column.dtype.kind for column in answers}) > 1:  # each target keeps the type of its labels
            answers = [column.astype(object) for column in answers]
        return np.stack(answers, axis=1)

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
            given = self._checked(X, reset=True)
            columns, self._one_target = target_columns(self, y)
            targets = {name: target_numbers(name, values) for name, values in columns.items()}
            check_consistent_length(next(iter(given.columns.values()), ()), *targets.values())
            self._fit(given, targets, {})
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The numbers, (rows) or (rows, targets)."""
        return self._numbers(self._stages(X, last=True), -1)

    def staged_predict(self, X: Any) -> Iterator[np.ndarray]:
        """:meth:`predict` after each of ``steps_``."""
        stages = self._stages(X)
        for step in range(len(self.steps_)):
            yield self._numbers(stages, step)

    def _numbers(self, stages: dict[str, np.ndarray], step: int) -> np.ndarray:
        numbers = np.stack([held[step][:, 0] for held in stages.values()], axis=1)
        return numbers[:, 0] if self._one_target else numbers
