"""Detectors and segmenters of the YOLO family, in NumPy above sessions: YOLOv8, YOLO11, FastSAM."""
