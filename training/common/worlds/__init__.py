"""The worlds that training can draw its people from, each behind the same names; `training.common.world` chooses."""
