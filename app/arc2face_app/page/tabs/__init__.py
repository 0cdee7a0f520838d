"""The tabs, in display order. Each module has a TITLE and `build(engine, shell)`; adding one is one line here."""

from __future__ import annotations

from types import ModuleType

from arc2face_app.page.tabs import driving, expression, group, identity, pose

TABS: tuple[ModuleType, ...] = (identity, pose, expression, driving, group)
