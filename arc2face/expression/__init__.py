"""Expressions: the 55 FLAME numbers, how to change and save them, named ones, and reading them off photos (SMIRK)."""
