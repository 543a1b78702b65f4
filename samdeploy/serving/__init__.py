"""A local HTTP server: bundles for programs, labelling tools and browsers; see docs/serve.md."""
