import json

import pytest
from typer.testing import CliRunner

from brickwork.cli.main import app


class Result:
    def __init__(self, result):
        self.code, self.out, self.err = result.exit_code, result.stdout, result.stderr
        self.exception = result.exception

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def brickwork():
    """Runs the command line in this process: ``brickwork("list", "--json").json``."""

    def run(*words):
        return Result(CliRunner().invoke(app, [str(word) for word in words], prog_name="brickwork"))

    return run
