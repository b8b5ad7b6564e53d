"""A pytest plugin: systems in a folder of ``BRICKWORK_MORE_SYSTEMS`` count as if they were in the package.

For tests that build a system of their own and run the battery on it in another process (tests/conftest.py). Their golden
losses are written beside them.
"""

import os
from pathlib import Path

import brickwork.systems

FOLDER = Path(os.environ["BRICKWORK_MORE_SYSTEMS"])
brickwork.systems.__path__.append(str(FOLDER))


def pytest_collection_modifyitems(items):
    for item in items:
        if hasattr(item.module, "GOLDEN"):
            item.module.GOLDEN = FOLDER
