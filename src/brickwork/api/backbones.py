"""Which option of a run a pretrained model goes to: ``--backbone`` of the command line."""

from collections.abc import Collection, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickwork.api import train as api
from brickwork.core.errors import ConfigError
from brickwork.encoders.config import FRESH

if TYPE_CHECKING:
    from brickwork.training.run import RunConfig


def backbone_settings(run: "RunConfig", backbones: Sequence[str]) -> list[str]:
    """The options, as ``model.encoder.backbone=NAME``, with which a run starts from these pretrained models: each goes to
    the part of the system's configuration that is for models of its kind.

    Raises:
        ConfigError: the recipe has no such part; names those that have, or two models would go to one part.
        ArtifactError: a model that is neither here nor on the hub.
    """
    from brickwork.training.run import backbone_places

    settings: dict[str, str] = {}
    for backbone in backbones:
        places = backbone_places(run.model)
        if not places:
            raise ConfigError(
                f"{run.system} with this recipe starts from no pretrained model, so --backbone says nothing here; "
                f"leave it out{_recipes_for(run, {'text', 'image', 'image-text'})}"
            )
        kinds = set(places)
        # Where there is no choice, a model on the hub is not fetched for it.
        unseen = (
            "text" in kinds and len(set(places.values())) == 1 and not Path(backbone).expanduser().is_dir()
        )
        kind = "text" if unseen else _backbone_kind(backbone)
        # The image side of a dual encoder is an encoder of images.
        fitted = ["image-text", "image"] if kind == "image-text" else [kind]
        fitting = [name for name in fitted if name in places]
        if not fitting:
            raise ConfigError(
                f"backbone '{backbone}' is a model of {kind.replace('-', 's and ')}s, and this recipe of {run.system} "
                f"starts from one of {' or '.join(sorted(kinds)).replace('-', 's and ')}s{_recipes_for(run, fitted)}"
            )
        place = places[fitting[0]]
        if place in settings:
            raise ConfigError(
                f"--backbone {settings[place]} and {backbone} are both for model.{place}; give one"
            )
        settings[place] = backbone
    # The sizes of vectors of the recipe are those of its own model.
    other = any(attrgetter(place)(run.model) != backbone for place, backbone in settings.items())
    dims = ["model.dims=[]"] if other and getattr(run.model, "dims", None) else []
    fewer = [_fewer_tokens(run, place, backbone) for place, backbone in settings.items()]
    chosen = [f"model.{place}={backbone}" for place, backbone in settings.items()]
    return [*chosen, *dims, *(one for one in fewer if one)]


def _fewer_tokens(run: "RunConfig", place: str, backbone: str) -> str | None:
    """``model.encoder.max_tokens=N`` for a model here that reads fewer tokens than the recipe, which is for its own one."""
    from brickwork.encoders.text_folder import folder_positions

    part, folder = place.rpartition(".")[0], Path(backbone).expanduser()
    wanted = getattr(attrgetter(part)(run.model) if part else run.model, "max_tokens", None)
    if wanted is None or not folder.is_dir():
        return None
    positions = folder_positions(folder)
    option = f"model.{part}.max_tokens" if part else "model.max_tokens"
    return f"{option}={positions}" if positions is not None and positions < wanted else None


def _backbone_kind(backbone: str) -> str:
    from brickwork.encoders.build import find_backbone
    from brickwork.encoders.build_images import backbone_kind

    folder = find_backbone(backbone, None)
    return "text" if folder is None else backbone_kind(folder)


def _recipes_for(run: "RunConfig", kinds: Collection[str]) -> str:
    """``; take --recipe x or y``: the other recipes that start from a model of one of these kinds."""
    names = [
        name
        for name in api.recipe_names(run.system)
        if name != run.recipe and set(kinds) & _pretrained_kinds(api.recipe(run.system, name).model)
    ]
    return f"; take --recipe {' or '.join(names)}" if names else ""


def _pretrained_kinds(model: Any) -> set[str]:
    """The kinds of pretrained models that a configuration starts from; fresh weights are none."""
    from brickwork.training.run import backbone_places

    places = backbone_places(model).items()
    return {kind for kind, place in places if attrgetter(place)(model) not in (*FRESH, None)}
