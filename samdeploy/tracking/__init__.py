"""Following objects from frame to frame by prompts alone."""
