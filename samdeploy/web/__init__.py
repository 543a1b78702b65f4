"""The page that segments in a visitor's browser, and how a site is made of it."""
