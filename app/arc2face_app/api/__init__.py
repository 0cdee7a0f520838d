"""The endpoints for programs and MCP clients, one file per tab. They mirror the library: same names, same bounds."""

from __future__ import annotations

from types import ModuleType

from arc2face_app.api import driving, expression, identity, pose, reading

ENDPOINTS: tuple[ModuleType, ...] = (identity, pose, expression, driving, reading)
"""Modules with `build(shell)`, in the order in which they are listed."""
