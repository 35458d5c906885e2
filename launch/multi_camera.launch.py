"""A node hand_recon for each of several cameras, in the camera's namespace and with frames of its own."""

from launch.action import Action
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource

from hand_recon_ros.ros.launching import NOT_GIVEN, LaunchError, checks, hand_recon_arguments, share, value
from hand_recon_ros.ros.parameters import table
from launch import LaunchContext, LaunchDescription


def nodes(context: LaunchContext) -> list[Action]:
    """hand_recon.launch.py for each camera, with the same arguments but for namespace and tf_prefix."""
    names = value(context, "cameras").replace(",", " ").split()
    if not names or len(set(names)) < len(names):
        raise LaunchError(f"cameras must be different names, such as cameras:='left right', got {' '.join(names)!r}")
    namespace, prefix = value(context, "namespace").rstrip("/"), value(context, "tf_prefix")
    if prefix == NOT_GIVEN:
        prefix = table()["tf_prefix"][1]
    file = PythonLaunchDescriptionSource(share("launch", "hand_recon.launch.py"))
    return [
        IncludeLaunchDescription(
            file,
            launch_arguments={
                "namespace": f"{namespace}/{name}" if namespace else name,
                "tf_prefix": f"{name}_{prefix}",
            }.items(),
        )
        for name in names
    ]


def generate_launch_description() -> LaunchDescription:
    cameras = DeclareLaunchArgument(
        "cameras",
        default_value="",
        description="names of the cameras: their namespaces, and the beginning of tf_prefix: 'left right'",
    )
    arguments = [*hand_recon_arguments(), cameras]
    return LaunchDescription([*arguments, checks(__file__, arguments), OpaqueFunction(function=nodes)])
