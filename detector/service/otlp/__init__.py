"""OpenTelemetry in: batches of spans and logs from Kafka become telemetry records and evaluations."""
