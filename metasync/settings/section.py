"""What every section of the YAML is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

Patterns = list[str]


class Section(BaseModel):
    """Every section is frozen and refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
