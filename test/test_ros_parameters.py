"""The parameter table: declared, checked, coerced and documented from one place."""

from __future__ import annotations

import pathlib

import pytest
import yaml

from hand_recon_ros.config import ConfigError, ReconstructorConfig, read_yaml, settings_of
from hand_recon_ros.ros import parameters as table_of
from hand_recon_ros.ros.parameters import NodeConfig, as_meant, live_changes, snapshot, table

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_the_table_holds_every_setting_once() -> None:
    names = [*settings_of(NodeConfig), *settings_of(ReconstructorConfig)]
    assert list(table()) == names
    assert len(set(names)) == len(names)


def test_every_setting_is_described_and_its_default_is_allowed() -> None:
    for name, (entry, default) in table().items():
        assert len(entry.description) > 10, name
        assert not entry.description.endswith("."), name
        assert entry.check(name, default, default) == default
    assert snapshot({}) == table_of.Parameters(NodeConfig(), ReconstructorConfig())


def test_the_yaml_file_is_the_one_made_from_the_table() -> None:
    file = ROOT / "config" / "hand_recon.yaml"
    assert file.read_text() == table_of.yaml_text(), (
        "run python -m hand_recon_ros.ros.parameters yaml > config/hand_recon.yaml"
    )


def test_the_yaml_file_reads_back_as_the_defaults() -> None:
    values = read_yaml(ROOT / "config" / "hand_recon.yaml")
    assert values == {name: default for name, (_, default) in table().items()}
    assert {name: type(value) for name, value in values.items()} == {
        name: type(default) for name, (_, default) in table().items()
    }


def test_the_markdown_table_has_a_row_for_each_parameter() -> None:
    rows = table_of.markdown_table().splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == [f"`{name}`" for name in table()]
    assert all(row.count("|") == 7 for row in rows)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"fallback_fov": 200.0}, ["fallback_fov", "200", "175", "deg"]),
        ({"fallback_fov": 0.5}, ["fallback_fov", "0.5", "[1, 175]"]),
        ({"fallback_fov": float("nan")}, ["fallback_fov", "finite"]),
        ({"publish_tf": "all"}, ["publish_tf", "'all'", "'off'", "'wrist'", "'full'"]),
        ({"tf_prefix": "/a"}, ["tf_prefix", "'/a'"]),
        ({"tf_prefix": "my hand "}, ["tf_prefix", "'my hand '"]),
        ({"marker_rate": 0.0}, ["marker_rate", "0.0", "1.0", "Hz"]),
        ({"debug_image_quality": 101}, ["debug_image_quality", "101"]),
        ({"min_presence": 1.5}, ["min_presence", "1.5"]),
        ({"max_prediction_time": 0.2}, ["max_prediction_time", "0.2", "0.15"]),
        ({"autostart": 1}, ["autostart", "bool", "1"]),
        ({"marker_rat": 3.0}, ["marker_rat", "did you mean 'marker_rate'"]),
    ],
)
def test_bad_values_are_refused_by_name_value_and_expectation(values: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        snapshot(values)
    for word in words:
        assert word in str(error.value)


def test_live_changes_are_those_of_the_reconstruction_only() -> None:
    old = snapshot({})
    new = snapshot({"min_presence": 0.7, "marker_rate": 5.0, "threads": 4})
    assert live_changes(old.reconstructor, new.reconstructor) == {"min_presence": 0.7}
    assert live_changes(old.reconstructor, old.reconstructor) == {}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("fallback_fov", "60", 60.0),
        ("publish_tf", "off", "off"),
        ("publish_tf", "full", "full"),
        ("threads", "3", 3),
        ("autostart", "false", False),
        ("model_dir", "2024", "2024"),
    ],
)
def test_what_yaml_reads_gets_the_type_of_the_parameter(name: str, text: str, expected: object) -> None:
    value = as_meant(yaml.safe_load(text), *table()[name])
    assert value == expected
    assert type(value) is type(expected)


def test_descriptors_carry_range_unit_and_read_only() -> None:
    pytest.importorskip("rcl_interfaces")
    entries = table()
    fov = table_of.descriptor("fallback_fov", *entries["fallback_fov"])
    assert (fov.floating_point_range[0].from_value, fov.floating_point_range[0].to_value) == (0.0, 175.0)
    assert fov.description.endswith("(deg)")
    assert not fov.read_only
    threads = table_of.descriptor("threads", *entries["threads"])
    assert (threads.integer_range[0].from_value, threads.integer_range[0].to_value) == (1, 64)
    assert threads.read_only
    tf = table_of.descriptor("publish_tf", *entries["publish_tf"])
    assert tf.additional_constraints == "one of: off, wrist, full"


def test_other_nodes_pass_over_the_parameters_of_hand_recon_in_a_shared_file(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rclpy")
    from rclpy.context import Context
    from ros_support import OnDds

    from hand_recon_ros.ros.teleop import HandTeleopNode

    def make(context: Context) -> HandTeleopNode:
        arguments = ["--ros-args", "--params-file", str(ROOT / "config" / "hand_recon.yaml"), "-p", "skale:=2.0"]
        return HandTeleopNode(context=context, cli_args=arguments)

    with OnDds(make) as dds:
        assert not dds.node.has_parameter("skale") and not dds.node.has_parameter("autostart")
    lines = [line for line in capfd.readouterr().err.splitlines() if "is ignored" in line]
    assert len(lines) == 1 and "unknown parameter 'skale' is ignored; did you mean 'scale'?" in lines[0]
