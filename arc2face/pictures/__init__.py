"""Pictures in and out: decoding and encoding, the recipe a saved picture carries, contact sheets and animations."""
