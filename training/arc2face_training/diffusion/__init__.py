"""Trainers of the generative parts: VAE, identity UNet and text encoder, ControlNet, expression and reference
adapters, LCM distillation. Each module has a config dataclass and `train(config, out, resume) -> figures`.
"""
