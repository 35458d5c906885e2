"""The documentation is true: its tables come from the code, and the files, commands and names in it exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "hand_recon_ros" / "assets").rglob("*.md")),
)


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def code_spans(text: str) -> list[str]:
    """What stands between backticks, fenced blocks left out, line breaks as spaces."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def commands(text: str) -> list[list[str]]:
    """The arguments of every ``hand-recon`` command, in a code span or on a line of its own."""
    lines = [line.split(" # ")[0] for line in re.findall(r"^    (.+)$", text, flags=re.MULTILINE)]
    found = []
    for part in [*code_spans(text), *lines]:
        start = re.search(r"(?:^|\s)(?:hand-recon|-m hand_recon_ros\.cli)\s+(?=[a-z])", part)
        if start:
            found.append(part[start.end() :].split())
    return found


def definitions(file: str) -> set[str]:
    """The functions, methods and classes of a module of the package."""
    text = (ROOT / "hand_recon_ros" / file).read_text(encoding="utf-8")
    return set(re.findall(r"^\s*(?:def|class) (\w+)", text, flags=re.MULTILINE))


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading of the page on architecture, without its head."""
    lines = ARCHITECTURE.split(f"# {heading}\n", 1)[1].splitlines()
    table = [line for line in lines[next(i for i, line in enumerate(lines) if line.startswith("|")) :]]
    table = table[: next((i for i, line in enumerate(table) if not line.startswith("|")), len(table))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def make_docs():
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "tools" / "make_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["README.md", "docs/nodes.md"])
def test_tables_are_the_codes_own(name):
    tool = make_docs()
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "<!-- begin topics" in text
    assert tool.renewed(text) == text, "run .venv/bin/python tools/make_docs.py"


def test_every_parameter_is_in_the_readme():
    from hand_recon_ros.ros.parameters import table

    for name in table():
        assert f"| `{name}` |" in README


def test_every_node_is_documented_with_its_parameters_and_topics():
    from hand_recon_ros.ros import topics
    from hand_recon_ros.ros.parameters import table
    from hand_recon_ros.ros.teleop_parameters import TeleopConfig
    from hand_recon_ros.ros.view_parameters import ViewConfig

    page = (ROOT / "docs" / "nodes.md").read_text(encoding="utf-8")
    executables = re.findall(r"^add_command\(\"lib/\S+ (\w+)", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)
    assert {"hand_recon", "hand_recon_view", "hand_teleop"} <= set(executables)
    for name in executables:
        assert f"\n## {name}\n" in page
    for node, names in (
        ("hand_teleop", [*table(TeleopConfig), *topics.TELEOP_SERVICES, *(t.name for t in topics.TELEOP_OUTPUTS)]),
        ("hand_recon_view", [*table(ViewConfig), *(t.name for t in (*topics.VIEW_INPUTS, *topics.VIEW_OUTPUTS))]),
    ):
        section = page.split(f"\n## {node}\n")[1].split("\n## ")[0]
        for name in names:
            assert f"| `{name}` |" in section


def test_renewing_replaces_what_is_between_the_markers():
    tool = make_docs()
    text = tool.renewed("a\n<!-- begin recorder: x -->\n| stale |\n<!-- end recorder -->\nb\n")
    assert "stale" not in text and "| `save_images` | `false` |" in text
    assert text.startswith("a\n<!-- begin") and text.endswith("<!-- end recorder -->\nb\n")


def test_troubleshooting_quotes_real_log_texts():
    # Long texts are split over several literals: join them, so that a quote may run over a seam.
    code = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "hand_recon_ros").rglob("*.py")))
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    rows = README.split("<!-- begin troubleshooting -->")[1].split("<!-- end troubleshooting -->")[0].splitlines()[3:]
    quotes = [quote for row in rows if row for quote in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert len(quotes) > 12
    for quote in quotes:
        assert quote in code, f"no log text contains {quote!r}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_linked_files_exist(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_modules_exist(page):
    folders = (ROOT, ROOT / "hand_recon_ros", ROOT / "launch", page.parent)
    paths = set(re.findall(r"[\w./]*\w\.py\b", page.read_text(encoding="utf-8"))) - {"rs_launch.py"}  # a RealSense's
    missing = {path for path in paths if not any((folder / path).is_file() for folder in folders)}
    assert not {path for path in missing if "NAME" not in path}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_are_accepted(page, capsys):
    from hand_recon_ros.cli import main
    from hand_recon_ros.config import ReconstructorConfig, settings_of

    for name, *arguments in commands(page.read_text(encoding="utf-8")):
        with pytest.raises(SystemExit) as end:
            main([name, "--help"])
        text = " ".join(capsys.readouterr().out.split())
        assert end.value.code == 0, f"no command {name}"
        # Usage names the choices of an option behind it, and those of a positional argument by themselves.
        choices = {option: set(values.split(",")) for option, values in re.findall(r"(--[\w-]+ )?\{([^}]*)\}", text)}
        previous = ""
        for argument in arguments:
            if argument.startswith("--"):
                assert re.search(rf"{argument}\b", text), f"hand-recon {name} has no {argument}"
            elif previous + " " in choices or previous == "" and "" in choices:
                known = choices[previous + " " if previous else ""]
                values = set(argument.split("|"))
                assert values <= known or argument.isupper(), f"hand-recon {name} {previous} {argument}: {known}"
            elif previous == "--set" and name != "train":
                assert argument.split("=")[0] in settings_of(ReconstructorConfig), f"--set {argument}"
            previous = argument if argument.startswith("--") else "-"


def test_the_frame_travels_through_functions_that_exist():
    steps = rows("How a frame travels")
    assert len(steps) > 20
    missing = []
    for step, functions, files, _ in steps:
        known = set().union(*(definitions(file) for file in re.findall(r"`([\w/]+\.py)`", files)))
        named = re.findall(r"`([\w.]+)`", functions)
        missing += [f"{step}: {name} is not in {files}" for name in named if not set(name.split(".")) <= known]
    assert not missing


def test_names_on_the_page_of_the_architecture_exist():
    folders = (ROOT / "hand_recon_ros", ROOT / "launch", ROOT / "test", ROOT / "config")
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".yaml")]
    words = set(re.findall(r"\w+", "".join(path.read_text(encoding="utf-8") for path in files)))
    names = [span for span in code_spans(ARCHITECTURE) if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", span)]
    endings = {"py", "txt", "xml", "onnx", "npz", "safetensors"}
    assert not [name for name in names if not set(name.split(".")) <= words | endings | {"NAME"}]


def test_subpackages_stand_in_the_order_of_the_import_rule():
    from test_import_rule import LAYERS

    named = [name for row in rows("Subpackages") for name in re.findall(r"^`(\w+)/`$", row[0])]
    assert named == [layer for layer in LAYERS if (ROOT / "hand_recon_ros" / layer).is_dir()]


def test_the_python_example_of_the_adapters_runs():
    from ros_support import estimate_of

    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict = {"estimate": estimate_of()}
    exec(next(block for block in blocks if "operator_points" in block), names)
    assert names["points"].shape == (21, 3) and names["vectors"].shape == (5, 3)
    assert names["joints"].positions.shape == (26, 3) and names["joints"].valid.sum() == 21
