"""The pipeline over files: readers, and the production code run on recorded telemetry."""
