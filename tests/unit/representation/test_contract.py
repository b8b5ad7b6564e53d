"""What the house derives of a system, where the system is not as it should be."""

import numpy as np
import pytest

from brickwork.api import train as api
from brickwork.core.errors import ConfigError
from brickwork.representation.contract import build_system


@pytest.mark.parametrize("value", [np.int64(10), float("nan"), {1, 2}])
def test_a_fact_that_json_does_not_have_is_named(value, monkeypatch):
    from brickwork.systems.matryoshka.system import System

    run = api.recipe("matryoshka", "smoke")
    data = api.build(run)[1]
    monkeypatch.setattr(System, "facts", staticmethod(lambda config, data: {"fine": 1, "classes": value}))
    with pytest.raises(ConfigError, match=r"matryoshka: facts\(\) gives classes as .*; give plain numbers"):
        build_system("matryoshka", run.model, data, 0)
