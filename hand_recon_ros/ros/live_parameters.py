"""The parameters of a node, followed as they change."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import SetParametersResult

from ..config import ConfigError
from .parameters import as_meant_parameters, changed, declare

Config = TypeVar("Config")


class LiveParameters(Generic[Config]):
    """Declares the parameters of a config dataclass on a node, and checks and takes what is set later.

    Args:
        node: made with :func:`parameters.node_options`.
        kind: the config dataclass, or :class:`parameters.Parameters`.

    Attributes:
        config: the values at present.

    Raises ConfigError for start values that cannot be used. Unknown names are logged: one file may be for many nodes.
    """

    def __init__(self, node: Any, kind: type[Config]) -> None:
        self.config: Config = declare(node, kind, ignore_unknown=True)
        node.add_pre_set_parameters_callback(functools.partial(as_meant_parameters, kind=kind))
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._take)

    def _check(self, parameters: Sequence[Any]) -> SetParametersResult:
        try:
            changed(self.config, parameters)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _take(self, parameters: Sequence[Any]) -> None:
        self.config = changed(self.config, parameters)
