"""Head pose: angles and their limits, and normal maps from photos (EMOCA) or from angles."""
