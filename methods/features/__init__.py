"""Features that several methods compute from a patch: spectral indices and texture."""
