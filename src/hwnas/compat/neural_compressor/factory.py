"""`NAS(configuration)`: the agent of whatever approach a configuration names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwnas.compat.neural_compressor.base import NASBase
from hwnas.compat.neural_compressor.config import Config, NASConfig, resolve
from hwnas.compat.neural_compressor.registry import NASMethods
from hwnas.errors import ConfigError, nearest


class NAS:
    """Makes the agent that a configuration describes; what comes back is of the approach's own class, not a `NAS`.

    The agent is given a `NASConfig` of its own, checked and complete, and whatever further arguments there are. An
    approach that has no constructor of its own is given its search settings.

    Example: `results = NAS("nas.yaml").search()`

    Args:
        conf_fname_or_obj: the path of a YAML file, a `NASConfig`, or `Config(nas=NASConfig(...))`.

    Raises:
        MissingFileError: there is no such file.
        ConfigError: an approach that nobody registered, an unknown key, a wrong type …
    """

    def __new__(cls, conf_fname_or_obj: str | Path | NASConfig | Config, *args: Any, **kwargs: Any) -> Any:
        """The agent."""
        config = resolve(conf_fname_or_obj)
        approach = config.approach or "basic"
        method = NASMethods.get(approach.lower())
        if method is None:
            raise ConfigError(
                f"unknown approach {approach!r}; {nearest(approach.lower(), sorted(NASMethods))}",
                path="nas.approach",
                hint='an approach of your own is registered with @nas_registry("its name") above its class',
            )
        if method.__init__ is not NASBase.__init__:
            return method(config, *args, **kwargs)
        agent = method(*args, **kwargs)
        agent.init_search_cfg(config)
        return agent


__all__ = ["NAS"]
