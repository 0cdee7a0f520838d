"""Captured steps: what a card repeats without being told each time.

`fastpath.FastPath` is the one object that others see; `backend` records and replays, `sampler` holds the samplers as
tables, `step` is one denoising step on static buffers, `run` walks through a request.
"""
