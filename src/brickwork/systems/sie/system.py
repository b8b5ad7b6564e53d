"""SIE: vectors of which one part ignores a known change, and another can be moved as the change would move it.

Garrido, Najman, LeCun: Self-Supervised Learning of Split Invariant Equivariant Representations. ICML 2023, arXiv 2302.10283.
Authors' code: facebookresearch/SIE (read for its formulas; none of it is here).

What is learnt: an encoder whose output is cut in two, from pairs of views of one object and the change g between them. One
part is to be the same for both views; in the other, a predictor whose matrix is made from g maps the first view on the
second.

| paper         | here                | shape     | meaning                                                        |
|---------------|---------------------|-----------|----------------------------------------------------------------|
| f(x), r       | encoder             | (B, d)    | an image encoder and its output                                |
| r_inv, r_equi | halves              | (B, d/2)  | its first and last dimensions                                  |
| h_inv, h_equi | project_invariant … |           | projectors                                                     |
| z_inv, z_equi | z                   | (B, D)    | embeddings                                                     |
| g             | g                   | (B, K)    | the change between both views, as numbers (changes.py)         |
| ρ             | predictor           | (B, D)    | W(g) z_equi, W(g) = Σ_k g_k A_k                                |
| λ_inv, λ_V, λ_C | invariance, variance, covariance |  | weights of VICReg's terms                               |
| λ_equi        | equivariance        |           | weight of the equivariant term                                 |

Loss of views x and y (section 4.2; weights λ_inv = λ_V = 10, λ_C = 1, λ_equi = 0.45 · λ_inv):

    λ_inv ‖z_inv^x − z_inv^y‖²/BD + λ_equi ‖ρ(z_equi^x, g) − z_equi^y‖²/BD
    + λ_V (½V(Z^x) + ½V(Z^y) + ½V(ρ(z_equi^x, g))) + λ_C (c(Z^x) + c(Z^y)),   Z = [z_inv, z_equi]

Differences from the paper: see README.md. Shape legend: B pairs, d width of the encoder, D of embeddings, K numbers of g.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.errors import ConfigError, warn
from brickwork.core.seeding import uniforms
from brickwork.core.types import Batch, LossOutput
from brickwork.data.types import Examples, TaskData
from brickwork.encoders.image import ImageEncoder
from brickwork.objectives.self_supervised import covariance_penalty, simclr, variance_hinge
from brickwork.representation.contract import encodes
from brickwork.systems.sie import changes as known
from brickwork.systems.sie.changes import Change
from brickwork.systems.sie.config import COVARIANCE, EQUIVARIANCE, INVARIANCE, TEMPERATURE, VARIANCE, Config
from brickwork.systems.sie.data import KIND, Data, Known, Member, load_data
from brickwork.systems.sie.pairs import names_of_pairs, read_pairs
from brickwork.systems.sie.parts import PartedEncoder, PartedRepresentation
from brickwork.systems.sie.predictors import ConcatMlp, HyperLinear, Readout, projector
from brickwork.systems.sie.steering import pair_scores, same_object_scores, steering_scores

__all__ = ["Config", "Data", "System", "load_data"]


@encodes
class System(nn.Module):
    """An encoder, two projectors, a predictor, and what reads changes off the vectors."""

    reads = (KIND,)
    input_kind: Literal["columns"] = "columns"

    def __init__(
        self,
        config: Config,
        encoder: ImageEncoder,
        *,
        seed: int,
        changes: list[dict[str, Any]],
        columns: list[str],
    ):
        super().__init__()
        self.config, self.seed = config, seed
        self.changes: tuple[Change, ...] = tuple(Change.from_values(one) for one in changes)
        self.told = Known(tuple(columns), self.changes)
        self.columns = [columns.index(name) for name in known.columns_of(self.changes)]
        d, numbers = encoder.embedding_dim, known.width(self.changes)
        equivariant = round(config.split * d)
        if config.split and not 0 < equivariant < d:
            raise ConfigError(
                f"split={config.split} of {d} dimensions leaves a part without any; choose another share"
            )
        self.project_invariant = projector(d - equivariant, config.widths)
        self.predictor: HyperLinear | ConcatMlp | None = None
        project = None
        if config.predictor != "none":
            project = projector(equivariant or d, config.widths)
            kind = HyperLinear if config.predictor == "hypernetwork" else ConcatMlp
            self.predictor = kind(config.widths[-1], numbers)
        self.parted = PartedEncoder(encoder, project, equivariant)
        widths = {"whole": d} | (
            {"invariant": d - equivariant, "equivariant": equivariant} if equivariant else {}
        )
        self.readouts = nn.ModuleDict(
            {name: Readout(w, numbers, config.readout) for name, w in widths.items()}
        )

    @property
    def encoder(self) -> ImageEncoder:
        """f."""
        return self.parted.base

    @staticmethod
    def facts(config: Config, data: TaskData) -> dict[str, Any]:
        """The changes that are told, and the names of all values."""
        changes = [vars(change) for change in data.details.changes]
        return {"changes": changes, "columns": list(data.details.columns)}

    def load_data(self, config: Data, seed: int) -> TaskData:
        """Other views, in the columns and units of those that were learnt from.

        Raises:
            DataError: a change that was learnt is not told of.
        """
        return load_data(config, seed, self.told)

    # ---- learning --------------------------------------------------------------------------------------------------

    def collate(self, columns: Mapping[str, Any]) -> Batch:
        """The rows' objects; images are made tensors of once their partner is drawn."""
        return {"member": list(columns["member"])}

    def partners(
        self, members: Sequence[Member], drawn: Float[np.ndarray, " batch"] | None = None
    ) -> list[int]:
        """For each view the place of another one of its object; the next one, where no number (0 … 1) is drawn."""
        chosen = np.zeros(len(members)) if drawn is None else drawn
        return [(m.place + 1 + int(u * (len(m.of) - 1))) % len(m.of) for m, u in zip(members, chosen)]

    @torch.compiler.disable  # drawn and gathered by NumPy, which the compiler would trace
    def _partners(self, batch: Batch) -> list[int]:
        """In training, each row draws its own."""
        drawn = (
            uniforms(f"{self.seed}/{batch['step']}/partner", batch["indices"], 1)[0]
            if self.training
            else None
        )
        return self.partners(batch["member"], drawn)

    @torch.compiler.disable
    def change(self, members: Sequence[Member], others: Sequence[int]) -> Float[Tensor, "batch k"]:
        """g of views and the others of their objects."""
        before = np.stack([m.of.values[m.place] for m in members])
        return self.g(before, np.stack([m.of.values[other] for m, other in zip(members, others)]))

    def g(self, before: np.ndarray, after: np.ndarray) -> Float[Tensor, "batch k"]:
        """The changes between the values of two views."""
        g = known.between(self.changes, before[:, self.columns], after[:, self.columns])
        return torch.from_numpy(g).to(self._like)

    @property
    def _like(self) -> Tensor:
        return next(self.readouts.parameters())

    def embed(self, batch: Batch) -> dict[str, Float[Tensor, "batch width"]]:
        """r of each view and of another of its object."""
        images = images_of(batch["member"], self._partners(batch))
        inputs = {
            name: self.encoder.prepare(x).to(self._like) for name, x in zip(("first", "second"), images)
        }
        return self.encoder.embed(inputs, ("first", "second"))

    def loss_from(self, embeddings: dict[str, Tensor], batch: Batch) -> LossOutput:
        """The loss of the module's docstring, and what the readouts learn."""
        x, y = embeddings["first"], embeddings["second"]
        g = self.change(batch["member"], self._partners(batch))
        z = [self.z(r) for r in (x, y)]
        predicted = None if self.predictor is None else self.predictor(z[0][1], g)
        criterion = self._vicreg if self.config.criterion == "vicreg" else self._simclr
        terms, weights = criterion(z[0], z[1], predicted)
        for name, guess in self.read(x, y).items():
            terms[f"read_{name}"] = _mse(guess, g)
        weights["read_whole"] = self.config.regression or 1.0
        return LossOutput.of(terms, weights)

    def z(self, r: Float[Tensor, "batch width"]) -> list[Float[Tensor, "batch embedding"]]:
        """z_inv, and z_equi where there is one."""
        inv, equi = self.halves(r)
        project = self.parted.projector
        return [self.project_invariant(inv), *([] if project is None else [project(equi)])]

    def halves(self, r: Float[Tensor, "batch width"]) -> tuple[Tensor, Tensor]:
        """r_inv and r_equi; without a split, both are r."""
        cut = self.parted.equivariant
        return (r[:, :-cut], r[:, -cut:]) if cut else (r, r)

    def _vicreg(
        self, x: list[Tensor], y: list[Tensor], predicted: Tensor | None
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        config = self.config
        whole = [torch.cat(z, dim=1) for z in (x, y)]
        variance = (variance_hinge(whole[0]) + variance_hinge(whole[1])) / 2
        terms = {
            "invariance": _mse(x[0], y[0]),
            "variance": variance if predicted is None else variance + variance_hinge(predicted) / 2,
            "covariance": covariance_penalty(whole[0]) + covariance_penalty(whole[1]),
        }
        given = (config.invariance, config.variance, config.covariance)
        usual = (INVARIANCE, VARIANCE, COVARIANCE)
        weights = {name: b if a is None else a for name, a, b in zip(terms, given, usual)}
        if predicted is not None:
            terms["equivariance"] = _mse(predicted, y[1])
            weights["equivariance"] = weights["invariance"] * self._equivariance
        return terms, weights

    def _simclr(
        self, x: list[Tensor], y: list[Tensor], predicted: Tensor | None
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        temperature = self.config.temperature or TEMPERATURE
        terms = {"invariance": simclr(x[0], y[0], temperature=temperature)}
        if predicted is None:
            return terms, {}
        terms["equivariance"] = simclr(predicted, y[1], temperature=temperature)
        return terms, {"equivariance": self._equivariance}

    @property
    def _equivariance(self) -> float:
        return EQUIVARIANCE if self.config.equivariance is None else self.config.equivariance

    def read(self, x: Float[Tensor, "batch width"], y: Float[Tensor, "batch width"]) -> dict[str, Tensor]:
        """g as read off both vectors, and off each half of them. Only ``regression`` lets the encoder learn from it."""
        parts = {"whole": (x, y)}
        if "invariant" in self.readouts:
            parts |= dict(zip(("invariant", "equivariant"), zip(self.halves(x), self.halves(y))))
        teaches = self.config.regression > 0
        return {
            name: self.readouts[name](*(r if teaches and name == "whole" else r.detach() for r in both))
            for name, both in parts.items()
        }

    # ---- using -----------------------------------------------------------------------------------------------------

    def representation(self) -> PartedRepresentation:
        """Vectors of two parts."""
        return PartedRepresentation(self)

    @torch.no_grad()
    def r(self, images: np.ndarray, batch: int = 256) -> Float[Tensor, "n width"]:
        """Outputs of the encoder for images."""
        last = self.encoder.num_layers
        made = [
            self.encoder(self.encoder.prepare(images[start : start + batch]).to(self._like), [last])[last]
            for start in range(0, len(images), batch)
        ]
        return torch.cat(made) if made else torch.zeros(0, self.encoder.embedding_dim)

    @torch.no_grad()
    def z_equivariant(self, r: Float[Tensor, "n width"]) -> Float[Tensor, "n embedding"]:
        """z_equi of outputs of the encoder, of a system that has a predictor."""
        assert self.parted.projector is not None
        z: Tensor = self.parted.projector(self.halves(r)[1])
        return z

    @torch.no_grad()
    def moved(
        self, vector: Float[np.ndarray, " width"], change: str | Mapping[str, float | int]
    ) -> Float[np.ndarray, " width"]:
        """W(g) z_equi of a vector and of a change, as long as the vector was.

        Raises:
            ConfigError: the model has no such change, or cannot follow any.
        """
        if not isinstance(self.predictor, HyperLinear):
            raise ConfigError(
                f"this model (predictor='{self.config.predictor}') cannot follow a change: train with hypernetwork"
            )
        g = known.of(self.changes, known.parse(change) if isinstance(change, str) else change)
        z = torch.from_numpy(np.asarray(vector)).to(self._like)
        moved = self.predictor(z[None], torch.from_numpy(g).to(z)[None])[0]
        return (F.normalize(moved, dim=0) * z.norm()).cpu().numpy()

    @torch.no_grad()
    def predict(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """The change between two images: columns ``first`` and ``second`` (paths, or arrays). Differences by column, in the
        columns' units, behind the names of the images, where they have any. With a hypernetwork, ``fit`` says how well they
        explain the second image (:meth:`solve`); else they are read off by an MLP. Views as they were learnt are taken
        with their object's next one. A note tells of changes that could not be read off held-out views.

        Raises:
            DataError: no two columns of images, or an image that cannot be read.
        """
        names: dict[str, Any] = {}
        if "member" in columns:
            first, second = images_of(columns["member"], self.partners(columns["member"]))
        else:
            form = getattr(self.encoder, "framing", None) or self.encoder.image_shape
            first, second = read_pairs(columns, form)
            names = names_of_pairs(columns)
        x, y = self.r(first), self.r(second)
        solves = isinstance(self.predictor, HyperLinear)
        self._doubt("solved" if solves else "whole")
        if solves:
            g, fit = self.solve(x, y)
            return {**names, **known.readable(self.changes, g.cpu().numpy()), "fit": fit.cpu().numpy()}
        read = self.read(x, y)["whole"].double().cpu().numpy()
        return {**names, **known.readable(self.changes, read)}

    def _doubt(self, how: str) -> None:
        """Says which changes ``how`` they are read could not be told of held-out views, by the scores of the training."""
        scores = getattr(self, "card", {}).get("scores") or {}
        read = {change.name: scores.get(f"r2_{change.name}_{how}") for change in self.changes}
        if bad := [
            f"{name} (R² {value:.2f})" for name, value in read.items() if value is not None and value <= 0
        ]:
            warn(
                f"of held-out views the training could not tell {', '.join(bad)}: no better than a guess without the "
                "images. Do not rely on it, however good the fit; more steps or more objects may help"
            )

    @torch.no_grad()
    def solve(
        self, x: Float[Tensor, "batch width"], y: Float[Tensor, "batch width"]
    ) -> tuple[Float[Tensor, "batch k"], Float[Tensor, " batch"]]:
        """The g by which the predictor comes nearest to the second view, and the cosine of what it comes to with that view.

        W(g) z is linear in g: least squares in K unknowns a pair; then each change is brought to its circle or sphere.
        """
        assert isinstance(self.predictor, HyperLinear)
        z, target = (self.z_equivariant(r).double() for r in (x, y))
        moved = self.predictor.each(z.to(self._like)).double()
        square = moved @ moved.transpose(1, 2)
        ridge = 1e-6 * square.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] + 1e-12
        square = square + ridge * torch.eye(square.shape[1], dtype=square.dtype, device=square.device)
        g = torch.linalg.solve(square, (moved @ target[:, :, None]))[:, :, 0]
        parts = [F.normalize(g[:, place], dim=1) for place in known.places(self.changes).values()]
        g = torch.cat(parts, dim=1)
        return g, F.cosine_similarity((g[:, :, None] * moved).sum(1), target, dim=1)

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """How well the predictor moves, how often the nearest view is of the same object, and how much of each change can be
        read off each half; all with their floors."""
        read = pair_scores(self, examples)
        told = ("r2_paper_whole", "r2_paper_floor")
        return {
            **steering_scores(self, examples),
            **same_object_scores(self, examples),
            **{n: v for n, v in read.items() if not n.startswith("r2_paper") or n in told},
        }

    def draw(self, examples: Examples) -> Sequence[Any]:
        """A view and its neighbours as the change grows, and what each half holds."""
        from brickwork.systems.sie.drawing import drawings

        return drawings(self, examples)


@torch.compiler.disable
def images_of(members: Sequence[Member], others: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The images of views, and of others of their objects."""
    second = np.stack([m.of.images[other] for m, other in zip(members, others)])
    return np.stack([m.of.images[m.place] for m in members]), second


def _mse(a: Tensor, b: Tensor) -> Float[Tensor, ""]:
    """In float32 at least."""
    wide = torch.promote_types(a.dtype, torch.float32)
    return F.mse_loss(a.to(wide), b.to(wide))
