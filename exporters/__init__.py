"""One file per format; each is found by name through the ``samdeploy.exporters`` entry points."""
