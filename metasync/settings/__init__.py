"""The configuration file: pydantic models, and a loader whose errors name file and line.

Nothing here connects to anything; a loaded `Settings` is a frozen value.
"""

from metasync.settings.load import load_settings, parse_settings
from metasync.settings.models import Rule, Settings

__all__ = ["Rule", "Settings", "load_settings", "parse_settings"]
