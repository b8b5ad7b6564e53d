"""The rules of the house, read off the source: who imports whom, who shares what, what may not be loaded just by looking.

Each rule is a function of a package folder that returns its violations; each is tried on planted ones.
"""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import brickwork
from brickwork.core import registry

PACKAGE = Path(brickwork.__file__).parent
LOW = {"data", "encoders", "modules", "objectives"}
MIDDLE = {"training", "representation"}
HIGH = {"evaluation", "index", "inspection"}
HOUSE = {"core"} | LOW | MIDDLE | HIGH

# Rule 1. Folder -> the other folders that its files may import. The flow of the data, from left to right.
ALLOWED = {
    "core": set(),
    **{folder: {"core"} for folder in LOW},
    **{folder: {"core"} | LOW | (MIDDLE - {folder}) for folder in MIDDLE},
    **{folder: {"core"} | LOW | MIDDLE for folder in HIGH},
    "service": {"core", "index"} | LOW | MIDDLE,
    "systems": HOUSE,
    "studies": HOUSE | {"systems"},
    "api": HOUSE | {"studies"},
    "cli": HOUSE | {"studies", "api", "service"},
    "__main__": {"cli"},
}
# A folder of its own inside a folder that others may use although the folder is closed to them.
EXCEPTIONS = {("modules", "encoders.blocks")}

# Rule 2. Modules of shared rooms that have one client so far, and the systems that come for them.
SHARED = LOW | {"evaluation", "inspection"}
RESERVED = {
    "data.generators.corruptions": ("matryoshka", "emoe", "m2mkd"),
    "data.generators.scenes": ("align", "image-text-matching", "genome-modules"),
    "data.image_text": ("align", "image-text-matching", "cvlnm", "gill"),
    "data.sets.language": ("moduleformer", "codegen2", "emergent-semantics"),
    "data.sets.sentence_tasks": ("dylora", "pixel-sentence", "text2token"),
    "encoders.blocks.causal": ("moduleformer", "codegen2", "gill"),
    "encoders.blocks.stick_breaking": ("moduleformer", "codegen2"),
    "encoders.tabular": ("multimodn", "lirdrec"),
    "evaluation.classification": ("multimodn", "mmrl"),
    "evaluation.codes": ("cmim", "binary-paragraph-vector", "rich-representations"),
    "evaluation.usage": ("moduleformer", "disambiguated-skipgram", "emoe"),
    "modules.adapters": ("dylora", "text2token", "emoe"),
    "modules.decoders": ("moduleformer", "codegen2", "emergent-semantics"),
    "modules.experts": ("moduleformer", "emoe", "m2mkd"),
    "modules.experts_triton": ("moduleformer", "emoe", "m2mkd"),
    "modules.image_decoder": ("cmim", "erw"),
    "modules.latent": ("cmim", "sae-circuits"),
    "modules.routers": ("moduleformer", "emoe", "m2mkd"),
    "modules.sequence_decoder": ("cmim", "cvlnm", "pointer-networks"),
    "modules.simplex": ("stationary-compat", "rich-representations"),
    "modules.surgery": ("moduleformer", "sae-circuits", "configurable-foundation-models"),
    "objectives.distillation": ("matryoshka-2d", "m2mkd", "rich-representations"),
}
PLANNED = {
    "matryoshka",
    "matryoshka-2d",
    "dylora",
    "moduleformer",
    "emoe",
    "m2mkd",
    "configurable-foundation-models",
    "global-workspace",
    "multimodn",
    "cvlnm",
    "genome-modules",
    "g-ssnn",
    "cmim",
    "sie",
    "text2token",
    "pixel-sentence",
    "rich-representations",
    "stationary-compat",
    "align",
    "image-text-matching",
    "mmrl",
    "mmrl-plus-plus",
    "gill",
    "binary-paragraph-vector",
    "disambiguated-skipgram",
    "embedding-survey",
    "lirdrec",
    "pointer-networks",
    "codegen2",
    "emergent-semantics",
    "sentence-by-sentence",
    "erw",
    "sae-circuits",
    "feature-bias",
}


# ---- reading imports ---------------------------------------------------------------------------------------------


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every brickwork import of a file, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}: write it in full"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def modules(package: Path) -> dict[str, Path]:
    """Dotted name below the package -> file; folders by their own name."""
    names = {}
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if parts:
            names[".".join(parts)] = file
    return names


def graph(package: Path) -> dict[str, set[str]]:
    """Which module of the package imports which, wherever in the file the import stands."""
    known = modules(package)
    arrows: dict[str, set[str]] = {}
    for name, file in known.items():
        targets = set()
        for _, dotted in imported(ast.parse(file.read_text(encoding="utf-8"))):
            parts = dotted.split(".")
            if parts[0] == "brickwork":
                place = ".".join(parts[1:])
                targets.add(place if place in known else place.rpartition(".")[0])
        arrows[name] = (targets & set(known)) - {name}
    return arrows


# ---- rule 1: imports go down, and in no circle -----------------------------------------------------------------


def place(parts: tuple[str, ...]) -> str:
    """Where a file or module lives: its folder, or for systems the folder of the paper."""
    return "/".join(parts[:2]) if parts[0] == "systems" and len(parts) > 1 else parts[0]


def upward(file: Path, source: str) -> list[str]:
    """The imports of a file that go up, or from one system to another."""
    here = place(file.with_suffix("").parts)
    wrong = []
    for line, name in imported(ast.parse(source)):
        parts = tuple(name.split("."))[1:]
        if name.split(".")[0] != "brickwork" or not parts:
            continue
        there = place(parts)
        allowed = ALLOWED.get(here.split("/")[0], set()) | {here}
        if any(here == a and name.startswith(f"brickwork.{b}") for a, b in EXCEPTIONS):
            continue
        if there not in allowed and there.split("/")[0] not in allowed and not there.startswith("__"):
            wrong.append(f"{file}:{line}: {here} may not import {there} ({name})")
    return wrong


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules each of which imports, by whatever way, all others of its group (Tarjan 1972)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        for other in sorted(arrows[name]):
            if other not in number:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], number[other])
        if low[name] == number[name]:
            group = [stack.pop()]
            while group[-1] != name:
                group.append(stack.pop())
            if len(group) > 1:
                groups.append(sorted(group))

    for name in arrows:
        if name not in number:
            visit(name)
    return groups


def test_folders_import_only_what_stands_before_them():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE)
        if file != Path("__init__.py"):  # opens the interface, lazily
            wrong += upward(file, path.read_text(encoding="utf-8"))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("file", "source", "wrong"),
    [
        ("core/a.py", "from brickwork.data.types import Examples", True),
        ("modules/a.py", "from brickwork.encoders.blocks.mlp import Mlp", False),
        ("modules/a.py", "from brickwork.encoders.text import TextEncoder", True),
        ("systems/a/system.py", "def f():\n    from brickwork.systems.b.system import B", True),
        ("systems/a/system.py", "from brickwork.systems.a.recipes import small", False),
        ("systems/a/system.py", "from brickwork.studies.a.claims import main", True),
        ("evaluation/a.py", "import brickwork.index.index", True),
        ("training/a.py", "from brickwork.studies.bench import Workbench", True),
        ("studies/a.py", "from brickwork.systems.b.system import B", False),
        ("studies/a.py", "from brickwork.api.train import train", True),
        ("service/a.py", "from brickwork.studies.records import stale", True),
        ("cli/a.py", "from brickwork.studies.records import stale", False),
        ("data/a.py", "import numpy", False),
    ],
)
def test_the_import_rule_itself(file, source, wrong):
    assert bool(upward(Path(file), source)) == wrong


def test_no_circles_not_inside_a_folder_either():
    assert circles(graph(PACKAGE)) == []


def planted(folder: Path, files: dict[str, str]) -> Path:
    """A package folder with these files."""
    for name, source in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(source)
    return folder


def test_a_circle_is_seen(tmp_path):
    files = {
        "data/a.py": "from brickwork.data.b import f",
        "data/b.py": "def f():\n    from brickwork.data import c",
        "data/c.py": "import brickwork.data.a",
        "data/d.py": "from brickwork.data.a import f",
    }
    assert circles(graph(planted(tmp_path, files))) == [["data.a", "data.b", "data.c"]]


# ---- rule 2: what is shared has two clients ----------------------------------------------------------------------


def clients(package: Path) -> dict[str, set[str]]:
    """For each module of the shared rooms the systems that reach it, and ``house`` if the library itself does.

    A study counts as its system. The ways of the library do not lead through systems, studies or shared rooms that only
    they use.
    """
    arrows = graph(package)

    def reached(starts: Iterable[str]) -> set[str]:
        seen: set[str] = set()
        waiting = list(starts)
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += [n for n in arrows[name] if n.split(".")[0] not in ("systems", "studies")]
        return seen

    owners: dict[str, list[str]] = {}
    for name in arrows:
        parts = name.split(".")
        if parts[0] in ("systems", "studies") and len(parts) > 1:
            slug = parts[1].replace("_", "-")
            owner = slug if (package / "systems" / parts[1]).is_dir() else "house"
            owners.setdefault(owner, []).append(name)
        elif parts[0] not in SHARED:
            owners.setdefault("house", []).append(name)
    shared = {name for name in arrows if name.split(".")[0] in SHARED and name not in SHARED}
    users: dict[str, set[str]] = {name: set() for name in shared}
    for owner, starts in owners.items():
        for name in reached(starts) & shared:
            users[name].add(owner)
    return users


def lonely(package: Path, reserved: dict[str, tuple[str, ...]]) -> list[str]:
    """Modules of shared rooms that neither the library nor two systems use, and that nobody comes for."""
    wrong = []
    for name, users in sorted(clients(package).items()):
        if (
            (package / Path(*name.split("."))).is_dir()
            or "house" in users
            or len(users) >= 2
            or name in reserved
        ):
            continue
        wrong.append(
            f"{name} serves {', '.join(users) or 'nobody'} alone: it belongs there, or into RESERVED"
        )
    return wrong


def test_shared_modules_have_two_clients_or_are_reserved():
    assert not lonely(PACKAGE, RESERVED), "\n".join(lonely(PACKAGE, RESERVED))


def test_reservations_are_for_systems_that_come_and_are_used_by_those_that_came():
    users, built = clients(PACKAGE), set(registry.slugs())
    for name, slugs in RESERVED.items():
        assert name in users, f"{name} is reserved and does not exist"
        assert set(slugs) <= PLANNED, f"{name}: {set(slugs) - PLANNED} are no systems of the design"
        assert len(slugs) >= 2, f"{name}: one system is no reason to share"
        idle = (set(slugs) & built) - users[name]
        assert not idle, f"{name}: {', '.join(idle)} stands and does not use it"


def test_a_lonely_part_is_seen(tmp_path):
    files = {
        "systems/a/system.py": "from brickwork.modules.one import f\nfrom brickwork.modules.two import f",
        "systems/b/system.py": "from brickwork.modules.two import f",
        "api/train.py": "from brickwork.data.load import f",
        "modules/one.py": "from brickwork.modules.behind import f",
        "modules/behind.py": "",
        "modules/two.py": "",
        "data/load.py": "",
    }
    wrong = lonely(planted(tmp_path, files), {})
    assert [line.split()[0] for line in wrong] == ["modules.behind", "modules.one"]
    assert lonely(tmp_path, {"modules.one": ("a", "c"), "modules.behind": ("a", "c")}) == []


# ---- rule 3: general rooms know no paper -------------------------------------------------------------------------

# Words of single papers, which have no place outside of systems and studies: names, and texts that users read.
PAPERS = ("smiles", "molecule", "dylora", "moduleformer", "multimodn", "cmim", "stationary", "missingness")
GENERAL = HOUSE - {"modules", "objectives"} | {"api", "cli", "service"}
CATALOGUE = {
    Path("data/sets/sources.py"),  # says what the public sets hold, molecules among them
    Path("data/readers/columns.py"),  # what columns of other people are called
}


def knowledge(file: Path, source: str) -> list[str]:
    """Names and strings of a general file that speak of one paper; docstrings may."""
    tree = ast.parse(source)
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    wrong = []
    for node in ast.walk(tree):
        text = ""
        if isinstance(node, ast.Name | ast.FunctionDef | ast.ClassDef | ast.arg | ast.Attribute | ast.alias):
            text = getattr(node, "id", "") or getattr(node, "name", "") or getattr(node, "arg", "")
            text = text or getattr(node, "attr", "")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            text = node.value
        for word in PAPERS:
            if word in text.lower():
                wrong.append(f"{file}:{getattr(node, 'lineno', 0)}: speaks of {word}")
    return wrong


def test_general_rooms_know_no_paper():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE)
        if file.parts[0] in GENERAL and file not in CATALOGUE:
            wrong += knowledge(file, path.read_text(encoding="utf-8"))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("def check_smiles(texts): ...", True),
        ("hint = 'train dylora'", True),
        ('"""As dylora needs it."""', False),
        ("def check(texts): ...", False),
    ],
)
def test_the_rule_on_papers_itself(source, wrong):
    assert bool(knowledge(Path("data/a.py"), source)) == wrong


# ---- rule 5: a system reads like its paper ------------------------------------------------------------------------


@pytest.mark.parametrize("slug", registry.slugs())
def test_the_system_holds_its_loss_and_the_equations_of_its_docstring(slug):
    source = (PACKAGE / "systems" / slug.replace("-", "_") / "system.py").read_text(encoding="utf-8")
    assert not missing_mathematics(source), missing_mathematics(source)


def missing_mathematics(source: str) -> list[str]:
    """A loss (or a fit), and each equation number of the file's docstring again beside the code that it is."""
    import re

    tree = ast.parse(source)
    head = ast.get_docstring(tree) or ""
    methods = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    wrong = [] if methods & {"loss", "loss_from", "fit"} else ["there is neither loss nor loss_from nor fit"]
    body = source.replace(head, "", 1)
    for number in sorted(set(re.findall(r"\beqs?\. (\d+\w?)", head))):
        if not re.search(rf"\beqs?\. [^)\n]*\b{number}\b", body):
            wrong.append(f"eq. {number} stands in the docstring and not beside the code")
    return wrong


def test_missing_mathematics_is_seen():
    good = '"""A paper.\n\nh = Wx (eq. 7)\n"""\nclass System:\n    def loss(self, batch):\n        """W x (eq. 7)."""\n'
    assert missing_mathematics(good) == []
    assert missing_mathematics(good.replace("W x (eq. 7)", "W x"))
    assert missing_mathematics(good.replace("def loss", "def lose"))


# ---- rule 6: looking is light ------------------------------------------------------------------------------------

LIGHT = """
import sys
{code}
heavy = sorted({{"torch", "transformers", "lightning", "sklearn", "faiss", "pandas", "numpy"}} & set(sys.modules))
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "code",
    [
        "import brickwork",
        "from brickwork.core import registry; [registry.card(slug) for slug in registry.slugs()]",
        "from brickwork.cli.main import main; sys.argv = ['brickwork', '--help']\n"
        "try:\n    main()\nexcept SystemExit as leaving:\n    assert leaving.code in (0, None)",
    ],
    ids=["import", "cards", "help"],
)
def test_looking_is_light(code):
    done = subprocess.run([sys.executable, "-c", LIGHT.format(code=code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_weight_is_noticed():
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(code="import brickwork.core.types")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "torch" in done.stderr
