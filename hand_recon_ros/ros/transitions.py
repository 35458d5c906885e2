"""Lifecycle transitions that log why they failed, which rclpy's do not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

from .worker import describe

if TYPE_CHECKING:
    from .node import HandReconNode


class NotReady(RuntimeError):
    """A transition that the node cannot make at present; the message has the reason and the way out."""


def transition(
    callback: Callable[[Any, LifecycleState], None],
) -> Callable[[Any, LifecycleState], TransitionCallbackReturn]:
    """A transition callback from one that raises where it fails: that is logged, and what it has done is undone."""
    name = callback.__name__.removeprefix("on_")

    @functools.wraps(callback)
    def guarded(self: HandReconNode, state: LifecycleState) -> TransitionCallbackReturn:
        self.problems.forget("transition")
        try:
            callback(self, state)
        except Exception as error:
            self.problems.report("transition", f"cannot {name}: {_reason(error)}", error=True)
            self.undo(name, state)
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    return guarded


def _reason(error: Exception) -> str:
    """The text of an error that was raised for users; that of any other with its type and the line that raised it."""
    for_users = type(error).__module__.startswith("hand_recon_ros") or isinstance(error, OSError | ImportError)
    return str(error) if for_users else describe(error)
