"""Everything in an image: ask at many points, keep what is confident, stable and new."""
