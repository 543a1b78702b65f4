"""One file per runtime; each is found by name through the ``samdeploy.runtimes`` entry points."""
