"""The documentation: it builds as a site without a warning, and what its pages claim is held against the sources."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from capabilities import lack, need
from typer.main import get_command

from optkit.cli.app import app
from optkit.pruning import config
from optkit.recipe import load_recipe

ROOT = Path(__file__).parents[1]


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_the_site_builds_without_a_warning(tmp_path):
    done = build(ROOT, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "recipes" / "quickstart.yaml").is_file()
    assert 'href="recipe/"' in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")


def test_links_and_anchors_that_lead_nowhere_and_pages_outside_the_navigation_are_errors(tmp_path):
    for name in ("docs", "examples", "model_cards", "recipes"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "scripts").mkdir()
    for path in [*ROOT.glob("*.md"), ROOT / "mkdocs.yml", ROOT / "scripts" / "docs_site.py"]:
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    (tmp_path / "docs" / "stray.md").write_text(
        "[a](../recipes/none.yaml) [b](recipe.md#none) [c](none/) ![d](none.svg)\n"
    )

    done = build(tmp_path, tmp_path / "site")

    assert done.returncode == 1
    for complaint in ("stray.md", "'recipes/none.yaml'", "'recipe.md#none'", "'none/'", "'none.svg'"):
        assert complaint in done.stderr
    assert done.stderr.count("WARNING") == 5


#: How a variable of the environment is read: in Python, C++, shell and pyproject.toml.
READ = re.compile(
    r"""environ(?:\.get|\.pop|\.setdefault)?[\[(]\s*["']([A-Z][A-Z0-9_]+)["']"""
    r"""|["']([A-Z][A-Z0-9_]+)["']\s+(?:not\s+)?in\s+os\.environ"""
    r"""|getenv\("([A-Z][A-Z0-9_]+)"\)"""
    r"""|\$\{([A-Z][A-Z0-9_]+):-"""
    r"""|\bif\.env\.([A-Z][A-Z0-9_]+)"""
    r"""|["'](OPTKIT_[A-Z0-9_]+)["']"""
)


def variables_read(*places: str) -> set[str]:
    """Names of environment variables in the sources, of files and folders of the repository."""
    files = [
        file for place in places for file in ([ROOT / place] if (ROOT / place).is_file() else (ROOT / place).rglob("*"))
    ]
    texts = [
        file.read_text(encoding="utf-8")
        for file in files
        if file.suffix in ("", ".py", ".cpp", ".h", ".toml") and file.is_file()
    ]
    return {name for text in texts for found in READ.findall(text) for name in found if name}


def test_the_page_of_environment_variables_is_complete():
    page = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", row)}
    package = variables_read("optkit", "pyproject.toml")
    read = {name for name in variables_read("scripts", ".ci", "tests") if name.startswith("OPTKIT_")}
    # Settings of `optkit serve` are on its own page, which tests/serving/test_settings.py holds to be complete.
    own = {name for name in read if not name.startswith("OPTKIT_SERVE_")}

    assert package | own <= listed, "missing in docs/environment.md"
    assert {name for name in listed if name.startswith("OPTKIT_")} <= package | own, "no longer read by anything"


def test_the_readme_fits_a_hundred_lines_and_its_recipe_is_valid(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 100
    (recipe,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "recipe.yaml").write_text(recipe, encoding="utf-8")
    assert load_recipe(tmp_path / "recipe.yaml").model.name == "bert-base-uncased"


def test_every_command_is_on_its_page():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `optkit (\w+)", page, re.MULTILINE)) == set(get_command(app).commands)


def code_of(page: str) -> dict[str, str]:
    """The blocks of code on a page of docs/ that name their file, by that."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return dict(re.findall(r'^```\w+ title="(.*?)"\n(.*?)^```$', text, re.MULTILINE | re.DOTALL))


def section_of(page: str, title: str) -> str:
    """The text below a heading of a page of docs/, with its lines joined."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def inline_code(text: str, before: str) -> str:
    """The code in backticks that follows ``before`` in a text, on one line."""
    found = re.findall(rf"{re.escape(before)}[^:]*:\s+`(.*?)`", text, re.DOTALL)
    assert len(found) == 1, f"the extending page has no code after '{before}'"
    return re.sub(r"\s*\n\s*", " ", found[0])


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Path:
    """A copy of the sources to which everything on the extending page was added, as the page says."""
    root = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "optkit", root / "optkit", ignore=shutil.ignore_patterns("csrc", "lib", "__pycache__"))
    (root / SUITE).parent.mkdir(parents=True)
    for name in (SUITE, *(f"tests/{name}" for name in BESIDE_IT)):
        shutil.copy(ROOT / name, root / name)
    blocks = {name: code for name, code in code_of("extending.md").items() if name.endswith(".py")}
    for name in blocks.keys() - {CRITERIA, STRUCTURES}:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(blocks[name], encoding="utf-8")
        (root / name).with_name("__init__.py").touch()

    def edit(name: str, old: str, new: str) -> None:
        text = (root / name).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"the extending page says to change '{old}' in {name}"
        (root / name).write_text(text.replace(old, new), encoding="utf-8")

    def begin(name: str, function: str, line: str) -> None:
        """Makes ``line`` the first of a function, behind its docstring."""
        lines = (root / name).read_text(encoding="utf-8").splitlines()
        tree = ast.parse("\n".join(lines))
        (found,) = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == function)
        first = found.body[1 if ast.get_docstring(found) else 0]
        lines.insert(first.lineno - 1, " " * first.col_offset + line)
        (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")

    edit(CRITERIA, "\nCriterion = (\n", f"\n{blocks[CRITERIA]}\nCriterion = (\n    Lamp |")
    edit(STRUCTURES, "\ndef grid_of(", f"\n{blocks[STRUCTURES]}\n\ndef grid_of(")
    page = section_of("extending.md", "A structure")
    for name, function in ((KINDS, "parse"), (KINDS, "__str__"), (KINDS, "nests_in"), (STRUCTURES, "grid_of")):
        begin(name, function, inline_code(page, f"- in `{function}`"))
    assert '- add `"strided"` to the `Literal` of `kind`;' in page
    edit(KINDS, '"head", "neuron"] = "block"', '"head", "neuron", "strided"] = "block"')
    edit(KINDS, "STRUCTURES = {\n", f"STRUCTURES = {{\n    {inline_code(page, 'a line in `STRUCTURES`')}\n")
    assert 'add\n  `"strided:4"` to `STRUCTURES`' in page
    edit(SUITE, '"neuron:4"]', '"neuron:4", "strided:4"]')
    branch = inline_code(page, "and to `sites`").replace(": site,", ":\n            site,")
    edit(SUITE, "        else:\n            whole =", f"        {branch}\n        else:\n            whole =")
    edit(ORDER, '"tvm", "evaluate",', '"tvm", "digest", "evaluate",')
    edit(TASKS, "        TEXT_CLASSIFICATION,\n", "        TEXT_CLASSIFICATION,\n        PARAPHRASE_DETECTION,\n")
    spec = "from optkit.tasks.paraphrase_detection.spec import PARAPHRASE_DETECTION"
    edit(TASKS, "\nfrom optkit.tasks.spec import", f"\n{spec}\nfrom optkit.tasks.spec import")
    return root


def run_extended(root: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with the package in ``root``, whose name is ROOT there."""
    # An editable installation finds its own files before those on PYTHONPATH.
    first = "import sys; sys.meta_path[:] = [one for one in sys.meta_path if '_editable' not in type(one).__module__]"
    return subprocess.run(
        [sys.executable, "-c", f"{first}\nROOT = {str(root)!r}\n{code}"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )


CRITERIA, STRUCTURES = "optkit/pruning/config/criteria.py", "optkit/pruning/structures.py"
#: Modules that the suite imports.
BESIDE_IT = ("architectures.py", "optimizer_steps.py", "pruning/conftest.py")
KINDS, SUITE = "optkit/pruning/config/structure.py", "tests/pruning/test_every_combination.py"
ORDER, TASKS = "optkit/pipeline/order.py", "optkit/tasks/__init__.py"
USES = """
import torch
from optkit.pipeline.order import load_stages
from torch import nn
from optkit.adapters import optimum
from optkit.pruning.config import CRITERIA, Rule, Schedule, Structure
from optkit.pruning.criteria import build
from optkit.pruning.pruner import Pruner
from optkit.pruning.structures import grid_of
from optkit.registry import names
from optkit.recipe import load_recipe
from optkit.tasks import get_task
import optkit.pruning
assert optkit.__file__.startswith(ROOT), optkit.__file__
recipe = load_recipe(ROOT + "/recipe.yaml")
assert recipe.prune[0].criterion.build() == CRITERIA["lamp"]()
assert type(get_task(recipe.task)).__name__ == "ParaphraseDetection"
assert optimum.export_task("OVModelForSequenceClassification") == "text-classification"
assert build(optkit.pruning.Lamp()).config == CRITERIA["lamp"]()
stages = [stage.name for stage in load_stages()]
assert stages[stages.index("digest") - 1 : stages.index("digest") + 2] == ["tvm", "digest", "evaluate"], stages

scores = build(CRITERIA["lamp"]()).score(torch.tensor([[3.0, -4.0], [0.0, 12.0]]), {}, 0)
torch.testing.assert_close(scores, torch.tensor([[9 / 169, 16 / 160], [0.0, 1.0]]))

# Magnitude would take everything from the first layer, whose weights are a hundredth of the second's.
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 8))
model[1].weight.data.mul_(100)
rule = Rule(targets=("*",), criterion=CRITERIA["lamp"](), structure="1x4", schedule=Schedule("constant", to=0.5, begin=1))
pruner = Pruner(model, [rule])
pruner.start(total_steps=4, steps_per_epoch=4)
for step in range(5):
    pruner.update(step)
pruner.fold()
zeros = [int((layer.weight == 0).sum()) for layer in model]
assert sum(zeros) == (256 + 128) // 2 and zeros[1] > 0, zeros

strided = Structure.parse("strided:4")
assert str(strided) == recipe.prune[0].structure == "strided:4" and "strided:K" in names("structure")
nests = {text: strided.nests_in(Structure.parse(text)) for text in ("row", "column", "4x4", "1x4", "strided:4", "strided:8")}
assert [text for text, inside in nests.items() if inside] == ["row"], nests
assert Structure().nests_in(strided) and not Structure.parse("1x4").nests_in(strided)
grid = grid_of(strided, (2, 8))
assert (grid.count, grid.size) == (8, 2)
assert grid.total([torch.arange(16.0).view(2, 8)]).tolist() == [4, 6, 8, 10, 20, 22, 24, 26]
keep = torch.arange(8) != 5
(mask,) = grid.masks(keep, [torch.ones(2, 8)], [torch.ones(2, 8, dtype=torch.bool)])
assert mask.logical_not().nonzero().tolist() == [[1, 1], [1, 5]] and torch.equal(grid.alive([mask]), keep)
"""


def test_what_the_extending_page_adds_works_in_the_files_that_it_names(extended):
    (recipe,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    recipe = recipe.replace("criterion: movement", "criterion: lamp").replace("structure: 1x4", "structure: strided:4")
    recipe = recipe.replace("type: text-classification", "type: paraphrase-detection")
    (extended / "recipe.yaml").write_text(recipe, encoding="utf-8")
    done = run_extended(extended, USES)
    assert done.returncode == 0, done.stderr


def test_the_structure_on_the_extending_page_passes_the_suite_of_structures(extended):
    suite = f"""
import pytest
import optkit
assert optkit.__file__.startswith(ROOT), optkit.__file__
sys.path.append(ROOT + "/tests")
sys.exit(pytest.main(["-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-k", "strided or every_pair", {SUITE!r}]))
"""
    done = run_extended(extended, suite)
    assert done.returncode == 0, done.stdout + done.stderr
    # Every test of the suite for each criterion that trains, LAMP among them, and the one on pairs once.
    tests = (extended / SUITE).read_text(encoding="utf-8").count("\ndef test_") - 1
    criteria = [*(name for name, each in config.CRITERIA.items() if each not in config.ONE_SHOT), "lamp"]
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (passed|skipped)", done.stdout)}
    assert sum(counts.values()) == tests * len(criteria) + 1, done.stdout
    assert counts.get("skipped", 0) <= 1, "one criterion revives weights"


def test_the_instruction_set_on_the_extending_page_compiles(tmp_path):
    need("compiler")
    csrc = tmp_path / "optkit" / "runtime" / "csrc"
    shutil.copytree(ROOT / "optkit" / "runtime" / "csrc", csrc)
    (row,) = (code for name, code in code_of("extending.md").items() if name.endswith("sets.def"))
    table = (csrc / "isa" / "sets.def").read_text(encoding="utf-8")
    (nearest,) = re.findall(r"^OPTKIT_INSTRUCTION_SET\(avx512vnni,.*?^    OPTKIT_RATES.*?$", table, re.M | re.S)
    added = '    OPTKIT_CPU_FEATURE("avx512fp16", "avx512_fp16")\n    OPTKIT_CPU_FEATURE("fma"'
    expected = nearest.replace("avx512vnni,", "avx512fp16,", 1).replace('    OPTKIT_CPU_FEATURE("fma"', added)
    assert row == f"{expected}\n    OPTKIT_RATES())\n", "the row on the page differs from that of the nearest set"
    (csrc / "isa" / "sets.def").write_text(f"{table}\n{row}", encoding="utf-8")

    page = section_of("extending.md", "An instruction set")
    (script,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, check=True)
    (differs,) = re.findall(r"```cpp\n(.*?)```", page, re.DOTALL)
    own = (csrc / "isa" / "avxvnni" / "kernels.cpp").read_text(encoding="utf-8")
    assert all(part in own for part in differs.split("\n\nstruct")), "no longer what AVX-VNNI's kernels have"

    features = [f"-m{name}" for name in re.findall(r'OPTKIT_CPU_FEATURE\("([^"]+)"', row)]
    if subprocess.run(["c++", *features, "-E", "-x", "c++", "/dev/null"], capture_output=True, check=False).returncode:
        lack("instruction-sets", "this compiler does not know the CPU features of avx512fp16")
    for file, flags in (("table.cpp", []), ("avx512fp16/kernels.cpp", [*features, "-fno-exceptions", "-w"])):
        command = ["c++", "-std=c++17", "-fsyntax-only", *flags, "-I", csrc, csrc / "isa" / file]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr[-2000:]


def test_every_package_is_on_the_architecture_page():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE))
    packages = {folder.parent.name for folder in (ROOT / "optkit").glob("*/__init__.py")}
    assert packages - listed == set(), "no row in docs/architecture.md"
    assert listed - packages == set(), "rows in docs/architecture.md without a package"


def test_files_that_the_extending_page_names_exist():
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:optkit|tests|scripts)/[\w/.]+)`", text))
    new = set(code_of("extending.md"))
    gone = [name for name in sorted(named - new) if "NAME" not in name and not (ROOT / name).exists()]
    assert gone == [], "docs/extending.md says where these are: name the new places"


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.stem != "extending"))
def test_python_on_a_page_uses_public_names_only(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = re.findall(r"\boptkit\.((?:pruning\.|runtime\.|serving\.)?)(\w+)\(", text)
    for module, names in re.findall(r"^from optkit((?:\.\w+)?) import (.+)$", text, re.MULTILINE):
        named += [(module.removeprefix("."), name.strip()) for name in names.split(",")]
    for module, name in named:
        assert name in import_module(f"optkit.{module}".rstrip(".")).__all__, f"{module}{name} is not public"
    assert not re.findall(r"\boptkit\.(?!pruning\.|runtime\.|serving\.)\w+\.\w+[.\w]*\(", text)


def test_the_way_to_the_newest_transformers_names_what_optkit_needs():
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8").partition("## The newest transformers")[2]
    given = re.findall(r'"([^"]+)"', page.partition("```bash")[2].partition("```")[0])
    # click is held back for the typer that is known to work with optimum-intel's releases.
    wanted = {need for need in needs if not need.startswith(("optimum-intel", "transformers", "click"))}
    assert set(given) - {"transformers>=5.6,<6"} == wanted
