"""The parts of :func:`samdeploy.auto_annotate`: where boxes come from, what becomes of an image,
how it is written, and how a long run is kept going.
"""
