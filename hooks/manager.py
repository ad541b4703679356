"""The plugin manager: loads built-ins and third-party plugins, and isolates their failures."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pluggy

from mlflow_drift.config import Settings
from mlflow_drift.errors import PluginError
from mlflow_drift.hooks import specs
from mlflow_drift.hooks.markers import PROJECT
from mlflow_drift.hooks.parts import Detector, Gate, Pin, Policy, Redactor, Trainer
from mlflow_drift.values import to_plain

__all__ = ["BUILT_INS", "announce", "build_manager", "get_manager", "parts", "reset_manager"]

logger = logging.getLogger(__name__)

SHAPES: dict[str, Any] = {
    "detectors": Detector,
    "policies": Policy,
    "trainers": Trainer,
    "gates": Gate,
    "redactors": Redactor,
    "listeners": Callable,
    "pins": Pin,
}
"""What each kind of part must look like."""

BUILT_INS = (
    "mlflow_drift.detection.plugin",
    "mlflow_drift.decision.plugin",
    "mlflow_drift.retraining.plugin",
    "mlflow_drift.registry.plugin",
    "mlflow_drift.audit",
)
"""Built-ins are plugins too, named by dotted string so that nothing here imports them."""

_lock = threading.Lock()
_current: pluggy.PluginManager | None = None


def build_manager(settings: Settings) -> pluggy.PluginManager:
    """Return a manager with the built-ins, the installed entry points and the configured plugins.

    Raises
    ------
    PluginError
        If a configured plugin cannot be imported, implements a hook that does not exist or takes
        arguments that the hook does not have, or wraps a hook.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(specs)
    for name in BUILT_INS:
        manager.register(importlib.import_module(name), name)
    _load_entry_points(manager)
    for name in settings.plugins:
        _load_named(manager, name)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        known = ", ".join((*specs.REGISTRATIONS, *specs.EVENTS))
        raise PluginError(
            f"plugin {_name_of(manager, error.plugin)}: implements a hook that does not exist "
            f"({_one_line(error)}). "
            f"Correct its name; the hooks are: {known}."
        ) from error
    _refuse_wrappers(manager)
    return manager


def _load_entry_points(manager: pluggy.PluginManager) -> None:
    try:
        manager.load_setuptools_entrypoints(PROJECT)
    except Exception as error:
        raise PluginError(
            f"entry-point group {PROJECT!r}: an installed plugin could not be loaded "
            f"({type(error).__name__}: {error}). Repair or uninstall it."
        ) from error


def _load_named(manager: pluggy.PluginManager, name: str) -> None:
    if manager.has_plugin(name):
        return
    _look_beside_the_configuration()
    try:
        module = importlib.import_module(name)
    except Exception as error:
        raise PluginError(
            f"plugins: {name!r} could not be imported ({type(error).__name__}: {error}). Check the spelling in "
            "mlflow-drift.toml or MLFLOW_DRIFT_PLUGINS, and that the module is installed here."
        ) from error
    if manager.get_name(module) is not None:
        return
    try:
        manager.register(module, name)
    except pluggy.PluginValidationError as error:
        raise PluginError(
            f"plugin {name!r}: implements a hook wrongly ({_one_line(error)}). Correct its arguments; "
            "each hook's are in mlflow_drift.hooks.specs."
        ) from error


def _refuse_wrappers(manager: pluggy.PluginManager) -> None:
    """Refuse what our one-by-one calls would not honour."""
    for hook in vars(manager.hook).values():
        for implementation in hook.get_hookimpls():
            if implementation.hookwrapper or implementation.wrapper:
                raise PluginError(
                    f"plugin {implementation.plugin_name!r}: {hook.name} is a hook wrapper, which is not supported. "
                    "Use a plain @hookimpl."
                )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _look_beside_the_configuration() -> None:
    """Let a configured plugin lie in the working folder or beside the configuration file.

    `python` looks there by itself; the command line, the server and the scoring server do not.
    """
    named = os.environ.get("MLFLOW_DRIFT_CONFIG")
    for folder in (Path.cwd(), Path(named).absolute().parent if named else Path.cwd()):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def _name_of(manager: pluggy.PluginManager, plugin: object) -> str:
    return repr(manager.get_name(plugin) or plugin)


def get_manager() -> pluggy.PluginManager:
    """Return this process's manager, built on first use from the environment."""
    global _current  # noqa: PLW0603 - one manager a process
    with _lock:
        if _current is None:
            _current = build_manager(Settings.load())
        return _current


def reset_manager() -> None:
    """Forget this process's manager, so that changed settings are read again."""
    global _current  # noqa: PLW0603 - one manager a process
    with _lock:
        _current = None


def parts(kind: str, manager: pluggy.PluginManager | None = None) -> list[Any]:
    """Return the registered parts of a kind, third-party ones first.

    Parameters
    ----------
    kind : str
        "detectors", "policies", "trainers", "gates", "redactors" or "listeners".

    Raises
    ------
    PluginError
        If a plugin's registration raises, returns no list, or repeats a name.

    Examples
    --------
    >>> sorted(detector.name for detector in parts("detectors"))[:3]
    ['js', 'ks', 'mmd']
    """
    manager = manager or get_manager()
    hook = getattr(manager.hook, f"register_{kind}")
    # pluggy lists implementations in registration order and calls them in reverse; we call them one by
    # one so that an error names its plugin.
    found: list[Any] = []
    for implementation in reversed(hook.get_hookimpls()):
        found.extend(_parts_of(implementation, kind))
    _require_unique_names(found, kind)
    return found


def _parts_of(implementation: Any, kind: str) -> list[Any]:
    try:
        offered = implementation.function()
    except Exception as error:
        raise PluginError(
            f"plugin {implementation.plugin_name!r}: register_{kind} raised {type(error).__name__}: {error}. "
            "Repair the plugin, or take it out of the configuration."
        ) from error
    if not isinstance(offered, Iterable) or isinstance(offered, (str, bytes)):
        raise PluginError(
            f"plugin {implementation.plugin_name!r}: register_{kind} must return a list of {kind}; "
            f"got {type(offered).__name__}. Return [..] even for one."
        )
    found = list(offered)
    for part in found:
        if isinstance(part, type) or not isinstance(part, SHAPES[kind]) or not _is_named(part, kind):
            raise PluginError(
                f"plugin {implementation.plugin_name!r}: register_{kind} must return objects of the shape "
                f"{SHAPES[kind].__name__} in mlflow_drift.hooks.parts; got {part!r}. Return instances with all its "
                "members, and a `name` of text."
            )
    return found


def _is_named(part: Any, kind: str) -> bool:
    return kind == "listeners" or (isinstance(part.name, str) and bool(part.name))


def _require_unique_names(found: list[Any], kind: str) -> None:
    names = [getattr(part, "name", None) for part in found]
    repeated = {name for name in names if name is not None and names.count(name) > 1}
    if repeated:
        raise PluginError(
            f"{kind}: the names {sorted(repeated)} are registered more than once. Give each part its own `name`."
        )


def announce(event: str, manager: pluggy.PluginManager | None = None, **payload: Any) -> None:
    """Tell every plugin and listener of an event; one that raises is logged and harms nobody.

    Parameters
    ----------
    event : str
        One of :data:`mlflow_drift.hooks.specs.EVENTS`.
    **payload
        The event's arguments, by name.
    """
    manager = manager or get_manager()
    for implementation in reversed(getattr(manager.hook, event).get_hookimpls()):
        arguments = [payload[name] for name in implementation.argnames]
        try:
            implementation.function(*arguments)
        except Exception:
            logger.warning("plugin %r raised on %s", implementation.plugin_name, event, exc_info=True)
    try:
        listeners = parts("listeners", manager)
        plain = {name: to_plain(value) for name, value in payload.items()} if listeners else {}
    except Exception:
        logger.warning("the listeners of %s could not be collected", event, exc_info=True)
        return
    for listener in listeners:
        _tell(listener, event, plain)


def _tell(listener: Any, event: str, plain: dict[str, Any]) -> None:
    try:
        listener(event, plain)
    except Exception:
        logger.warning("listener %r raised on %s", listener, event, exc_info=True)
