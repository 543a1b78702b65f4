"""The ``samdeploy`` command."""
