"""The experiment file: typed, strict, checked before anything heavy is imported."""

from __future__ import annotations

from edge_glass.config.json_schema import json_schema, write_json_schema
from edge_glass.config.loading import check_files, dump_config, how_to_build, load_config
from edge_glass.config.schema import ExperimentConfig
from edge_glass.config.variants import variant_config
from edge_glass.core.errors import ConfigError

__all__ = [
    "ConfigError",
    "ExperimentConfig",
    "check_files",
    "dump_config",
    "how_to_build",
    "json_schema",
    "load_config",
    "variant_config",
    "write_json_schema",
]
