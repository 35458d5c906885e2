"""The documentation says what the code does: its tables are the code's own, its log texts and files exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


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


def test_linked_files_exist():
    for page in (ROOT / "README.md", ROOT / "docs" / "nodes.md"):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_python_examples_of_the_readme_run():
    import numpy as np

    from hand_recon_ros import HandEstimate, Side
    from hand_recon_ros.hand_model import load_hand_model
    from hand_recon_ros.skeleton import wrist_pose

    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    namespace: dict = {}
    exec(next(block for block in blocks if "def operator_points" in block), namespace)
    model = load_hand_model("")
    for side in Side:
        joints = model.kinematics(side).forward(
            np.tile(np.eye(3), (16, 1, 1)), np.zeros(10), np.array([0.1, 0.0, 0.5])
        )[0]
        hand = HandEstimate.lost(side)
        object.__setattr__(hand, "joints", joints)
        object.__setattr__(hand, "wrist_pose", wrist_pose(joints, right=side == Side.RIGHT))
        points = namespace["operator_points"](hand)
        np.testing.assert_allclose(points[0], 0.0, atol=1e-12)
        # The middle knuckle lies on the operator's z, at its true distance; the back of the hand is towards -x.
        np.testing.assert_allclose(points[9], [0.0, 0.0, np.linalg.norm(joints[9] - joints[0])], atol=1e-12)
        # The operator's y runs towards the little finger of a left hand and towards the thumb of a right one.
        assert (points[4, 1] > 0) == (side == Side.RIGHT)
