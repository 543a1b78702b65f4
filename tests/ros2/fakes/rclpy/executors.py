class ExternalShutdownException(Exception):  # noqa: N818  # the name it has
    pass
