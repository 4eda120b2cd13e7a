"""What a sweep knows, as data and as files: records, tables, TensorBoard, the display. Imports neither Ray nor torch."""
