"""``python -m samdeploy`` is the ``samdeploy`` command."""

from samdeploy.cli.app import main

if __name__ == "__main__":
    main()
