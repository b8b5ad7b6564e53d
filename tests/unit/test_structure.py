"""The rules of the house, read off the source: who imports whom, who shares what, what may not be loaded just by looking.

Each rule is a function of a package folder that returns its violations; each is tried on planted ones.
"""

import ast
import re
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
# Of the package itself, whose other names open the interface to users.
FREE = {"__version__", "__file__"}
# Who finds modules by names that are put together while it runs; all others write them out.
BY_NAME = {"core/registry.py", "core/flow.py", "studies/records.py"}

# Rule 2. Modules of shared rooms that have one client so far, and the systems that come for them.
SHARED = HOUSE
RESERVED = {
    "data.generators.scenes": ("align", "image-text-matching", "genome-modules"),
    "data.image_text": ("align", "image-text-matching", "cvlnm", "gill"),
    "data.sets.language": ("moduleformer", "codegen2", "emergent-semantics"),
    "data.sets.sentence_tasks": ("dylora", "pixel-sentence"),
    "data.vocabulary": (
        "binary-paragraph-vector",
        "disambiguated-skipgram",
        "embedding-survey",
        "text2token",
    ),
    "data.windows": ("disambiguated-skipgram", "embedding-survey", "text2token"),
    "encoders.blocks.causal": ("moduleformer", "codegen2", "gill"),
    "encoders.blocks.stick_breaking": ("moduleformer", "codegen2"),
    "encoders.causal_lm": ("dylora", "gill", "text2token"),
    "encoders.tabular": ("multimodn", "lirdrec"),
    "evaluation.classification": ("multimodn", "mmrl"),
    "evaluation.clustering": ("disambiguated-skipgram", "text2token"),
    "evaluation.codes": ("cmim", "rich-representations"),
    "evaluation.frechet": ("erw", "gill"),
    "evaluation.representation_similarity": ("rich-representations", "erw", "gill"),
    "evaluation.ties": ("binary-paragraph-vector", "embedding-survey"),
    "evaluation.usage": ("moduleformer", "emoe"),
    "modules.sampled_softmax": ("disambiguated-skipgram", "embedding-survey"),
    "modules.adapters": ("dylora", "emoe"),
    "modules.low_rank": ("dylora", "emoe"),
    "modules.brick_checks": ("configurable-foundation-models", "pixel-sentence"),
    "modules.bricks": ("configurable-foundation-models", "pixel-sentence"),
    "modules.merging": ("configurable-foundation-models", "pixel-sentence", "rich-representations"),
    "modules.mounting": ("configurable-foundation-models", "pixel-sentence"),
    "modules.decoders": ("moduleformer", "codegen2", "emergent-semantics"),
    "modules.flow": ("erw", "gill"),
    "modules.ffn_split": ("emoe", "configurable-foundation-models"),
    "modules.latent": ("cmim", "cvlnm", "pointer-networks"),
    "modules.sequence_decoder": ("cmim", "cvlnm", "pointer-networks"),
    "objectives.self_supervised": ("sie", "rich-representations", "erw"),
    "representation.subwords": ("embedding-survey", "emergent-semantics"),
    "representation.vectors": ("disambiguated-skipgram", "embedding-survey", "emergent-semantics"),
    # Writes any classifier on a pretrained encoder, as systems have it as their export (core.types.ExportsDense).
    "representation.export_classifier": ("emoe", "mmrl"),
    # Writes the adapters of modules.adapters, whose systems have it as their export (core.types.ExportsAdapters).
    "representation.export_peft": ("dylora", "pixel-sentence"),
}
# Modules that only users import, and the page that tells them to.
FOR_USERS = {"representation.mteb_adapter": "docs/how-to/interoperate.md"}
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

COMPUTED = "a computed name"
SLUG = "a computed slug"


def bound(tree: ast.AST) -> dict[str, str]:
    """Name in a file -> what an import made it: ``registry`` -> ``brickwork.core.registry``."""
    names = {"__import__": "__import__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            whole = {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0]
                for a in node.names
            }
            names.update(whole)
        elif isinstance(node, ast.ImportFrom):
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names


def in_full(node: ast.AST, names: dict[str, str]) -> str:
    """The whole name of ``a.b`` where ``names`` has ``a``; nothing for anything else."""
    if isinstance(node, ast.Attribute):
        before = in_full(node.value, names)
        return f"{before}.{node.attr}" if before else ""
    return names.get(node.id, "") if isinstance(node, ast.Name) else ""


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import of a file, inside functions too, and of what ``brickwork.…`` opens after ``import
    brickwork``."""
    roots = {name: whole for name, whole in bound(tree).items() if whole == "brickwork"}
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name != "brickwork":
                    yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}: write it in full"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Name | ast.Attribute) and id(node) not in inner and in_full(node, roots):
            yield node.lineno, in_full(node, roots)


def named(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of the modules that a file has in strings, to import them by a call."""
    names = bound(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            match = re.fullmatch(r"(brickwork\.(\w+)(\.\w+)*)\.?", node.value)
            if match and match[2] in ALLOWED:
                yield node.lineno, match[1]
        elif isinstance(node, ast.Call):
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            value = getattr(given[0], "value", None) if given else None
            function = in_full(node.func, names)
            if function in ("brickwork.core.registry.load", "brickwork.core.registry.card"):
                slug = value.replace("-", "_") if isinstance(value, str) else ""
                yield node.lineno, f"brickwork.systems.{slug}" if slug else SLUG
            elif function.endswith(("import_module", "__import__")) and not isinstance(value, str):
                yield node.lineno, COMPUTED


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
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for _, dotted in [*imported(tree), *named(tree)]:
            package_name, _, place = dotted.partition(".")
            while place and place not in known:
                place = place.rpartition(".")[0]
            if package_name == "brickwork":
                targets.add(place)
        arrows[name] = (targets & set(known)) - {name}
    return arrows


# ---- rule 1: imports go down, and in no circle -----------------------------------------------------------------


def place(parts: tuple[str, ...]) -> str:
    """Where a file or module lives: its folder, or for systems the folder of the paper."""
    return "/".join(parts[:2]) if parts[0] == "systems" and len(parts) > 1 else parts[0]


def upward(file: Path, source: str) -> list[str]:
    """The imports of a file that go up, to another system, through the interface for users, or by a computed name."""
    here, tree = place(file.with_suffix("").parts), ast.parse(source)
    allowed = ALLOWED.get(here.split("/")[0], set()) | {here}
    wrong = []
    for line, name in [*imported(tree), *([] if file.as_posix() in BY_NAME else named(tree))]:
        if name == COMPUTED or (name == SLUG and here.startswith("systems")):
            wrong.append(f"{file}:{line}: {here} may not import {name}: write the module's name out")
        parts = tuple(name.split("."))
        if parts[0] != "brickwork" or any(
            here == a and f"{name}.".startswith(f"brickwork.{b}.") for a, b in EXCEPTIONS
        ):
            continue
        there = place(parts[1:]) if parts[1:] else "the whole package"
        if there not in allowed | FREE and there.split("/")[0] not in allowed:
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
        ("core/a.py", "import brickwork.__main__", True),
        ("modules/a.py", "from brickwork.encoders.blocks_of_another import f", True),
        ("systems/a/system.py", "import brickwork\nbrickwork.train(run)", True),
        ("systems/a/system.py", "import brickwork as b\nb.systems.b.system.System()", True),
        ("systems/a/system.py", "import brickwork.core.files\nbrickwork.load('x')", True),
        ("core/a.py", "import brickwork\ngetattr(brickwork, 'load')", True),
        ("core/a.py", "import brickwork\nbrickwork.__getattr__('load')", True),
        ("service/a.py", "import brickwork\nbrickwork.__version__", False),
        (
            "systems/a/system.py",
            "import importlib\nimportlib.import_module('brickwork.systems.b.system')",
            True,
        ),
        (
            "systems/a/system.py",
            "from importlib import import_module\nimport_module(name='brickwork.api')",
            True,
        ),
        ("systems/a/system.py", "import importlib\nimportlib.import_module(f'brickwork.systems.{b}')", True),
        ("systems/a/system.py", "import importlib\nimportlib.import_module('.'.join(parts))", True),
        (
            "systems/a/system.py",
            "import importlib\nimportlib.import_module('brickwork.systems.a.more')",
            False,
        ),
        ("systems/a/system.py", "import importlib\nimportlib.import_module('peft')", False),
        ("core/a.py", "__import__('brickwork.api.train')", True),
        ("core/a.py", "__import__(name)", True),
        ("core/registry.py", "import importlib\nimportlib.import_module(f'brickwork.systems.{slug}')", False),
        ("core/registry.py", "from brickwork.systems.b.system import B", True),
        ("core/a.py", "import sys\nsys.modules['brickwork.api.train']", True),
        ("systems/a/system.py", "from brickwork.core import registry\nregistry.load('b', 'system')", True),
        ("systems/a/system.py", "from brickwork.core.registry import load\nload(slug, 'system')", True),
        ("systems/a/system.py", "from brickwork.core import registry\nregistry.card('b-c')", True),
        ("systems/a/system.py", "from brickwork.core import registry\nregistry.load('a', 'recipes')", False),
        ("training/a.py", "from brickwork.core import registry\nregistry.load('b', 'system')", True),
        ("training/a.py", "from brickwork.core import registry\nregistry.load(slug, 'system')", False),
        ("studies/a.py", "from brickwork.core import registry\nregistry.load('b', 'system')", False),
    ],
)
def test_the_import_rule_itself(file, source, wrong):
    assert bool(upward(Path(file), source)) == wrong


def with_packages(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """The arrows, and those to the packages around what is imported, whose ``__init__`` runs first.

    Not to packages that the importing module is in itself: they have begun before it, and nobody waits for their end.
    """

    def around(name: str) -> set[str]:
        parts = name.split(".")
        return {".".join(parts[:n]) for n in range(1, len(parts))}

    return {
        name: targets | ({p for t in targets for p in around(t)} & set(arrows)) - around(name) - {name}
        for name, targets in arrows.items()
    }


def test_no_circles_not_inside_a_folder_either():
    assert circles(with_packages(graph(PACKAGE))) == []


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


def test_a_circle_through_the_init_of_a_package_is_seen(tmp_path):
    """``import data.x`` runs ``data.readers`` before ``data.readers.b``, so ``data.readers.a`` asks a half of ``data.x``."""
    files = {
        "data/__init__.py": "",
        "data/readers/__init__.py": "from brickwork.data.readers.a import f",
        "data/readers/a.py": "from brickwork.data.readers.b import f\nfrom brickwork.data.x import f",
        "data/readers/b.py": "",
        "data/x.py": "from brickwork.data.readers.b import f",
    }
    round_trip = ["data.readers", "data.readers.a", "data.x"]
    assert circles(with_packages(graph(planted(tmp_path, files)))) == [round_trip]


def test_modules_that_their_own_package_opens_are_no_circle(tmp_path):
    files = {
        "data/__init__.py": "",
        "data/readers/__init__.py": "from brickwork.data.readers.a import f",
        "data/readers/a.py": "from brickwork.data.readers.b import f\nfrom brickwork.data.y import f",
        "data/readers/b.py": "",
        "data/x.py": "from brickwork.data.readers.b import f",
        "data/y.py": "",
    }
    assert circles(with_packages(graph(planted(tmp_path, files)))) == []


# ---- rule 2: what is shared has two clients ----------------------------------------------------------------------


def clients(package: Path) -> dict[str, set[str]]:
    """For each module of the shared rooms the systems that reach it, and ``house`` if the library itself does.

    A study counts as its system. The ways of the library do not lead through systems and studies; those of all may lead
    through the frame of the studies and through shared rooms.
    """
    arrows = graph(package)
    owners: dict[str, list[str]] = {}
    for name in arrows:
        room, folder, *_ = [*name.split("."), ""]
        if room not in ("systems", "studies"):
            owners.setdefault("house", []).extend([name] if room not in SHARED else [])
        elif folder and (package / "systems" / folder).is_dir():
            owners.setdefault(folder.replace("_", "-"), []).append(name)
    owned = {name for owner, names in owners.items() if owner != "house" for name in names}

    def reached(starts: Iterable[str]) -> set[str]:
        seen: set[str] = set()
        waiting = list(starts)
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += arrows[name] - owned
        return seen

    files = modules(package)
    shared = {name for name in arrows if name.split(".")[0] in SHARED and holds_code(files[name])}
    users: dict[str, set[str]] = {name: set() for name in shared}
    for owner, starts in owners.items():
        for name in reached(starts) & shared:
            users[name].add(owner)
    return users


def holds_code(file: Path) -> bool:
    """Whether it is more than a docstring, as most ``__init__`` are not."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return file.name != "__init__.py" or any(not isinstance(statement, ast.Expr) for statement in body)


def lonely(package: Path, reserved: dict[str, tuple[str, ...]]) -> list[str]:
    """Modules of shared rooms that neither the library nor two systems nor users import, and that nobody comes for."""
    wrong = []
    for name, users in sorted(clients(package).items()):
        if "house" in users or len(users) >= 2 or name in reserved or name in FOR_USERS:
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


def test_what_only_users_import_is_on_its_page():
    for name, page in FOR_USERS.items():
        assert name in clients(PACKAGE), f"{name} does not exist"
        assert f"brickwork.{name}" in (PACKAGE.parents[1] / page).read_text(encoding="utf-8"), (
            f"{page}: no {name}"
        )


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


@pytest.mark.parametrize(
    "part", ["modules/one/__init__.py", "modules/__init__.py", "training/one.py", "core/one.py"]
)
def test_a_lonely_part_is_seen_in_every_room_and_as_a_package(tmp_path, part):
    name = part.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    files = {
        part: "from brickwork.modules.behind import f",
        "modules/behind.py": "",
        "systems/a/system.py": f"from brickwork.{name} import f",
        "systems/b/system.py": "",
        "api/train.py": "",
    }
    wrong = lonely(planted(tmp_path, files), {})
    assert [line.split(" serves")[0] for line in wrong] == sorted({name, "modules.behind"})
    assert all(" serves a alone" in line for line in wrong)


@pytest.mark.parametrize(
    "client", ["systems/__init__.py", "systems/helpers.py", "studies/helpers.py", "studies/gone.py"]
)
def test_what_belongs_to_no_system_is_no_client(tmp_path, client):
    """Nor is it the library, unless the library uses it, as it does the frame of the studies."""
    files = {"modules/one.py": "", client: "from brickwork.modules.one import f", "systems/a/system.py": ""}
    assert lonely(planted(tmp_path, files), {}) == [
        "modules.one serves nobody alone: it belongs there, or into RESERVED"
    ]
    frame = {"cli/claims.py": "from brickwork.studies import helpers", "studies/helpers.py": files[client]}
    assert lonely(planted(tmp_path, frame), {}) == []


# ---- rule 3: general rooms know no paper -------------------------------------------------------------------------

# Words of single papers, which have no place outside of systems and studies: in names, texts that users read, file names.
PAPERS = (
    "recolour",  # align
    "caption filter",
    "cmim",
    "smiles",
    "molecule",
    "solubility",
    "isomeric",
    "dylora",
    "global workspace",
    "simple shapes",
    "mrl",  # matryoshka
    "2dmse",  # matryoshka-2d
    "starbucks",
    "moduleformer",
    "multimodn",
    "missingness",
    "mnar",
    "stationary",  # stationary-compat
    "rehears",
)
# Slugs are such words too, but for a word of English and the examples of the command line.
ORDINARY = {"align", "matryoshka", "matryoshka-2d"}
SPEAKS = re.compile(
    "|".join(
        [re.escape(word).replace("\\ ", "[ _-]?") for word in PAPERS]
        + [
            rf"(?<![a-z]){slug.replace('-', '[ _-]?')}(?![a-z])"
            for slug in sorted((PLANNED | set(registry.slugs())) - ORDINARY)
        ]
    )
)
CATALOGUE = {
    Path("data/sets/sources.py"),  # says what the public sets hold, molecules among them
    Path("data/readers/columns.py"),  # what columns of other people are called
}


def words_of(node: ast.AST) -> Iterator[str]:
    """The names and texts that stand in one node of a syntax tree, whatever its kind."""
    for _, value in ast.iter_fields(node):
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str | bytes):
                yield text if isinstance(text, str) else text.decode(errors="replace")


def spoken(file: Path, line: int, text: str) -> list[str]:
    """The words of papers in a text, one word of which may be written like ThisOne."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
    return [f"{file}:{line}: speaks of {word}" for word in SPEAKS.findall(f"{text}\n{apart}".lower())]


def knowledge(file: Path, source: str) -> list[str]:
    """Names and texts of a general file that speak of one paper, its own name among them; docstrings may."""
    wrong = spoken(file, 0, file.as_posix())
    if file.suffix != ".py":
        return wrong + [w for n, line in enumerate(source.splitlines(), 1) for w in spoken(file, n, line)]
    tree = ast.parse(source)
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if id(node) not in prose:
            for text in words_of(node):
                wrong += spoken(file, getattr(node, "lineno", 0), text)
    return wrong


def general(file: Path) -> bool:
    """Whether a file belongs to no paper: it is in no system, and in no study of one."""
    slugs = {slug.replace("-", "_") for slug in registry.slugs()}
    return file.parts[0] != "systems" and not (
        file.parts[0] == "studies" and file.with_suffix("").parts[1] in slugs
    )


def test_general_rooms_know_no_paper():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.*")):
        file = path.relative_to(PACKAGE)
        if path.is_file() and path.suffix != ".pyc" and general(file) and file not in CATALOGUE:
            wrong += knowledge(file, path.read_text(encoding="utf-8"))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("def check_smiles(texts): ...", True),
        ("hint = 'train dylora'", True),
        ('"""As dylora needs it."""', False),
        ("def check(texts): ...", False),
        ("dict(smiles=1)", True),
        ("async def check_smiles(texts): ...", True),
        ("import a as smiles", True),
        ("from a.smiles import f", True),
        ("def f(*, smiles): ...", True),
        ("def f():\n    global smiles", True),
        ("try: ...\nexcept ValueError as smiles: ...", True),
        ("match x:\n    case {'a': smiles, **more}: ...", True),
        ("match x:\n    case {**smiles}: ...", True),
        ("f'{x} smiles'", True),
        ("x = b'smiles'", True),
        ("class CaptionFilter: ...", True),
        ("caption_filter = 1", True),
        ("hint = 'words of the G-SSNN'", True),
        ("class GillDecoder: ...", True),
        ("def mmrl_plus_plus(): ...", True),
        ("transient = easier = 'flowerwall'", False),  # sie, erw
        ("def align_items(): ...", False),
        ("hint = 'brickwork train matryoshka-2d'", False),
    ],
)
def test_the_rule_on_papers_itself(source, wrong):
    assert bool(knowledge(Path("data/a.py"), source)) == wrong


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("data/smiles.py", ""),
        ("training/dylora/a.py", ""),
        ("service/page/page.js", "const a = 1;\nlet smiles = 2;"),
        ("inspection/templates/page.html.j2", "<p>A molecule</p>"),
    ],
)
def test_names_of_files_and_pages_know_no_paper_either(file, source):
    assert general(Path(file))
    assert knowledge(Path(file), source)


@pytest.mark.parametrize(
    ("file", "whether"),
    [
        ("studies/study.py", True),
        ("modules/a.py", True),
        ("__init__.py", True),
        ("studies/dylora.py", False),
        ("studies/cmim/claims.py", False),
        ("systems/cmim/smiles.py", False),
    ],
)
def test_which_files_are_general(file, whether):
    assert general(Path(file)) == whether


# ---- rule 5: a system reads like its paper ------------------------------------------------------------------------


@pytest.mark.parametrize("slug", registry.slugs())
def test_the_system_holds_its_loss_and_the_equations_of_its_docstring(slug):
    source = (PACKAGE / "systems" / slug.replace("-", "_") / "system.py").read_text(encoding="utf-8")
    assert not missing_mathematics(source), missing_mathematics(source)


ONE = r"\(?\d+[a-z]?\b\)?"
EQUATIONS = re.compile(rf"\b(?:eqn?\.?|equation)\s*{ONE}(?:\s*(?:and|to|-|–)\s*{ONE})*", re.IGNORECASE)
MANY = re.compile(rf"\b(?:eqn?s\.?|equations)\s*{ONE}(?:\s*(?:,\s*and|,|and|to|-|–)\s*{ONE})*", re.IGNORECASE)


def equations(text: str) -> set[str]:
    """The numbers of the equations that a text names: ``eq. 5``, ``Eq. (9)``, ``eqs. 1, 2 and 4-6``, ``equation 3``."""
    numbers = set()
    for mention in [*EQUATIONS.findall(text), *MANY.findall(text)]:
        numbers |= set(re.findall(r"\d+[a-z]?", mention))
        for first, last in re.findall(r"(\d+)\)?\s*(?:to|-|–)\s*\(?(\d+)", mention):
            numbers |= {str(number) for number in range(int(first), int(last))}
    return numbers


def missing_mathematics(source: str) -> list[str]:
    """A loss (or a fit), and each equation number of the file's docstring again beside the code that it is."""
    tree = ast.parse(source)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    methods = {node.name for cls in classes for node in cls.body if isinstance(node, ast.FunctionDef)}
    wrong = [] if methods & {"loss", "loss_from", "fit"} else ["there is neither loss nor loss_from nor fit"]
    head = ast.get_docstring(tree) or ""
    below = source.splitlines()[tree.body[0].end_lineno or 0 :] if head else source.splitlines()
    return wrong + [
        f"eq. {number} stands in the docstring and not beside the code"
        for number in sorted(equations(head) - equations("\n".join(below)))
    ]


def test_missing_mathematics_is_seen():
    good = '"""A paper.\n\nh = Wx (eq. 7)\n"""\nclass System:\n    def loss(self, batch):\n        """W x (eq. 7)."""\n'
    assert missing_mathematics(good) == []
    assert missing_mathematics(good.replace("W x (eq. 7)", "W x"))
    assert missing_mathematics(good.replace("def loss", "def lose"))
    assert missing_mathematics(good.replace("class System:\n    def", "def f():\n    def"))
    indented = good.replace("\nh = Wx (eq. 7)\n", "\n    h = Wx (eq. 7)\n\n    x\n").replace("(eq. 7).", "")
    assert missing_mathematics(indented) == ["eq. 7 stands in the docstring and not beside the code"]
    escaped = good.replace("h = Wx", r"\\alpha = Wx").replace("(eq. 7).", "")
    assert missing_mathematics(escaped) == ["eq. 7 stands in the docstring and not beside the code"]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("h (eq. 5)", "5"),
        ("Eq. 5", "5"),
        ("Eq.5 and eq 6", "5 6"),
        ("eq. (9), 12 layers", "9"),
        ("eq. 9, 12 layers", "9"),
        ("eqs. 1, 2", "1 2"),
        ("eqs 1, 2", "1 2"),
        ("Eqs. (1), (2), and (4)", "1 2 4"),
        ("eqs. 6-8; eqs. 10–11", "6 7 8 10 11"),
        ("eq. 1 to 4 of the system", "1 2 3 4"),
        ("eq. 1 and section 3", "1"),
        ("equation 3", "3"),
        ("Equations\n(3a) and 4", "3a 4"),
        ("Eqn. 2, eqns. 3, 4", "2 3 4"),
        ("sequence 3, seq. 4, the equations are ours", ""),
        ("eq. 2 of 3 terms", "2"),
    ],
)
def test_the_numbers_of_equations_are_read_in_all_their_forms(text, numbers):
    assert equations(text) == set(numbers.split())


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


def test_protocols_ask_modules_for_no_parts():
    """Python 3.12 and newer look members of a protocol up without ``__getattr__``, where a module keeps its parts."""
    plain = re.compile(r"(str|int|float|bool|Literal|ClassVar|tuple|dict|Mapping|Path)\b")
    wrong = [
        f"{path.relative_to(PACKAGE)}: {node.name}.{ast.unparse(member.target)}"
        for room in ("core", "encoders", "modules", "objectives", "systems", "training")
        for path in sorted((PACKAGE / room).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Protocol" for base in node.bases)
        for member in node.body
        if isinstance(member, ast.AnnAssign) and not plain.match(ast.unparse(member.annotation))
    ]
    assert wrong == []
