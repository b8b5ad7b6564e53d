"""Thumbnails of the images of an index: how a hit names its own, and the address that answers with it.

Only what the index itself holds is sent; no file is read by a name that a client gives.
"""

import hashlib
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

from fastapi import FastAPI, Query, Response, Security
from fastapi.security import HTTPBearer

from brickwork.core.errors import DataError
from brickwork.service.errors import ApiError
from brickwork.service.state import Service

if TYPE_CHECKING:
    from brickwork.index.results import Hit

PATH = "/v1/thumbnail"


def as_json(hit: "Hit") -> dict[str, Any]:
    """A hit as the search answers it; that of an image with the address of its thumbnail.

    ``v`` changes with the thumbnail, so that a browser may keep what it has under one address.
    """
    values = hit.values()
    if hit.thumbnail:
        values["thumbnail"] = f"{PATH}?{urlencode({'id': hit.id, 'v': _version(hit.thumbnail)})}"
    if hit.others is not None:
        values["others"] = [as_json(other) for other in hit.others]
    return values


def add_thumbnails(app: FastAPI, service: Service, errors: dict[int | str, dict[str, Any]]) -> None:
    """Adds :data:`PATH`, behind the API key like the search."""
    jpeg = {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}

    @app.get(
        PATH,
        responses={200: jpeg, **errors},
        response_class=Response,
        tags=["API"],
        dependencies=[Security(HTTPBearer(auto_error=False))] if service.config.keys else [],
        include_in_schema=service.served.index is not None,
    )
    async def thumbnail(
        id: Annotated[str, Query(description="The id of a hit.", min_length=1, max_length=4096)],
        v: Annotated[str | None, Query(description="As the hit gives it: with it, caches keep it.")] = None,
    ) -> Response:
        """A small JPEG of an image in the index; hits give its address."""
        with service.using(None) as served:
            index = served.index
            if index is None:
                raise ApiError(404, "This server has a model and no index, so it has no thumbnails.")
            try:
                image = (await service.between(lambda: index.get(id)))[0].thumbnail
            except DataError as error:
                raise ApiError(404, f"{error}.", param="id", code="not_found") from error
        if not image:
            raise ApiError(404, f"'{id[:100]}' has no thumbnail.", param="id", code="not_found")
        kept = "private, max-age=31536000, immutable" if v == _version(image) else "no-cache"
        return Response(image, media_type="image/jpeg", headers={"Cache-Control": kept})


def _version(thumbnail: bytes) -> str:
    return hashlib.blake2b(thumbnail, digest_size=8).hexdigest()
