"""The passages around one: what the search page unfolds, and goes on unfolding."""

from typing import Annotated, Any

from fastapi import FastAPI, Query, Security
from fastapi.security import HTTPBearer

from brickwork.core.errors import DataError
from brickwork.index.results import passage_values
from brickwork.service import schemas
from brickwork.service.errors import ApiError
from brickwork.service.state import Service

PATH = "/v1/neighbours"


def add_neighbours(app: FastAPI, service: Service, errors: dict[int | str, dict[str, Any]]) -> None:
    """Adds :data:`PATH`, behind the API key like the search."""

    @app.get(
        PATH,
        response_model=schemas.Neighbours,
        responses=errors,
        tags=["API"],
        dependencies=[Security(HTTPBearer(auto_error=False))] if service.config.keys else [],
        include_in_schema=service.served.index is not None,
    )
    async def neighbours(
        id: Annotated[str, Query(description="The id of a hit.", min_length=1, max_length=4096)],
        count: Annotated[
            int, Query(ge=1, le=schemas.MAX_NEIGHBOURS, description="Passages on each side.")
        ] = 1,
    ) -> Any:
        """The passages before and after one of the same source, in reading order."""
        with service.using(None) as served:
            index = served.index
            if index is None:
                raise ApiError(404, "This server has a model and no index, so it has no passages.")
            try:
                before, after = await service.between(lambda: index.neighbours(id, count))
            except DataError as error:
                raise ApiError(404, f"{error}.", param="id", code="not_found") from error
        return {
            "object": "neighbours",
            "before": [passage_values(passage) for passage in before],
            "after": [passage_values(passage) for passage in after],
        }
