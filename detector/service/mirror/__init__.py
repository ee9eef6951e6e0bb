"""Carries the state of the control topic to those who do not read Kafka."""
