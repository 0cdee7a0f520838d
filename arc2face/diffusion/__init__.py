"""From an identity embedding to pictures: parts in one registry, adapters that come and go, the denoising loop."""
