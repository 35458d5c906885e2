"""The documentation is true: its tables come from the code, and the files, commands and names in it exist."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "hand_recon_ros" / "assets").rglob("*.md")),
)


OF_OTHERS = {"rs_launch.py", "driver.launch.py", "camera.launch.py"}
"""Launch files of the drivers of cameras."""


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
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_tables_are_the_codes_own():
    tool = make_docs()
    for name in tool.FILES:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert re.search(r"^<!-- begin \w+: ", text, flags=re.MULTILINE), name
        assert tool.renewed(text) == text, f"{name}: run .venv/bin/python tools/make_docs.py"
    blocks = set(re.findall(r"<!-- begin (\w+): ", "".join((ROOT / name).read_text() for name in tool.FILES)))
    assert blocks == set(tool.blocks())


def test_every_parameter_is_in_the_readme():
    from hand_recon_ros.ros.parameters import table

    for name in table():
        assert f"| `{name}` |" in README


SECTIONS = ["Subscribed topics", "Published topics", "Services", "Parameters", "Frames", "Behaviour"]


def test_every_node_has_a_page_of_the_same_form():
    from hand_recon_ros.ros.parameters import table
    from hand_recon_ros.ros.security import NODES

    pages = make_docs().PAGES
    executables = re.findall(r"^add_node\((\w+)", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)
    assert sorted(path.stem for path in (ROOT / "docs" / "nodes").glob("*.md")) == sorted(executables) == sorted(pages)
    for node in NODES:
        page = (ROOT / "docs" / "nodes" / f"{node.executable}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {node.executable}\n\n`ros2 ")
        assert re.findall(r"^## (.+)$", page, flags=re.MULTILINE) == SECTIONS
        assert all(text.strip() for text in re.split(r"^## .+$", page, flags=re.MULTILINE))
        for name in (*table(pages[node.executable].config), *(t.name for t in (*node.inputs, *node.outputs))):
            assert f"| `{name}` |" in page, f"{node.executable}: {name}"
        assert all(f"| `{name}` |" in page for name in node.services)


def test_the_frames_on_the_page_of_hand_recon_are_those_on_tf():
    pytest.importorskip("geometry_msgs")
    from geometry_msgs.msg import TransformStamped
    from ros_support import estimate_of
    from std_msgs.msg import Header

    from hand_recon_ros.conversions.frames import build_transforms, hand_poses
    from hand_recon_ros.ros.parameters import table

    estimate, prefix = estimate_of(), table()["tf_prefix"][1]
    sent = {
        kind: [
            each.child_frame_id
            for each in build_transforms(
                TransformStamped, Header(frame_id="camera"), estimate, hand_poses(estimate), prefix, kind
            )
        ]
        for kind in ("wrist", "full")
    }
    frames = " ".join(name for name, _ in make_docs().PAGES["hand_recon"].frames)
    documented = re.findall(r"`(\w+)`", frames)
    assert documented[:2] == sent["wrist"]
    others = [name for name in sent["full"] if name not in sent["wrist"]]
    assert documented[2:4] == [others[0], others[-1]]
    for name in sent["wrist"]:
        assert f"`{name}`" in (ROOT / "docs" / "frames.md").read_text(encoding="utf-8")


def test_renewing_replaces_what_is_between_the_markers():
    tool = make_docs()
    text = tool.renewed(
        "a\n<!-- begin interface_demo_recorder: x -->\n| stale |\n<!-- end interface_demo_recorder -->\nb\n"
    )
    assert "stale" not in text and "| `save_images` | `false` |" in text
    assert text.startswith("a\n<!-- begin") and text.endswith("<!-- end interface_demo_recorder -->\nb\n")


def troubleshooting_quotes():
    """The log texts of the page on troubleshooting."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    return [quote for row in rows for quote in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_troubleshooting_quotes_real_log_texts():
    # Long texts are split over several literals: join them, so that a quote may run over a seam.
    code = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "hand_recon_ros").rglob("*.py")))
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    names = {"~/start_pose": "{topics.START_POSE.name}"}
    quotes = troubleshooting_quotes()
    assert len(quotes) > 60
    for quote in quotes:
        for name, expression in names.items():
            quote = quote.replace(name, expression)
        assert quote in code, f"no log text contains {quote!r}"


def literal_text(node):
    """The text of a string in the code, with NUL for what is filled in; empty of anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(literal_text(part) or "\0" for part in node.values)
    return ""


def reported_texts():
    """File, line and text of each problem that a node reports, as far as it stands where it is reported."""
    folders = ("ros", "conversions", "teleop")
    for path in sorted(file for folder in folders for file in (ROOT / "hand_recon_ros" / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                is_problem = re.search(r"problems\.(report|check)$|logger\(\)\.(warning|error)$", called)
                if (is_problem or called in ("InputError", "ConfigError", "TransformError")) and node.args:
                    text = max((literal_text(each) for each in node.args), key=len)
                    if len(text) > 25:
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", text


def test_what_a_node_reports_is_in_the_troubleshooting():
    quotes = [quote.replace("~/start_pose", "\0") for quote in troubleshooting_quotes()]
    texts = dict(reported_texts())
    assert len(texts) > 40
    missing = {
        place: text
        for place, text in texts.items()
        # A value that is refused at the start is named in the line, with what was expected.
        if not any(quote in text for quote in quotes) and ", got " not in text
    }
    assert not missing, f"docs/troubleshooting.md has no row for {missing}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_linked_files_exist(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_modules_exist(page):
    folders = (ROOT, ROOT / "hand_recon_ros", ROOT / "launch", page.parent)
    paths = set(re.findall(r"[\w./]*\w\.py\b", page.read_text(encoding="utf-8"))) - OF_OTHERS
    missing = {path for path in paths if not any((folder / path).is_file() for folder in folders)}
    assert not {path for path in missing if "NAME" not in path}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_are_accepted(page, capsys):
    from hand_recon_ros.cli import main
    from hand_recon_ros.commands import overrides
    from hand_recon_ros.config import ReconstructorConfig, settings_of
    from hand_recon_ros.training.distill import distill_settings

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
            elif previous == "--set" and name == "distill":
                distill_settings(overrides([argument]), None, None)
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


LAUNCH_ARGUMENT = re.compile(r"([\w.]+):=")


def launch_commands(text: str) -> list[tuple[str, list[str]]]:
    """File and names of the arguments of every ``ros2 launch hand_recon_ros`` on lines of their own."""
    text = re.sub(r"\\\n\s*", " ", text)
    found = re.findall(r"ros2 launch hand_recon_ros (\w+\.launch\.py)([^`\n]*)", text)
    return [(file, LAUNCH_ARGUMENT.findall(rest)) for file, rest in found]


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_launch_arguments_exist(page):
    """As far as they are parameters or written in the code: the launch files themselves need launch to be read."""
    from hand_recon_ros.ros.parameters import table
    from hand_recon_ros.ros.teleop_parameters import TeleopConfig

    code = (ROOT / "hand_recon_ros" / "ros" / "launching.py").read_text(encoding="utf-8")
    names = set(re.findall(r'"(\w+)"', code)) | {"start_pose_topic", "twist_topic", "target_topic", "gripper_topic"}
    for file, arguments in launch_commands(page.read_text(encoding="utf-8")):
        path = ROOT / "launch" / file
        assert path.exists(), file
        own = set(re.findall(r'"(\w+)"', path.read_text(encoding="utf-8")))
        known = names | own | set(table(TeleopConfig) if "teleop" in file else table())
        assert set(arguments) <= known, f"{file}: {sorted(set(arguments) - known)}"


def test_the_recipe_of_a_robot_hand_runs():
    pytest.importorskip("hand_recon_ros.msg")
    import numpy as np
    from hand_recon_ros.msg import Hand
    from ros_support import hand_estimate, hand_model
    from std_msgs.msg import Header

    from hand_recon_ros import HandEstimate, Side, TwoHandEstimate
    from hand_recon_ros.adapters import HandJoints, operator_points
    from hand_recon_ros.conversions.frames import hand_poses
    from hand_recon_ros.ros.messages import build_hands_message

    class Retargeting:
        """In place of dex-retargeting's: the reference is the answer."""

        def __init__(self, kind, indices):
            self.optimizer = type("Optimizer", (), {"retargeting_type": kind, "target_link_human_indices": indices})

        def retarget(self, reference):
            return reference

    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    names: dict = {}
    exec(
        next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "operator_points" in block),
        names,
    )
    right = hand_estimate(Side.RIGHT)
    two = TwoHandEstimate(HandEstimate.lost(Side.LEFT), right)
    message = build_hands_message(two, hand_poses(two), Header(), hand_model(), (320, 240), dropped=0)
    points = operator_points(HandJoints.of_estimate(right))
    vectors = Retargeting("vector", np.array([[0, 0], [4, 8]]))
    np.testing.assert_allclose(
        names["robot_joints"](vectors, message.right), points[[4, 8]] - points[[0, 0]], atol=1e-9
    )
    positions = Retargeting("POSITION", np.array([4, 8]))
    np.testing.assert_allclose(names["robot_joints"](positions, message.right), points[[4, 8]], atol=1e-9)
    assert isinstance(message.left, Hand) and names["robot_joints"](positions, message.left) is None


def test_the_command_of_the_security_policy_is_accepted(capsys):
    from hand_recon_ros.ros import security

    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    (command,) = re.findall(
        r"^    python3 -m hand_recon_ros\.ros\.security (.+) > ", re.sub(r"\\\n\s*", " ", text), re.M
    )
    arguments = shlex.split(command)
    assert security.main(arguments) == 0
    policy = capsys.readouterr().out
    assert len(arguments) == 3 and all(f">{argument.split(':=')[1]}<" in policy for argument in arguments)
    for node in security.NODES:
        assert f"| `/{node.executable}` | [{node.executable}]" in text


def test_the_readme_lists_every_page():
    section = README.split("\n## Documentation\n")[1].split("\n## ")[0]
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert {Path(link).name for link in re.findall(r"\]\(docs/(\w+\.md)\)", section)} == pages
